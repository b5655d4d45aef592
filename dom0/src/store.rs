// SPDX-License-Identifier: GPL-3.0-only
//! A xenstore in memory, for tests.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

use xenstore_rs::Xs;

/// The store.
#[derive(Default)]
pub(crate) struct Fake {
    nodes: RefCell<BTreeMap<String, Vec<u8>>>,
    failing: RefCell<BTreeMap<String, io::ErrorKind>>,
}

impl Fake {
    /// Returns a store with dom0 and one guest.
    pub(crate) fn with_guest(domain: u32, name: &str, state: &[(&str, &str)]) -> Self {
        let store = Self::default();
        store.set("/local/domain/0/name", "Domain-0");
        store.add_guest(domain, name, state);
        store
    }

    /// Adds a guest.
    pub(crate) fn add_guest(&self, domain: u32, name: &str, state: &[(&str, &str)]) {
        self.set(&format!("/local/domain/{domain}/name"), name);
        for (node, value) in state {
            self.set(&format!("/local/domain/{domain}/data/xenguard/{node}"), value);
        }
    }

    /// Gives a node a value, which need not be text.
    pub(crate) fn set(&self, path: &str, value: impl AsRef<[u8]>) {
        self.nodes.borrow_mut().insert(path.to_owned(), value.as_ref().to_vec());
    }

    /// Refuses every access to a node from now on.
    pub(crate) fn refuse(&self, path: &str) {
        self.fail(path, io::ErrorKind::PermissionDenied);
    }

    /// Has every access to a node fail from now on.
    pub(crate) fn fail(&self, path: &str, kind: io::ErrorKind) {
        self.failing.borrow_mut().insert(path.to_owned(), kind);
    }

    fn check(&self, path: &str) -> io::Result<()> {
        let kind = self.failing.borrow().get(path).copied();
        kind.map_or(Ok(()), |kind| Err(kind.into()))
    }
}

impl Xs for Fake {
    fn directory(&self, path: &str) -> io::Result<Vec<Box<str>>> {
        self.check(path)?;
        let folder = format!("{path}/");
        let nodes = self.nodes.borrow();
        let below = nodes.keys().filter_map(|node| node.strip_prefix(&folder)?.split('/').next());
        Ok(below.collect::<BTreeSet<_>>().into_iter().map(Box::from).collect())
    }

    fn read(&self, path: &str) -> io::Result<Box<str>> {
        self.check(path)?;
        let nodes = self.nodes.borrow();
        let folder = format!("{path}/");
        match nodes.get(path) {
            // As xenstore-rs answers.
            Some(value) => match str::from_utf8(value) {
                Ok(value) => Ok(value.into()),
                Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            },
            // A folder reads as an empty node.
            None if nodes.keys().any(|node| node.starts_with(&folder)) => Ok("".into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn write(&self, path: &str, data: &str) -> io::Result<()> {
        self.check(path)?;
        self.set(path, data);
        Ok(())
    }

    fn rm(&self, path: &str) -> io::Result<()> {
        self.check(path)?;
        let folder = format!("{path}/");
        let mut nodes = self.nodes.borrow_mut();
        let before = nodes.len();
        nodes.retain(|node, _| node != path && !node.starts_with(&folder));
        if nodes.len() < before { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }
}
