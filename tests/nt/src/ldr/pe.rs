//! The PE32+ format as far as a boot loader reads it ("PE Format", Microsoft documentation).

use alloc::string::String;
use core::mem::size_of;

/// The defect of a malformed file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Malformed(pub &'static str);

/// A section's header.
#[derive(Clone)]
pub(crate) struct Section {
    pub name: String,
    pub virtual_size: usize,
    pub address: usize,
    pub raw_size: usize,
    pub raw_offset: usize,
    pub characteristics: u32,
}

/// `IMAGE_SCN_MEM_DISCARDABLE`.
pub(super) const DISCARDABLE: u32 = 0x0200_0000;
/// `IMAGE_SCN_MEM_EXECUTE`.
pub(super) const EXECUTE: u32 = 0x2000_0000;
/// `IMAGE_SCN_MEM_WRITE`.
pub(super) const WRITE: u32 = 0x8000_0000;

/// Index of a data directory.
#[derive(Clone, Copy)]
pub(super) enum Directory {
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
pub(super) struct Pe<'a> {
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
    pub(super) fn parse(file: &'a [u8]) -> Result<Self, Malformed> {
        let nt = read::<u32>(file, 0x3C)? as usize;
        if read::<u16>(file, 0)? != 0x5A4D || read::<u32>(file, nt)? != 0x4550 {
            return Err(Malformed("no PE signature"));
        }
        if read::<u16>(file, nt + 4)? != MACHINE_AMD64 {
            return Err(Malformed("not for x64"));
        }
        let optional = nt + 24;
        let pe = Self {
            file,
            optional,
            sections: optional + usize::from(read::<u16>(file, nt + 20)?),
            section_count: usize::from(read::<u16>(file, nt + 6)?),
        };
        if read::<u16>(file, optional)? != MAGIC_PE32_PLUS {
            return Err(Malformed("not PE32+"));
        }
        if read::<u16>(file, optional + 68)? != SUBSYSTEM_NATIVE {
            return Err(Malformed("subsystem is not native"));
        }
        if pe.field::<u32>(32)? < 4096 {
            return Err(Malformed("sections are not page-aligned"));
        }
        // The kernel refuses a boot driver whose checksum does not fit.
        if pe.field::<u32>(64)? != pe.checksum() {
            return Err(Malformed("checksum does not fit"));
        }
        Ok(pe)
    }

    fn field<T: Copy>(&self, offset: usize) -> Result<T, Malformed> {
        read(self.file, self.optional + offset)
    }

    /// `ImageBase`.
    pub(super) fn preferred_base(&self) -> Result<u64, Malformed> {
        self.field(24)
    }

    /// `AddressOfEntryPoint`.
    pub(super) fn entry(&self) -> Result<usize, Malformed> {
        Ok(self.field::<u32>(16)? as usize)
    }

    /// `SizeOfImage`.
    pub(super) fn image_size(&self) -> Result<usize, Malformed> {
        Ok(self.field::<u32>(56)? as usize)
    }

    /// `SizeOfHeaders`.
    pub(super) fn headers(&self) -> Result<&'a [u8], Malformed> {
        let size = self.field::<u32>(60)? as usize;
        self.file.get(..size).ok_or(Malformed("headers are cut off"))
    }

    /// Address and size of a data directory; `None` if there is none.
    pub(super) fn directory(&self, directory: Directory) -> Result<Option<(usize, usize)>, Malformed> {
        let index = directory as usize;
        if index >= self.field::<u32>(108)? as usize {
            return Ok(None);
        }
        let (address, size) = (self.field::<u32>(112 + index * 8)?, self.field::<u32>(116 + index * 8)?);
        Ok((address != 0).then_some((address as usize, size as usize)))
    }

    /// Returns the sections.
    pub(super) fn sections(&self) -> impl Iterator<Item = Result<Section, Malformed>> + '_ {
        (0..self.section_count).map(|i| {
            let at = self.sections + i * 40;
            let name = self.file.get(at..at + 8).ok_or(Malformed("section headers are cut off"))?;
            let end = name.iter().position(|&b| b == 0).unwrap_or(8);
            Ok(Section {
                name: String::from_utf8_lossy(&name[..end]).into_owned(),
                virtual_size: read::<u32>(self.file, at + 8)? as usize,
                address: read::<u32>(self.file, at + 12)? as usize,
                raw_size: read::<u32>(self.file, at + 16)? as usize,
                raw_offset: read::<u32>(self.file, at + 20)? as usize,
                characteristics: read::<u32>(self.file, at + 36)?,
            })
        })
    }

    /// Returns a section's bytes in the file.
    pub(super) fn raw(&self, section: &Section) -> Result<&'a [u8], Malformed> {
        let size = section.raw_size.min(section.virtual_size);
        self.file.get(section.raw_offset..section.raw_offset + size).ok_or(Malformed("a section is cut off"))
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

fn read<T: Copy>(file: &[u8], offset: usize) -> Result<T, Malformed> {
    let bytes = file.get(offset..offset + size_of::<T>()).ok_or(Malformed("headers are cut off"))?;
    // SAFETY: the slice has the type's size; T is an unsigned integer wherever this is called.
    Ok(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}
