//! Names: devices and drivers by path, symbolic links between paths. Case is ignored.

use alloc::collections::BTreeMap;
use alloc::string::String;

use crate::ke::Lock;
use crate::nt::Pvoid;

enum Entry {
    Object(usize),
    Link(String),
}

static NAMES: Lock<BTreeMap<String, Entry>> = Lock::new(BTreeMap::new());

/// Puts an object under a name; `false` if the name is taken.
pub(crate) fn insert(name: &str, body: Pvoid) -> bool {
    add(name, Entry::Object(body as usize))
}

/// Makes a symbolic link; `false` if the name is taken.
pub(crate) fn link(name: &str, target: &str) -> bool {
    add(name, Entry::Link(target.into()))
}

fn add(name: &str, entry: Entry) -> bool {
    let mut names = NAMES.lock();
    let key = key(name);
    if names.contains_key(&key) {
        return false;
    }
    names.insert(key, entry);
    true
}

/// Returns the key of a name, in which `\DosDevices` and `\??` are the same directory.
fn key(name: &str) -> String {
    let name = name.to_lowercase();
    match name.strip_prefix("\\dosdevices\\") {
        Some(rest) => alloc::format!("\\??\\{rest}"),
        None => name,
    }
}

/// Removes a name.
pub(crate) fn remove(name: &str) -> bool {
    NAMES.lock().remove(&key(name)).is_some()
}

/// Returns the object a name leads to, through symbolic links, and what of the path is left behind its name.
pub(crate) fn lookup(name: &str) -> Option<(Pvoid, String)> {
    let names = NAMES.lock();
    let mut path = key(name);
    for _ in 0..8 {
        // The longest prefix that is a name, ending at a separator.
        let (entry, rest) = prefixes(&path).find_map(|(head, rest)| Some((names.get(head)?, rest)))?;
        match entry {
            Entry::Object(body) => return Some((*body as Pvoid, rest.into())),
            Entry::Link(target) => path = alloc::format!("{}{rest}", key(target)),
        }
    }
    None
}

fn prefixes(path: &str) -> impl Iterator<Item = (&str, &str)> {
    let cuts = path.rmatch_indices('\\').map(|(at, _)| at).filter(|&at| at > 0);
    core::iter::once(path.len()).chain(cuts).map(|at| path.split_at(at))
}
