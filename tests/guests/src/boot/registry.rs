//! The registry that a boot leaves for the next one, as the NT executive prints it
//! (`tests/nt/src/cm/hive.rs`).

use protocol::Line;
use rig::Report;

/// Returns the registration file of all writes that came to their end.
pub fn written(report: &Report) -> String {
    let (mut all, mut write) = (String::new(), None);
    for line in report.lines() {
        match (Line::parse(&line.kind), line.text.as_str(), &mut write) {
            (Ok(Line::Flush), "begin", write) => *write = Some(String::new()),
            (Ok(Line::Flush), "end", write) => all += &write.take().unwrap_or_default(),
            (Ok(Line::Reg), text, Some(write)) => {
                write.push_str(text);
                write.push('\n');
            }
            _ => {}
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_without_its_end_did_not_happen() {
        let report = Report::parse([
            "@xg reg \"Lost\"=dword:00000000",
            "@xg flush begin",
            "@xg reg [HKEY_LOCAL_MACHINE\\SYSTEM]",
            "@xg dbg another line",
            "@xg reg \"Boots\"=dword:00000001",
            "@xg flush end",
            "@xg flush begin",
            "@xg reg \"Boots\"=dword:00000002",
        ]);
        assert_eq!(written(&report), "[HKEY_LOCAL_MACHINE\\SYSTEM]\n\"Boots\"=dword:00000001\n");
    }
}
