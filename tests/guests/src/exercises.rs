//! Holds what the executive's exercises reported against what they must.

use rig::report::{Line, Report};

use crate::{boot, scenario::Raw};

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
    connected_again(report, disks, differ);
    differ("unplugs", seen("idefilter: unplug=acknowledged").to_string(), "2".to_owned());
}

/// The guest hibernated and went on where it was: it has taken its disks back from the copy that wrote.
pub fn revived(report: &Report, disks: usize, differ: &mut Differ<'_>) {
    let seen = |text: &str| report.debug(text).count();
    differ("awakenings", seen("xenpci: awake where it fell asleep").to_string(), "1".to_owned());
    connected_again(report, disks, differ);
    differ("resumes", seen("xenpci: resumed, ").to_string(), "0".to_owned());
}

/// Every disk was connected again, once, and then counted.
fn connected_again(report: &Report, disks: usize, differ: &mut Differ<'_>) {
    let again = format!("xenvbd: {disks} disks connected again after a suspend, census taken");
    differ("disks connected again", report.debug(&again).count().to_string(), "1".to_owned());
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

/// Every processor took the interrupts of its own vector and completed the requests of its own queue, or the
/// first one took all by the line. The executive counts, not the drivers.
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

/// What a drive of one data track answered, from its whole content to its events; and that the census counts
/// no drive.
pub fn cdrom(report: &Report, censuses: &[String], differ: &mut Differ<'_>) {
    let disc = boot::cdrom();
    let hash = disc.iter().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01B3)
    });
    let content = format!("blocks={} hash={hash:016x}", boot::CDROM_SECTORS);
    let end = format!("{:08x}", boot::CDROM_SECTORS);
    // The end in minutes, seconds and frames, after the two seconds before the first block.
    let frames = boot::CDROM_SECTORS + 150;
    let end_msf = format!("00{:02x}{:02x}{:02x}", frames / 4500, frames / 75 % 60, frames % 75);
    let expected = [
        ("event", "event=2 status=2".to_owned()),
        ("profile", "bytes=0000001000000008".to_owned()),
        ("toc", format!("bytes=00120101001401000000000000 14aa00{end}").replace(' ', "")),
        ("toc-msf", format!("bytes=000a01010014aa00{end_msf}")),
        ("session", "bytes=000a01010014010000000000".to_owned()),
        ("content", content.clone()),
        ("write", "sense=0x72700".to_owned()),
        ("lock", "sense=0x0".to_owned()),
        ("eject-locked", "sense=0x55302".to_owned()),
        ("unlock", "sense=0x0".to_owned()),
        ("eject", "sense=0x0".to_owned()),
        ("ejected", "sense=0x23a02 event=3 status=1".to_owned()),
        ("load", "sense=0x0".to_owned()),
        ("loaded", "event=2 status=2 sense=0x62800 then-sense=0x0".to_owned()),
        ("eject-again", "sense=0x0 event=3 status=1".to_owned()),
        ("taken", "event=3 status=0 sense=0x23a01".to_owned()),
        ("given", "event=2 status=2 sense=0x62800".to_owned()),
        ("content-again", content),
    ];
    for (what, expected) in expected {
        let seen = report.all("cd").find(|line| line.is("what", what)).map(|line| line.text.clone());
        let seen = seen.unwrap_or_default().replace(&format!("what={what} "), "");
        differ(&format!("CD-ROM, {what}"), seen, expected);
    }
    let disks = censuses.iter().all(|census| census.starts_with("own=1 "));
    differ("drives counted as disks", (!disks).to_string(), false.to_string());
}

/// A disk was read and written, from every processor, and every request ended well.
pub fn traffic(report: &Report, processors: u32, times: usize, differ: &mut Differ<'_>) {
    let count = report.first("processors").and_then(|line| line.get("count")).unwrap_or_default();
    differ("processors", count.to_owned(), processors.to_string());
    differ("times that the disk was in use", report.all("traffic").count().to_string(), times.to_string());
    for line in report.all("traffic") {
        let field = |key: &str| line.get(key).unwrap_or_default().to_owned();
        differ("processors that read", field("processors"), format!("{:#x}", (1 << processors) - 1));
        differ("reads", field("ok"), field("started"));
        differ("failed reads", field("failed"), "0".to_owned());
        differ("files written", (field("written") != "0").to_string(), true.to_string());
    }
    let said = report.debug("xenvbd: vbd 768: ").next().and_then(|line| line.split("vbd 768: ").nth(1));
    let queues = said.unwrap_or_default().starts_with(&format!("{processors} queues"));
    differ("a queue for each processor", queues.to_string(), true.to_string());
}

/// What each disk of a kind of its own said and did, whose pages its backend was given, and what is on its
/// image.
pub fn kinds(raw: &[Raw], boot: &boot::Boot, registry: &str, differ: &mut Differ<'_>) {
    let report = boot.outcome.report();
    let persistent = registry.contains("PersistentGrants");
    for (n, (kind, image)) in raw.iter().zip(&boot.raw).enumerate() {
        let disk = n as u64 + 1;
        let block = if *kind == Raw::Blocks4096 { 4096 } else { 512 };
        let (protected, wrote) = if *kind == Raw::ReadOnly { (1, "072700") } else { (0, "ok") };
        // dom0's own disks, too, can give up blocks; only of a loop device's it is sure that they are zeros
        // then.
        let (thin, unmapped) = if *kind == Raw::ReadOnly { (0, "no") } else { (1, "ok") };
        let zero = u8::from(matches!(kind, Raw::Blocks4096 | Raw::Discard | Raw::QdiskDiscard));
        let flushed = "ok";
        let back = if *kind == Raw::ReadOnly { "other" } else { "same" };
        let expected = format!(
            "disk={disk} block={block} protected={protected} thin={thin} wrote={wrote} flushed={flushed} read=ok \
             back={back} unmapped={unmapped} zero={zero}"
        );
        let seen =
            report.all("kind").find(|line| line.number("disk") == Some(disk)).map(|line| line.text.clone());
        differ(&format!("{kind:?}"), seen.unwrap_or_default(), expected);

        // What the guest wrote and gave up, and nothing else; the files that can have holes stay in dom0,
        // which has looked at them.
        let elsewhere = matches!(kind, Raw::ReadOnly | Raw::Discard | Raw::QdiskDiscard);
        let written = |at: usize| !elsewhere && (512..768).contains(&(at >> 10));
        let good = (0..image.len()).find(|&at| {
            let expected = if written(at) {
                ((at - (512 << 10)) / 512 * 7 + disk as usize) as u8
            } else if *kind == Raw::Blocks4096 && (1024..1536).contains(&(at >> 10)) {
                0
            } else {
                boot::RAW_FILL
            };
            image[at] != expected
        });
        differ(&format!("{kind:?}: first wrong byte of the image"), format!("{good:?}"), "None".to_owned());

        // xvdb is vbd 51728.
        let vbd = format!("xenvbd: vbd {}: ", 51728 + 16 * n);
        // qdisk does not offer them.
        let grants = if persistent && *kind != Raw::QdiskDiscard { "persistent" } else { "single" };
        let said =
            report.debug(&vbd).find(|line| line.ends_with(" grants")).map(str::to_owned).unwrap_or_default();
        differ(
            &format!("{kind:?}: {grants} grants"),
            said.ends_with(&format!(" {grants} grants")).to_string(),
            "true".to_owned(),
        );
        // The driver counts, and says when a disk goes: dom0 detaches the first two.
        let counters = report.debug(&vbd).find_map(|line| line.split_once("granted: "));
        let granted = counters.and_then(|(_, rest)| rest.split(',').next()?.parse::<u64>().ok());
        let granted = match granted {
            None => "not told",
            Some(0) => "none",
            Some(_) => "some",
        };
        let expected = match kind {
            _ if n >= boot::RAW_DETACHED => "not told",
            Raw::Untrusted => "none",
            _ if persistent => "none",
            _ => "some",
        };
        differ(
            &format!("{kind:?}: requests whose own pages were granted"),
            granted.to_owned(),
            expected.to_owned(),
        );
    }
}

/// A disk's backend went and came back, or stood still: every request ended well, and what is to be said was.
pub fn outage(name: &str, report: &Report, differ: &mut Differ<'_>) {
    let field = |key: &str| {
        report.first("traffic").and_then(|line| line.get(key)).map(str::to_owned).unwrap_or_default()
    };
    differ("reads", field("ok"), field("started"));
    differ("failed reads", field("failed"), "0".to_owned());
    differ("files written", (field("written") != "0").to_string(), true.to_string());
    let said = |text: &str| report.debug(text).count().to_string();
    if name == "backend-returns" {
        differ("restarts of the backend", said("xenvbd: vbd 768: its backend is restarted"), "1".to_owned());
        differ(
            "connections with persistent grants",
            (report.debug(" persistent grants").count() >= 1).to_string(),
            true.to_string(),
        );
    } else {
        differ("reports of a backend that does not answer", said("xenvbd: reason=0x60 "), "1".to_owned());
        differ("resets", said("resetting bus"), "0".to_owned());
    }
}
