//! A guest's part of xenstore as the helper in dom0 prints it: one node per line, `path = value`, values
//! escaped as `%XX`.

use std::collections::BTreeMap;

use crate::report::unescape;

/// Nodes by their absolute paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Store {
    nodes: BTreeMap<String, String>,
}

impl Store {
    /// Parses the helper's output; lines of another form are ignored.
    pub fn parse(text: &str) -> Self {
        let nodes = text
            .lines()
            .filter(|line| line.starts_with('/'))
            .filter_map(|line| line.split_once(" ="))
            .map(|(path, value)| (path.to_owned(), unescape(value.strip_prefix(' ').unwrap_or(value))))
            .collect();
        Self { nodes }
    }

    /// Returns the value of a node.
    pub fn get(&self, path: &str) -> Option<&str> {
        self.nodes.get(path).map(String::as_str)
    }

    /// Paths and values of everything below `path`, in order of their paths.
    pub fn under<'a>(&'a self, path: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.nodes
            .iter()
            .filter(move |(node, _)| node.strip_prefix(path).is_some_and(|rest| rest.starts_with('/')))
            .map(|(node, value)| (node.as_str(), value.as_str()))
    }

    /// Nodes of a name (the last part of their paths), wherever they are.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.nodes
            .iter()
            .filter(move |(node, _)| node.rsplit('/').next() == Some(name))
            .map(|(node, value)| (node.as_str(), value.as_str()))
    }

    /// Returns the vbds of a guest: number of each virtual device, with the frontend's and the backend's
    /// xenbus state.
    pub fn vbds(&self, domain: u32) -> Vec<Vbd> {
        let front = format!("/local/domain/{domain}/device/vbd");
        let number = |path: String| self.get(&path).and_then(|value| value.parse().ok());
        let mut vbds = Vec::new();
        for (path, backend) in self.under(&front) {
            let Some((device, "backend")) = path[front.len() + 1..].split_once('/') else { continue };
            let Ok(device) = device.parse() else { continue };
            vbds.push(Vbd {
                device,
                frontend_state: number(format!("{front}/{device}/state")),
                backend_state: number(format!("{backend}/state")),
                backend: backend.to_owned(),
            });
        }
        vbds
    }
}

/// A vbd's two ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vbd {
    /// Number of the virtual device (768 is hda).
    pub device: u32,
    /// xenbus state of the guest's end (4 is connected).
    pub frontend_state: Option<u32>,
    /// xenbus state of the other end.
    pub backend_state: Option<u32>,
    /// Path of the other end's nodes; `…/backend/vbd/…` for blkback, `…/backend/qdisk/…` for the device
    /// model.
    pub backend: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
/local/domain/1/device/vbd/768/backend = /local/domain/0/backend/vbd/1/768
/local/domain/1/device/vbd/768/state = 4
/local/domain/0/backend/vbd/1/768/state = 4
/local/domain/0/backend/vbd/1/768/info =
/local/domain/0/backend/vbd/1/768/params = a%20b%0A
something else
";

    #[test]
    fn nodes_and_values() {
        let store = Store::parse(TEXT);
        assert_eq!(store.get("/local/domain/0/backend/vbd/1/768/info"), Some(""));
        assert_eq!(store.get("/local/domain/0/backend/vbd/1/768/params"), Some("a b\n"));
        assert_eq!(store.under("/local/domain/1/device/vbd/76").count(), 0);
        assert_eq!(store.named("state").count(), 2);
    }

    #[test]
    fn vbds_have_both_states() {
        let [vbd] = &Store::parse(TEXT).vbds(1)[..] else { panic!("one vbd") };
        assert_eq!((vbd.device, vbd.frontend_state, vbd.backend_state), (768, Some(4), Some(4)));
    }
}
