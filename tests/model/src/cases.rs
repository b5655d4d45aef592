//! The configurations that are explored, and what must come of each.

use std::time::Instant;

use crate::{Faults, Layers, Moment, ONE_WAY, Second, Setup, explore};

/// Extent of an exploration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The states that fit into a test run.
    Bounded,
    /// More boots, resumes and lost events at a time.
    Deep,
}

/// One configuration.
#[derive(Clone, Debug)]
pub struct Case {
    /// A name of a few words.
    pub name: String,
    /// The setup that is explored.
    pub setup: Setup,
    /// The layers that are left cannot hold, and a second mount must be found.
    pub must_break: bool,
}

impl Case {
    /// Explores it: a line for the reader, and whether it came out as it must.
    pub fn run(&self) -> (String, bool) {
        let started = Instant::now();
        let found = explore(self.setup);
        let seconds = started.elapsed().as_secs_f32();
        let broken = found.broken.iter().find(|(name, _)| *name == ONE_WAY);
        let ok = if self.must_break { broken.is_some() } else { found.broken.is_empty() };
        let outcome = match (found.broken.is_empty(), ok) {
            (true, true) => "holds",
            (false, true) => "breaks, as it must",
            (true, false) => "HOLDS, and must break",
            (false, false) => "BREAKS",
        };
        let mut line = format!(
            "{:<58} {:>8} states, depth {:>3}, {seconds:>6.1} s: {outcome}",
            self.name, found.states, found.depth
        );
        if !ok {
            for (name, history) in &found.broken {
                line += &format!("\n  «{name}» does not hold:\n{history}");
            }
        }
        (line, ok)
    }
}

const NONE: Layers = Layers {
    hide: false,
    deny: false,
    proof: false,
    census: false,
    tripwire: false,
    survey: false,
    refuse: false,
};

/// Layer 4 alone, as `HidePolicy` = `none` has it: the bus filter is there and hides nothing.
const ATTACHED: Layers = Layers { hide: true, ..NONE };

/// Returns everything that can go wrong at once, within what `depth` allows.
fn everything(depth: Depth) -> Faults {
    let deep = 2 * u8::from(depth == Depth::Deep);
    Faults { returns: true, losses: 1 + deep, resumes: 1 + deep, ..Faults::default() }
}

/// Returns every configuration, in the order of their telling.
pub fn all(depth: Depth) -> Vec<Case> {
    let deep = 2 * u8::from(depth == Depth::Deep);
    let plain = Faults::default();
    let all = Layers::ALL;
    let one = Setup { layers: all, faults: plain, large: false, boots: 1 };
    let everything = Setup { faults: everything(depth), large: true, ..one };
    let returns = Faults { returns: true, resumes: 1, ..plain };
    let stranger = Faults { stranger: true, ..returns };

    let holds = |name: &str, setup| Case { name: name.to_owned(), setup, must_break: false };
    let breaks = |name: &str, setup| Case { name: name.to_owned(), setup, must_break: true };
    let mut cases = vec![
        holds("no fault, one boot after the other", Setup { boots: 4 + deep, ..one }),
        holds("no fault, two root buses, a disk is attached", Setup { large: true, boots: 1 + deep, ..one }),
        holds("everything may happen, every layer is there", Setup { boots: 1 + deep, ..everything }),
    ];
    let faults = [
        ("an event is held up", Faults { delays: 1 + deep / 2, ..returns }),
        ("an event is held up, one is lost", Faults { delays: 1, losses: 1, ..plain }),
        (
            "an event is held up, and the filter knows no controller",
            Faults { delays: 1, leak: true, ..plain },
        ),
        ("the filter does not know the controller", Faults { leak: true, ..plain }),
        ("the controller returns past the filter", returns),
        ("no filter can be put on the controller that returns", Faults { unattached: true, ..returns }),
        (
            "no filter can be put on a second root bus",
            Faults { unfiltered_root: Some(Moment::AnyTime), resumes: 1, ..plain },
        ),
        ("a stranger appears past the filter", stranger),
        ("a stranger appears past the filter and answers late", Faults { silent: true, ..stranger }),
        ("qemu lies about the unplug", Faults { unplug_lies: true, ..returns }),
        ("the guard is never sealed", Faults { unsealed: true, ..returns }),
    ];
    cases.extend(faults.map(|(name, faults)| holds(name, Setup { faults, boots: 1 + deep, ..one })));
    let missing = [
        ("without L3, the filter on the bus", Layers { hide: false, ..all }),
        ("without L4, the refused starts", Layers { deny: false, ..all }),
        ("without L5, xenpci's question", Layers { proof: false, ..all }),
        ("without L6, the census at arrival", Layers { census: false, ..all }),
        ("without L7, the tripwire", Layers { tripwire: false, ..all }),
    ];
    let held_up = Setup { faults: Faults { delays: 1, ..returns }, ..one };
    let without_deny = Layers { deny: false, ..all };
    cases.push(holds("without L4, an event is held up", Setup { layers: without_deny, ..held_up }));
    cases.extend(missing.map(|(name, layers)| holds(name, Setup { layers, ..everything })));
    // Each layer alone, against the disaster that is its own.
    let alone = [
        ("L3 alone, the controller stays where it is", ATTACHED, Faults { resumes: 1, ..plain }),
        ("L4 alone, the controller returns", Layers { deny: true, ..ATTACHED }, returns),
        ("L5 alone, and the bus filter is missing", Layers { proof: true, ..NONE }, returns),
        (
            "L5 alone, no filter can be put on a second root bus",
            Layers { proof: true, ..ATTACHED },
            Faults { unfiltered_root: Some(Moment::InTime), ..plain },
        ),
        ("L6 alone, a stranger appears", Layers { census: true, ..ATTACHED }, stranger),
    ];
    cases.extend(alone.map(|(name, layers, faults)| holds(name, Setup { layers, faults, ..one })));
    cases.extend(seconds(one));
    // No layer is left for these: the model must be able to find the disaster.
    let defenceless = Faults { unplug_lies: true, ..returns };
    let blind = Layers { census: false, tripwire: false, ..all };
    cases.push(breaks(
        "neither L4 nor L6, the controller returns",
        Setup { layers: Layers { deny: false, ..blind }, faults: defenceless, ..one },
    ));
    cases.push(holds(
        "no L6, no filter can be put on the controller that returns",
        Setup { layers: blind, faults: Faults { unattached: true, ..returns }, ..one },
    ));
    cases.push(breaks(
        "no L6, a stranger appears",
        Setup { layers: blind, faults: Faults { stranger: true, ..defenceless }, ..one },
    ));
    cases
}

/// Returns a second vbd over the disk's backing, in every way it may come, and with every layer that holds
/// there missing once.
fn seconds(one: Setup) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut case = |name: &str, second, untold, layers, must_break| {
        let faults = Faults { second: Some(second), untold, ..one.faults };
        let told = if untold { "told by content" } else { "told by nodes" };
        let name = format!("a second vbd {name}, {told}");
        cases.push(Case { name, setup: Setup { layers, faults, ..one }, must_break });
    };
    let all = one.layers;
    let (no_survey, no_refusal) = (Layers { survey: false, ..all }, Layers { refuse: false, ..all });
    let census = Layers { survey: false, refuse: false, ..all };
    let blind = Layers { census: false, ..census };
    for untold in [false, true] {
        case("from the start", Second::FromStart, untold, all, false);
        case("from the start, L1 is blind", Second::FromStart, untold, no_survey, false);
        case("from the start, the census alone", Second::FromStart, untold, census, false);
        case("from the start, emulated as the disk is", Second::Twin, untold, all, false);
        case("emulated as the disk is, the census alone", Second::Twin, untold, census, false);
        case("is attached", Second::Attached, untold, all, false);
        case("is attached, the census alone", Second::Attached, untold, no_refusal, false);
        case("is attached, nobody compares", Second::Attached, untold, blind, true);
        case("is restarted over the disk", Second::Restarted, untold, all, false);
        case("is restarted, nobody compares", Second::Restarted, untold, no_refusal, true);
    }
    case("that is a clone is attached", Second::Clone, false, all, false);
    cases
}
