//! Edits of a SYSTEM hive, made on a copy of its bytes.

#[cfg(windows)]
pub mod loaded;

use anyhow::{Context, Result};
use hive::Hive;

use crate::bail_as;
#[cfg(unix)]
use crate::bcd;

/// An edit; keys are paths from the hive's root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Sets a value; the keys on the way are made.
    Set {
        /// The key.
        key: String,
        /// The value's name.
        name: String,
        /// Its type, as in [`hive::data_type`].
        kind: u32,
        /// Its bytes.
        data: Vec<u8>,
    },
    /// Takes values away.
    DeleteValues {
        /// The key.
        key: String,
        /// Their names.
        names: Vec<String>,
    },
    /// Takes a key away with all below it.
    DeleteKey {
        /// The key.
        key: String,
    },
}

/// Makes edits on a copy of a SYSTEM hive, through libhivex or by having Windows load it, and reads them back
/// with our own reader.
///
/// # Errors
/// libhivex is missing, it or Windows fails, or the result is not what it should be.
pub fn edit_copy(hive: &[u8], edits: &[Edit]) -> Result<Vec<u8>> {
    #[cfg(unix)]
    let edited = through_hivex(hive, edits)?;
    #[cfg(windows)]
    let edited = loaded::edited(hive, edits)?;
    let after = Hive::new(&edited).context("the edited copy of the SYSTEM hive")?;
    for edit in edits {
        let value = |key: &str, name: &str| -> Result<Option<(u32, Vec<u8>)>> {
            let Some(found) = after.key(key)? else { return Ok(None) };
            Ok(found
                .value(name)?
                .map(|value| Ok::<_, hive::Error>((value.data_type(), value.data()?.into_owned())))
                .transpose()?)
        };
        let good = match edit {
            // A later edit may have set it again.
            Edit::Set { key, name, .. } => value(key, name)?.is_some(),
            Edit::DeleteValues { key, names } => names
                .iter()
                .map(|name| value(key, name))
                .collect::<Result<Vec<_>>>()?
                .iter()
                .all(Option::is_none),
            Edit::DeleteKey { key } => after.key(key)?.is_none(),
        };
        if !good {
            bail_as!(
                Tool,
                "success was reported, but the edited copy lacks this: {edit:?}; nothing was changed"
            );
        }
    }
    Ok(edited)
}

/// Makes edits through libhivex.
#[cfg(unix)]
fn through_hivex(hive: &[u8], edits: &[Edit]) -> Result<Vec<u8>> {
    let before = Hive::new(hive)?;
    bcd::hivex::edit(hive, |editor, root| {
        let find = |path: &str, make: bool| -> Result<Option<bcd::library::Node>> {
            let mut node = root;
            for name in path.split('\\') {
                node = match editor.child(node, name)? {
                    Some(child) => child,
                    None if make => editor.add(node, name)?,
                    None => return Ok(None),
                };
            }
            Ok(Some(node))
        };
        for edit in edits {
            match edit {
                Edit::Set { key, name, kind, data } => {
                    let node = find(key, true)?.context("a key that was made is there")?;
                    editor.set(node, name, *kind, data)?;
                }
                Edit::DeleteValues { key, names } => {
                    let gone = |name: &str| names.iter().any(|own| own.eq_ignore_ascii_case(name));
                    let Some(old) = before.key(key)? else { continue };
                    let mut values = Vec::new();
                    for value in old.values()? {
                        let value = value?;
                        if !gone(value.name()) {
                            values.push((
                                value.name().to_owned(),
                                value.data_type(),
                                value.data()?.into_owned(),
                            ));
                        }
                    }
                    if let Some(node) = find(key, false)? {
                        editor.set_all(node, &values)?;
                    }
                }
                Edit::DeleteKey { key } => {
                    if let Some(node) = find(key, false)? {
                        editor.delete(node)?;
                    }
                }
            }
        }
        Ok(())
    })
}
