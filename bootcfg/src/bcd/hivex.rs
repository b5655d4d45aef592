//! Writing a store on Unix through libhivex, on a copy; the caller puts the copy in place.
//!
//! The library is loaded when it is needed, so that bootcfg runs without it where no store is written. Source
//! of the calls: hivex(3) and hivex.h of libhivex 1.3.

use anyhow::{Context, Result};
use hive::data_type;
use std::path::Path;

use super::{
    Change, Guid,
    element::Data,
    library::{Editor, Library, Node},
};
use crate::scratch::Scratch;

/// Returns the bytes of a hive with changes to the objects of a store.
///
/// # Errors
/// libhivex is missing or refuses the hive or a change.
pub fn edited(hive: &[u8], changes: &[Change]) -> Result<Vec<u8>> {
    edit(hive, |editor, root| {
        let objects = editor.child(root, "Objects")?.context("the hive has no key Objects")?;
        changes.iter().try_for_each(|change| apply(editor, objects, change))
    })
}

/// Returns the bytes of a hive with a `REG_DWORD` set in an existing key.
///
/// # Errors
/// libhivex is missing or refuses the hive, or the key is not there.
pub fn with_dword(hive: &[u8], key: &str, name: &str, number: u32) -> Result<Vec<u8>> {
    edit(hive, |editor, root| {
        let mut node = root;
        for part in key.split('\\') {
            node = editor.child(node, part)?.with_context(|| format!("the hive has no key {key}"))?;
        }
        editor.set(node, name, data_type::DWORD, &number.to_le_bytes())
    })
}

/// Returns the bytes of a hive after `work`, which is done on a copy.
///
/// # Errors
/// libhivex is missing or refuses the hive, or `work` fails.
pub(crate) fn edit(hive: &[u8], work: impl FnOnce(&Editor<'_>, Node) -> Result<()>) -> Result<Vec<u8>> {
    let scratch = Scratch::new()?;
    let file = scratch.path().join("hive");
    std::fs::write(&file, hive).context("cannot write a copy of the hive")?;
    let library = Library::load()?;
    let editor = library.open(&file)?;
    let root = editor.root()?;
    work(&editor, root)?;
    editor.commit()?;
    drop(editor);
    read(&file)
}

fn read(file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).context("cannot read the edited copy of the hive")
}

fn apply(editor: &Editor<'_>, objects: Node, change: &Change) -> Result<()> {
    match change {
        Change::Add(guid, object) => {
            let key = editor.add(objects, &guid.to_string())?;
            let description = editor.add(key, "Description")?;
            editor.set(description, "Type", data_type::DWORD, &object.kind.to_le_bytes())?;
            let elements = editor.add(key, "Elements")?;
            object.elements.iter().try_for_each(|(&number, data)| {
                let element = editor.add(elements, &element_name(number))?;
                set(editor, element, data)
            })
        }
        &Change::Set(guid, number, ref data) => {
            let elements = elements(editor, objects, guid)?;
            let element = match editor.child(elements, &element_name(number))? {
                Some(element) => element,
                None => editor.add(elements, &element_name(number))?,
            };
            set(editor, element, data)
        }
        &Change::Unset(guid, number) => {
            match editor.child(elements(editor, objects, guid)?, &element_name(number))? {
                Some(element) => editor.delete(element),
                None => Ok(()),
            }
        }
        Change::Delete(guid) => editor.delete(object(editor, objects, *guid)?),
    }
}

fn set(editor: &Editor<'_>, element: Node, data: &Data) -> Result<()> {
    editor.set(element, "Element", data.data_type, &data.bytes)
}

fn object(editor: &Editor<'_>, objects: Node, guid: Guid) -> Result<Node> {
    editor
        .child(objects, &guid.to_string())?
        .with_context(|| format!("the store has no object {}", guid.named()))
}

fn elements(editor: &Editor<'_>, objects: Node, guid: Guid) -> Result<Node> {
    let object = object(editor, objects, guid)?;
    editor.child(object, "Elements")?.with_context(|| format!("{} has no key Elements", guid.named()))
}

/// Returns the name of an element's key, as Windows writes it.
fn element_name(number: u32) -> String {
    format!("{number:08x}")
}
