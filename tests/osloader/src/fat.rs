//! A FAT16 volume, read only (Microsoft's FAT specification 1.03).

use alloc::format;
use alloc::string::{String, ToString};
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
        let mut table = Vec::new();
        table.resize(table_sectors as usize * SECTOR, 0);
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
        let mut folder = Vec::new();
        folder.resize(self.root_sectors as usize * SECTOR, 0);
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

    /// Returns the device.
    pub fn into_inner(self) -> S {
        self.sectors
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
