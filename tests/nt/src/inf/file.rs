//! An INF file as sections of lines, strings substituted.
//!
//! bootcfg reads INF files, too, by code of its own (`bootcfg/src/inf`): two readers that agree on our files show
//! that neither reads its own mistakes into them.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// A line of a section: `key = field, field` or `field, field`.
#[derive(Debug, Default)]
pub(super) struct Line {
    pub key: Option<String>,
    pub fields: Vec<String>,
}

impl Line {
    /// Returns a field.
    pub(super) fn field(&self, at: usize) -> Option<&str> {
        self.fields.get(at).map(String::as_str)
    }
}

/// A file.
pub(super) struct File {
    sections: Vec<(String, Vec<Line>)>,
}

impl File {
    /// Takes a file apart.
    ///
    /// # Errors
    /// A line outside of a section, or a string without an end.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut sections: Vec<(String, Vec<Line>)> = Vec::new();
        for line in text.lines() {
            let line = line.trim();
            if let Some(name) = line.strip_prefix('[') {
                let name = name.split(']').next().unwrap_or_default();
                sections.push((name.to_string(), Vec::new()));
                continue;
            }
            let Some(line) = split(line)? else { continue };
            let Some((_, lines)) = sections.last_mut() else {
                return Err(format!("a line before the first section: {line:?}"));
            };
            lines.push(line);
        }
        let mut file = Self { sections };
        file.substitute();
        Ok(file)
    }

    /// Replaces `%name%` by the string of that name and `%%` by one `%`; dirids and unknown names stay.
    fn substitute(&mut self) {
        let strings: Vec<(String, String)> = self
            .lines("Strings")
            .filter_map(|line| Some((format!("%{}%", line.key.as_ref()?), line.field(0)?.to_string())))
            .collect();
        let lines = self.sections.iter_mut().flat_map(|(_, lines)| lines);
        for text in lines.flat_map(|line| line.key.iter_mut().chain(&mut line.fields)) {
            for (name, value) in &strings {
                if text.contains('%') {
                    *text = text.replace(name.as_str(), value);
                }
            }
            *text = text.replace("%%", "%");
        }
    }

    /// Returns the lines of every section of that name.
    pub(super) fn lines(&self, section: &str) -> impl Iterator<Item = &Line> {
        self.sections
            .iter()
            .filter(move |(name, _)| name.eq_ignore_ascii_case(section))
            .flat_map(|(_, lines)| lines)
    }

    /// Returns the section with the most exact decoration for an x64 system, if there is one.
    pub(super) fn decorated(&self, section: &str) -> Option<String> {
        let names = [format!("{section}.NTamd64"), format!("{section}.NT"), section.to_string()];
        names.into_iter().find(|name| self.sections.iter().any(|(n, _)| n.eq_ignore_ascii_case(name)))
    }

    /// Returns the first field of a line with that key.
    pub(super) fn value(&self, section: &str, key: &str) -> Option<String> {
        let has = |line: &&Line| line.key.as_deref().is_some_and(|k| k.eq_ignore_ascii_case(key));
        self.lines(section).find(has)?.field(0).map(ToString::to_string)
    }

    /// Returns the fields of all lines with that key.
    pub(super) fn list(&self, section: &str, key: &str) -> Vec<String> {
        let has = |line: &&Line| line.key.as_deref().is_some_and(|k| k.eq_ignore_ascii_case(key));
        self.lines(section).filter(has).flat_map(|line| line.fields.clone()).collect()
    }
}

/// Splits a line at `=` and at commas outside of quotes; a remark begins with `;` outside of quotes.
fn split(text: &str) -> Result<Option<Line>, String> {
    let mut line = Line::default();
    let mut field = String::new();
    let (mut quoted, mut was_quoted) = (false, false);
    let mut chars = text.chars().peekable();
    let finish = |field: &mut String, was_quoted: &mut bool| {
        let text = core::mem::take(field);
        if core::mem::take(was_quoted) { text } else { text.trim().to_string() }
    };
    while let Some(c) = chars.next() {
        match c {
            // Inside quotes a doubled quote is one.
            '"' if quoted && chars.peek() == Some(&'"') => {
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
            ';' => break,
            '=' if line.key.is_none() && line.fields.is_empty() => {
                line.key = Some(finish(&mut field, &mut was_quoted))
            }
            ',' => line.fields.push(finish(&mut field, &mut was_quoted)),
            // Nothing counts between a closing quote and the next comma.
            _ if was_quoted => {}
            _ => field.push(c),
        }
    }
    if quoted {
        return Err(format!("a string without an end: {text}"));
    }
    if !field.trim().is_empty() || was_quoted || line.key.is_some() || !line.fields.is_empty() {
        line.fields.push(finish(&mut field, &mut was_quoted));
    }
    Ok((!line.fields.is_empty()).then_some(line))
}
