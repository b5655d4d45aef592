//! What the user sees: text for people, one JSON document for programs, colour on terminals only.

use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};
use std::io::{self, BufRead, IsTerminal, Write};

use crate::{cli::Colour, exit::Exit};

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GREEN: Style = AnsiColor::Green.on_default();
const RED: Style = AnsiColor::Red.on_default();
const YELLOW: Style = AnsiColor::Yellow.on_default();

/// How a piece of text is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As it is.
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

/// Where output goes, and how much of it.
#[derive(Debug)]
pub struct Output {
    json: bool,
    quiet: bool,
    verbose: bool,
    colour: bool,
    warnings: Vec<String>,
}

impl Output {
    /// Output as the command line asks for it.
    #[must_use]
    pub fn new(json: bool, quiet: bool, verbose: bool, colour: Colour) -> Output {
        let colour = match colour {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        };
        Output { json, quiet, verbose, colour: colour && !json, warnings: Vec::new() }
    }

    /// One document is wanted instead of text.
    #[must_use]
    pub const fn is_json(&self) -> bool {
        self.json
    }

    /// Text with the colour of its tone.
    #[must_use]
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        if !self.colour || tone == Tone::Plain {
            return text.to_owned();
        }
        let style = tone.style();
        format!("{style}{text}{style:#}")
    }

    /// A line that answers the command; not said with `--quiet`.
    pub fn say(&self, tone: Tone, line: &str) {
        if !self.quiet && !self.json {
            print_line(&self.paint(tone, line));
        }
    }

    /// Says where the old state is.
    pub fn kept(&self, what: &str, path: &std::path::Path) {
        self.say(Tone::Faint, &format!("{what} is kept as {}", path.display()));
    }

    /// A line of detail, with `--verbose`.
    pub fn detail(&self, line: &str) {
        if self.verbose && !self.quiet && !self.json {
            print_line(&self.paint(Tone::Faint, line));
        }
    }

    /// Something to know before trusting the result; said even with `--quiet`.
    pub fn warn(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.json {
            eprintln!("warning: {text}");
        }
        self.warnings.push(text);
    }

    /// The document that `--json` prints; `body` is an object.
    pub fn finish(&self, command: &str, exit: Exit, mut body: Value) {
        if self.json {
            body["command"] = json!(command);
            body["exit"] = json!(exit as u8);
            body["warnings"] = json!(self.warnings);
            print_line(&body.to_string());
        }
    }

    /// Asks for a yes. `None` where there is nobody to ask.
    #[must_use]
    pub fn ask(&self, question: &str) -> Option<bool> {
        if self.json || !io::stdin().is_terminal() {
            return None;
        }
        eprint!("{question} [y/N] ");
        let _ = io::stderr().flush();
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer).ok()?;
        Some(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
    }
}

/// Prints without a panic when the reader is gone (`bootcfg status | head -1`).
fn print_line(line: &str) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}
