//! The loader's work on a system volume: every file that is needed before the system has its disk.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use protocol::{Version, Word};

use crate::control_set::ControlSet;
use crate::pe::Pe;
use crate::{archive, boot_ini, drivers, menu};

/// The words of the command line, which no firmware has: who chooses at the boot menu, and what the executive does.
pub const WORDS: &str = "\\words.txt";
/// The executive.
pub const EXECUTIVE: &str = "\\WINDOWS\\system32\\nt.elf";
/// Boot configuration data on a system volume of a BIOS.
pub const STORE: &str = "\\Boot\\BCD";
/// Boot configuration data on an EFI system partition.
pub const EFI_STORE: &str = "\\EFI\\Microsoft\\Boot\\BCD";
/// boot.ini.
pub const BOOT_INI: &str = "\\boot.ini";
/// The hive of the control sets.
pub const SYSTEM: &str = "\\WINDOWS\\system32\\config\\SYSTEM";
/// The folder of the drivers.
pub const DRIVERS: &str = "\\WINDOWS\\system32\\drivers";

/// The firmware that has started the loader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// A BIOS; its volume has boot configuration data or boot.ini.
    Bios,
    /// UEFI; its volume has boot configuration data.
    Uefi,
}

/// The files of the system volume, as the firmware gives them.
pub trait Files {
    /// Returns a file's contents; `None` if there is no such file.
    ///
    /// # Errors
    /// The volume cannot be read.
    fn read(&mut self, path: &str) -> Result<Option<Vec<u8>>, String>;
}

/// The files in memory.
#[derive(Debug)]
pub struct Loaded {
    /// The executive's command line.
    pub words: String,
    /// The executive's file.
    pub executive: Vec<u8>,
    /// The boot archive: entry, hive, drivers.
    pub archive: Vec<u8>,
}

/// Reads the files that a boot of the chosen entry needs, and says of each that it was read.
///
/// Drivers come in the order in which they are loaded, each with the modules that it imports from. A driver that is left
/// out or whose file is missing is not there, as in NT; the executive finds out by itself.
///
/// # Errors
/// There is nothing to start, in a line.
pub fn load(files: &mut impl Files, firmware: Firmware, mut say: impl FnMut(&str)) -> Result<Loaded, String> {
    let mut read = |path: &str| {
        let file = files.read(path)?;
        if let Some(file) = &file {
            say(&format!("read {path}, {} bytes", file.len()));
        }
        Ok::<_, String>(file)
    };
    let need = |path: &str, file: Option<Vec<u8>>| file.ok_or_else(|| format!("no file {path}"));
    let words = String::from_utf8_lossy(&need(WORDS, read(WORDS)?)?).trim().to_string();
    let (number, version) = chosen(&words);
    let mut loaded = Vec::new();
    let store = match firmware {
        Firmware::Bios => read(STORE)?,
        Firmware::Uefi => Some(need(EFI_STORE, read(EFI_STORE)?)?),
    };
    let boot_ini = if store.is_none() { need(BOOT_INI, read(BOOT_INI)?)? } else { Vec::new() };
    let chosen = menu::choose(store.as_deref(), &boot_ini, number).ok_or("there is no such entry")?;
    let options = boot_ini::system_start_options(&chosen.switches);
    match &store {
        Some(store) => archive::add(&mut loaded, "BCD", store),
        None => archive::add(&mut loaded, "boot.ini", &boot_ini),
    }
    let executive = need(EXECUTIVE, read(EXECUTIVE)?)?;
    let hive = need(SYSTEM, read(SYSTEM)?)?;
    archive::add(&mut loaded, "SYSTEM", &hive);
    let set = ControlSet::new(&hive)?;
    let leaves_out = |service: &str| version >= Version::Nt63 && drivers::is_left_out(&set, service);
    let mut there: Vec<String> = Vec::new();
    for driver in drivers::boot_drivers(&set, leaves_out) {
        let mut wanted = Vec::from([drivers::file_of(&set, &driver.service)]);
        while let Some(name) = wanted.pop() {
            if there.iter().any(|other| other.eq_ignore_ascii_case(&name)) {
                continue;
            }
            there.push(name.clone());
            let Some(file) = read(&format!("{DRIVERS}\\{name}"))? else { continue };
            // A file that is damaged is refused when it is mapped.
            wanted.extend(Pe::parse(&file).and_then(|pe| pe.imports()).unwrap_or_default());
            archive::add(&mut loaded, &name, &file);
        }
    }
    say(&format!("entry {} with{options}", chosen.number));
    Ok(Loaded { words, executive, archive: loaded })
}

/// Returns the number of the entry that is chosen, `None` where nobody chooses, and the version of NT.
fn chosen(words: &str) -> (Option<usize>, Version) {
    let (mut number, mut version) = (Some(1), Version::Nt52);
    for word in words.split_whitespace().filter_map(|word| Word::parse(word).ok()) {
        match word {
            Word::Entry(entry) => number = Some(entry as usize),
            Word::Unattended => number = None,
            Word::Nt(nt) => version = nt,
            _ => {}
        }
    }
    (number, version)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::vec;

    use hive::build::Tree;

    use super::*;
    use crate::archive::Archive;

    const INI: &str = "[boot loader]\r\ndefault=a\r\n[operating systems]\r\na=\"x\" /one\r\na=\"y\" /two\r\n";

    /// A volume, and what was read of it.
    struct Memory {
        files: BTreeMap<String, Vec<u8>>,
        read: Vec<String>,
    }

    impl Files for Memory {
        fn read(&mut self, path: &str) -> Result<Option<Vec<u8>>, String> {
            self.read.push(path.to_string());
            Ok(self.files.get(path).cloned())
        }
    }

    fn machine(words: &str) -> Memory {
        let service = |group: &str| Tree::new().with_dword("Start", 0).with_text("Group", group);
        let mark = Tree::new().with_dword("0", 3);
        let hive = Tree::new()
            .with_key("Select", Tree::new().with_dword("Default", 1))
            .with_key("ControlSet001\\Services\\late", service("SCSI miniport"))
            .with_key("ControlSet001\\Services\\early", service("Boot Bus Extender"))
            .with_key("ControlSet001\\Services\\marked", service("Port").with_key("StartOverride", mark))
            .with_key("ControlSet001\\Services\\demand", Tree::new().with_dword("Start", 3))
            .hive("SYSTEM");
        let mut files = BTreeMap::new();
        for (path, file) in [
            (WORDS, words.as_bytes().to_vec()),
            (EXECUTIVE, vec![1]),
            (BOOT_INI, INI.as_bytes().to_vec()),
            (SYSTEM, hive),
        ] {
            files.insert(path.to_string(), file);
        }
        for driver in ["late", "early", "marked", "demand"] {
            files.insert(format!("{DRIVERS}\\{driver}.sys"), vec![2]);
        }
        Memory { files, read: Vec::new() }
    }

    fn drivers_of(words: &str) -> Vec<String> {
        let loaded = load(&mut machine(words), Firmware::Bios, |_| ()).unwrap();
        let archive = Archive::new(&loaded.archive);
        archive.files().map(|(name, _)| name.to_string()).filter(|name| name.ends_with(".sys")).collect()
    }

    #[test]
    fn boot_drivers_are_read_in_their_order_and_no_others() {
        assert_eq!(drivers_of("nt=5.2"), ["early.sys", "late.sys", "marked.sys"]);
    }

    #[test]
    fn the_loader_of_nt_6_2_obeys_start_override() {
        assert_eq!(drivers_of("nt=6.1"), ["early.sys", "late.sys", "marked.sys"]);
        assert_eq!(drivers_of("nt=6.3"), ["early.sys", "late.sys"]);
    }

    #[test]
    fn what_a_driver_imports_from_comes_behind_it() {
        let mut machine = machine("");
        let path = |name: &str| format!("{DRIVERS}\\{name}");
        machine.files.insert(path("early.sys"), crate::pe::tests::driver("DEMAND.SYS"));
        machine.files.insert(path("DEMAND.SYS"), crate::pe::tests::driver("early.sys"));
        let mut read = Vec::new();
        load(&mut machine, Firmware::Bios, |line| {
            read.extend(line.split_once(DRIVERS).map(|(_, rest)| rest.to_string()))
        })
        .unwrap();
        let read: Vec<_> = read.iter().map(|line| line.split(',').next().unwrap()).collect();
        assert_eq!(read, ["\\early.sys", "\\DEMAND.SYS", "\\late.sys", "\\marked.sys"]);
    }

    #[test]
    fn a_store_is_read_in_the_place_of_boot_ini() {
        let mut machine = machine("");
        machine.files.insert(STORE.to_string(), vec![0; 4096]);
        assert_eq!(load(&mut machine, Firmware::Bios, |_| ()).unwrap_err(), "there is no such entry");
        assert!(!machine.read.contains(&BOOT_INI.to_string()));
    }

    #[test]
    fn behind_uefi_the_store_is_in_its_own_folder() {
        let mut machine = machine("");
        machine.files.insert(STORE.to_string(), vec![0; 4096]);
        let error = load(&mut machine, Firmware::Uefi, |_| ()).unwrap_err();
        assert_eq!(error, format!("no file {EFI_STORE}"));
        machine.files.insert(EFI_STORE.to_string(), vec![0; 4096]);
        let error = load(&mut machine, Firmware::Uefi, |_| ()).unwrap_err();
        assert_eq!(error, "there is no such entry");
    }

    #[test]
    fn the_entry_is_the_chosen_one_or_the_default() {
        for (words, said) in
            [("entry=2", "entry 2 with TWO"), ("unattended=1", "entry 1 with ONE"), ("", "entry 1 with ONE")]
        {
            let mut last = String::new();
            load(&mut machine(words), Firmware::Bios, |line| last = line.to_string()).unwrap();
            assert_eq!(last, said);
        }
        assert!(load(&mut machine("entry=3"), Firmware::Bios, |_| ()).is_err());
    }

    #[test]
    fn a_file_that_is_missing_is_named() {
        let mut machine = machine("");
        machine.files.remove(SYSTEM);
        assert_eq!(load(&mut machine, Firmware::Bios, |_| ()).unwrap_err(), format!("no file {SYSTEM}"));
    }

    #[test]
    fn a_driver_without_a_file_is_left_to_the_executive() {
        let mut machine = machine("");
        machine.files.remove("\\WINDOWS\\system32\\drivers\\early.sys");
        assert!(
            Archive::new(&load(&mut machine, Firmware::Bios, |_| ()).unwrap().archive)
                .file("late.sys")
                .is_some()
        );
    }
}
