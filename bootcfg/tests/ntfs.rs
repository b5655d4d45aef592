//! The program on a real NTFS image, mounted by ntfs-3g: nobody may write what it writes who may not write
//! Windows' own files.
//!
//! It needs root, `/dev/fuse`, ntfs-3g and mkfs.ntfs. Where one is missing it says so and checks nothing.

#![cfg(target_os = "linux")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use bootcfg::files::security::{SYSTEM_AND_ADMINISTRATORS, full_access, lets_users_write};
use hive::build::Tree;

const ACL: &str = "system.ntfs_acl";
const CLASS: &str = "ControlSet001\\Control\\Class\\{4D36E97D-E325-11CE-BFC1-08002BE10318}";
const BOOT_INI: &str = "[boot loader]\r\ntimeout=30\r\ndefault=multi(0)disk(0)rdisk(0)partition(1)\\WINDOWS\r\n\
    [operating systems]\r\nmulti(0)disk(0)rdisk(0)partition(1)\\WINDOWS=\"Server\" /fastdetect\r\n";

/// A mounted image; it goes with the test.
struct Ntfs(tempfile::TempDir);

impl Ntfs {
    /// Returns `None` where NTFS cannot be mounted.
    fn new() -> Option<Ntfs> {
        let volume = Ntfs(tempfile::tempdir().expect("a folder"));
        let image = volume.path("image");
        fs::File::create(&image).expect("made").set_len(16 << 20).expect("sized");
        fs::create_dir(volume.root()).expect("made");
        let run = |program: &str, arguments: &[&std::ffi::OsStr]| {
            let mut command = Command::new(program);
            command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        let root = volume.root();
        let mounted = run("mkfs.ntfs", &["-Q".as_ref(), "-F".as_ref(), "-q".as_ref(), image.as_ref()])
            && run("ntfs-3g", &[image.as_ref(), root.as_ref()]);
        if !mounted {
            eprintln!("NOT RUN: NTFS cannot be mounted here (root, /dev/fuse, ntfs-3g, mkfs.ntfs)");
        }
        mounted.then_some(volume)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn root(&self) -> PathBuf {
        self.path("volume")
    }

    /// Writes a file that System and Administrators may write.
    fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.root().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(&path, content).expect("written");
        let rights = full_access(&SYSTEM_AND_ADMINISTRATORS);
        rustix::fs::setxattr(&path, ACL, &rights, rustix::fs::XattrFlags::empty()).expect("set");
        path
    }

    fn rights(&self, path: &Path) -> Vec<u8> {
        let mut rights = vec![0; 4096];
        let length = rustix::fs::getxattr(path, ACL, &mut rights[..]).expect("on NTFS");
        rights.truncate(length);
        rights
    }

    /// Returns the files, and whether an ordinary user may write each.
    fn files(&self) -> BTreeMap<PathBuf, bool> {
        let (mut folders, mut files) = (vec![self.root()], BTreeMap::new());
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("listed") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let weak = lets_users_write(&self.rights(&path));
                    files.insert(path.strip_prefix(self.root()).expect("below").to_owned(), weak);
                }
            }
        }
        files
    }

    fn run(&self, arguments: &[&str]) {
        let mut program = Command::new(env!("CARGO_BIN_EXE_xenguard"));
        let output =
            program.arg("--yes").arg("--root").arg(self.root()).args(arguments).output().expect("it runs");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}");
    }
}

impl Drop for Ntfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.root()).stderr(Stdio::null()).status();
    }
}

fn package(folder: &Path) {
    fs::create_dir_all(folder).expect("made");
    for name in ["idefilter", "xenpci", "xenvbd"] {
        let inf = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../inf/{name}.inf"));
        fs::copy(inf, folder.join(format!("{name}.inf"))).expect("copied");
    }
    for name in ["idefilter", "idefallback", "xenpci", "xenvbd"] {
        let mut image = vec![0; 0x200];
        image[..2].copy_from_slice(b"MZ");
        image[0x3c] = 0x40;
        image[0x40..0x46].copy_from_slice(b"PE\0\0\x64\x86");
        image[0x40 + 24 + 68] = 1;
        fs::write(folder.join(format!("{name}.sys")), image).expect("written");
    }
}

#[test]
fn nobody_gains_a_right() {
    let Some(volume) = Ntfs::new() else { return };
    let new = volume.root().join("new");
    fs::write(&new, "").expect("written");
    assert!(lets_users_write(&volume.rights(&new)), "ntfs-3g gives a new file to everybody");
    fs::remove_file(new).expect("removed");
    let hive = Tree::new()
        .with_key("Select", Tree::new().with_dword("Current", 1).with_dword("Default", 1))
        .with_key(CLASS, Tree::new().with_text("Class", "System"))
        .with_key(
            "ControlSet001\\Control\\Session Manager\\Environment",
            Tree::new().with_text("PROCESSOR_ARCHITECTURE", "AMD64"),
        )
        .with_key("ControlSet001\\Services", Tree::new());
    let config = volume.write("WINDOWS/system32/config/SYSTEM", &hive.hive("SYSTEM"));
    volume.write("WINDOWS/system32/drivers/disk.sys", b"");
    let boot_ini = volume.write("boot.ini", BOOT_INI.as_bytes());
    // Read-only, hidden, system.
    rustix::fs::setxattr(
        &boot_ini,
        "system.ntfs_attrib",
        &7_u32.to_ne_bytes(),
        rustix::fs::XattrFlags::empty(),
    )
    .expect("set");
    let before = (volume.rights(&config), volume.rights(&boot_ini));

    package(&volume.path("package"));
    let package = volume.path("package");
    volume.run(&["install", "--package", package.to_str().expect("text")]);
    volume.run(&["timeout", "5"]);
    volume.run(&["backup"]);
    volume.run(&["restore"]);
    let files = volume.files();
    assert!(files.contains_key(Path::new("WINDOWS/system32/drivers/xenvbd.sys")), "{files:#?}");
    assert!(files.contains_key(Path::new("WINDOWS/system32/config/SYSTEM.backup1")), "{files:#?}");
    assert!(files.contains_key(Path::new("boot.ini.backup3")), "{files:#?}");
    assert!(files.values().all(|weak| !weak), "{files:#?}");
    assert_eq!((volume.rights(&config), volume.rights(&boot_ini)), before);
    let mut attributes = [0; 4];
    rustix::fs::getxattr(&boot_ini, "system.ntfs_attrib", &mut attributes).expect("on NTFS");
    assert_eq!(u32::from_ne_bytes(attributes) & 7, 7);

    // A file that is gone comes back with the rights that it had.
    fs::remove_file(&boot_ini).expect("removed");
    volume.run(&["restore"]);
    volume.run(&["uninstall"]);
    let files = volume.files();
    assert!(files.values().all(|weak| !weak), "{files:#?}");
    assert_eq!(volume.rights(&boot_ini), before.1);
}

/// A copy under a name of the user's choice has the rights of its original, or those of Windows' own files.
#[test]
fn a_named_copy_is_nobodys_to_write() {
    let Some(volume) = Ntfs::new() else { return };
    let boot_ini = volume.write("boot.ini", BOOT_INI.as_bytes());
    let rights = full_access(&[SYSTEM_AND_ADMINISTRATORS[0]]);
    rustix::fs::setxattr(&boot_ini, ACL, &rights, rustix::fs::XattrFlags::empty()).expect("set");
    let copy = volume.root().join("copy");
    volume.run(&["backup", copy.to_str().expect("text")]);
    assert_eq!(volume.rights(&copy), rights);
    assert_eq!(fs::read(&copy).expect("there"), BOOT_INI.as_bytes());
    // Of an original on another file system.
    let (elsewhere, copy) = (volume.path("boot.ini"), volume.root().join("other"));
    fs::write(&elsewhere, BOOT_INI).expect("written");
    let mut program = Command::new(env!("CARGO_BIN_EXE_xenguard"));
    let done = program.arg("--boot-ini").arg(&elsewhere).arg("backup").arg(&copy).output().expect("it runs");
    assert!(done.status.success(), "{done:?}");
    assert_eq!(volume.rights(&copy), full_access(&SYSTEM_AND_ADMINISTRATORS));
    // And the other way round.
    let copy = volume.path("outside");
    volume.run(&["backup", copy.to_str().expect("text")]);
    assert_eq!(fs::read(&copy).expect("there"), BOOT_INI.as_bytes());
}

/// An emulator has the image open: what would be written is refused, and `check` names the emulator.
#[test]
fn a_disk_that_a_domain_uses_is_left_alone() {
    let Some(volume) = Ntfs::new() else { return };
    let boot_ini = volume.write("boot.ini", BOOT_INI.as_bytes());
    // Its name is all that makes an emulator of it. A copy could not be started while another test's process, which has just
    // been made, still has it open for writing.
    let emulator = volume.path("qemu-system-i386");
    std::os::unix::fs::symlink("/bin/sleep", &emulator).expect("linked");
    let image = fs::File::open(volume.path("image")).expect("there");
    let mut running = Command::new(&emulator).arg("60").stdin(image).spawn().expect("started");
    let run = |arguments: &[&str]| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_xenguard"));
        let output = program.arg("--root").arg(volume.root()).args(arguments).output().expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let process = format!("qemu-system-i38, process {}", running.id());
    let (check, add, dry) = (run(&["check"]), run(&["add"]), run(&["--dry-run", "add"]));
    let named = {
        let mut program = Command::new(env!("CARGO_BIN_EXE_xenguard"));
        program.arg("--boot-ini").arg(&boot_ini).args(["timeout", "7"]).status().expect("it runs").code()
    };
    let after = fs::read(&boot_ini).expect("there");
    running.kill().expect("ended");
    running.wait().expect("ended");
    assert!(
        check.1.contains(&format!("wrong: the disk of {} is in use by {process}", volume.root().display())),
        "{check:?}"
    );
    assert!(add.0 == Some(3) && add.1.contains(&process), "{add:?}");
    assert_eq!((dry.0, named), (Some(0), Some(3)), "{dry:?}");
    assert_eq!(after, BOOT_INI.as_bytes());
    let (check, add) = (run(&["check"]), run(&["add"]));
    assert!(!check.1.contains("in use") && !check.1.contains("using the disk"), "{check:?}");
    assert_eq!(add.0, Some(0), "{add:?}");
}
