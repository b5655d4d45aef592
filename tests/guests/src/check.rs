//! Checks of a boot, and the differences that they find.

use std::fmt::Debug;

use guard::{Reason, message};
use rig::{Report, report::Line};

use crate::{boot::Boot, scenario::Scenario, verdict::Observed};

/// Something that must hold for a boot.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// The thing that must be seen, for the table in docs/testing.md.
    pub what: &'static str,
    /// Adds what differs from that.
    pub run: fn(&Seen<'_>, &mut Differences),
}

/// A boot, as checks see it.
pub struct Seen<'a> {
    /// The boot's scenario.
    pub scenario: &'a Scenario,
    /// Results of the boot.
    pub boot: &'a Boot,
    /// The guest's report lines.
    pub report: Report,
    /// The report lines that each boot has.
    pub observed: Observed,
}

impl<'a> Seen<'a> {
    /// Reads a boot's report.
    pub fn of(scenario: &'a Scenario, boot: &'a Boot) -> Self {
        let report = boot.outcome.report();
        Self { scenario, boot, observed: Observed::of(&report), report }
    }

    /// Returns the text of the first line of a kind, empty if there is none.
    pub fn text(&self, kind: protocol::Line) -> String {
        self.report.first(kind.name()).map(|line| line.text.clone()).unwrap_or_default()
    }

    /// Returns all lines of a kind.
    pub fn lines(&self, kind: protocol::Line) -> impl Iterator<Item = &Line> {
        self.report.all(kind.name())
    }

    /// Returns how many entries the event log got for a reason.
    pub fn logged(&self, reason: Reason) -> usize {
        let code = format!("{:#x}", message::code(reason));
        self.lines(protocol::Line::Event).filter(|line| line.get("code") == Some(&code)).count()
    }

    /// Returns how many lines of the crash dump contain a text.
    pub fn said_dump(&self, text: &str) -> usize {
        self.lines(protocol::Line::Dump).filter(|line| line.text.contains(text)).count()
    }

    /// Returns how many debug lines contain a text.
    pub fn said(&self, text: &str) -> usize {
        self.report.debug(text).count()
    }
}

/// Differences from what must be seen, one line each.
#[derive(Debug, Default)]
pub struct Differences(Vec<String>);

impl Differences {
    /// Adds a line if the two are not the same.
    pub fn same<T: PartialEq + Debug>(&mut self, what: &str, seen: T, expected: T) {
        if seen != expected {
            self.0.push(format!("{what}: {seen:?}, expected {expected:?}"));
        }
    }

    /// Adds a line if something is not so.
    pub fn holds(&mut self, what: &str, so: bool) {
        self.same(what, so, true);
    }

    /// Adds lines.
    pub fn extend(&mut self, lines: impl IntoIterator<Item = String>) {
        self.0.extend(lines);
    }

    /// Returns the lines.
    pub fn into_lines(self) -> Vec<String> {
        self.0
    }
}
