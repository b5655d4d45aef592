//! INF files: sections of lines, read as setup reads them, and what an install section does.
//!
//! Sources: "General Syntax Rules for INF Files" and the pages of each directive in the WDK's documentation.

mod install;

pub use install::{
    APPEND, ASSOCIATED, Change, DECORATION, DELETE_STRING, Device, Installation, Kind, Registry, SERVICES,
    installation, number,
};

use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;

/// A line of a section: `key = field, field` or `field, field`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// Its number in the file, from 1.
    pub number: usize,
    /// Text before `=`, strings substituted.
    pub key: Option<String>,
    /// The fields, strings substituted.
    pub fields: Vec<String>,
    /// `%names%` that the line uses, without the signs; dirids too.
    pub tokens: Vec<String>,
}

impl Line {
    /// Returns a field; none where it is absent or empty.
    #[must_use]
    pub fn field(&self, at: usize) -> Option<&str> {
        self.fields.get(at).map(String::as_str).filter(|field| !field.is_empty())
    }

    /// Returns true if the key is this one, in any case.
    #[must_use]
    pub fn has_key(&self, key: &str) -> bool {
        self.key.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(key))
    }
}

/// A section: all lines of its name in the file's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Name, as its first head has it.
    pub name: String,
    /// The number of its first head's line.
    pub number: usize,
    /// Number of its heads.
    pub heads: usize,
    /// Its lines.
    pub lines: Vec<Line>,
}

/// An INF file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inf {
    sections: Vec<Section>,
    strings: BTreeMap<String, String>,
    /// The remarks, without their `;`, in the file's order.
    pub remarks: Vec<String>,
}

impl Inf {
    /// Takes a file's text apart.
    ///
    /// # Errors
    /// A line outside of a section, a head without an end, or a string without an end; the message has its
    /// number.
    pub fn parse(text: &str) -> Result<Inf> {
        let mut file = Inf { sections: Vec::new(), strings: BTreeMap::new(), remarks: Vec::new() };
        let mut current = None;
        for (number, text) in (1..).zip(text.lines()) {
            let (line, remark) = split(text.trim()).with_context(|| format!("line {number}"))?;
            file.remarks.extend(remark);
            if let Some(head) = text.trim().strip_prefix('[') {
                let name = head.split_once(']').with_context(|| format!("line {number}: no ] after ["))?.0;
                current = Some(file.open(name.trim(), number));
            } else if let Some(line) = line {
                let at = current
                    .with_context(|| format!("line {number}: a line before the first section's head"))?;
                file.sections[at].lines.push(Line { number, ..line });
            }
        }
        file.strings = strings(file.lines("Strings"))?;
        file.substitute()?;
        Ok(file)
    }

    /// Returns the index of a section, made where it is new.
    fn open(&mut self, name: &str, number: usize) -> usize {
        let at = self.sections.iter().position(|section| section.name.eq_ignore_ascii_case(name));
        let at = at.unwrap_or_else(|| {
            self.sections.push(Section { name: name.to_owned(), number, heads: 0, lines: Vec::new() });
            self.sections.len() - 1
        });
        self.sections[at].heads += 1;
        at
    }

    fn substitute(&mut self) -> Result<()> {
        let strings = &self.strings;
        for section in &mut self.sections {
            for line in &mut section.lines {
                let Line { number, key, fields, tokens } = line;
                for text in key.iter_mut().chain(fields) {
                    *text = expand(text, strings, tokens).with_context(|| format!("line {number}"))?;
                }
            }
        }
        Ok(())
    }

    /// Every section, in the file's order.
    #[must_use]
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// Returns the names of the strings, in lower case.
    pub fn string_names(&self) -> impl Iterator<Item = &str> {
        self.strings.keys().map(String::as_str)
    }

    /// Returns the section of that name, in any case.
    #[must_use]
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name.eq_ignore_ascii_case(name))
    }

    /// Returns the lines of the section of that name; none where it is absent.
    #[must_use]
    pub fn lines(&self, section: &str) -> &[Line] {
        self.section(section).map_or(&[], |section| &section.lines)
    }

    /// Returns the first field of the first line with that key.
    #[must_use]
    pub fn value(&self, section: &str, key: &str) -> Option<&str> {
        self.lines(section).iter().find(|line| line.has_key(key))?.field(0)
    }

    /// Returns the fields of all lines with that key.
    #[must_use]
    pub fn list(&self, section: &str, key: &str) -> Vec<&str> {
        let lines = self.lines(section).iter().filter(|line| line.has_key(key));
        lines.flat_map(|line| line.fields.iter().map(String::as_str)).collect()
    }
}

/// Returns the strings by their names in lower case: names have no case.
fn strings(lines: &[Line]) -> Result<BTreeMap<String, String>> {
    let mut strings = BTreeMap::new();
    for Line { number, key, fields, .. } in lines {
        let key = key.as_ref().with_context(|| format!("line {number}: a string without a name"))?;
        let value = fields.first().cloned().unwrap_or_default();
        let old = strings.insert(key.to_ascii_lowercase(), value);
        ensure!(old.is_none(), "line {number}: the string {key} is there already");
    }
    Ok(strings)
}

/// Splits a line into key, fields and remark. Quotes protect everything but a doubled quote; a backslash at
/// the end, which would continue the line, is not used by this project and refused.
fn split(text: &str) -> Result<(Option<Line>, Option<String>)> {
    let mut line = Line::default();
    let mut remark = None;
    let mut field = String::new();
    let (mut quoted, mut was_quoted) = (false, false);
    let mut chars = text.char_indices().peekable();
    let finish = |field: &mut String, was_quoted: &mut bool| {
        let text = std::mem::take(field);
        if std::mem::take(was_quoted) { text } else { text.trim().to_owned() }
    };
    while let Some((at, c)) = chars.next() {
        match c {
            '"' if quoted && chars.peek().is_some_and(|&(_, next)| next == '"') => {
                chars.next();
                field.push('"');
            }
            '"' => {
                if !quoted {
                    field.clear();
                }
                quoted = !quoted;
                was_quoted = true;
            }
            _ if quoted => field.push(c),
            ';' => {
                remark = Some(text[at + 1..].trim().to_owned());
                break;
            }
            '=' if line.key.is_none() && line.fields.is_empty() => {
                line.key = Some(finish(&mut field, &mut was_quoted));
            }
            ',' => line.fields.push(finish(&mut field, &mut was_quoted)),
            _ if was_quoted => ensure!(c.is_whitespace(), "{c:?} behind a closing quote"),
            _ => field.push(c),
        }
    }
    ensure!(!quoted, "a string without a closing quote");
    ensure!(!field.ends_with('\\') || was_quoted, "a line is continued, which this reader does not take");
    if !field.trim().is_empty() || was_quoted || line.key.is_some() || !line.fields.is_empty() {
        line.fields.push(finish(&mut field, &mut was_quoted));
    }
    Ok(((!line.fields.is_empty()).then_some(line), remark))
}

/// Replaces `%name%` by the string and `%%` by one sign; a dirid (a number) stays as it is.
fn expand(text: &str, strings: &BTreeMap<String, String>, tokens: &mut Vec<String>) -> Result<String> {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        expanded.push_str(before);
        let Some((name, after)) = after.split_once('%') else { bail!("a single % in {text:?}") };
        rest = after;
        if name.is_empty() {
            expanded.push('%');
            continue;
        }
        tokens.push(name.to_owned());
        match strings.get(&name.to_ascii_lowercase()) {
            Some(value) => expanded.push_str(value),
            None if name.bytes().all(|byte| byte.is_ascii_digit()) => {
                expanded.push('%');
                expanded.push_str(name);
                expanded.push('%');
            }
            None => bail!("the string %{name}% is not in [Strings]"),
        }
    }
    expanded.push_str(rest);
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "; first\n[Version] ; head\nSignature=\"$WINDOWS NT$\"\nKey = %A%, \"x;\"\"y\", , %12%\\f ; last\n\
                        [version]\n a , %%b%%\n[Strings]\nA = \"one\"\n";

    #[test]
    fn a_line_becomes_key_and_fields() {
        let inf = Inf::parse(TEXT).expect("parsed");
        let version = inf.section("VERSION").expect("there");
        assert_eq!((version.number, version.heads, version.lines.len()), (2, 2, 3));
        let line = &version.lines[1];
        assert_eq!((line.number, line.key.as_deref()), (4, Some("Key")));
        assert_eq!(line.fields, ["one", "x;\"y", "", "%12%\\f"]);
        assert_eq!(line.tokens, ["A", "12"]);
        assert_eq!(version.lines[2].fields, ["a", "%b%"]);
        assert_eq!(inf.value("version", "signature"), Some("$WINDOWS NT$"));
        assert_eq!(inf.remarks, ["first", "head", "last"]);
    }

    #[test]
    fn what_is_malformed_is_named_with_its_line() {
        for (text, part) in [
            ("a = b\n", "line 1: a line before"),
            ("[a]\n\n[b\n", "line 3: no ]"),
            ("[a]\nb = \"c\n", "closing quote"),
            ("[a]\nb = \"c\"d\n", "behind a closing quote"),
            ("[a]\nb = %c%\n", "%c% is not in [Strings]"),
            ("[a]\nb = 5%\n", "a single %"),
            ("[a]\nb = c\\\n", "continued"),
            ("[Strings]\nb = c\nB = d\n", "there already"),
        ] {
            let error = format!("{:#}", Inf::parse(text).expect_err(text));
            assert!(error.contains(part), "{text:?}: {error}");
        }
    }
}
