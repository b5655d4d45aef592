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

/// The first disk grew from 16384 to 32768 sectors: told once by UNIT ATTENTION 2A/09, then seen.
pub fn resized(report: &Report, differ: &mut Differ<'_>) {
    let text = |kind: &str| report.first(kind).map(|line| line.text.clone()).unwrap_or_default();
    differ("capacity before", text("capacity"), "sense=0x0 sectors=16384".to_owned());
    differ("capacity after", text("resized"), "told=0x62a09 sense=0x0 sectors=32768".to_owned());
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
