// SPDX-License-Identifier: GPL-3.0-only
//! The host's word for a guest's boots.

use std::io;

use clap::ValueEnum;
use guard::host;
use xenstore_rs::Xs;

use crate::guest::{at, read};

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
/// An error of xenstore's.
pub(crate) fn choose(store: &impl Xs, domain: u32, choice: Choice) -> io::Result<String> {
    let path = path(domain);
    match choice {
        Choice::Emulated => {
            at(&path, store.write(&path, host::EMULATED))?;
            Ok(format!(
                "domain {domain}: its boots are emulated, whatever the entry, as long as {path} says so\n\
                 A domain that xl makes anew after a reboot or a shutdown begins without it; XAPI keeps it.\n"
            ))
        }
        Choice::Clear => {
            remove(store, &path)?;
            Ok(format!("domain {domain}: the boot entry chooses\n"))
        }
    }
}

/// Has one boot emulated, since those before it failed. Returns false where the host's word is a veto of somebody else's
/// already, which is left as it is.
///
/// # Errors
/// An error of xenstore's.
pub(crate) fn veto_once(store: &impl Xs, domain: u32) -> io::Result<bool> {
    let path = path(domain);
    match read(store, &path)? {
        Some(word) if word == host::EMULATED_AFTER_FAILED_BOOTS => Ok(true),
        Some(word) if host::vetoes(word.as_bytes()) => Ok(false),
        _ => at(&path, store.write(&path, host::EMULATED_AFTER_FAILED_BOOTS)).map(|()| true),
    }
}

/// Takes the veto of [`veto_once`] back. Returns false where the host's word is another.
///
/// # Errors
/// An error of xenstore's.
pub(crate) fn end_veto(store: &impl Xs, domain: u32) -> io::Result<bool> {
    let path = path(domain);
    if read(store, &path)?.as_deref() != Some(host::EMULATED_AFTER_FAILED_BOOTS) {
        return Ok(false);
    }
    remove(store, &path).map(|()| true)
}

fn path(domain: u32) -> String {
    format!("/local/domain/{domain}/{}", host::BOOT)
}

/// Removes a node. That there is none is no error.
fn remove(store: &impl Xs, path: &str) -> io::Result<()> {
    match store.rm(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => at(path, Err(error)),
        _ => Ok(()),
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
