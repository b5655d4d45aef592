//! Places in Rust sources, found by code alone: comments and layout may change without a mutant's notice.

use std::ops::Range;

/// A source's code: no comments, and one space for each run of white space.
struct Code {
    text: String,
    /// Position in the source of each byte of the text.
    at: Vec<usize>,
}

impl Code {
    fn of(source: &str) -> Self {
        let mut code = Self { text: String::new(), at: Vec::new() };
        let mut rest = source;
        while let Some(first) = rest.chars().next() {
            let at = source.len() - rest.len();
            let length = match first {
                '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
                '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
                '"' => literal(rest, '"'),
                // A character, and not a lifetime.
                '\'' if rest[1..].starts_with('\\') || rest[1..].chars().nth(1) == Some('\'') => {
                    literal(rest, '\'')
                }
                _ => first.len_utf8(),
            };
            let (part, after) = rest.split_at(length);
            rest = after;
            if part.starts_with("//") || part.starts_with("/*") || first.is_whitespace() {
                if !code.text.ends_with(' ') {
                    code.push(" ", at);
                }
            } else {
                code.push(part, at);
            }
        }
        code
    }

    fn push(&mut self, part: &str, at: usize) {
        self.text.push_str(part);
        self.at.extend(at..at + part.len());
    }
}

/// Returns the length of the literal that a text begins with.
fn literal(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if character == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Returns the ranges of a source whose code is `code`, from its first byte to its last.
pub(super) fn places(source: &str, code: &str) -> Vec<Range<usize>> {
    let (source, wanted) = (Code::of(source), Code::of(code));
    let wanted = wanted.text.trim();
    let found = source.text.match_indices(wanted);
    found.map(|(at, _)| source.at[at]..source.at[at + wanted.len() - 1] + 1).collect()
}

/// Returns true if a text has comments.
#[cfg(test)]
pub(super) fn has_comments(text: &str) -> bool {
    let blank = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    blank(&Code::of(text).text) != blank(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "fn a() {\n    // says \"if x\"\n    if x && // why\n        y(\"// no comment\") {\n        '\"'; b\n    }\n}\n";

    #[test]
    fn code_is_found_across_comments_and_lines() {
        let found = places(SOURCE, "if x && y(\"// no comment\") {");
        assert_eq!(found.len(), 1);
        assert!(SOURCE[found[0].clone()].starts_with("if x && // why"));
        assert!(SOURCE[found[0].clone()].ends_with("comment\") {"));
        assert_eq!(places(SOURCE, "'\"'; b } }").len(), 1);
        assert!(places(SOURCE, "says").is_empty());
        assert_eq!(places("a b\na  b", "a b"), [0..3, 4..8]);
    }

    #[test]
    fn comments_are_told_from_code() {
        assert!(has_comments("a // b") && has_comments("/// A\nfn f") && has_comments("/* x */"));
        assert!(!has_comments("\"// text\" 'a' b") && !has_comments("fn f<'a>(x: &'a str)\n{}"));
    }
}
