//! Makes small hives, for tests: a tree of keys and values becomes a `regf` file that other readers take too.

pub mod log;

use alloc::{collections::BTreeMap, string::String, vec, vec::Vec};

use crate::{
    base_block,
    cell::NONE,
    key_value::data_type::{BINARY, DWORD, MULTI_SZ, SZ},
};

/// A key: its values and subkeys. Names are ASCII.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    keys: BTreeMap<String, Tree>,
    values: BTreeMap<String, (u32, Vec<u8>)>,
}

impl Tree {
    /// Returns an empty key.
    #[must_use]
    pub fn new() -> Tree {
        Tree::default()
    }

    /// Adds a subkey; a path with backslashes makes the keys on the way.
    #[must_use]
    pub fn with_key(mut self, path: &str, key: Tree) -> Tree {
        let mut place = &mut self;
        for name in path.split('\\') {
            place = place.keys.entry(name.into()).or_default();
        }
        place.keys.extend(key.keys);
        place.values.extend(key.values);
        self
    }

    /// Adds a value.
    #[must_use]
    pub fn with_value(mut self, name: &str, data_type: u32, data: &[u8]) -> Tree {
        self.values.insert(name.into(), (data_type, data.into()));
        self
    }

    /// Adds a `REG_DWORD`.
    #[must_use]
    pub fn with_dword(self, name: &str, number: u32) -> Tree {
        self.with_value(name, DWORD, &number.to_le_bytes())
    }

    /// Adds a `REG_SZ`.
    #[must_use]
    pub fn with_text(self, name: &str, text: &str) -> Tree {
        self.with_value(name, SZ, &utf16(&[text]))
    }

    /// Adds a `REG_MULTI_SZ`.
    #[must_use]
    pub fn with_texts(self, name: &str, texts: &[&str]) -> Tree {
        let mut data = utf16(texts);
        data.extend([0, 0]);
        self.with_value(name, MULTI_SZ, &data)
    }

    /// Adds a `REG_BINARY`.
    #[must_use]
    pub fn with_binary(self, name: &str, data: &[u8]) -> Tree {
        self.with_value(name, BINARY, data)
    }

    /// Returns the number of keys, with this one.
    fn count(&self) -> u32 {
        1 + self.keys.values().map(Tree::count).sum::<u32>()
    }

    /// Returns the hive file whose root has this name.
    #[must_use]
    pub fn hive(&self, root: &str) -> Vec<u8> {
        let mut cells = Cells(vec![0; HEADER]);
        let security = cells.security(self.count());
        let root = cells.key(root, self, NONE, security, ROOT_FLAGS);
        let size = cells.0.len().next_multiple_of(base_block::SIZE);
        cells.close(size);

        let mut base = vec![0; base_block::SIZE];
        for (at, field) in
            [(4, 1), (8, 1), (20, 1), (24, 5), (28, 0), (32, 1), (36, root), (40, size as u32), (44, 1)]
        {
            put(&mut base, at, field);
        }
        base[..4].copy_from_slice(b"regf");
        let sum = base_block::checksum(&base);
        put(&mut base, 508, sum);
        base.extend(cells.0);
        base
    }
}

/// Size of a bin's header.
const HEADER: usize = 32;
/// `KEY_HIVE_ENTRY`, `KEY_NO_DELETE`, `KEY_COMP_NAME`.
const ROOT_FLAGS: u16 = 0x002c;
/// `KEY_COMP_NAME`.
const FLAGS: u16 = 0x0020;

/// One bin, as far as it is filled.
struct Cells(Vec<u8>);

impl Cells {
    /// Adds a cell and returns its offset.
    fn add(&mut self, content: &[u8]) -> u32 {
        let offset = self.0.len();
        let size = (content.len() + 4).next_multiple_of(8).max(16);
        self.0.extend((-(size as i32)).to_le_bytes());
        self.0.extend(content);
        self.0.resize(offset + size, 0);
        offset as u32
    }

    /// Returns a security descriptor that all keys share, so many: self-relative, with nothing in it.
    fn security(&mut self, keys: u32) -> u32 {
        let own = self.0.len() as u32;
        let mut cell = Vec::from(*b"sk\0\0");
        for field in [own, own, keys, 20] {
            cell.extend(field.to_le_bytes());
        }
        cell.extend([1, 0, 0, 0x80]);
        cell.extend([0; 16]);
        self.add(&cell)
    }

    fn key(&mut self, name: &str, tree: &Tree, parent: u32, security: u32, flags: u16) -> u32 {
        let mut cell = Vec::from(*b"nk");
        cell.extend(flags.to_le_bytes());
        cell.extend([0; 12]);
        for field in
            [parent, tree.keys.len() as u32, 0, NONE, NONE, tree.values.len() as u32, NONE, security, NONE]
        {
            cell.extend(field.to_le_bytes());
        }
        cell.extend([0; 20]);
        cell.extend((name.len() as u16).to_le_bytes());
        cell.extend([0; 2]);
        cell.extend(name.as_bytes());
        let own = self.add(&cell);

        if !tree.values.is_empty() {
            let offsets: Vec<_> = tree.values.iter().map(|(name, value)| self.value(name, value)).collect();
            let list = self.list(&offsets);
            self.patch(own, 40, list);
        }
        if !tree.keys.is_empty() {
            // The registry sorts subkeys by their upper-cased names.
            let mut keys: Vec<_> = tree.keys.iter().collect();
            keys.sort_by_key(|(name, _)| name.to_ascii_uppercase());
            let mut list = Vec::from(*b"lh");
            list.extend((keys.len() as u16).to_le_bytes());
            for (name, tree) in keys {
                let key = self.key(name, tree, own, security, FLAGS);
                let hash = name.bytes().fold(0_u32, |hash, byte| {
                    hash.wrapping_mul(37).wrapping_add(byte.to_ascii_uppercase().into())
                });
                list.extend(key.to_le_bytes());
                list.extend(hash.to_le_bytes());
            }
            let list = self.add(&list);
            self.patch(own, 28, list);
        }
        own
    }

    fn value(&mut self, name: &str, (data_type, data): &(u32, Vec<u8>)) -> u32 {
        let (size, place) = if data.len() <= 4 {
            let mut resident = [0; 4];
            resident[..data.len()].copy_from_slice(data);
            (data.len() as u32 | 1 << 31, u32::from_le_bytes(resident))
        } else {
            (data.len() as u32, self.data(data))
        };
        let mut cell = Vec::from(*b"vk");
        cell.extend((name.len() as u16).to_le_bytes());
        for field in [size, place, *data_type, 1] {
            cell.extend(field.to_le_bytes());
        }
        cell.extend(name.as_bytes());
        self.add(&cell)
    }

    fn data(&mut self, data: &[u8]) -> u32 {
        if data.len() <= crate::big_data::SEGMENT {
            return self.add(data);
        }
        let segments: Vec<_> =
            data.chunks(crate::big_data::SEGMENT).map(|segment| self.add(segment)).collect();
        let list = self.list(&segments);
        let mut cell = Vec::from(*b"db");
        cell.extend((segments.len() as u16).to_le_bytes());
        cell.extend(list.to_le_bytes());
        self.add(&cell)
    }

    fn list(&mut self, offsets: &[u32]) -> u32 {
        let bytes: Vec<_> = offsets.iter().flat_map(|offset| offset.to_le_bytes()).collect();
        self.add(&bytes)
    }

    /// Writes a field of a cell's content.
    fn patch(&mut self, cell: u32, field: usize, value: u32) {
        put(&mut self.0, cell as usize + 4 + field, value);
    }

    /// Fills the bin up to `size` with a free cell and writes its header.
    fn close(&mut self, size: usize) {
        let free = size - self.0.len();
        if free > 0 {
            self.0.extend((free as u32).to_le_bytes());
            self.0.resize(size, 0);
        }
        self.0[..4].copy_from_slice(b"hbin");
        put(&mut self.0, 8, size as u32);
    }
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// Texts in UTF-16, each with its NUL.
fn utf16(texts: &[&str]) -> Vec<u8> {
    texts.iter().flat_map(|text| text.encode_utf16().chain([0])).flat_map(u16::to_le_bytes).collect()
}
