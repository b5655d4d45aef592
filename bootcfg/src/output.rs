//! Output for the user: text for people, one JSON document for programs, colour on terminals only.

use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};
use std::{
    cell::RefCell,
    io::{self, BufRead, IsTerminal, Write},
};

use crate::{
    cli::{Colour, Global},
    exit::Exit,
    text::{harmless, is_harmful},
};

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GREEN: Style = AnsiColor::Green.on_default();
const RED: Style = AnsiColor::Red.on_default();
const YELLOW: Style = AnsiColor::Yellow.on_default();

/// Meaning of a piece of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Without a meaning of its own.
    Plain,
    /// A heading, or what the eye should find first.
    Strong,
    /// Detail.
    Faint,
    /// All is well; a line that a diff adds.
    Good,
    /// Something is wrong; a line that a diff takes away.
    Bad,
    /// Deserves attention.
    Attention,
}

impl Tone {
    const fn style(self) -> Style {
        match self {
            Tone::Plain => Style::new(),
            Tone::Strong => BOLD,
            Tone::Faint => DIM,
            Tone::Good => GREEN,
            Tone::Bad => RED,
            Tone::Attention => YELLOW,
        }
    }
}

/// Destination of output, and its amount.
#[derive(Debug)]
pub struct Output {
    json: bool,
    quiet: bool,
    verbose: bool,
    colour: bool,
    dry_run: bool,
    warnings: Vec<String>,
    /// Error of the output that could not be written.
    failed: RefCell<Option<io::Error>>,
}

/// The way in which a command ended.
#[derive(Debug)]
pub enum Ended {
    /// With this result, an object.
    Done(Value),
    /// With this error.
    Failed(String),
}

/// The version of the form of `--json`: docs/bootcfg.schema.json.
const FORMAT: u32 = 1;

impl Output {
    /// Output as the command line asks for it.
    #[must_use]
    pub fn new(global: &Global) -> Output {
        let Global { json, quiet, verbose, dry_run, .. } = *global;
        let colour = match global.color {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        };
        Output {
            json,
            quiet,
            verbose,
            colour: colour && !json,
            dry_run,
            warnings: Vec::new(),
            failed: RefCell::new(None),
        }
    }

    /// One document is wanted instead of text.
    #[must_use]
    pub const fn is_json(&self) -> bool {
        self.json
    }

    /// Text with the colour of its tone, and nothing in it that a terminal would take for more than text.
    #[must_use]
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        let text = harmless(text);
        if !self.colour || tone == Tone::Plain {
            return text;
        }
        let style = tone.style();
        format!("{style}{text}{style:#}")
    }

    /// Prints a line that answers the command; not said with `--quiet`.
    pub fn say(&self, tone: Tone, line: &str) {
        if !self.quiet && !self.json {
            self.print(&self.paint(tone, line));
        }
    }

    /// Says where the old state is.
    pub fn kept(&self, what: &str, path: &std::path::Path) {
        self.say(Tone::Faint, &format!("{what} is kept as {}", path.display()));
    }

    /// Prints a line of detail, with `--verbose`.
    pub fn detail(&self, line: &str) {
        if self.verbose && !self.quiet && !self.json {
            self.print(&self.paint(Tone::Faint, line));
        }
    }

    /// Something to know before trusting the result; said even with `--quiet`, and once only.
    pub fn warn(&mut self, text: impl Into<String>) {
        let text = text.into();
        if self.warnings.contains(&text) {
            return;
        }
        if !self.json {
            eprintln!("warning: {}", harmless(&text));
        }
        self.warnings.push(text);
    }

    /// Prints the reason why the command failed.
    pub fn error(&self, text: &str) {
        if !self.json {
            eprintln!("error: {}", harmless(text));
        }
    }

    /// Prints a text that another program reads, such as a completion script.
    pub fn print_raw(&self, text: &str) {
        if !self.json {
            self.print(text.trim_end());
        }
    }

    /// Ends the output: prints the document that `--json` asks for. Returns the exit code, which is another
    /// one where the output could not be written.
    ///
    /// The document has the same fields whatever the command is, and those of the command in `result`.
    #[must_use]
    pub fn finish(&self, command: Option<&str>, exit: Exit, ended: Ended) -> Exit {
        if self.json {
            let (error, mut result) = match ended {
                Ended::Done(result) => (Value::Null, result),
                Ended::Failed(error) => (json!(error), json!({})),
            };
            let changed = result.as_object_mut().and_then(|result| result.remove("changed"));
            let document = json!({
                "format": FORMAT,
                "command": command,
                "exit": exit as u8,
                "error": error,
                "warnings": self.warnings,
                "dry_run": self.dry_run,
                "changed": changed.unwrap_or(json!(false)),
                "result": result,
            });
            self.print(&escaped(&document.to_string()));
        }
        let written = io::stdout().lock().flush();
        let failed = self.failed.borrow_mut().take().or(written.err());
        // A reader that has seen enough (`xenguard status | head -1`) is none.
        match failed.filter(|error| error.kind() != io::ErrorKind::BrokenPipe) {
            Some(error) if exit == Exit::Done => {
                eprintln!("error: the output could not be written: {error}");
                Exit::Io
            }
            _ => exit,
        }
    }

    /// Returns true if everything that was printed could be written.
    #[must_use]
    pub fn is_written(&self) -> bool {
        self.failed.borrow().is_none()
    }

    /// Asks for a yes. `None` where there is nobody to ask.
    #[must_use]
    pub fn ask(&self, question: &str) -> Option<bool> {
        if self.json || !io::stdin().is_terminal() {
            return None;
        }
        eprint!("{} [y/N] ", harmless(question));
        let _ = io::stderr().flush();
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer).ok()?;
        Some(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
    }
}

impl Output {
    /// Prints without a panic when the reader is gone, and remembers that it could not.
    fn print(&self, line: &str) {
        if let Err(error) = writeln!(io::stdout().lock(), "{line}") {
            self.failed.borrow_mut().get_or_insert(error);
        }
    }
}

/// Returns a JSON document with harmful characters, which stand in its texts only, in JSON's own escapes.
fn escaped(document: &str) -> String {
    let mut shown = String::with_capacity(document.len());
    for character in document.chars() {
        if is_harmful(character) {
            shown.push_str(&format!("\\u{:04x}", character as u32));
        } else {
            shown.push(character);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_guest_writes_is_text() {
        assert_eq!(harmless("Größe\tB"), "Größe\tB");
        assert_eq!(
            harmless("\u{1b}[31mred\r\n\u{9b}x\u{202e}"),
            "\\u{1b}[31mred\\u{d}\\u{a}\\u{9b}x\\u{202e}"
        );
        let document = json!({ "name": "a\u{9b}\u{202e}\u{1b}" }).to_string();
        let shown = escaped(&document);
        assert!(!shown.chars().any(is_harmful));
        assert_eq!(
            serde_json::from_str::<Value>(&shown).unwrap(),
            serde_json::from_str::<Value>(&document).unwrap()
        );
    }
}
