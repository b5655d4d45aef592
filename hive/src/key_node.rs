//! Key nodes (`nk`).

use alloc::{string::String, vec::Vec};
use zerocopy::{
    FromBytes, Immutable, KnownLayout, Unaligned,
    little_endian::{U16, U32, U64},
};

use crate::{
    Error, Hive, Value,
    cell::{Cell, NONE},
    key_value, name, subkey_list,
};

/// A key node's fixed part.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Layout {
    signature: [u8; 2],
    flags: U16,
    last_written: U64,
    access_bits: U32,
    parent: U32,
    subkeys: U32,
    volatile_subkeys: U32,
    subkey_list: U32,
    volatile_subkey_list: U32,
    values: U32,
    value_list: U32,
    security: U32,
    class_name: U32,
    largest: [U32; 5],
    name_length: U16,
    class_length: U16,
}

const _: () = assert!(size_of::<Layout>() == 76);

/// `KEY_COMP_NAME`: the name is Latin-1.
const COMPRESSED_NAME: u16 = 0x0020;

/// A key of a hive.
#[derive(Clone, Debug)]
pub struct Key<'a> {
    hive: &'a Hive<'a>,
    name: String,
    subkeys: u32,
    subkey_list: u32,
    values: u32,
    value_list: u32,
}

impl<'a> Key<'a> {
    pub(crate) fn read(hive: &'a Hive<'a>, offset: u32) -> Result<Key<'a>, Error> {
        let cell = Cell::read(hive, offset)?;
        let (layout, rest) = cell.split::<Layout>("a key node")?;
        if &layout.signature != b"nk" {
            let [a, b] = layout.signature;
            return Err(Error::signature(cell.at, "\"nk\" (a key node)", [a, b, 0, 0]));
        }
        let length = usize::from(layout.name_length.get());
        let name = rest.get(..length).ok_or(Error::end(cell.at + cell.content.len(), "a key's name"))?;
        Ok(Key {
            hive,
            name: name::decode(name, layout.flags.get() & COMPRESSED_NAME != 0),
            subkeys: layout.subkeys.get(),
            subkey_list: layout.subkey_list.get(),
            values: layout.values.get(),
            value_list: layout.value_list.get(),
        })
    }

    /// Returns the key's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the subkeys, in the order of the file, which is that of their upper-cased names.
    ///
    /// # Errors
    /// Of the list; each subkey has its own.
    pub fn keys(&self) -> Result<impl Iterator<Item = Result<Key<'a>, Error>> + use<'a>, Error> {
        let offsets = match (self.subkeys, self.subkey_list) {
            (0, _) | (_, NONE) => Vec::new(),
            (count, list) => subkey_list::read(self.hive, list, count)?,
        };
        let hive = self.hive;
        Ok(offsets.into_iter().map(move |offset| Key::read(hive, offset)))
    }

    /// Returns the subkey of this name.
    ///
    /// # Errors
    /// A cell on the way is damaged.
    pub fn key(&self, name: &str) -> Result<Option<Key<'a>>, Error> {
        for key in self.keys()? {
            let key = key?;
            if name::same(&key.name, name) {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    /// Returns the values.
    ///
    /// # Errors
    /// Of the list; each value has its own.
    pub fn values(&self) -> Result<impl Iterator<Item = Result<Value<'a>, Error>> + use<'a>, Error> {
        let list: &[U32] = match (self.values, self.value_list) {
            (0, _) | (_, NONE) => &[],
            (count, list) => {
                let cell = Cell::read(self.hive, list)?;
                Cell::list(cell.content, cell.at, count as usize, "as many values as the key says")?
            }
        };
        let hive = self.hive;
        Ok(list.iter().map(move |offset| key_value::Value::read(hive, offset.get())))
    }

    /// Returns the value of this name; the default value's name is empty.
    ///
    /// # Errors
    /// A cell on the way is damaged.
    pub fn value(&self, name: &str) -> Result<Option<Value<'a>>, Error> {
        for value in self.values()? {
            let value = value?;
            if name::same(value.name(), name) {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// Returns the `REG_DWORD` of this name; `None` where there is none, or one of another type or length.
    ///
    /// # Errors
    /// A cell on the way is damaged.
    pub fn dword(&self, name: &str) -> Result<Option<u32>, Error> {
        Ok(match self.value(name)? {
            Some(value) => value.dword()?,
            None => None,
        })
    }

    /// Returns the text of this name; `None` where there is none, or a value of another type.
    ///
    /// # Errors
    /// A cell on the way is damaged.
    pub fn text(&self, name: &str) -> Result<Option<String>, Error> {
        Ok(match self.value(name)? {
            Some(value) => value.text()?,
            None => None,
        })
    }
}
