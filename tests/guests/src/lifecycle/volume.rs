//! The guest's system volume: a FAT image with boot.ini or boot configuration data, the drivers and the SYSTEM hive. mtools take it out
//! into a folder, where `bootcfg --root` finds what it would find on a mounted volume, and put it back.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use bootcfg::{
    bcd::{BOOT_MANAGER, Bcd, element},
    boot_ini::BootIni,
    cli::Arguments,
    command as bootcfg_command,
    exit::Exit,
    hive_edit::{Edit, edit_copy},
    image::sample_kernel,
};
use clap::Parser;
use hive::{Hive, Key, build::Tree};

use super::registration;
use crate::{boot::damage, command};

/// Bytes of the image: drivers, hive and its backups with room to spare.
pub(crate) const SIZE: u64 = 32 << 20;
const DRIVERS: &str = "WINDOWS/system32/drivers";
const HIVE: &str = "WINDOWS/system32/config/SYSTEM";
const CLASS: &str = "ControlSet001\\Control\\Class\\{4D36E97D-E325-11CE-BFC1-08002BE10318}";
/// Another vendor's filter, whose driver is not there to be loaded: it must be left alone, so its class is
/// one that no device here has.
const ENVIRONMENT: &str = "ControlSet001\\Control\\Session Manager\\Environment";
const OTHER_CLASS: &str = "ControlSet001\\Control\\Class\\{4D36E980-E325-11CE-BFC1-08002BE10318}";

const STORE: &str = "Boot/BCD";
const EFI_STORE: &str = "EFI/Microsoft/Boot/BCD";
/// The boot manager that UEFI starts where its variables name none.
pub(crate) const EFI_APPLICATION: &str = "EFI/BOOT/BOOTX64.EFI";
/// The loader that a boot sector starts, which must lie in clusters that follow each other.
pub(crate) const LOADER: &str = "ntldr";

/// The loader that starts the system on the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loader {
    /// By NT 5's loader, from boot.ini.
    BootIni,
    /// By the boot manager of NT 6.0 and later, from boot configuration data.
    Bcd,
    /// By that boot manager, started by UEFI: the volume is an EFI system partition.
    Efi,
}

impl Loader {
    /// Returns the path of what the loader's menu is made of, and its name in a boot archive.
    fn menu(self) -> (&'static str, &'static str) {
        match self {
            Self::BootIni => ("boot.ini", "boot.ini"),
            Self::Bcd => (STORE, "BCD"),
            Self::Efi => (EFI_STORE, "BCD"),
        }
    }
}

/// Returns a store as Windows setup makes it, with one system that takes test-signed drivers.
fn store(path: &str) -> Tree {
    const LOADER: &str = "{11111111-2222-3333-4444-555555555555}";
    let text = |text: &str| Tree::new().with_text("Element", text);
    let binary = |bytes: &[u8]| Tree::new().with_binary("Element", bytes);
    let device: Vec<u8> = (0..88).collect();
    let object = |kind: u32, elements: &[(u32, Tree)]| {
        let object = Tree::new().with_key("Description", Tree::new().with_dword("Type", kind));
        elements.iter().fold(object, |object, (number, value)| {
            object.with_key(&format!("Elements\\{number:08x}"), value.clone())
        })
    };
    let manager = object(
        0x1010_0002,
        &[
            (element::DEVICE, binary(&device)),
            (element::DESCRIPTION, text("Windows Boot Manager")),
            (element::DEFAULT, text(LOADER)),
            (element::DISPLAY_ORDER, Tree::new().with_texts("Element", &[LOADER])),
            (element::TIMEOUT, binary(&30_u64.to_le_bytes())),
        ],
    );
    let loader = object(
        0x1020_0003,
        &[
            (element::DEVICE, binary(&device)),
            (element::PATH, text(path)),
            (element::DESCRIPTION, text("Windows Server 2008 R2")),
            (element::OS_DEVICE, binary(&device)),
            (element::SYSTEM_ROOT, text("\\Windows")),
            // testsigning, and nx: opt out.
            (0x1600_0049, binary(&[1])),
            (0x2500_0020, binary(&1_u64.to_le_bytes())),
        ],
    );
    Tree::new()
        .with_key("Description", Tree::new().with_text("KeyName", "BCD00000000"))
        .with_key(&format!("Objects\\{BOOT_MANAGER}"), manager)
        .with_key(&format!("Objects\\{LOADER}"), loader)
}

/// The volume: an image, and a folder where it is taken out to.
pub(crate) struct SystemVolume {
    image: PathBuf,
    /// Its first byte in the image.
    offset: u64,
    folder: PathBuf,
    loader: Loader,
}

impl SystemVolume {
    /// Returns a freshly installed system.
    pub(crate) fn new(folder: &Path, loader: Loader, boot_ini: &str) -> Result<SystemVolume> {
        let image = folder.join("system.img");
        fs::File::create(&image)?.set_len(SIZE)?;
        let volume = SystemVolume::at(&image, 0, folder, loader);
        volume.format(boot_ini, &[])?;
        Ok(volume)
    }

    /// Returns the volume that is in an image from a byte on.
    pub(crate) fn at(image: &Path, offset: u64, folder: &Path, loader: Loader) -> SystemVolume {
        SystemVolume { image: image.to_owned(), offset, folder: folder.join("system"), loader }
    }

    /// Makes it a freshly installed system. `first` are files of the root folder that lie at the volume's beginning, and
    /// stay where they are.
    pub(crate) fn format(&self, boot_ini: &str, first: &[(&str, &Path)]) -> Result<()> {
        let volume = self;
        fs::create_dir_all(volume.folder.join(DRIVERS))?;
        fs::create_dir_all(volume.folder.join(HIVE).parent().context("a hive in no folder")?)?;
        let menu = volume.folder.join(self.loader.menu().0);
        fs::create_dir_all(menu.parent().context("a menu in no folder")?)?;
        match self.loader {
            Loader::BootIni => fs::write(menu, boot_ini)?,
            Loader::Bcd | Loader::Efi => {
                let extension = if self.loader == Loader::Efi { "efi" } else { "exe" };
                let winload = format!("\\Windows\\system32\\winload.{extension}");
                fs::write(menu, store(&winload).hive("BCD"))?;
                // The drivers of a build have no signature. xenguard asks the kernel's file whether the loader
                // wants one; the executive's does not, as that of NT 5.2 does not.
                let kernel = volume.folder.join("WINDOWS/system32/ntoskrnl.exe");
                fs::write(kernel, sample_kernel(true, (5, 2)))?;
            }
        }
        let hive = Tree::new()
            .with_key("Select", Tree::new().with_dword("Current", 1).with_dword("Default", 1))
            .with_key(CLASS, Tree::new().with_text("Class", "System"))
            .with_key(ENVIRONMENT, Tree::new().with_text("PROCESSOR_ARCHITECTURE", "AMD64"))
            .with_key(OTHER_CLASS, Tree::new().with_texts("UpperFilters", &["theirs"]))
            .with_key("ControlSet001\\Services", Tree::new());
        fs::write(volume.folder.join(HIVE), hive.hive("SYSTEM"))?;
        command::output(volume.mtool("mformat").args(["-T", &(SIZE / 512).to_string(), "::"]))?;
        for (name, file) in first {
            volume.put(name, file)?;
        }
        volume.put_back()
    }

    /// Puts a file of the host's into the volume.
    pub(crate) fn put(&self, name: &str, file: &Path) -> Result<()> {
        command::output(self.mtool("mcopy").args(["-n", "-o"]).arg(file).arg(format!("::/{name}"))).map(drop)
    }

    /// Puts a file of the host's into the folder, and so onto the volume when that is put back.
    pub(crate) fn put_in_folder(&self, name: &str, file: &Path) -> Result<()> {
        self.take_out()?;
        let path = self.folder.join(name);
        fs::create_dir_all(path.parent().context("a file in no folder")?)?;
        fs::copy(file, path).with_context(|| format!("cannot copy {}", file.display()))?;
        self.put_back()
    }

    fn mtool(&self, name: &str) -> Command {
        let mut tool = Command::new(name);
        tool.arg("-i")
            .arg(format!("{}@@{}", self.image.display(), self.offset))
            .env("MTOOLS_SKIP_CHECK", "1");
        tool
    }

    /// Takes the image out into the folder: what follows sees nothing but what is on the volume.
    pub(crate) fn take_out(&self) -> Result<()> {
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder)?;
        }
        fs::create_dir_all(&self.folder)?;
        command::output(self.mtool("mcopy").args(["-s", "-n", "-m", "::/"]).arg(&self.folder)).map(|_| ())
    }

    /// Puts the folder into the image, in the place of what is there.
    fn put_back(&self) -> Result<()> {
        // An empty volume has nothing to delete.
        let _ =
            command::output(self.mtool("mdeltree").args(["::/boot.ini", "::/Boot", "::/EFI", "::/WINDOWS"]));
        let mut names =
            fs::read_dir(&self.folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
        // The loader stays where it is.
        names.retain(|name| !name.ends_with(LOADER));
        names.sort();
        command::output(self.mtool("mcopy").args(["-s", "-n", "-o", "-m"]).args(names).arg("::/")).map(|_| ())
    }

    /// Runs bootcfg on the volume.
    pub(crate) fn bootcfg(&self, arguments: &[&str]) -> Result<()> {
        self.take_out()?;
        let root = self.folder.to_string_lossy();
        let line =
            ["bootcfg", "--yes", "--quiet", "--root", &root].into_iter().chain(arguments.iter().copied());
        let exit = bootcfg_command::main(Arguments::try_parse_from(line)?);
        ensure!(exit == Exit::Done, "bootcfg {} ended with {exit:?}", arguments.join(" "));
        self.put_back()
    }

    /// Deletes a driver's file, as a virus scanner or a hand may.
    pub(crate) fn delete_driver(&self, name: &str) -> Result<()> {
        self.take_out()?;
        fs::remove_file(self.folder.join(DRIVERS).join(name))
            .with_context(|| format!("no {name} to delete"))?;
        self.put_back()
    }

    /// Damages a driver's file, or undoes it.
    pub(crate) fn damage_driver(&self, name: &str) -> Result<()> {
        self.take_out()?;
        let path = self.folder.join(DRIVERS).join(name);
        let mut content = fs::read(&path).with_context(|| format!("no {name} to damage"))?;
        damage(&mut content);
        fs::write(&path, content)?;
        self.put_back()
    }

    /// Writes what a boot left in the registry into the hive.
    pub(crate) fn write_registry(&self, registration_file: &str) -> Result<()> {
        self.take_out()?;
        let path = self.folder.join(HIVE);
        let old = fs::read(&path)?;
        let edits = registration::edits(registration_file, &Hive::new(&old)?)?;
        if !edits.is_empty() {
            fs::write(&path, edit_copy(&old, &edits)?)?;
            self.put_back()?;
        }
        Ok(())
    }

    /// Returns the number in the boot menu, from 1, of the first entry that selects PV, or that does not.
    pub(crate) fn entry(&self, pv: bool) -> Result<usize> {
        self.take_out()?;
        let menu = fs::read(self.folder.join(self.loader.menu().0))?;
        let at = match self.loader {
            Loader::BootIni => {
                let ini = BootIni::parse(menu)?;
                ini.entries().iter().position(|entry| ini.selects_pv(entry) == pv)
            }
            Loader::Bcd | Loader::Efi => {
                let bcd = Bcd::read(&menu)?;
                bcd.display_order().iter().position(|&entry| bcd.options(entry).selects_pv() == pv)
            }
        };
        Ok(at.with_context(|| format!("no entry {} PV", if pv { "for" } else { "without" }))? + 1)
    }

    /// Takes the list of entries for one boot out of the store, as the boot manager does before it starts one.
    pub(crate) fn use_boot_sequence(&self) -> Result<()> {
        self.take_out()?;
        let path = self.folder.join(self.loader.menu().0);
        let key = format!("Objects\\{BOOT_MANAGER}\\Elements\\{:08x}", element::BOOT_SEQUENCE);
        fs::write(&path, edit_copy(&fs::read(&path)?, &[Edit::DeleteKey { key }])?)?;
        self.put_back()
    }

    /// Returns the files that a boot loader takes from the volume: boot.ini or the store, the registry as a
    /// registration file, the driver files.
    pub(crate) fn loaded(&self) -> Result<Vec<(String, Vec<u8>)>> {
        self.take_out()?;
        let (path, name) = self.loader.menu();
        let mut files = vec![(name.to_owned(), fs::read(self.folder.join(path))?)];
        let hive = fs::read(self.folder.join(HIVE))?;
        let hive = Hive::new(&hive)?;
        let mut text = "REGEDIT4\n\n".to_owned();
        let set = hive.key("ControlSet001")?.context("the hive has no ControlSet001")?;
        registration::write(&set, "HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet", &mut text)?;
        files.push(("overrides.reg".to_owned(), text.into_bytes()));
        for entry in fs::read_dir(self.folder.join(DRIVERS))? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
            if name.ends_with(".sys") {
                files.push((name, fs::read(&path)?));
            }
        }
        Ok(files)
    }

    /// Checks that the suite has left nothing: no file, no PV entry, no service, and the other vendor's
    /// filter as it was.
    pub(crate) fn check_removed(&self) -> Result<()> {
        self.take_out()?;
        ensure!(fs::read_dir(self.folder.join(DRIVERS))?.next().is_none(), "driver files are left");
        ensure!(self.entry(true).is_err(), "a PV entry is left");
        let hive = fs::read(self.folder.join(HIVE))?;
        let hive = Hive::new(&hive)?;
        let filters = |key: &str| -> Result<Vec<String>> {
            let value = hive.key(key)?.map(|key: Key<'_>| key.value("UpperFilters")).transpose()?.flatten();
            Ok(value.map(|value| value.texts()).transpose()?.flatten().unwrap_or_default())
        };
        ensure!(
            filters(CLASS)?.is_empty() && filters(OTHER_CLASS)? == ["theirs"],
            "filters are not as they were"
        );
        for name in crate::built::SHIPPED {
            ensure!(
                hive.key(&format!("ControlSet001\\Services\\{name}"))?.is_none(),
                "the service {name} is left"
            );
        }
        Ok(())
    }
}
