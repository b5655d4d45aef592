//! The parts of an image that the rules need.

use std::{collections::BTreeMap, ops::Range};

use anyhow::{Context, Result, anyhow, bail};
use object::{
    LittleEndian as LE, Object,
    pe::{self, ImageNtHeaders64},
    read::pe::{Import as ImportName, PeFile64, ResourceDirectory, ResourceNameOrId},
};

use super::{messages, version::Version};

/// Offset of the image's checksum in the optional header.
const CHECKSUM_IN_OPTIONAL_HEADER: usize = 64;
/// The optional header follows the signature and the file header.
const OPTIONAL_HEADER: usize = 24;

/// A section's header.
#[derive(Clone, Debug)]
pub(super) struct Section {
    /// Its name, without padding.
    pub name: String,
    /// Its addresses once loaded.
    pub addresses: Range<u32>,
    /// `IMAGE_SCN_*`.
    pub characteristics: u32,
}

impl Section {
    /// Returns true if all of these `IMAGE_SCN_*` bits are set.
    pub(super) fn has(&self, bits: pe::SectionFlags) -> bool {
        self.characteristics & bits.0 == bits.0
    }
}

/// One imported routine or variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Import {
    /// The image that exports it, in lower case.
    pub library: String,
    /// Its name; `None` when it is imported by ordinal.
    pub name: Option<String>,
}

/// An image, as far as the rules go.
#[derive(Clone, Debug)]
pub(super) struct Image {
    /// `IMAGE_FILE_MACHINE_*`.
    pub machine: u16,
    /// `IMAGE_FILE_*`.
    pub file_characteristics: u16,
    /// `IMAGE_SUBSYSTEM_*`.
    pub subsystem: u16,
    /// Major and minor.
    pub subsystem_version: (u16, u16),
    /// Major and minor.
    pub os_version: (u16, u16),
    /// `IMAGE_DLLCHARACTERISTICS_*`.
    pub dll_characteristics: u16,
    /// The checksum in the header.
    pub checksum: u32,
    /// Offset of the checksum in the file.
    pub checksum_offset: usize,
    /// The entry point's address.
    pub entry: u32,
    /// In the file's order.
    pub sections: Vec<Section>,
    /// Indices of the data directories that are not empty.
    pub directories: Vec<usize>,
    /// In the file's order.
    pub imports: Vec<Import>,
    /// Names only; `None` for one without a name.
    pub exports: Vec<Option<String>>,
    /// Number of addresses that the loader adjusts.
    pub relocations: usize,
    /// The version resource, if there is one.
    pub version: Option<Version>,
    /// The message table's texts by code; empty where there is none.
    pub messages: BTreeMap<u32, String>,
    /// The symbol file's name and GUID, if the image refers to one.
    pub symbols: Option<(String, [u8; 16])>,
}

impl Image {
    /// Reads a 64-bit image.
    ///
    /// # Errors
    /// When a header or a table is malformed; the message says which.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self> {
        let file = PeFile64::parse(bytes).context("headers")?;
        let ImageNtHeaders64 { file_header, optional_header: header, .. } = file.nt_headers();
        let optional_header = file.dos_header().nt_headers_offset() as usize + OPTIONAL_HEADER;
        let directories = file.data_directories();
        Ok(Self {
            machine: file_header.machine.get(LE).0,
            file_characteristics: file_header.characteristics.get(LE).0,
            subsystem: header.subsystem.get(LE).0,
            subsystem_version: (
                header.major_subsystem_version.get(LE),
                header.minor_subsystem_version.get(LE),
            ),
            os_version: (
                header.major_operating_system_version.get(LE),
                header.minor_operating_system_version.get(LE),
            ),
            dll_characteristics: header.dll_characteristics.get(LE).0,
            checksum: header.check_sum.get(LE),
            checksum_offset: optional_header + CHECKSUM_IN_OPTIONAL_HEADER,
            entry: header.address_of_entry_point.get(LE),
            sections: sections(&file)?,
            directories: directories
                .enumerate()
                .filter(|(_, directory)| directory.virtual_address.get(LE) != 0)
                .map(|(index, _)| index)
                .collect(),
            imports: imports(&file).context("import table")?,
            exports: exports(&file).context("export table")?,
            relocations: relocations(&file, bytes).context("relocations")?,
            version: resource(&file, bytes, pe::RT_VERSION)
                .and_then(|data| data.map(Version::parse).transpose())
                .context("version resource")?,
            messages: resource(&file, bytes, pe::RT_MESSAGETABLE)
                .and_then(|data| data.map(messages::parse).transpose())
                .context("message table")?
                .unwrap_or_default(),
            symbols: symbols(&file).context("debug directory")?,
        })
    }

    /// Returns the section of this name.
    pub(super) fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }
}

fn text(bytes: &[u8]) -> Result<String> {
    Ok(str::from_utf8(bytes)?.to_owned())
}

fn sections(file: &PeFile64) -> Result<Vec<Section>> {
    let section = |header: &pe::ImageSectionHeader| {
        let name = text(header.raw_name()).context("section name")?;
        let address = header.virtual_address.get(LE);
        let addresses =
            address..address.checked_add(header.virtual_size.get(LE)).context("section beyond 4 GiB")?;
        Ok(Section { name, addresses, characteristics: header.characteristics.get(LE).0 })
    };
    file.section_table().iter().map(section).collect()
}

fn imports(file: &PeFile64) -> Result<Vec<Import>> {
    let mut imports = Vec::new();
    let Some(table) = file.import_table()? else { return Ok(imports) };
    let mut descriptors = table.descriptors()?;
    while let Some(descriptor) = descriptors.next()? {
        let library = text(table.name(descriptor.name.get(LE))?)?.to_ascii_lowercase();
        let mut thunks = table.thunks(descriptor.original_first_thunk.get(LE))?;
        while let Some(thunk) = thunks.next::<ImageNtHeaders64>()? {
            let name = match table.import::<ImageNtHeaders64>(thunk)? {
                ImportName::Name(_, name) => Some(text(name)?),
                ImportName::Ordinal(_) => None,
            };
            imports.push(Import { library: library.clone(), name });
        }
    }
    Ok(imports)
}

fn exports(file: &PeFile64) -> Result<Vec<Option<String>>> {
    let Some(table) = file.export_table()? else { return Ok(Vec::new()) };
    table.exports()?.into_iter().map(|export| export.name.map(text).transpose()).collect()
}

fn relocations(file: &PeFile64, bytes: &[u8]) -> Result<usize> {
    let Some(mut blocks) = file.data_directories().relocation_blocks(bytes, &file.section_table())? else {
        return Ok(0);
    };
    let mut count = 0;
    while let Some(block) = blocks.next()? {
        count += block.count();
    }
    Ok(count)
}

/// Returns a resource's data: the first name of this type, in the first language.
fn resource<'a>(file: &PeFile64<'a>, bytes: &'a [u8], kind: u16) -> Result<Option<&'a [u8]>> {
    let sections = file.section_table();
    let Some(directory) = file.data_directories().resource_directory(bytes, &sections)? else {
        return Ok(None);
    };
    let is_wanted = |name: ResourceNameOrId| name.id() == Some(kind);
    let types = directory.root()?.entries;
    let Some(of_type) = types.iter().find(|entry| is_wanted(entry.name_or_id())) else { return Ok(None) };

    let mut entry = of_type;
    let mut table = of_type.data(directory)?.table();
    while let Some(inner) = table {
        entry = inner.entries.first().context("an empty resource table")?;
        table = entry.data(directory)?.table();
    }
    let data = leaf(entry, directory)?;
    let address = data.offset_to_data.get(LE);
    sections
        .pe_data_at(bytes, address)
        .and_then(|found| found.get(..data.size.get(LE) as usize))
        .ok_or_else(|| anyhow!("no data at {address:#x}"))
        .map(Some)
}

fn leaf<'a>(
    entry: &pe::ImageResourceDirectoryEntry,
    directory: ResourceDirectory<'a>,
) -> Result<&'a pe::ImageResourceDataEntry> {
    match entry.data(directory)?.data() {
        Some(data) => Ok(data),
        None => bail!("a resource table where data was expected"),
    }
}

fn symbols(file: &PeFile64) -> Result<Option<(String, [u8; 16])>> {
    let Some(reference) = file.pdb_info()? else { return Ok(None) };
    Ok(Some((text(reference.path())?, reference.guid())))
}
