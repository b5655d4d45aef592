//! The version resource (`VS_VERSIONINFO`, Windows SDK "Version Information").

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

/// The signature of `VS_FIXEDFILEINFO`.
const FIXED_SIGNATURE: u32 = 0xfeef_04bd;

/// Contents of a version resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Version {
    /// The file version's four numbers.
    pub file: [u16; 4],
    /// The strings of its string table, by name.
    pub strings: BTreeMap<String, String>,
}

impl Version {
    /// Reads the resource's data.
    ///
    /// # Errors
    /// When it is not a version resource, or cut short.
    pub(super) fn parse(data: &[u8]) -> Result<Self> {
        let root = Block::parse(data)?;
        if root.key != "VS_VERSION_INFO" {
            bail!("the version resource is called {:?}", root.key);
        }
        let word = |offset| Some(u32::from_le_bytes(root.value.get(offset..offset + 4)?.try_into().ok()?));
        let fixed = [0, 8, 12].map(word);
        let [Some(FIXED_SIGNATURE), Some(high), Some(low)] = fixed else { bail!("no VS_FIXEDFILEINFO") };
        let mut version = Self {
            file: [(high >> 16) as u16, high as u16, (low >> 16) as u16, low as u16],
            ..Self::default()
        };
        for information in root.children()? {
            if information.key != "StringFileInfo" {
                continue;
            }
            for table in information.children()? {
                for string in table.children()? {
                    version.strings.insert(string.key.clone(), string.text()?);
                }
            }
        }
        Ok(version)
    }
}

/// One node: length, value's length, type, key, value, children; key, value and each child start at a
/// multiple of four bytes.
struct Block<'a> {
    length: usize,
    key: String,
    value: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Block<'a> {
    fn parse(data: &'a [u8]) -> Result<Self> {
        let word = |offset: usize| Some(u16::from_le_bytes([*data.get(offset)?, *data.get(offset + 1)?]));
        let header = [0, 2, 4].map(|offset| word(offset).map(usize::from));
        let [Some(length), Some(value_length), Some(kind)] = header else {
            bail!("a block without a header")
        };
        let data = data.get(..length).context("a block longer than what holds it")?;

        let units = data.get(6..).unwrap_or_default().chunks_exact(2);
        let key: Vec<u16> =
            units.map(|unit| u16::from_le_bytes([unit[0], unit[1]])).take_while(|&u| u != 0).collect();
        // Type 1 is text, whose length counts UTF-16 units.
        let value_bytes = if kind == 1 { value_length * 2 } else { value_length };
        let value_start = aligned(6 + 2 * (key.len() + 1));
        let value_end = value_start + value_bytes;
        let value = if value_bytes == 0 {
            &[]
        } else {
            data.get(value_start..value_end).context("a value longer than its block")?
        };
        let rest = data.get(aligned(value_end)..).unwrap_or_default();
        Ok(Self { length, key: String::from_utf16(&key)?, value, rest })
    }

    fn children(&self) -> Result<Vec<Block<'a>>> {
        let mut rest = self.rest;
        let mut children = Vec::new();
        while !rest.is_empty() {
            let child = Block::parse(rest)?;
            if child.length == 0 {
                bail!("a block of length 0");
            }
            rest = rest.get(aligned(child.length)..).unwrap_or_default();
            children.push(child);
        }
        Ok(children)
    }

    fn text(&self) -> Result<String> {
        let units: Vec<_> =
            self.value.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])).collect();
        Ok(String::from_utf16(&units)?.trim_end_matches('\0').to_owned())
    }
}

fn aligned(offset: usize) -> usize {
    offset.next_multiple_of(4)
}
