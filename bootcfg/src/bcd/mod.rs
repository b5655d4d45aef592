//! Boot configuration data of NT 6 and later: objects with typed elements, kept in a registry hive.
//!
//! `Objects\{guid}\Description` has the object's type, `Objects\{guid}\Elements\<8 hex digits>` the value
//! `Element`, whose registry type follows from the element's number. Source of the numbers: Microsoft's BCD
//! reference (`BcdBootMgrElementTypes`, `BcdLibraryElementTypes`, `BcdOSLoaderElementTypes`).

pub mod bcdedit;
mod device;
mod edit;
pub mod element;
mod guid;
#[cfg(unix)]
pub mod hivex;
#[cfg(unix)]
pub(crate) mod library;
mod menu;
#[cfg(test)]
mod tests;

pub use edit::Change;
pub use guid::Guid;

use anyhow::{Context, Result};
use hive::{Hive, Key};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use crate::bail_as;
use element::Data;

/// `{bootmgr}`.
pub const BOOT_MANAGER: Guid = Guid::of("9dea862c-5cdd-4e70-acc1-f32b344d4795");
/// The type of an entry that loads Windows.
pub const OS_LOADER: u32 = 0x1020_0003;

/// An object of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Object {
    /// The object's type.
    pub kind: u32,
    /// Its elements by number.
    pub elements: BTreeMap<u32, Data>,
}

/// A store, held as its objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bcd {
    /// The objects by identifier.
    pub objects: BTreeMap<Guid, Object>,
}

impl Bcd {
    /// Reads a store: a BCD file, or what `bcdedit /export` wrote.
    ///
    /// # Errors
    /// The file is no hive, or damaged, or has unreplayed logs, or is a hive of something else.
    pub fn read(file: &[u8]) -> Result<Bcd> {
        let hive = Hive::new(file)?;
        let Some(objects) = hive.key("Objects")? else {
            bail_as!(Unusable, "the hive has no key Objects: it is a registry hive, but not a BCD store")
        };
        let mut bcd = Bcd::default();
        for key in objects.keys()? {
            let key = key?;
            let Some(guid) = Guid::parse(key.name()) else {
                bail_as!(Unusable, "Objects\\{} is not named by a GUID: this is not a BCD store", key.name())
            };
            let object = object(&key).with_context(|| format!("object {}", guid.named()))?;
            bcd.objects.insert(guid, object);
        }
        if !bcd.objects.contains_key(&BOOT_MANAGER) {
            bail_as!(Unusable, "the store has no {{bootmgr}}: it is not the store that a machine boots from");
        }
        Ok(bcd)
    }

    /// Returns an element's data.
    #[must_use]
    pub fn data(&self, guid: Guid, element: u32) -> Option<&Data> {
        self.objects.get(&guid)?.elements.get(&element)
    }

    /// Returns the text of an element, also an inherited one.
    #[must_use]
    pub fn effective_text(&self, guid: Guid, element: u32) -> Option<String> {
        self.effective(guid, element)?.text()
    }

    /// Returns an element's data, also an inherited one.
    #[must_use]
    pub fn effective(&self, guid: Guid, element: u32) -> Option<&Data> {
        // Each object is looked at once, however often and in whatever circles it is inherited from.
        let mut seen = BTreeSet::new();
        let mut ahead = vec![guid];
        while let Some(guid) = ahead.pop() {
            let Some(object) = self.objects.get(&guid).filter(|_| seen.insert(guid)) else { continue };
            if let Some(data) = object.elements.get(&element) {
                return Some(data);
            }
            // What stands first in the list comes first, with all that it inherits.
            let inherited = object.elements.get(&element::INHERIT).map(Data::guids).unwrap_or_default();
            ahead.extend(inherited.into_iter().rev());
        }
        None
    }

    /// Returns the store as text, one element a line.
    #[must_use]
    pub fn dump(&self) -> String {
        let mut text = String::new();
        for (guid, object) in &self.objects {
            // Writing to a String does not fail.
            let _ = writeln!(text, "{} {:08x}", self.shown(*guid), object.kind);
            for (&number, data) in &object.elements {
                let name = element::name(object.kind, number);
                let _ = writeln!(text, "  {number:08x} {name:<16} {}", self.shown_data(number, data));
            }
        }
        text
    }
}

impl Bcd {
    /// Returns an object for a reader of the whole store: by bcdedit's name where it has one that stays the same, or
    /// else by its identifier and its name in the menu.
    fn shown(&self, guid: Guid) -> String {
        match self.effective_text(guid, element::DESCRIPTION) {
            Some(name) if guid.alias().is_none() => format!("{guid} {name:?}"),
            _ => guid.named(),
        }
    }

    /// Returns an element's data for a reader.
    fn shown_data(&self, number: u32, data: &Data) -> String {
        match data.objects(number) {
            Some(guids) => guids.into_iter().map(|guid| self.shown(guid)).collect::<Vec<_>>().join(", "),
            None => data.show(number),
        }
    }

    /// Returns what a message calls an object: an entry by the number that `status` gives it, any other by bcdedit's
    /// name or by its identifier.
    fn called(&self, guid: Guid) -> String {
        match self.choices().iter().position(|&choice| choice == guid) {
            Some(at) => format!("entry {}", at + 1),
            None => guid.named(),
        }
    }
}

fn object(key: &Key<'_>) -> Result<Object> {
    let description = key.key("Description")?.context("no key Description")?;
    let kind = description.dword("Type")?.context("no value Description\\Type")?;
    let mut object = Object { kind, ..Object::default() };
    if let Some(elements) = key.key("Elements")? {
        for element in elements.keys()? {
            let element = element?;
            let number = u32::from_str_radix(element.name(), 16)
                .with_context(|| format!("Elements\\{} is not a number", element.name()))?;
            let value = element
                .value("Element")?
                .with_context(|| format!("Elements\\{} has no value Element", element.name()))?;
            let data = Data { data_type: value.data_type(), bytes: value.data()?.into_owned() };
            object.elements.insert(number, data);
        }
    }
    Ok(object)
}
