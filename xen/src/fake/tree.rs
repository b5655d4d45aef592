//! Xenstore's nodes, without a connection.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::string::{String, ToString};
use std::vec::Vec;

use crate::store::{Errno, Error, Names, Store, path};

/// A shared tree of nodes. Implements [`Store`] directly.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    nodes: Rc<RefCell<BTreeMap<String, Vec<u8>>>>,
    failing: Rc<RefCell<Option<(String, Error)>>>,
}

impl Tree {
    /// Sets a node.
    pub fn set(&self, path: &str, value: impl AsRef<[u8]>) {
        self.nodes.borrow_mut().insert(path.to_string(), value.as_ref().to_vec());
    }

    /// Returns a node's value.
    pub fn value(&self, path: &str) -> Option<Vec<u8>> {
        let nodes = self.nodes.borrow();
        let below = std::format!("{path}/");
        let has_children = || nodes.keys().any(|node| node.starts_with(&below));
        nodes.get(path).cloned().or_else(|| has_children().then(Vec::new))
    }

    /// Returns a node's value as text.
    pub fn text(&self, path: &str) -> Option<String> {
        self.value(path).map(|value| String::from_utf8(value).expect("text"))
    }

    /// Removes a node and all below it; whether there was one.
    pub fn delete(&self, path: &str) -> bool {
        let below = std::format!("{path}/");
        let mut nodes = self.nodes.borrow_mut();
        let before = nodes.len();
        nodes.retain(|node, _| node != path && !node.starts_with(&below));
        nodes.len() != before
    }

    /// Names of a node's children, where the node exists.
    pub fn children(&self, path: &str) -> Option<Vec<String>> {
        self.value(path)?;
        let below = std::format!("{path}/");
        let nodes = self.nodes.borrow();
        let names = nodes.keys().filter_map(|node| node.strip_prefix(&below)?.split('/').next());
        Some(names.map(String::from).collect::<BTreeSet<_>>().into_iter().collect())
    }

    /// Returns all nodes, for comparing and for transactions.
    pub fn snapshot(&self) -> BTreeMap<String, Vec<u8>> {
        self.nodes.borrow().clone()
    }

    /// Puts a snapshot back.
    pub fn restore(&self, nodes: BTreeMap<String, Vec<u8>>) {
        *self.nodes.borrow_mut() = nodes;
    }

    /// Makes every [`Store`] operation on one path fail from now on; `None` ends it.
    pub fn fail(&self, failing: Option<(&str, Error)>) {
        *self.failing.borrow_mut() = failing.map(|(path, error)| (path.to_string(), error));
    }

    fn check(&self, path: &str) -> Result<(), Error> {
        path::check(path)?;
        match &*self.failing.borrow() {
            Some((failing, error)) if failing == path => Err(*error),
            _ => Ok(()),
        }
    }
}

/// Copies a value out as [`Store`] demands.
fn copy<'b>(value: &[u8], into: &'b mut [u8]) -> Result<&'b [u8], Error> {
    let given = into.len();
    let into = into.get_mut(..value.len()).ok_or(Error::NoSpace { needed: value.len(), given })?;
    into.copy_from_slice(value);
    Ok(into)
}

const MISSING: Error = Error::Refused(Errno::NoEntry);

impl Store for Tree {
    fn read<'b>(&mut self, path: &str, into: &'b mut [u8]) -> Result<&'b [u8], Error> {
        self.check(path)?;
        copy(&self.value(path).ok_or(MISSING)?, into)
    }

    fn write(&mut self, path: &str, value: &[u8]) -> Result<(), Error> {
        self.check(path)?;
        self.set(path, value);
        Ok(())
    }

    fn remove(&mut self, path: &str) -> Result<(), Error> {
        self.check(path)?;
        if self.delete(path) { Ok(()) } else { Err(MISSING) }
    }

    fn directory<'b>(&mut self, path: &str, into: &'b mut [u8]) -> Result<Names<'b>, Error> {
        self.check(path)?;
        let names = self.children(path).ok_or(MISSING)?;
        let payload: String = names.iter().flat_map(|name| [name.as_str(), "\0"]).collect();
        Names::parse(copy(payload.as_bytes(), into)?)
    }
}
