// SPDX-License-Identifier: GPL-3.0-only
//! Walks a part of xenstore.

use std::fmt::Write;
use std::io;

use xenstore_rs::AsyncXs;

/// Returns the paths of the nodes of a guest and of its backends in domain 0.
pub(crate) async fn roots(store: &impl AsyncXs, domain: u32) -> io::Result<Vec<String>> {
    const BACKENDS: &str = "/local/domain/0/backend";
    let mut roots = vec![format!("/local/domain/{domain}")];
    for kind in absent_is_empty(store.directory(BACKENDS).await)? {
        let root = format!("{BACKENDS}/{kind}/{domain}");
        if store.read(&root).await.is_ok() {
            roots.push(root);
        }
    }
    Ok(roots)
}

/// Prints a node and everything below it, depth first. A node that goes away meanwhile is left out.
pub(crate) async fn print(store: &impl AsyncXs, root: &str) -> io::Result<()> {
    let mut paths = vec![root.to_owned()];
    while let Some(path) = paths.pop() {
        match store.read(&path).await {
            Ok(value) => println!("{}", line(&path, &value)),
            // The library returns text only; a value of other bytes is shown as one that no text contains.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => println!("{path} = %FF"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return super::at(&path, Err(error)),
        }
        let mut children: Vec<String> = absent_is_empty(store.directory(&path).await)?
            .iter()
            .map(|name| format!("{}/{name}", path.trim_end_matches('/')))
            .collect();
        children.sort_unstable_by(|a, b| b.cmp(a));
        paths.append(&mut children);
    }
    Ok(())
}

fn absent_is_empty(result: io::Result<Vec<Box<str>>>) -> io::Result<Vec<Box<str>>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other,
    }
}

/// Returns a node as a line.
pub(crate) fn line(path: &str, value: &str) -> String {
    let mut line = format!("{path} = ");
    for byte in value.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => line.push(char::from(byte)),
            _ => {
                // Writing to a string cannot fail.
                let _ = write!(line, "%{byte:02X}");
            }
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::ErrorKind::NotFound;

    use super::*;

    /// A store of fixed nodes.
    struct Nodes(BTreeMap<&'static str, &'static str>);

    impl AsyncXs for Nodes {
        async fn directory(&self, path: &str) -> io::Result<Vec<Box<str>>> {
            let below = format!("{path}/");
            let mut names: Vec<Box<str>> = self
                .0
                .keys()
                .filter_map(|node| node.strip_prefix(&below)?.split('/').next().map(Into::into))
                .collect();
            names.dedup();
            if names.is_empty() && !self.0.contains_key(path) { Err(NotFound.into()) } else { Ok(names) }
        }

        async fn read(&self, path: &str) -> io::Result<Box<str>> {
            self.0.get(path).map(|&value| value.into()).ok_or(NotFound.into())
        }

        async fn write(&self, _: &str, _: &str) -> io::Result<()> {
            Err(io::ErrorKind::ReadOnlyFilesystem.into())
        }

        async fn rm(&self, _: &str) -> io::Result<()> {
            Err(io::ErrorKind::ReadOnlyFilesystem.into())
        }
    }

    #[test]
    fn values_are_escaped() {
        assert_eq!(line("/a", "x y%\n\u{e9}"), "/a = x y%25%0A%C3%A9");
    }

    #[tokio::test]
    async fn backends_of_other_guests_are_left_out() {
        let nodes = Nodes(BTreeMap::from([
            ("/local/domain/0/backend/qdisk/2", ""),
            ("/local/domain/0/backend/vbd/1", ""),
            ("/local/domain/0/backend/vbd/1/768/state", "4"),
            ("/local/domain/1", ""),
        ]));
        assert_eq!(roots(&nodes, 1).await.unwrap(), ["/local/domain/1", "/local/domain/0/backend/vbd/1"]);
        assert_eq!(roots(&Nodes(BTreeMap::new()), 1).await.unwrap(), ["/local/domain/1"]);
    }
}
