//! Values (`vk`).

use alloc::{borrow::Cow, string::String, vec::Vec};
use zerocopy::{
    FromBytes, Immutable, KnownLayout, Unaligned,
    little_endian::{U16, U32},
};

use crate::{Error, Hive, big_data, cell::Cell, name};

/// The types of a value's data (winnt.h).
pub mod data_type {
    /// `REG_SZ`
    pub const SZ: u32 = 1;
    /// `REG_EXPAND_SZ`
    pub const EXPAND_SZ: u32 = 2;
    /// `REG_BINARY`
    pub const BINARY: u32 = 3;
    /// `REG_DWORD`
    pub const DWORD: u32 = 4;
    /// `REG_MULTI_SZ`
    pub const MULTI_SZ: u32 = 7;
}

/// A value's fixed part.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Layout {
    signature: [u8; 2],
    name_length: U16,
    data_size: U32,
    data: [u8; 4],
    data_type: U32,
    flags: U16,
    spare: U16,
}

const _: () = assert!(size_of::<Layout>() == 20);

/// `VALUE_COMP_NAME`: the name is Latin-1.
const COMPRESSED_NAME: u16 = 1;
/// In the size: the data, four bytes at most, stands in place of its offset.
const RESIDENT: u32 = 1 << 31;

/// A value of a key.
#[derive(Clone, Debug)]
pub struct Value<'a> {
    hive: &'a Hive<'a>,
    /// Offset in the file.
    at: usize,
    name: String,
    data_type: u32,
    size: u32,
    data: [u8; 4],
}

impl<'a> Value<'a> {
    pub(crate) fn read(hive: &'a Hive<'a>, offset: u32) -> Result<Value<'a>, Error> {
        let cell = Cell::read(hive, offset)?;
        let (layout, rest) = cell.split::<Layout>("a value")?;
        if &layout.signature != b"vk" {
            let [a, b] = layout.signature;
            return Err(Error::signature(cell.at, "\"vk\" (a value)", [a, b, 0, 0]));
        }
        let length = usize::from(layout.name_length.get());
        let name = rest.get(..length).ok_or(Error::end(cell.at + cell.content.len(), "a value's name"))?;
        Ok(Value {
            hive,
            at: cell.at,
            name: name::decode(name, layout.flags.get() & COMPRESSED_NAME != 0),
            data_type: layout.data_type.get(),
            size: layout.data_size.get(),
            data: layout.data,
        })
    }

    /// Returns the value's name; empty for the default value.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the type of the data; see [`data_type`].
    #[must_use]
    pub const fn data_type(&self) -> u32 {
        self.data_type
    }

    /// Returns the data.
    ///
    /// # Errors
    /// Its cell is damaged.
    pub fn data(&self) -> Result<Cow<'a, [u8]>, Error> {
        let size = (self.size & !RESIDENT) as usize;
        if self.size & RESIDENT != 0 {
            let data = self.data.get(..size);
            return data.map(|data| Cow::Owned(data.to_vec())).ok_or(Error::number(
                self.at + 4,
                "at most 4 bytes of resident data",
                size as u64,
            ));
        }
        if size == 0 {
            return Ok(Cow::Borrowed(&[]));
        }
        let cell = Cell::read(self.hive, u32::from_le_bytes(self.data))?;
        if size > big_data::SEGMENT && cell.content.starts_with(b"db") {
            return big_data::read(self.hive, &cell, size).map(Cow::Owned);
        }
        cell.first(size, "as much data as the value says").map(Cow::Borrowed)
    }

    /// Returns the number, if it is a `REG_DWORD` of four bytes.
    ///
    /// # Errors
    /// Its cell is damaged.
    pub fn dword(&self) -> Result<Option<u32>, Error> {
        if self.data_type != data_type::DWORD {
            return Ok(None);
        }
        Ok(<[u8; 4]>::try_from(&*self.data()?).ok().map(u32::from_le_bytes))
    }

    /// Returns the text up to its NUL, if it is a `REG_SZ` or `REG_EXPAND_SZ`.
    ///
    /// # Errors
    /// Its cell is damaged.
    pub fn text(&self) -> Result<Option<String>, Error> {
        if !matches!(self.data_type, data_type::SZ | data_type::EXPAND_SZ) {
            return Ok(None);
        }
        let mut text = name::utf16(&self.data()?);
        text.truncate(text.find('\0').unwrap_or(text.len()));
        Ok(Some(text))
    }

    /// Returns the texts, if it is a `REG_MULTI_SZ`.
    ///
    /// # Errors
    /// Its cell is damaged.
    pub fn texts(&self) -> Result<Option<Vec<String>>, Error> {
        if self.data_type != data_type::MULTI_SZ {
            return Ok(None);
        }
        let text = name::utf16(&self.data()?);
        Ok(Some(text.split('\0').take_while(|text| !text.is_empty()).map(String::from).collect()))
    }
}
