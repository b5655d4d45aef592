//! Nodes in the guest's part of xenstore by which the host and the guard know of each other: the host's word
//! for the guest's boots, and the guard's state. Paths are relative to `/local/domain/<domid>`.

use core::fmt;

use crate::abi::{PhaseNumber, Status};

/// The host's word for the guest's boots. The folder `vm-data` is the host's.
pub const BOOT: &str = "vm-data/xenguard/boot";

/// The value of [`BOOT`] that makes every boot emulated.
pub const EMULATED: &str = "emulated";

/// The value of [`BOOT`] that makes one boot emulated, since those before it failed. Dom0's tool writes it, and removes it
/// from the next domain, to which XAPI passes it on. The guest takes it as it takes [`EMULATED`].
pub const EMULATED_AFTER_FAILED_BOOTS: &str = "emulated-after-failed-boots";

/// The folder of the guard's state. The guest writes it.
pub const STATE: &str = "data/xenguard";

/// The node below [`STATE`] that is there as long as a program follows the toolstack's requests
/// ([`crate::channel::HEARTBEAT`]). Its value is the time of the program's last heartbeat, in seconds since 1970-01-01
/// UTC by the guest's clock.
pub const SERVICE: &str = "service";

/// Returns true if the host's word keeps the guest from PV disks. A host can only veto. An empty value and
/// `pv` leave the choice to the boot entry. Everything else, as it may be a misspelt `emulated`, is a veto.
#[must_use]
pub const fn vetoes(value: &[u8]) -> bool {
    !matches!(value, b"" | b"pv")
}

/// Names of [`Status::phase`], by number.
pub const PHASES: [&str; 7] = ["unsealed", "emulated", "hiding", "granted", "exposed", "withheld", "stopped"];

/// Names of [`Status::unplug`], by number.
pub const UNPLUG: [&str; 4] = ["not-tried", "not-asked", "acknowledged", "refused"];

/// Names of [`Status::policy`], by number.
pub const POLICIES: [&str; 3] = ["controller", "disks", "none"];

/// The state of a boot, as it is told to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// The guard's.
    pub status: Status,
    /// Seconds since 1970-01-01 UTC, by the guest's clock, since which this has been so.
    pub since: u64,
}

impl State {
    /// Passes every node below [`STATE`] and its value to `each`, in the order in which they are written.
    /// `since` is the last, so that whoever waits for its change finds the others as they belong together.
    pub fn nodes<E>(
        &self,
        mut each: impl FnMut(&'static str, fmt::Arguments<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let status = &self.status;
        let name = |names: &[&'static str], number: u32| names.get(number as usize).copied().unwrap_or("?");
        let mode = match status.phase {
            PhaseNumber::UNSEALED | PhaseNumber::EMULATED => "emulated",
            _ => "pv",
        };
        each("version", format_args!("{}", env!("CARGO_PKG_VERSION")))?;
        each("mode", format_args!("{mode}"))?;
        each("reason", format_args!("{:#x}", status.reason))?;
        each("phase", format_args!("{}", name(&PHASES, status.phase.0)))?;
        each("policy", format_args!("{}", name(&POLICIES, status.policy.0)))?;
        each("unplug", format_args!("{}", name(&UNPLUG, status.unplug.0)))?;
        each("hidden", format_args!("{}", status.hidden))?;
        if status.counted != 0 {
            each("own", format_args!("{}", status.own))?;
            each("ours", format_args!("{}", status.ours))?;
            each("alias", format_args!("{}", status.alias))?;
            each("foreign", format_args!("{}", status.foreign))?;
        }
        each("since", format_args!("{}", self.since))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::convert::Infallible;
    use std::string::{String, ToString};

    use super::*;
    use crate::Reason;
    use crate::abi::UnplugNumber;
    use crate::census::Counts;

    /// The host can take PV away, and never choose it.
    #[test]
    fn the_host_only_vetoes() {
        for value in ["emulated", "Emulated", "emulate", "emulated\n", "1", " "] {
            assert!(vetoes(value.as_bytes()), "{value:?}");
        }
        for value in ["", "pv"] {
            assert!(!vetoes(value.as_bytes()), "{value:?}");
        }
        for value in [EMULATED, EMULATED_AFTER_FAILED_BOOTS] {
            // The guest reads into 64 bytes.
            assert!(vetoes(value.as_bytes()) && value.len() <= 64, "{value}");
        }
    }

    fn nodes(state: State) -> BTreeMap<&'static str, String> {
        let mut found = BTreeMap::new();
        let each = |name, value: fmt::Arguments<'_>| -> Result<(), Infallible> {
            assert_eq!(found.insert(name, value.to_string()), None, "{name} twice");
            Ok(())
        };
        state.nodes(each).unwrap();
        found
    }

    #[test]
    fn a_pv_boot_is_told_with_its_census() {
        let status = Status {
            phase: PhaseNumber::EXPOSED,
            reason: Reason::PvSelected.code(),
            unplug: UnplugNumber::ACKNOWLEDGED,
            hidden: 1,
            ..Status::default()
        };
        let status =
            status.with_census(Some(Counts { own_list: 2, ours: 1, foreign: 3, ..Counts::default() }));
        let nodes = nodes(State { status, since: 1_800_000_000 });
        let expected = [
            ("alias", "0"),
            ("foreign", "3"),
            ("hidden", "1"),
            ("mode", "pv"),
            ("ours", "1"),
            ("own", "2"),
            ("phase", "exposed"),
            ("policy", "controller"),
            ("reason", "0x1"),
            ("since", "1800000000"),
            ("unplug", "acknowledged"),
            ("version", env!("CARGO_PKG_VERSION")),
        ];
        assert!(nodes.iter().map(|(name, value)| (*name, value.as_str())).eq(expected), "{nodes:?}");
    }

    #[test]
    fn an_emulated_boot_has_no_census() {
        let reason = Reason::NotSelected.code();
        let status = Status { phase: PhaseNumber::EMULATED, reason, ..Status::default() };
        let nodes = nodes(State { status, since: 0 });
        assert_eq!((nodes["mode"].as_str(), nodes["reason"].as_str()), ("emulated", "0x10"));
        assert!(!nodes.contains_key("own"));
    }

    /// The first failure ends it: a store that refuses one node is not asked for the others.
    #[test]
    fn a_refusal_ends_it() {
        let mut asked = 0;
        let state = State { status: Status::default(), since: 0 };
        let refused = state.nodes(|_, _| {
            asked += 1;
            if asked == 3 { Err(()) } else { Ok(()) }
        });
        assert_eq!((refused, asked), (Err(()), 3));
    }

    /// Names and numbers are those of [`Status::of`].
    #[test]
    fn phases_have_names() {
        let status = Status::of(&crate::Guard::new());
        assert_eq!(PHASES[status.phase.0 as usize], "unsealed");
    }
}
