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
