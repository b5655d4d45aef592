//! A FAT16 volume, read only (Microsoft's FAT specification 1.03).

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

/// Bytes of a sector.
pub const SECTOR: usize = 512;
/// Bytes of a directory's entry.
const ENTRY: usize = 32;
/// Attribute of the volume's label.
const LABEL: u8 = 8;
/// Attribute of a folder.
const FOLDER: u8 = 0x10;
/// Attributes of an entry with a part of a long name.
const LONG_NAME: u8 = 0x0F;
/// Offsets of the characters of such a part.
const UNITS: [usize; 13] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];
/// Clusters from this number on are the last ones, or bad.
const LAST: u16 = 0xFFF7;

/// Sectors of the volume, counted from its first.
pub trait Sectors {
    /// Reads as many sectors as the buffer holds.
    ///
    /// # Errors
    /// In a line.
    fn read(&mut self, first: u32, buffer: &mut [u8]) -> Result<(), String>;
}

/// The volume.
#[derive(Debug)]
pub struct Fat<S> {
    sectors: S,
    table: Vec<u8>,
    root: u32,
    root_sectors: u32,
    per_cluster: u32,
}

/// A file or folder.
struct Found {
    cluster: u16,
    size: usize,
    folder: bool,
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

impl<S: Sectors> Fat<S> {
    /// Reads the boot sector and the allocation table.
    ///
    /// # Errors
    /// The volume cannot be read, or is not of FAT16.
    pub fn new(mut sectors: S) -> Result<Self, String> {
        let mut boot = [0; SECTOR];
        sectors.read(0, &mut boot)?;
        let field = |at| u32::from(u16_at(&boot, at));
        let (reserved, tables, table_sectors) = (field(14), u32::from(boot[16]), field(22));
        if u16_at(&boot, 510) != 0xAA55 || field(11) != SECTOR as u32 || &boot[54..59] != b"FAT16" {
            return Err("the volume is not of FAT16".to_string());
        }
        let mut table = vec![0; table_sectors as usize * SECTOR];
        sectors.read(reserved, &mut table)?;
        Ok(Self {
            sectors,
            table,
            root: reserved + tables * table_sectors,
            root_sectors: field(17) * ENTRY as u32 / SECTOR as u32,
            per_cluster: u32::from(boot[13]),
        })
    }

    /// Reads what begins in a cluster, in whole clusters.
    fn chain(&mut self, first: u16) -> Result<Vec<u8>, String> {
        let bytes = self.per_cluster as usize * SECTOR;
        let mut content = Vec::new();
        let mut cluster = first;
        while (2..LAST).contains(&cluster) {
            // Clusters that follow each other come in one request.
            let start = cluster;
            let mut count = 0;
            let mut next = cluster;
            while next == start + count && next >= 2 && content.len() < self.table.len() * bytes {
                count += 1;
                next = match self.table.get(usize::from(start + count - 1) * 2..) {
                    Some(entry) if entry.len() >= 2 => u16_at(entry, 0),
                    _ => return Err(format!("cluster {next} is behind the allocation table")),
                };
            }
            if count == 0 {
                return Err("a chain of clusters has no end".to_string());
            }
            let at = content.len();
            content.resize(at + usize::from(count) * bytes, 0);
            let data = self.root + self.root_sectors;
            self.sectors.read(data + u32::from(start - 2) * self.per_cluster, &mut content[at..])?;
            cluster = next;
        }
        Ok(content)
    }

    /// Returns the contents of the file of a path such as `\folder\file`, in any case; `None` if there is none.
    ///
    /// # Errors
    /// The volume cannot be read or is damaged.
    pub fn file(&mut self, path: &str) -> Result<Option<Vec<u8>>, String> {
        let mut folder = vec![0; self.root_sectors as usize * SECTOR];
        self.sectors.read(self.root, &mut folder)?;
        let mut parts = path.split('\\').filter(|part| !part.is_empty()).peekable();
        while let Some(name) = parts.next() {
            let Some(found) = entry(&folder, name) else { return Ok(None) };
            let last = parts.peek().is_none();
            if found.folder == last {
                return Ok(None);
            }
            let mut content = self.chain(found.cluster)?;
            if last {
                if content.len() < found.size {
                    return Err(format!("{path} is cut off"));
                }
                content.truncate(found.size);
                return Ok(Some(content));
            }
            folder = content;
        }
        Ok(None)
    }
}

/// Finds a name in a folder, among long names and short ones.
fn entry(folder: &[u8], name: &str) -> Option<Found> {
    let mut long: Vec<u16> = Vec::new();
    for entry in folder.chunks_exact(ENTRY) {
        let attributes = entry[11];
        match entry[0] {
            0 => return None,
            0xE5 => long.clear(),
            number if attributes == LONG_NAME => {
                if number & 0x40 != 0 {
                    long.clear();
                }
                // The parts come from the last to the first.
                let units = UNITS.map(|at| u16_at(entry, at));
                let units = units.into_iter().take_while(|&unit| unit != 0);
                long = units.chain(long.iter().copied()).collect();
            }
            _ if attributes & LABEL != 0 => long.clear(),
            _ => {
                let part = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_string();
                let (stem, extension) = (part(&entry[..8]), part(&entry[8..11]));
                let short = if extension.is_empty() { stem } else { format!("{stem}.{extension}") };
                let long = String::from_utf16_lossy(&core::mem::take(&mut long));
                if short.eq_ignore_ascii_case(name) || long.eq_ignore_ascii_case(name) {
                    return Some(Found {
                        cluster: u16_at(entry, 26),
                        size: u32::from_le_bytes([entry[28], entry[29], entry[30], entry[31]]) as usize,
                        folder: attributes & FOLDER != 0,
                    });
                }
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sectors of the test's volume: boot sector, a table of 1, a root folder of 1, and clusters of 1.
    const DATA: usize = 3;

    struct Memory(Vec<u8>);

    impl Sectors for Memory {
        fn read(&mut self, first: u32, buffer: &mut [u8]) -> Result<(), String> {
            let start = first as usize * SECTOR;
            let bytes = self.0.get(start..start + buffer.len()).ok_or("behind the end")?;
            buffer.copy_from_slice(bytes);
            Ok(())
        }
    }

    /// Returns a volume with these chains, and its root folder.
    fn volume(chains: &[&[u16]], root: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; (DATA + 20) * SECTOR];
        let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
        put(11, &512u16.to_le_bytes());
        put(13, &[1]);
        put(14, &1u16.to_le_bytes());
        put(16, &[1]);
        put(17, &16u16.to_le_bytes());
        put(22, &1u16.to_le_bytes());
        put(54, b"FAT16   ");
        put(510, &[0x55, 0xAA]);
        for chain in chains {
            for (n, &cluster) in chain.iter().enumerate() {
                let next = chain.get(n + 1).copied().unwrap_or(0xFFFF);
                put(SECTOR + usize::from(cluster) * 2, &next.to_le_bytes());
            }
        }
        put(2 * SECTOR, root);
        for cluster in 2..20 {
            put((DATA + cluster - 2) * SECTOR, &[cluster as u8; SECTOR]);
        }
        bytes
    }

    fn entry(name: &[u8; 11], attributes: u8, cluster: u16, size: u32) -> Vec<u8> {
        let mut entry = vec![0; ENTRY];
        entry[..11].copy_from_slice(name);
        entry[11] = attributes;
        entry[26..28].copy_from_slice(&cluster.to_le_bytes());
        entry[28..].copy_from_slice(&size.to_le_bytes());
        entry
    }

    /// Returns the entries of a long name.
    fn long(name: &str) -> Vec<u8> {
        let units: Vec<u16> = name.encode_utf16().collect();
        let mut all = Vec::new();
        for (n, part) in units.chunks(UNITS.len()).enumerate().rev() {
            let mut entry = vec![0xFF; ENTRY];
            let last = n + 1 == units.len().div_ceil(UNITS.len());
            (entry[0], entry[11]) = ((n as u8 + 1) | if last { 0x40 } else { 0 }, LONG_NAME);
            for (at, unit) in UNITS.into_iter().zip(part.iter().copied().chain([0])) {
                entry[at..at + 2].copy_from_slice(&unit.to_le_bytes());
            }
            all.extend(entry);
        }
        all
    }

    #[test]
    fn a_file_in_pieces_is_put_together() {
        let root = [entry(b"LABEL      ", LABEL, 0, 0), entry(b"A       SYS", 0, 5, 1200)].concat();
        let mut fat = Fat::new(Memory(volume(&[&[5, 6, 3]], &root))).unwrap();
        let file = fat.file("\\a.sys").unwrap().unwrap();
        assert_eq!(file, [vec![5; SECTOR], vec![6; SECTOR], vec![3; 1200 - 2 * SECTOR]].concat());
        assert_eq!(fat.file("\\b.sys").unwrap(), None);
        assert_eq!(fat.file("\\a.sys\\b").unwrap(), None);
    }

    #[test]
    fn names_are_long_or_short_and_in_any_case() {
        let name = "idefallback-longer.sys";
        let root = [vec![0xE5; ENTRY], long(name), entry(b"IDEFAL~1SYS", 0, 4, 1)].concat();
        let mut fat = Fat::new(Memory(volume(&[&[4]], &root))).unwrap();
        for name in [name, "IDEFALLBACK-LONGER.SYS", "idefal~1.sys"] {
            assert_eq!(fat.file(name).unwrap(), Some(vec![4]), "{name}");
        }
        assert_eq!(fat.file("idefallback").unwrap(), None);
    }

    #[test]
    fn folders_are_followed() {
        let mut bytes = volume(&[&[7], &[8]], &entry(b"FOLDER     ", FOLDER, 7, 0));
        let at = (DATA + 5) * SECTOR;
        bytes[at..at + SECTOR].fill(0);
        bytes[at..at + ENTRY].copy_from_slice(&entry(b"FILE       ", 0, 8, 2));
        let mut fat = Fat::new(Memory(bytes)).unwrap();
        assert_eq!(fat.file("\\Folder\\file").unwrap(), Some(vec![8, 8]));
        assert_eq!(fat.file("\\Folder").unwrap(), None);
    }

    #[test]
    fn what_is_damaged_is_an_error_and_ends() {
        let chains: [&[u16]; 2] = [&[5, 6, 5], &[5]];
        for chain in chains {
            let mut bytes = volume(&[chain], &entry(b"A          ", 0, 5, 100_000));
            if chain.len() > 1 {
                // In a ring.
                bytes[SECTOR + 12..SECTOR + 14].copy_from_slice(&5u16.to_le_bytes());
            }
            assert!(Fat::new(Memory(bytes)).unwrap().file("\\a").is_err());
        }
        assert!(Fat::new(Memory(vec![0; SECTOR])).is_err());
    }
}
