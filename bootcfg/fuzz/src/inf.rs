//! Any bytes as an INF file, and the suite's own with lines changed: an error, or sections and what they do.

use bootcfg::inf::{Inf, installation};

const OWN: [&str; 3] = [
    include_str!("../../../inf/idefilter.inf"),
    include_str!("../../../inf/xenpci.inf"),
    include_str!("../../../inf/xenvbd.inf"),
];

/// Takes one input.
pub fn take(data: &[u8]) {
    let [how, rest @ ..] = data else { return };
    let text = match how % 4 {
        number @ 0..3 => {
            let mut lines: Vec<Vec<u8>> =
                OWN[usize::from(number)].lines().map(|line| line.as_bytes().to_vec()).collect();
            for change in rest.chunks_exact(3) {
                let line = usize::from(change[0]) % lines.len();
                match change[1] {
                    0xff => drop(lines.remove(line)),
                    0xfe => {
                        let copy = lines[line].clone();
                        lines.insert(usize::from(change[2]) % lines.len(), copy);
                    }
                    at => {
                        let line = &mut lines[line];
                        let at = usize::from(at) % (line.len() + 1);
                        if at < line.len() { line[at] = change[2] } else { line.push(change[2]) }
                    }
                }
                if lines.is_empty() {
                    return;
                }
            }
            lines.join(&b'\n')
        }
        _ => rest.to_vec(),
    };
    let Ok(inf) = Inf::parse(&String::from_utf8_lossy(&text)) else { return };
    for section in inf.sections() {
        let lines = inf.lines(&section.name);
        assert_eq!(lines.len(), section.lines.len());
        for line in lines {
            let _ = (line.field(0), line.has_key("CopyFiles"));
        }
    }
    let _ = (inf.value("Version", "Provider"), inf.list("Version", "DriverVer"));
    if let Ok(all) = installation(&inf) {
        assert!(all.changes.iter().all(|change| !change.key.is_empty()));
    }
}
