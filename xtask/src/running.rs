//! Holds what the executive's exercises reported against what they must.

use rig::report::{Line, Report};

/// Tells of a difference: what, seen, expected.
type Differ<'a> = dyn FnMut(&str, String, String) + 'a;

/// A disk came, was used, and went with requests on their way: each of them ended, once, and nothing is left.
pub fn hotplug(report: &Report, differ: &mut Differ<'_>) {
    let number = |line: Option<&Line>, key: &str| line.and_then(|line| line.number(key)).unwrap_or_default();
    let load = report.first("traffic");
    let (started, ok, failed) = (number(load, "started"), number(load, "ok"), number(load, "failed"));
    differ("requests that ended", (ok + failed).to_string(), started.to_string());
    differ("requests failed by the removal", (failed >= 1).to_string(), true.to_string());
    differ("files written before it", (number(load, "written") >= 1).to_string(), true.to_string());
    let text = |kind: &str| format!("{:?}", report.first(kind).map(|line| line.text.clone()));
    differ("dismount", text("dismount"), format!("{:?}", Some("disk=1")));
    differ("removal", text("gone"), format!("{:?}", Some("disk=1 left=0")));
}

/// The guest was suspended once, and its disks were connected again before the census.
pub fn resumed(report: &Report, disks: usize, differ: &mut Differ<'_>) {
    let seen = |text: &str| report.debug(text).count();
    differ("resumes", seen("xenpci: resumed, ").to_string(), "1".to_owned());
    let again = format!("xenvbd: {disks} disks connected again after a suspend, census taken");
    differ("disks connected again", seen(&again).to_string(), "1".to_owned());
    differ("unplugs", seen("idefilter: unplug=acknowledged").to_string(), "2".to_owned());
}

/// The guest was to be suspended twice, and went on each time with the backends that it had.
pub fn copied(report: &Report, disks: usize, differ: &mut Differ<'_>) {
    let seen = |text: &str| report.debug(text).count();
    differ("cancelled suspends", seen("xenpci: the suspend was cancelled").to_string(), "2".to_owned());
    let goes_on = format!("xenvbd: {disks} disks go on after a suspend that was cancelled");
    differ("disks go on", seen(&goes_on).to_string(), "2".to_owned());
    differ("disks connected again", seen("connected again").to_string(), "0".to_owned());
    differ("resumes", seen("xenpci: resumed, ").to_string(), "0".to_owned());
}

/// The first disk grew from 16384 to 32768 sectors: told once by UNIT ATTENTION 2A/09, then seen.
pub fn resized(report: &Report, differ: &mut Differ<'_>) {
    let text = |kind: &str| report.first(kind).map(|line| line.text.clone()).unwrap_or_default();
    differ("capacity before", text("capacity"), "sense=0x0 sectors=16384".to_owned());
    differ("capacity after", text("resized"), "told=0x62a09 sense=0x0 sectors=32768".to_owned());
}

/// How the events of a guest with several processors must arrive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Upcalls {
    /// By each processor's own vector, to that processor.
    Vectors,
    /// By the line, to the first processor.
    Line,
}

/// Interrupts that are more than those of a start.
const MANY: u64 = 20;

/// Every processor took the interrupts of its own vector and completed the requests of its own queue, or the first one took
/// all by the line. The executive counts, not the drivers.
pub fn upcalls(report: &Report, expected: Upcalls, processors: u32, differ: &mut Differ<'_>) {
    let list = |line: &Line, key: &str| -> Vec<u64> {
        line.get(key).unwrap_or_default().split(',').filter_map(|number| number.parse().ok()).collect()
    };
    let messages: Vec<Vec<u64>> =
        report.all("interrupts").filter(|l| l.is("message", "1")).map(|l| list(l, "taken")).collect();
    let wanted = if expected == Upcalls::Vectors { processors as usize } else { 0 };
    differ("interrupt messages", messages.len().to_string(), wanted.to_string());
    for (processor, taken) in messages.iter().enumerate() {
        let own = taken.iter().enumerate().all(|(at, &count)| (count >= MANY) == (at == processor));
        let stray = taken.iter().enumerate().any(|(at, &count)| at != processor && count > 0);
        differ(
            &format!("interrupts of processor {processor} {taken:?}"),
            format!("{:?}", (own, stray)),
            format!("{:?}", (true, false)),
        );
    }
    // At the start and after each resume.
    for moment in ["xenpci: Xen ", "xenpci: resumed, "] {
        for said in report.debug(moment) {
            let all = said.ends_with(&format!(" {wanted} processors' own vectors"));
            differ(&format!("own vectors in \"{said}\""), all.to_string(), "true".to_owned());
        }
    }
    let completed = report.first("completions").map(|line| list(line, "by")).unwrap_or_default();
    let everywhere = completed.len() == processors as usize && completed.iter().all(|&n| n >= MANY);
    if expected == Upcalls::Vectors {
        differ(&format!("completions {completed:?} everywhere"), everywhere.to_string(), "true".to_owned());
    }
}

/// A disk was read and written, from every processor, and every request ended well.
pub fn traffic(report: &Report, processors: u32, differ: &mut Differ<'_>) {
    let field = |kind: &str, key: &str| {
        report.first(kind).and_then(|line| line.get(key)).map(str::to_owned).unwrap_or_default()
    };
    differ("processors", field("processors", "count"), processors.to_string());
    differ("processors that read", field("traffic", "processors"), format!("{:#x}", (1 << processors) - 1));
    differ("reads", field("traffic", "ok"), field("traffic", "started"));
    differ("failed reads", field("traffic", "failed"), "0".to_owned());
    let said = report.debug("xenvbd: vbd 768: ").next().and_then(|line| line.split("vbd 768: ").nth(1));
    let queues = said.unwrap_or_default().starts_with(&format!("{processors} queues"));
    differ("a queue for each processor", queues.to_string(), true.to_string());
    differ("files written", (field("traffic", "written") != "0").to_string(), true.to_string());
}
