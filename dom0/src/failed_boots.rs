// SPDX-License-Identifier: GPL-3.0-only
//! PV boots that fail one after the other, as dom0 sees them.
//!
//! The guest counts its failed boots itself, in its registry, and boots emulated after two. A boot that dies before
//! the registry can be written leaves no count there. Its domain is gone, and with it everything that it wrote to
//! xenstore. What remains is the virtual machine, which has the same path in the domain that the toolstack makes next.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::guest::Guest;

/// Rule about failed boots.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    /// Failed boots in a row after which the next one is to be emulated.
    pub limit: u32,
    /// Time after which a boot counts as one that came up.
    pub up_after: Duration,
}

/// The failed boots of every virtual machine.
#[derive(Debug)]
pub(crate) struct FailedBoots {
    rule: Rule,
    machines: BTreeMap<String, Machine>,
    /// When each domain appeared. One that was there before the count began is not in it, and counts as up.
    domains: BTreeMap<u32, Instant>,
}

/// A virtual machine.
#[derive(Debug, Default)]
struct Machine {
    /// A guard has spoken in one of its domains.
    guarded: bool,
    /// Failed boots since the last one that was none.
    failed: u32,
}

impl FailedBoots {
    /// Makes a count without boots.
    pub(crate) fn new(rule: Rule) -> Self {
        Self { rule, machines: BTreeMap::new(), domains: BTreeMap::new() }
    }

    /// Takes note of a domain that has appeared. Returns the number of failed boots before it where its boot is to be
    /// emulated because of them.
    pub(crate) fn appeared(&mut self, guest: &Guest, now: Instant) -> Option<u32> {
        self.domains.insert(guest.domain, now);
        let failed = self.machine(guest).failed;
        (failed >= self.rule.limit).then_some(failed)
    }

    /// Returns true if a veto that is found in a domain was for an earlier boot: this one has been followed since it
    /// appeared, and is not to be emulated.
    pub(crate) fn is_veto_over(&mut self, guest: &Guest) -> bool {
        self.domains.contains_key(&guest.domain) && self.machine(guest).failed < self.rule.limit
    }

    /// Takes note of what a domain says of itself.
    pub(crate) fn changed(&mut self, guest: &Guest) {
        self.machine(guest).guarded |= guest.guard.is_some();
    }

    /// Takes note of the end of a domain, which said this last.
    pub(crate) fn gone(&mut self, guest: &Guest, now: Instant) {
        let began = self.domains.remove(&guest.domain);
        let came_up = began.is_none_or(|began| now.duration_since(began) >= self.rule.up_after);
        let emulated = guest.guard.as_ref().is_some_and(|guard| guard.mode == Some("emulated"));
        let machine = self.machine(guest);
        machine.guarded |= guest.guard.is_some();
        if came_up || guest.in_order || emulated {
            machine.failed = 0;
        } else if machine.guarded {
            machine.failed = machine.failed.saturating_add(1);
        }
    }

    fn machine(&mut self, guest: &Guest) -> &mut Machine {
        self.machines.entry(guest.machine.clone().unwrap_or_else(|| guest.name.clone())).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::Guard;

    const RULE: Rule = Rule { limit: 2, up_after: Duration::from_secs(300) };

    /// A domain of the virtual machine `/vm/m`, whose guard has said its mode.
    fn domain(domain: u32, mode: Option<&'static str>) -> Guest {
        let guard = mode.map(|mode| Guard { mode: Some(mode), ..Guard::default() });
        Guest { domain, name: "g".to_owned(), machine: Some("/vm/m".to_owned()), guard, ..Guest::default() }
    }

    struct Test {
        boots: FailedBoots,
        now: Instant,
        next: u32,
    }

    impl Test {
        fn new() -> Self {
            Self { boots: FailedBoots::new(RULE), now: Instant::now(), next: 1 }
        }

        /// Has a boot that lives for `seconds`. Returns the failed ones that it was to be emulated for.
        fn boot(&mut self, seconds: u64, mode: Option<&'static str>, in_order: bool) -> Option<u32> {
            let vetoed = self.boots.appeared(&domain(self.next, None), self.now);
            self.boots.changed(&domain(self.next, mode));
            self.now += Duration::from_secs(seconds);
            self.boots.gone(&Guest { in_order, ..domain(self.next, mode) }, self.now);
            self.next += 1;
            vetoed
        }
    }

    #[test]
    fn two_that_die_early_make_the_third_emulated_and_the_fourth_what_its_entry_says() {
        let mut test = Test::new();
        assert_eq!(test.boot(20, Some("pv"), false), None);
        // Without a word: it died before xenpci was started.
        assert_eq!(test.boot(5, None, false), None);
        assert_eq!(test.boot(60, Some("emulated"), false), Some(2));
        assert_eq!(test.boot(20, Some("pv"), false), None);
    }

    #[test]
    fn one_that_came_up_or_ended_in_order_is_none() {
        for (seconds, in_order) in [(300, false), (20, true)] {
            let mut test = Test::new();
            test.boot(20, Some("pv"), false);
            test.boot(seconds, Some("pv"), in_order);
            test.boot(20, Some("pv"), false);
            assert_eq!(test.boot(20, Some("pv"), false), None, "{seconds} {in_order}");
        }
    }

    #[test]
    fn a_guest_without_the_suite_is_left_alone() {
        let mut test = Test::new();
        for _ in 0..5 {
            assert_eq!(test.boot(5, None, false), None);
        }
    }

    #[test]
    fn machines_are_told_apart_and_names_do_where_no_path_is() {
        let mut boots = FailedBoots::new(RULE);
        let now = Instant::now();
        let other = |number| Guest { machine: None, ..domain(number, Some("pv")) };
        for number in [1, 3] {
            boots.appeared(&domain(number, None), now);
            boots.gone(&domain(number, Some("pv")), now);
            boots.appeared(&other(number + 1), now);
        }
        assert_eq!(boots.appeared(&domain(5, None), now), Some(2));
        assert_eq!(boots.appeared(&other(6), now), None);
        boots.gone(&other(2), now);
        boots.gone(&other(4), now);
        assert_eq!(boots.appeared(&other(7), now), Some(2));
    }
}
