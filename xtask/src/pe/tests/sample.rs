//! A small driver that keeps every rule, linked by the toolchain's own linker.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    process::Command,
    sync::OnceLock,
};

use object::{
    Architecture, BinaryFormat, Endianness, RelocationFlags, SectionKind, SymbolFlags, SymbolKind,
    SymbolScope, pe,
    write::{Object, Relocation, SectionId, Symbol, SymbolId, SymbolSection},
};

use crate::{
    command,
    pe::{Allowed, Driver},
    setup::Toolchain,
};

/// Its name.
pub(super) const NAME: &str = "sample";
/// Name of its export.
pub(super) const EXPORT: &str = "Answer";
/// Name of its import.
pub(super) const IMPORT: &str = "DbgPrint";
/// Its one message.
pub(super) const MESSAGE: (u32, &str) = (0xA000_0010, "A sample");
/// A folder that must not show in it.
pub(super) const BUILD_PATH: &str = "/home/someone/xenguard";

/// Returns the driver, linked once for all tests.
pub(super) fn driver() -> Driver {
    static DRIVER: OnceLock<Driver> = OnceLock::new();
    DRIVER.get_or_init(|| link().expect("rust-lld links the sample")).clone()
}

fn link() -> anyhow::Result<Driver> {
    let folder = env::temp_dir().join(format!("xenguard-sample-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("sample.obj"), code()?)?;
    fs::write(
        folder.join("sample.res"),
        resource_file(&[(16, version_information()), (11, message_table())]),
    )?;
    fs::write(folder.join("ntoskrnl.def"), format!("LIBRARY ntoskrnl.exe\nEXPORTS\n{IMPORT}\n"))?;

    let linker = Toolchain::ask()?.rust_lld()?;
    let run = |arguments: &[&str]| {
        command::output(Command::new(&linker).args(["-flavor", "link"]).args(arguments).current_dir(&folder))
    };
    run(&["/lib", "/def:ntoskrnl.def", "/machine:x64", "/out:ntoskrnl.lib"])?;
    run(&[
        "sample.obj",
        "sample.res",
        "ntoskrnl.lib",
        "/out:sample.sys",
        "/dll",
        "/entry:DriverEntry",
        "/nodefaultlib",
        "/export:Answer",
        "/debug",
        "/pdbaltpath:%_PDB%",
        "/release",
        "/subsystem:native,5.02",
        "/osversion:5.02",
        "/section:INIT,ERD",
        "/dynamicbase",
        "/nxcompat",
        "/Brepro",
    ])?;
    let driver = Driver {
        name: NAME.to_owned(),
        version: "1.2.3".to_owned(),
        messages: BTreeMap::from([(MESSAGE.0, MESSAGE.1.to_owned())]),
        sys: fs::read(folder.join("sample.sys"))?,
        pdb: fs::read(folder.join("sample.pdb"))?,
        allowed: Allowed::from([
            ("ntoskrnl.exe".to_owned(), BTreeSet::from([IMPORT.to_owned()])),
            ("sample.sys".to_owned(), BTreeSet::from([EXPORT.to_owned()])),
        ]),
        build_paths: vec![BUILD_PATH.to_owned()],
    };
    fs::remove_dir_all(&folder)?;
    Ok(driver)
}

/// Assembles the code: DriverEntry calls the import and returns; Answer returns; a variable holds Answer's
/// address.
fn code() -> anyhow::Result<Vec<u8>> {
    const CALL_INDIRECT: &[u8] = &[0xff, 0x15, 0, 0, 0, 0, 0xc3];
    const RETURN: &[u8] = &[0xc3];
    let mut object = Object::new(BinaryFormat::Coff, Architecture::X86_64, Endianness::Little);

    let init = object.add_section(vec![], b"INIT".to_vec(), SectionKind::Text);
    object.append_section_data(init, CALL_INDIRECT, 16);
    define(&mut object, "DriverEntry", init);
    let import = object.add_symbol(symbol(&format!("__imp_{IMPORT}"), SymbolSection::Undefined));
    relocate(&mut object, init, 2, import, pe::IMAGE_REL_AMD64_REL32)?;

    let text = object.add_section(vec![], b".text".to_vec(), SectionKind::Text);
    object.append_section_data(text, RETURN, 16);
    let answer = define(&mut object, EXPORT, text);

    let data = object.add_section(vec![], b".data".to_vec(), SectionKind::Data);
    object.append_section_data(data, &[0; 8], 8);
    define(&mut object, "pointer", data);
    relocate(&mut object, data, 0, answer, pe::IMAGE_REL_AMD64_ADDR64)?;
    Ok(object.write()?)
}

fn define(object: &mut Object, name: &str, section: SectionId) -> SymbolId {
    object.add_symbol(symbol(name, SymbolSection::Section(section)))
}

fn symbol(name: &str, section: SymbolSection) -> Symbol {
    Symbol {
        name: name.as_bytes().to_vec(),
        value: 0,
        size: 0,
        kind: SymbolKind::Text,
        scope: SymbolScope::Linkage,
        weak: false,
        section,
        flags: SymbolFlags::None,
    }
}

fn relocate(
    object: &mut Object,
    section: SectionId,
    offset: u64,
    symbol: SymbolId,
    typ: pe::RelocationType,
) -> anyhow::Result<()> {
    // The linker counts a REL32 from the end of the field; the addend is in the place itself.
    let addend = if typ == pe::IMAGE_REL_AMD64_REL32 { -4 } else { 0 };
    let relocation = Relocation { offset, symbol, addend, flags: RelocationFlags::Coff { typ } };
    Ok(object.add_relocation(section, relocation)?)
}

/// Returns a `.res` file with these resources: types 16 (version) and 11 (message table), name 1, language
/// 0x409.
fn resource_file(resources: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let entry = |size: usize, kind: u16, name: u16, language: u16| {
        let mut header = Vec::new();
        header.extend((size as u32).to_le_bytes());
        header.extend(32_u32.to_le_bytes());
        header.extend([0xffff, kind, 0xffff, name].map(u16::to_le_bytes).concat());
        header.extend(0_u32.to_le_bytes());
        header.extend([0, language].map(u16::to_le_bytes).concat());
        header.extend([0; 8]);
        header
    };
    let mut file = entry(0, 0, 0, 0);
    for (kind, data) in resources {
        file.extend(entry(data.len(), *kind, 1, 0x409));
        file.extend(data);
        file.resize(file.len().next_multiple_of(4), 0);
    }
    file
}

/// Returns the message table; see `pe::messages`.
fn message_table() -> Vec<u8> {
    let (code, text) = MESSAGE;
    let mut text = utf16(&format!("{text}\r\n"));
    text.resize(text.len().next_multiple_of(4), 0);
    let entry = [(text.len() + 4) as u16, 1].map(u16::to_le_bytes).concat();
    [[1, code, code, 16].map(u32::to_le_bytes).concat(), entry, text].concat()
}

/// Returns the version resource of version 1.2.3.
fn version_information() -> Vec<u8> {
    let mut fixed = vec![0; 52];
    fixed[..4].copy_from_slice(&0xfeef_04bd_u32.to_le_bytes());
    fixed[8..12].copy_from_slice(&0x0001_0002_u32.to_le_bytes());
    fixed[12..16].copy_from_slice(&0x0003_0000_u32.to_le_bytes());
    let strings = [
        ("CompanyName", "Someone"),
        ("FileDescription", "A sample"),
        ("FileVersion", "1.2.3"),
        ("InternalName", NAME),
        ("LegalCopyright", "MIT"),
        ("OriginalFilename", "sample.sys"),
        ("ProductName", "Xenguard"),
        ("ProductVersion", "1.2.3"),
    ];
    let strings = strings.map(|(name, text)| block(name, 1, &utf16(text), &[])).to_vec();
    let table = block("040904b0", 1, &[], &strings);
    block("VS_VERSION_INFO", 0, &fixed, &[block("StringFileInfo", 1, &[], &[table])])
}

/// Returns one node of a version resource; see `pe::version`.
fn block(key: &str, kind: u16, value: &[u8], children: &[Vec<u8>]) -> Vec<u8> {
    let value_length = if kind == 1 { value.len() / 2 } else { value.len() };
    let mut bytes = [0, value_length as u16, kind].map(u16::to_le_bytes).concat();
    bytes.extend(utf16(key));
    for part in std::iter::once(value).chain(children.iter().map(Vec::as_slice)) {
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend(part);
    }
    let length = bytes.len() as u16;
    bytes[..2].copy_from_slice(&length.to_le_bytes());
    bytes
}

/// Returns UTF-16 with a terminating zero.
pub(super) fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}
