//! Rules that every driver must keep, one function per rule.
//!
//! A rule returns what breaks it, in words; an empty list is a pass.

use object::pe;

use super::{
    Driver, checksum,
    image::{Image, Section},
};

/// A rule's name, as the table prints it, and its check.
pub(super) type Rule = (&'static str, fn(&Driver, &Image) -> Vec<String>);

/// Every rule.
pub(super) const RULES: &[Rule] = &[
    ("machine", machine),
    ("subsystem", subsystem),
    ("os-version", os_version),
    ("checksum", checksum),
    ("relocations", relocations),
    ("mitigations", mitigations),
    ("init", init),
    ("write-execute", write_execute),
    ("directories", directories),
    ("version", version),
    ("messages", messages),
    ("imports", imports),
    ("exports", exports),
    ("symbols", symbols),
    ("build-paths", build_paths),
];

/// The version of NT that the headers name: a loader accepts its own and older ones.
const NT_5_2: (u16, u16) = (5, 2);

fn breach_if(broken: bool, what: impl FnOnce() -> String) -> Vec<String> {
    if broken { vec![what()] } else { vec![] }
}

/// Checks that the image is for x86_64.
fn machine(_: &Driver, image: &Image) -> Vec<String> {
    let wanted = pe::IMAGE_FILE_MACHINE_AMD64.0;
    breach_if(image.machine != wanted, || format!("machine {:#x}, not {wanted:#x}", image.machine))
}

/// Checks that it is native, of NT 5.2.
fn subsystem(_: &Driver, image: &Image) -> Vec<String> {
    let native = pe::IMAGE_SUBSYSTEM_NATIVE.0;
    let (major, minor) = image.subsystem_version;
    let mut breaches =
        breach_if(image.subsystem != native, || format!("{}, not native ({native})", image.subsystem));
    breaches.extend(breach_if(image.subsystem_version != NT_5_2, || {
        format!("version {major}.{minor:02}, not 5.02")
    }));
    breaches
}

/// Checks that it is for NT 5.2.
fn os_version(_: &Driver, image: &Image) -> Vec<String> {
    let (major, minor) = image.os_version;
    breach_if(image.os_version != NT_5_2, || format!("{major}.{minor:02}, not 5.02"))
}

/// Checks that the checksum is set and right: the loader refuses a boot driver otherwise.
fn checksum(driver: &Driver, image: &Image) -> Vec<String> {
    let computed = checksum::compute(&driver.sys, image.checksum_offset);
    breach_if(image.checksum != computed, || {
        format!("{:#x} in the header, {computed:#x} computed", image.checksum)
    })
}

/// Checks that relocations are there: a driver is never loaded where it was linked.
fn relocations(_: &Driver, image: &Image) -> Vec<String> {
    let stripped = image.file_characteristics & pe::IMAGE_FILE_RELOCS_STRIPPED.0 != 0;
    let mut breaches = breach_if(stripped, || "marked as stripped".to_owned());
    breaches.extend(breach_if(image.relocations == 0, || "none".to_owned()));
    breaches
}

/// Address space randomization and no execution of data.
fn mitigations(_: &Driver, image: &Image) -> Vec<String> {
    let wanted = [
        ("DYNAMIC_BASE", pe::IMAGE_DLLCHARACTERISTICS_DYNAMIC_BASE),
        ("NX_COMPAT", pe::IMAGE_DLLCHARACTERISTICS_NX_COMPAT),
    ];
    let missing = wanted.into_iter().filter(|(_, bit)| image.dll_characteristics & bit.0 == 0);
    missing.map(|(name, _)| format!("no {name}")).collect()
}

/// Checks that the entry point is in a section that NT frees after it ran.
fn init(_: &Driver, image: &Image) -> Vec<String> {
    let Some(section) = image.section("INIT") else { return vec!["no INIT section".to_owned()] };
    let mut breaches =
        breach_if(!section.has(pe::IMAGE_SCN_MEM_DISCARDABLE), || "INIT is not discardable".to_owned());
    breaches.extend(breach_if(!section.addresses.contains(&image.entry), || {
        format!("the entry point {:#x} is outside of INIT", image.entry)
    }));
    breaches
}

/// Checks that no section is both writable and executable.
fn write_execute(_: &Driver, image: &Image) -> Vec<String> {
    let both =
        |section: &&Section| section.has(pe::IMAGE_SCN_MEM_WRITE) && section.has(pe::IMAGE_SCN_MEM_EXECUTE);
    image.sections.iter().filter(both).map(|section| format!("{} is both", section.name)).collect()
}

/// Checks that there is nothing that the kernel's loader does not do: thread-local storage, delayed or bound
/// imports, .NET.
fn directories(_: &Driver, image: &Image) -> Vec<String> {
    let refused = [
        ("thread-local storage", pe::IMAGE_DIRECTORY_ENTRY_TLS),
        ("bound imports", pe::IMAGE_DIRECTORY_ENTRY_BOUND_IMPORT),
        ("delayed imports", pe::IMAGE_DIRECTORY_ENTRY_DELAY_IMPORT),
        (".NET", pe::IMAGE_DIRECTORY_ENTRY_COM_DESCRIPTOR),
    ];
    let present = refused.into_iter().filter(|(_, index)| image.directories.contains(index));
    present.map(|(name, _)| format!("has {name}")).collect()
}

/// Checks that the version resource is there, and says which driver of which version this is.
fn version(driver: &Driver, image: &Image) -> Vec<String> {
    let Some(version) = &image.version else { return vec!["no version resource".to_owned()] };
    let mut breaches = Vec::new();
    let [major, minor, patch, build] = version.file;
    let fixed = format!("{major}.{minor}.{patch}");
    if fixed != driver.version || build != 0 {
        breaches.push(format!("file version {fixed}.{build}, not {}.0", driver.version));
    }
    let wanted = [
        ("FileVersion", driver.version.clone()),
        ("ProductVersion", driver.version.clone()),
        ("InternalName", driver.name.clone()),
        ("OriginalFilename", format!("{}.sys", driver.name)),
        ("ProductName", "Xenguard".to_owned()),
    ];
    for (name, wanted) in wanted {
        let found = version.strings.get(name).map_or("", String::as_str);
        if found != wanted {
            breaches.push(format!("{name} is {found:?}, not {wanted:?}"));
        }
    }
    for name in ["CompanyName", "FileDescription", "LegalCopyright"] {
        if version.strings.get(name).is_none_or(String::is_empty) {
            breaches.push(format!("no {name}"));
        }
    }
    breaches
}

/// Checks that the message table has exactly the texts that the guard's reasons have.
fn messages(driver: &Driver, image: &Image) -> Vec<String> {
    let mut breaches = Vec::new();
    for (code, text) in &driver.messages {
        match image.messages.get(code) {
            None => breaches.push(format!("{code:#x} is missing")),
            Some(found) if found != text => breaches.push(format!("{code:#x} is {found:?}, not {text:?}")),
            Some(_) => {}
        }
    }
    let unknown = image.messages.keys().filter(|code| !driver.messages.contains_key(code));
    breaches.extend(unknown.map(|code| format!("{code:#x} is the message of no reason")));
    breaches
}

/// Checks that it imports by name, and only what NT 5.2 or another of these drivers exports.
fn imports(driver: &Driver, image: &Image) -> Vec<String> {
    let refusal = |import: &super::image::Import| match (&import.name, driver.allowed.get(&import.library)) {
        (None, _) => Some(format!("by ordinal from {}", import.library)),
        (Some(name), None) => {
            Some(format!("{name} from {}, which no .def file in cross/ is for", import.library))
        }
        (Some(name), Some(names)) => {
            (!names.contains(name)).then(|| format!("{name}, which is not in the list of {}", import.library))
        }
    };
    image.imports.iter().filter_map(refusal).collect()
}

/// Checks that it exports by name, and exactly what the driver's `.def` file has.
fn exports(driver: &Driver, image: &Image) -> Vec<String> {
    let own = driver.allowed.get(&format!("{}.sys", driver.name)).cloned().unwrap_or_default();
    let mut breaches = Vec::new();
    for export in &image.exports {
        match export {
            None => breaches.push("an export without a name".to_owned()),
            Some(name) if !own.contains(name) => breaches.push(format!("{name} is not in its .def file")),
            Some(_) => {}
        }
    }
    let exported = |name: &str| image.exports.iter().flatten().any(|export| export == name);
    breaches.extend(own.iter().filter(|name| !exported(name)).map(|name| format!("{name} is missing")));
    breaches
}

/// Checks that the image names its symbol file, without a folder, and that file is the one of this very
/// build.
fn symbols(driver: &Driver, image: &Image) -> Vec<String> {
    let Some((name, guid)) = &image.symbols else { return vec!["no reference to a symbol file".to_owned()] };
    let wanted = format!("{}.pdb", driver.name);
    let mut breaches = breach_if(*name != wanted, || format!("{name}, not {wanted}"));
    let same_build = driver.pdb.windows(guid.len()).any(|window| window == guid);
    breaches.extend(breach_if(!same_build, || format!("{wanted} is of another build")));
    breaches
}

/// Checks that neither file has the path of a folder that only the machine it was built on has, in UTF-8 or
/// UTF-16.
fn build_paths(driver: &Driver, _: &Image) -> Vec<String> {
    let mut breaches = Vec::new();
    for (kind, bytes) in [("sys", &driver.sys), ("pdb", &driver.pdb)] {
        for path in &driver.build_paths {
            let utf16: Vec<u8> = path.encode_utf16().flat_map(u16::to_le_bytes).collect();
            for needle in [path.as_bytes(), &utf16] {
                if bytes.windows(needle.len()).any(|window| window == needle) {
                    breaches.push(format!("{path} in the .{kind}"));
                }
            }
        }
    }
    breaches
}
