//! The PE32+ format as far as a boot loader reads it ("PE Format", Microsoft documentation).

use alloc::string::String;
use alloc::vec::Vec;

/// The defect of a malformed file.
#[derive(Clone, Copy, Debug)]
pub struct Malformed(pub &'static str);

/// A section's header.
#[derive(Clone, Debug)]
pub struct Section {
    /// Its name.
    pub name: String,
    /// Its bytes in memory.
    pub virtual_size: usize,
    /// Its address, counted from the image's start.
    pub address: usize,
    /// Its bytes in the file.
    pub raw_size: usize,
    /// Its place in the file.
    pub raw_offset: usize,
    /// `IMAGE_SCN_*`.
    pub characteristics: u32,
}

/// `IMAGE_SCN_MEM_DISCARDABLE`.
pub const DISCARDABLE: u32 = 0x0200_0000;
/// `IMAGE_SCN_MEM_EXECUTE`.
pub const EXECUTE: u32 = 0x2000_0000;
/// `IMAGE_SCN_MEM_WRITE`.
pub const WRITE: u32 = 0x8000_0000;

/// Index of a data directory.
#[derive(Clone, Copy, Debug)]
pub enum Directory {
    /// Exports.
    Export = 0,
    /// Imports.
    Import = 1,
    /// Base relocations.
    Relocation = 5,
    /// Load configuration.
    LoadConfig = 10,
}

/// A file's headers.
#[derive(Debug)]
pub struct Pe<'a> {
    file: &'a [u8],
    optional: usize,
    sections: usize,
    section_count: usize,
}

const MACHINE_AMD64: u16 = 0x8664;
const MAGIC_PE32_PLUS: u16 = 0x20B;
const SUBSYSTEM_NATIVE: u16 = 1;

impl<'a> Pe<'a> {
    /// Checks the headers of a driver file.
    pub fn parse(file: &'a [u8]) -> Result<Self, Malformed> {
        let nt = read_u32(file, 0x3C)? as usize;
        if read_u16(file, 0)? != 0x5A4D || read_u32(file, nt)? != 0x4550 {
            return Err(Malformed("no PE signature"));
        }
        if read_u16(file, nt + 4)? != MACHINE_AMD64 {
            return Err(Malformed("not for x64"));
        }
        let optional = nt + 24;
        let pe = Self {
            file,
            optional,
            sections: optional + usize::from(read_u16(file, nt + 20)?),
            section_count: usize::from(read_u16(file, nt + 6)?),
        };
        if read_u16(file, optional)? != MAGIC_PE32_PLUS {
            return Err(Malformed("not PE32+"));
        }
        if read_u16(file, optional + 68)? != SUBSYSTEM_NATIVE {
            return Err(Malformed("subsystem is not native"));
        }
        if pe.field(32)? < 4096 {
            return Err(Malformed("sections are not page-aligned"));
        }
        // The kernel refuses a boot driver whose checksum does not fit.
        if pe.field(64)? != pe.checksum() {
            return Err(Malformed("checksum does not fit"));
        }
        Ok(pe)
    }

    fn field(&self, offset: usize) -> Result<u32, Malformed> {
        read_u32(self.file, self.optional + offset)
    }

    /// Returns `ImageBase`.
    pub fn preferred_base(&self) -> Result<u64, Malformed> {
        read(self.file, self.optional + 24).map(u64::from_le_bytes)
    }

    /// Returns `AddressOfEntryPoint`.
    pub fn entry(&self) -> Result<usize, Malformed> {
        Ok(self.field(16)? as usize)
    }

    /// Returns `SizeOfImage`.
    pub fn image_size(&self) -> Result<usize, Malformed> {
        Ok(self.field(56)? as usize)
    }

    /// Returns the bytes of `SizeOfHeaders`.
    pub fn headers(&self) -> Result<&'a [u8], Malformed> {
        let size = self.field(60)? as usize;
        self.file.get(..size).ok_or(Malformed("headers are cut off"))
    }

    /// Returns address and size of a data directory; `None` if there is none.
    pub fn directory(&self, directory: Directory) -> Result<Option<(usize, usize)>, Malformed> {
        let index = directory as usize;
        if index >= self.field(108)? as usize {
            return Ok(None);
        }
        let (address, size) = (self.field(112 + index * 8)?, self.field(116 + index * 8)?);
        Ok((address != 0).then_some((address as usize, size as usize)))
    }

    /// Returns the sections.
    pub fn sections(&self) -> impl Iterator<Item = Result<Section, Malformed>> + '_ {
        (0..self.section_count).map(|i| {
            let at = self.sections + i * 40;
            let name = self.file.get(at..at + 8).ok_or(Malformed("section headers are cut off"))?;
            let end = name.iter().position(|&b| b == 0).unwrap_or(8);
            Ok(Section {
                name: String::from_utf8_lossy(&name[..end]).into_owned(),
                virtual_size: read_u32(self.file, at + 8)? as usize,
                address: read_u32(self.file, at + 12)? as usize,
                raw_size: read_u32(self.file, at + 16)? as usize,
                raw_offset: read_u32(self.file, at + 20)? as usize,
                characteristics: read_u32(self.file, at + 36)?,
            })
        })
    }

    /// Returns a section's bytes in the file.
    pub fn raw(&self, section: &Section) -> Result<&'a [u8], Malformed> {
        let size = section.raw_size.min(section.virtual_size);
        self.file.get(section.raw_offset..section.raw_offset + size).ok_or(Malformed("a section is cut off"))
    }

    /// Returns the modules that the file imports from.
    ///
    /// # Errors
    /// The table of imports lies outside of the file.
    pub fn imports(&self) -> Result<Vec<String>, Malformed> {
        let mut modules = Vec::new();
        let Some((directory, _)) = self.directory(Directory::Import)? else { return Ok(modules) };
        for descriptor in (directory..).step_by(20) {
            let name = read_u32(self.at(descriptor)?, 12)? as usize;
            if name == 0 {
                break;
            }
            let name = self.at(name)?;
            let end = name.iter().position(|&byte| byte == 0).ok_or(Malformed("a name does not end"))?;
            modules.push(String::from_utf8_lossy(&name[..end]).into_owned());
        }
        Ok(modules)
    }

    /// Returns the bytes of the file from an address in the image on, to the end of its section.
    fn at(&self, address: usize) -> Result<&'a [u8], Malformed> {
        for section in self.sections() {
            let section = section?;
            if let Some(within) = address.checked_sub(section.address)
                && let Some(bytes) = self.raw(&section)?.get(within..).filter(|bytes| !bytes.is_empty())
            {
                return Ok(bytes);
            }
        }
        Err(Malformed("a table lies outside of the image"))
    }

    /// Returns the checksum `CheckSumMappedFile` computes: 16-bit words with end-around carry, the field
    /// itself left out, plus the file's length.
    fn checksum(&self) -> u32 {
        let field = self.optional + 64;
        let mut sum = 0u32;
        for (i, pair) in self.file.chunks(2).enumerate() {
            if (field..field + 4).contains(&(i * 2)) {
                continue;
            }
            sum += u32::from(pair[0]) | u32::from(*pair.get(1).unwrap_or(&0)) << 8;
            sum = (sum & 0xFFFF) + (sum >> 16);
        }
        sum + self.file.len() as u32
    }
}

fn read<const N: usize>(file: &[u8], offset: usize) -> Result<[u8; N], Malformed> {
    let bytes = offset.checked_add(N).and_then(|end| file.get(offset..end));
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or(Malformed("headers are cut off"))
}

fn read_u16(file: &[u8], offset: usize) -> Result<u16, Malformed> {
    read(file, offset).map(u16::from_le_bytes)
}

fn read_u32(file: &[u8], offset: usize) -> Result<u32, Malformed> {
    read(file, offset).map(u32::from_le_bytes)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::vec;

    use super::*;

    const NT: usize = 0x40;
    const OPTIONAL: usize = NT + 24;
    const SECTION: usize = OPTIONAL + 240;
    /// The one section's place in the file, and in the image.
    const RAW: usize = 0x200;
    const ADDRESS: u32 = 0x1000;

    /// Returns a driver file that imports from a module.
    pub(crate) fn driver(module: &str) -> Vec<u8> {
        let mut file = vec![0; RAW + 0x200];
        let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"MZ");
        put(0x3C, &(NT as u32).to_le_bytes());
        put(NT, b"PE\0\0");
        put(NT + 4, &MACHINE_AMD64.to_le_bytes());
        put(NT + 6, &1u16.to_le_bytes());
        put(NT + 20, &240u16.to_le_bytes());
        put(OPTIONAL, &MAGIC_PE32_PLUS.to_le_bytes());
        put(OPTIONAL + 32, &4096u32.to_le_bytes());
        put(OPTIONAL + 68, &SUBSYSTEM_NATIVE.to_le_bytes());
        put(OPTIONAL + 108, &16u32.to_le_bytes());
        put(OPTIONAL + 112 + 8 * Directory::Import as usize, &ADDRESS.to_le_bytes());
        for (field, number) in [(8, 0x200), (12, ADDRESS), (16, 0x200), (20, RAW as u32)] {
            put(SECTION + field, &number.to_le_bytes());
        }
        put(RAW + 12, &(ADDRESS + 0x40).to_le_bytes());
        put(RAW + 0x40, module.as_bytes());
        let pe = Pe { file: &file, optional: OPTIONAL, sections: SECTION, section_count: 1 };
        let sum = pe.checksum();
        file[OPTIONAL + 64..OPTIONAL + 68].copy_from_slice(&sum.to_le_bytes());
        file
    }

    #[test]
    fn imports_are_read() {
        assert_eq!(Pe::parse(&driver("ntoskrnl.exe")).unwrap().imports().unwrap(), ["ntoskrnl.exe"]);
    }

    #[test]
    fn a_damaged_file_is_refused() {
        let mut file = driver("x.sys");
        let last = file.len() - 1;
        file[last] ^= 1;
        assert!(Pe::parse(&file).is_err());
    }

    #[test]
    fn a_file_that_is_cut_off_is_no_panic() {
        let file = driver("x.sys");
        for length in 0..file.len() {
            let _ = Pe::parse(&file[..length]).and_then(|pe| pe.imports());
        }
    }
}
