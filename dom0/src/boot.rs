// SPDX-License-Identifier: GPL-3.0-only
//! The host's word for a guest's boots.

use std::io;

use clap::ValueEnum;
use guard::host;
use xenstore_rs::Xs;

use crate::guest::at;

/// The host's choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Choice {
    /// Every boot is emulated, whatever its entry.
    Emulated,
    /// The boot entry chooses.
    Clear,
}

/// Writes the choice; answers what to tell the admin.
///
/// # Errors
/// What xenstore answers.
pub(crate) fn choose(store: &impl Xs, domain: u32, choice: Choice) -> io::Result<String> {
    let path = format!("/local/domain/{domain}/{}", host::BOOT);
    match choice {
        Choice::Emulated => {
            at(&path, store.write(&path, host::EMULATED))?;
            Ok(format!(
                "domain {domain}: its boots are emulated, whatever the entry, as long as {path} says so\n\
                 A domain that xl makes anew after a reboot or a shutdown begins without it; XAPI keeps it.\n"
            ))
        }
        Choice::Clear => {
            match store.rm(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return at(&path, Err(error)),
                _ => {}
            }
            Ok(format!("domain {domain}: the boot entry chooses\n"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Fake;

    const PATH: &str = "/local/domain/1/vm-data/xenguard/boot";

    #[test]
    fn a_choice_is_written_and_taken_back() {
        let store = Fake::with_guest(1, "g", &[]);
        choose(&store, 1, Choice::Emulated).unwrap();
        let word = store.read(PATH).unwrap();
        assert!(host::vetoes(word.as_bytes()));
        choose(&store, 1, Choice::Clear).unwrap();
        assert_eq!(store.read(PATH).unwrap_err().kind(), io::ErrorKind::NotFound);
        // Nothing to take back is no error.
        choose(&store, 1, Choice::Clear).unwrap();
    }

    #[test]
    fn a_refusal_is_told() {
        let store = Fake::with_guest(1, "g", &[]);
        store.refuse(PATH);
        for choice in [Choice::Emulated, Choice::Clear] {
            let error = choose(&store, 1, choice).unwrap_err();
            assert!(error.to_string().contains(PATH), "{error}");
        }
    }
}
