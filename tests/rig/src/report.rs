//! Report lines of a guest: `@xg <kind> key=value …`, values escaped as `%XX`; `@xg dbg <text>` carries free
//! text.

/// Prefix of every report line.
const PREFIX: &str = "@xg ";
/// The kind whose rest is text, not fields.
const TEXT_KIND: &str = "dbg";

/// One report line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The first word.
    pub kind: String,
    /// Keys and values, in order; a word without `=` is a key with an empty value.
    pub fields: Vec<(String, String)>,
    /// Everything after the kind, as it stands.
    pub text: String,
}

impl Line {
    /// Parses a console line; `None` if it is not a report line. What stands before the prefix is ignored.
    pub fn parse(line: &str) -> Option<Self> {
        let rest = line[line.find(PREFIX)? + PREFIX.len()..].trim_end();
        let (kind, text) = rest.split_once(' ').unwrap_or((rest, ""));
        let fields = if kind == TEXT_KIND {
            Vec::new()
        } else {
            text.split_ascii_whitespace()
                .map(|word| word.split_once('=').unwrap_or((word, "")))
                .map(|(key, value)| (key.to_owned(), unescape(value)))
                .collect()
        };
        Some(Self { kind: kind.to_owned(), fields, text: text.to_owned() })
    }

    /// Returns the value of a field.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.fields.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    /// Returns the value of a field as a number: decimal, or hexadecimal after `0x`.
    pub fn number(&self, key: &str) -> Option<u64> {
        let value = self.get(key)?;
        match value.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => value.parse().ok(),
        }
    }

    /// Returns true if the field is there and has this value.
    pub fn is(&self, key: &str, value: &str) -> bool {
        self.get(key) == Some(value)
    }
}

/// Replaces each `%XX` by the byte it stands for; a `%` that is not followed by two hexadecimal digits stays.
pub fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).and_then(|&b| char::from(b).to_digit(16));
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                // Two digits of four bits each.
                out.push((high << 4 | low) as u8);
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// All report lines of a run, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    lines: Vec<Line>,
}

impl Report {
    /// Picks the report lines out of a console's.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Self {
        Self { lines: lines.into_iter().filter_map(Line::parse).collect() }
    }

    /// Returns all lines.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Lines of one kind.
    pub fn all<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Line> {
        self.lines.iter().filter(move |line| line.kind == kind)
    }

    /// Returns the first line of a kind.
    pub fn first(&self, kind: &str) -> Option<&Line> {
        self.lines.iter().find(|line| line.kind == kind)
    }

    /// Returns the first line of a kind whose field has this value.
    pub fn find(&self, kind: &str, key: &str, value: &str) -> Option<&Line> {
        self.lines.iter().find(|line| line.kind == kind && line.is(key, value))
    }

    /// Returns the number of lines of a kind.
    pub fn count(&self, kind: &str) -> usize {
        self.lines.iter().filter(|line| line.kind == kind).count()
    }

    /// Returns the position of a line of this kind, to compare orders.
    pub fn position(&self, kind: &str) -> Option<usize> {
        self.lines.iter().position(|line| line.kind == kind)
    }

    /// Returns the debug output that contains `part`.
    pub fn debug<'a>(&'a self, part: &'a str) -> impl Iterator<Item = &'a str> {
        self.lines
            .iter()
            .filter(|l| l.kind == TEXT_KIND)
            .map(|l| l.text.as_str())
            .filter(move |t| t.contains(part))
    }

    /// Returns the value of `end`'s verdict; `None` if the guest never got there.
    pub fn verdict(&self) -> Option<&str> {
        self.first("end")?.get("verdict")
    }

    /// Returns code and parameters of the bugcheck, if there was one.
    pub fn bugcheck(&self) -> Option<[u64; 5]> {
        let line = self.first("bugcheck")?;
        Some(["code", "p1", "p2", "p3", "p4"].map(|key| line.number(key).unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
SeaBIOS (version x)
@xg boot entry=2 options=%20GPLPV safe=0
@xg disk n=0 bus=ide driver=ide sectors=16384 sig=DEADBEEF
@xg disk n=1 bus=scsi driver=xenvbd sectors=0x4000 sig=DEADBEEF
@xg dbg xenguard: idefilter: mode=Pv 100%20
noise @xg up
@xg bugcheck code=0x58454E p1=1 p2=0x2 p3=3 p4=0xfffff80000001000
@xg end verdict=stopped
";

    fn report() -> Report {
        Report::parse(TEXT.lines())
    }

    #[test]
    fn fields_are_unescaped() {
        assert_eq!(report().first("boot").unwrap().get("options"), Some(" GPLPV"));
        assert_eq!(unescape("%41%2542%zz%4"), "A%42%zz%4");
    }

    #[test]
    fn lines_are_found_by_kind_and_field() {
        let report = report();
        assert_eq!(report.count("disk"), 2);
        let pv = report.find("disk", "driver", "xenvbd").unwrap();
        assert_eq!((pv.number("sectors"), pv.number("sig")), (Some(0x4000), None));
        assert!(report.position("up") < report.position("bugcheck"));
        assert_eq!(report.verdict(), Some("stopped"));
        assert_eq!(report.bugcheck(), Some([0x58454e, 1, 2, 3, 0xfffff80000001000]));
    }

    #[test]
    fn debug_text_is_left_as_it_stands() {
        assert_eq!(report().debug("idefilter").collect::<Vec<_>>(), ["xenguard: idefilter: mode=Pv 100%20"]);
    }

    #[test]
    fn other_lines_are_not_reports() {
        assert_eq!(Line::parse("@xgup"), None);
        assert_eq!(Line::parse("@xg up").unwrap().kind, "up");
        assert_eq!(Report::parse([""]).verdict(), None);
    }
}
