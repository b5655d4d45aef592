//! The console Xen shares with its guests. A guest's port 0xE9 arrives as lines `(dN) text`, cut by Xen at
//! 199 characters (Xen: hvm_print_line and DOMAIN_PBUF_SIZE, 200); everything else is Xen's or dom0's own.

use std::collections::{HashMap, HashSet};

/// A piece this long has no end of its own: the next one continues it.
const FULL_PIECE: usize = 199;

/// Takes the console apart as it arrives.
#[derive(Default)]
pub(crate) struct Console {
    /// Bytes after the last newline.
    rest: Vec<u8>,
    /// Beginnings of lines that Xen has cut, by domain.
    begun: HashMap<u32, String>,
    /// Domains whose lines are dropped: guests that a mark made beside the one that is reported.
    others: HashSet<u32>,
    /// Lines that are not a guest's.
    pub xen: String,
    /// Lines of the guests.
    pub guest: Vec<String>,
}

impl Console {
    /// Takes more bytes; the guest's finished lines are added to [`Self::guest`].
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte == b'\n' {
                let line = std::mem::take(&mut self.rest);
                self.line(String::from_utf8_lossy(&line).trim_end_matches('\r'));
            } else {
                self.rest.push(byte);
            }
        }
    }

    /// Drops the lines of a domain from now on.
    pub(crate) fn ignore(&mut self, domain: u32) {
        self.others.insert(domain);
    }

    /// Ends unfinished lines.
    pub(crate) fn finish(&mut self) {
        if !self.rest.is_empty() {
            self.feed(b"\n");
        }
        let mut begun: Vec<_> = self.begun.drain().collect();
        begun.sort_unstable();
        self.guest.extend(begun.into_iter().map(|(_, text)| text));
    }

    fn line(&mut self, line: &str) {
        match guest_part(line) {
            Some((before, domain, text)) => {
                if !before.is_empty() {
                    self.own(before);
                }
                if self.others.contains(&domain) {
                    return;
                }
                let mut whole = self.begun.remove(&domain).unwrap_or_default();
                whole += text;
                if text.chars().count() == FULL_PIECE {
                    self.begun.insert(domain, whole);
                } else {
                    self.guest.push(whole);
                }
            }
            None => self.own(line),
        }
    }

    fn own(&mut self, line: &str) {
        self.xen += line;
        self.xen.push('\n');
    }
}

/// Splits a line at a guest's prefix: what stands before it (dom0 may have left a line unfinished), the
/// domain, the text.
fn guest_part(line: &str) -> Option<(&str, u32, &str)> {
    if line.starts_with("(XEN)") {
        return None;
    }
    line.match_indices("(d").find_map(|(at, _)| {
        let (number, text) = line[at + 2..].split_once(')')?;
        let domain = number.parse().ok().filter(|&domain| domain != 0)?;
        Some((&line[..at], domain, text.strip_prefix(' ').unwrap_or(text)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Console {
        let mut console = Console::default();
        // In odd pieces, as a file that is read while it grows.
        for piece in text.as_bytes().chunks(7) {
            console.feed(piece);
        }
        console.finish();
        console
    }

    #[test]
    fn guest_lines_are_told_from_xens() {
        let console = parse("(XEN) a (d1) b\r\n(d1) @xg up\r\n[  1.0] dom0\n(d12) (d1) x\n(d1)\n(d1) half");
        assert_eq!(console.guest, ["@xg up", "(d1) x", "", "half"]);
        assert_eq!(console.xen, "(XEN) a (d1) b\n[  1.0] dom0\n");
    }

    #[test]
    fn a_guest_line_behind_an_unfinished_one_is_found() {
        let console = parse("dom0 says (d1) @xg up\n");
        assert_eq!((console.guest, console.xen), (vec!["@xg up".to_owned()], "dom0 says \n".to_owned()));
    }

    #[test]
    fn long_lines_are_joined_even_with_xens_between() {
        let (a, b) = ("a".repeat(199), "b".repeat(199));
        let console =
            parse(&format!("(d1) {a}\r\n(XEN) x\r\n(d1) {b}\r\n(d1) c\r\n(d1) {a}\r\n(d1) \r\n(d1) d\r\n"));
        assert_eq!(console.guest, [format!("{a}{b}c"), a, "d".to_owned()]);
    }

    #[test]
    fn domain_zero_is_not_a_guest() {
        assert_eq!(parse("(d0) x\n").guest, [""; 0]);
    }
}
