//! The program installs and uninstalls: on a folder that stands for a mounted volume, and with a stand-in for
//! the tools of a running Windows.
#![cfg(unix)]

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Output},
};

#[path = "run/schema.rs"]
mod schema;

use bootcfg::{
    hive_edit::{Edit, edit_copy},
    image::{sample_driver, sample_kernel, sample_program},
};
use hive::{
    Hive,
    build::{Tree, log},
};

const CLASS: &str = "ControlSet001\\Control\\Class\\{4D36E97D-E325-11CE-BFC1-08002BE10318}";
const ENVIRONMENT: &str = "ControlSet001\\Control\\Session Manager\\Environment";
const BOOT_INI: &str = "[boot loader]\r\ntimeout=30\r\ndefault=multi(0)disk(0)rdisk(0)partition(1)\\WINDOWS\r\n\
    [operating systems]\r\nmulti(0)disk(0)rdisk(0)partition(1)\\WINDOWS=\"Server\" /fastdetect\r\n";

const DRIVERS: [&str; 4] = ["idefilter", "idefallback", "xenpci", "xenvbd"];

/// A folder with a system volume and a package.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Machine {
        let machine = Machine(tempfile::tempdir().expect("a folder"));
        for folder in [
            "volume/WINDOWS/system32/config",
            "volume/WINDOWS/system32/Drivers",
            "package",
            "windows/INF",
            "windows/System32/drivers",
        ] {
            fs::create_dir_all(machine.path(folder)).expect("made");
        }
        let hive = Tree::new()
            .with_key("Select", Tree::new().with_dword("Current", 1))
            .with_key(CLASS, Tree::new().with_text("Class", "System"))
            .with_key(ENVIRONMENT, Tree::new().with_text("PROCESSOR_ARCHITECTURE", "AMD64"))
            .with_key("ControlSet001\\Services", Tree::new());
        fs::write(machine.hive(), hive.hive("SYSTEM")).expect("written");
        fs::write(machine.path("running"), hive.hive("SYSTEM")).expect("written");
        fs::write(machine.path("volume/boot.ini"), BOOT_INI).expect("written");
        machine.package("1");
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn hive(&self) -> PathBuf {
        self.path("volume/WINDOWS/system32/config/SYSTEM")
    }

    fn driver(&self, name: &str) -> PathBuf {
        self.path(&format!("volume/WINDOWS/system32/Drivers/{name}.sys"))
    }

    /// This workspace's INF files with drivers that say their version.
    fn package(&self, version: &str) {
        for name in ["idefilter", "xenpci", "xenvbd"] {
            let inf = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../inf/{name}.inf"));
            fs::copy(inf, self.path(&format!("package/{name}.inf"))).expect("copied");
        }
        self.signed(version, None);
    }

    /// Makes the drivers, with a signature of this issuer.
    fn signed(&self, version: &str, issuer: Option<&str>) {
        for name in DRIVERS {
            let mut image = sample_driver(b"", issuer);
            image.extend(version.bytes());
            fs::write(self.path(&format!("package/{name}.sys")), image).expect("written");
        }
    }

    /// Adds a key to the hive of the volume.
    fn with(&self, path: &str, key: Tree) {
        let mut hive = Tree::new()
            .with_key("Select", Tree::new().with_dword("Current", 1))
            .with_key(CLASS, Tree::new().with_text("Class", "System"))
            .with_key("ControlSet001\\Services", Tree::new());
        if path != ENVIRONMENT {
            hive = hive.with_key(ENVIRONMENT, Tree::new().with_text("PROCESSOR_ARCHITECTURE", "AMD64"));
        }
        fs::write(self.hive(), hive.with_key(path, key).hive("SYSTEM")).expect("written");
    }

    fn install(&self) -> Output {
        self.offline(&["install", "--package", self.path("package").to_str().expect("text")])
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut program = Command::new(env!("CARGO_BIN_EXE_xenguard"));
        program.arg("--yes").args(arguments).env("SystemRoot", self.path("windows"));
        program.output().expect("it runs")
    }

    fn offline(&self, command: &[&str]) -> Output {
        let root = self.path("volume");
        self.run(&[&["--root", root.to_str().expect("text")], command].concat())
    }

    fn filters(&self) -> Option<Vec<String>> {
        let bytes = fs::read(self.hive()).expect("readable");
        let hive = Hive::new(&bytes).expect("a hive");
        let class = hive.key(CLASS).expect("read").expect("there");
        class.value("UpperFilters").expect("read").and_then(|value| value.texts().expect("read"))
    }

    fn boot_ini(&self) -> String {
        fs::read_to_string(self.path("volume/boot.ini")).expect("readable")
    }
}

/// Each document of these commands is of the documented form, and says whether something was written.
#[test]
fn documents_of_an_installation() {
    let machine = Machine::new();
    let package = machine.path("package");
    let install: &[&str] = &["install", "--package", package.to_str().expect("text")];
    let document = |arguments: &[&str], code: i32| {
        let output = machine.offline(&[&["--json"], arguments].concat());
        assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stdout));
        let document = serde_json::from_slice::<serde_json::Value>(&output.stdout).expect("one document");
        schema::check(&document);
        assert_eq!((&document["exit"], document["error"].is_null()), (&code.into(), code < 2), "{document}");
        (document["dry_run"] == true, document["changed"] == true)
    };
    let dry_run: &[&str] = &["--dry-run"];
    for (arguments, code, written) in [
        (&["check"][..], 1, (false, false)),
        (&[dry_run, install].concat(), 0, (true, false)),
        (install, 0, (false, true)),
        (install, 0, (false, false)),
        (&["status"], 0, (false, false)),
        (&["verify"], 0, (false, false)),
        (&["--dry-run", "clean"], 0, (true, false)),
        (&["--dry-run", "uninstall"], 0, (true, false)),
        (&["uninstall"], 0, (false, true)),
        (&["uninstall"], 0, (false, false)),
        (&["prune", "--keep", "0"], 0, (false, true)),
        (&["install", "--package", "nowhere"], 10, (false, false)),
    ] {
        assert_eq!(document(arguments, code), written, "{arguments:?}");
    }
}

fn good(output: Output) -> String {
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{}: {text}", output.status);
    text
}

#[test]
fn offline_install_upgrade_uninstall() {
    let machine = Machine::new();
    let package = machine.path("package");
    let install = ["install", "--package", package.to_str().expect("text")];

    let shown = good(machine.offline(&[&install[..], &["--dry-run"]].concat()));
    assert!(shown.contains("would set ControlSet001\\Services\\idefilter\\Start"), "{shown}");
    assert_eq!((machine.filters(), machine.boot_ini().as_str()), (None, BOOT_INI), "nothing was changed");

    good(machine.offline(&install));
    assert_eq!(machine.filters(), Some(vec!["idefilter".to_owned()]));
    let with_entry = machine.boot_ini();
    assert!(with_entry.contains("/GPLPV"), "{with_entry}");
    assert!(with_entry.starts_with(
        "[boot loader]\r\ntimeout=30\r\ndefault=multi(0)disk(0)rdisk(0)partition(1)\\WINDOWS\r\n"
    ));
    assert!(good(machine.offline(&["status"])).contains("boot start"));
    let told: serde_json::Value =
        serde_json::from_str(&good(machine.offline(&["--json", "status"]))).expect("one document");
    assert_eq!(
        told.pointer("/result/drivers/ready").and_then(|ready| ready.as_str()),
        Some("yes"),
        "{told:#}"
    );

    machine.package("2");
    good(machine.offline(&install));
    assert!(fs::read(machine.driver("xenvbd")).expect("there").ends_with(b"2"));
    assert_eq!(machine.boot_ini(), with_entry, "one PV entry");

    // What boots when nobody chooses is told as it is.
    assert!(good(machine.offline(&install)).contains("the default entry is as it was, and boots emulated"));
    good(machine.offline(&["default", "pv"]));
    assert!(good(machine.offline(&install)).contains("the default entry is as it was, the PV entry"));

    good(machine.offline(&["uninstall"]));
    assert_eq!((machine.filters(), machine.boot_ini().as_str()), (None, BOOT_INI));
    assert!(DRIVERS.iter().all(|name| !machine.driver(name).exists()));
    good(machine.offline(&["uninstall"]));
}

/// Windows crashed after an installation in the guest: the hive is as before it, its log file has it.
#[test]
fn a_dirty_hive_is_read_with_its_log_files() {
    let machine = Machine::new();
    let clean = fs::read(machine.hive()).expect("readable");
    let package = machine.path("package");
    good(machine.offline(&["install", "--package", package.to_str().expect("text")]));
    let installed = fs::read(machine.hive()).expect("readable");
    let primary = log::dirty(&clean, 204);
    let log_file = log::of_entries(&[&clean, &installed], 204);
    let logs = machine.path("volume/WINDOWS/system32/config/system.LOG2");
    let config = machine.path("volume/WINDOWS/system32/config");
    for entry in fs::read_dir(&config).expect("listed") {
        fs::remove_file(entry.expect("an entry").path()).expect("removed");
    }
    fs::write(machine.hive(), &primary).expect("written");

    // Without its log file nothing is known, nothing is edited, and the message says which file and why.
    let refused = machine.offline(&["uninstall"]);
    assert_eq!(refused.status.code(), Some(4));
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    for part in ["config/SYSTEM was not written to its end", "205 and 204", "no log file beside it"] {
        assert!(text.contains(part), "{text}");
    }
    fs::write(&logs, log::of_entries(&[&clean, &installed], 203)).expect("written");
    let refused = machine.offline(&["uninstall"]);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(text.contains("system.LOG2: it is of an earlier write (sequence number 203"), "{text}");
    assert_eq!(fs::read(machine.hive()).expect("readable"), primary);

    fs::write(&logs, &log_file).expect("written");
    let verified = good(machine.offline(&["verify"]));
    assert!(verified.contains("with system.LOG2 replayed"), "{verified}");
    assert!(
        good(machine.offline(&["status"])).contains("boot start"),
        "the services are in the log file only"
    );
    assert_eq!(fs::read(machine.hive()).expect("readable"), primary, "reading writes nothing");
    good(machine.offline(&["uninstall"]));
    assert_eq!((machine.filters(), machine.boot_ini().as_str()), (None, BOOT_INI));
    assert!(DRIVERS.iter().all(|name| !machine.driver(name).exists()));
    // The new hive is clean, and the log file does not fit it any more.
    let left = fs::read(machine.hive()).expect("readable");
    assert!(
        Hive::new(&left).expect("clean").key("ControlSet001\\Services\\idefilter").expect("read").is_none()
    );
    assert_eq!(fs::read(&logs).expect("readable"), log_file, "log files are not touched");
    let marked = log::dirty(&left, u32::from_le_bytes(left[4..8].try_into().expect("four")));
    assert!(hive::replay::replay(&marked, &[&log_file]).is_err());
    // Both states are kept: the file as it was, and what it meant with its log file.
    assert_eq!(fs::read(config.join("SYSTEM.backup1")).expect("kept"), primary);
    let replayed = fs::read(config.join("SYSTEM.backup2")).expect("kept");
    assert!(
        Hive::new(&replayed)
            .expect("clean")
            .key("ControlSet001\\Services\\idefilter")
            .expect("read")
            .is_some()
    );
}

#[test]
fn what_cannot_be_installed_changes_nothing() {
    let machine = Machine::new();
    let before = fs::read(machine.hive()).expect("readable");
    fs::remove_file(machine.path("package/xenvbd.sys")).expect("removed");
    let package = machine.path("package");
    let install = ["install", "--package", package.to_str().expect("text")];
    assert!(!machine.offline(&install).status.success());
    machine.package("1");
    // Ten entries: the loader would not show one more.
    let full = BOOT_INI.to_owned() + &"multi(0)disk(0)rdisk(0)partition(1)\\W2=\"x\"\r\n".repeat(9);
    fs::write(machine.path("volume/boot.ini"), &full).expect("written");
    let output = machine.offline(&install);
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::read(machine.hive()).expect("readable"), before);
    assert!(!machine.driver("idefilter").exists());
    assert_eq!(machine.boot_ini(), full);
    // Hibernated.
    fs::write(machine.path("volume/boot.ini"), BOOT_INI).expect("written");
    fs::write(machine.path("volume/hiberfil.sys"), [b"hibr".as_slice(), &[1; 4096]].concat())
        .expect("written");
    assert_eq!(machine.offline(&install).status.code(), Some(3));
    assert_eq!(fs::read(machine.hive()).expect("readable"), before);
}

fn refused(output: Output, code: i32, text: &str) {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(text), "{said}");
}

/// Drivers that this Windows cannot load are not put into it: with the filter in the lists nothing would boot.
#[test]
fn a_windows_that_cannot_load_the_drivers() {
    let machine = Machine::new();
    machine.with(ENVIRONMENT, Tree::new().with_text("PROCESSOR_ARCHITECTURE", "x86"));
    refused(machine.install(), 3, "this Windows is for x86");
    machine.with(ENVIRONMENT, Tree::new().with_text("Other", "x"));
    refused(machine.install(), 3, "does not say which processor");
    let kernel = machine.path("volume/WINDOWS/system32/ntoskrnl.exe");
    fs::write(&kernel, sample_kernel(false, (5, 1))).expect("written");
    refused(machine.install(), 3, "not x64 (by its kernel)");
    // From Vista on the loader asks for signatures.
    fs::write(&kernel, sample_kernel(true, (6, 1))).expect("written");
    refused(machine.install(), 3, "the drivers are not signed");
    machine.signed("1", Some("Xenguard test"));
    refused(machine.install(), 3, "test signing is off in entry 1");
    machine.signed("1", Some("Microsoft Windows Third Party Component CA 2014"));
    assert!(!machine.driver("idefilter").exists(), "nothing was written before");
    good(machine.install());
    good(machine.offline(&["uninstall"]));
    // Server 2003 does not ask.
    fs::write(&kernel, sample_kernel(true, (5, 2))).expect("written");
    machine.signed("1", None);
    good(machine.install());
}

/// Of several Windows the entry's own folder is the one.
#[test]
fn the_entry_says_which_windows() {
    let machine = Machine::new();
    let second = machine.path("volume/WINSRV/System32");
    fs::create_dir_all(second.join("config")).expect("made");
    fs::create_dir_all(second.join("drivers")).expect("made");
    fs::copy(machine.hive(), second.join("config/SYSTEM")).expect("copied");
    let menu = BOOT_INI.to_owned() + "multi(0)disk(0)rdisk(0)partition(1)\\WINSRV=\"Second\" /fastdetect\r\n";
    fs::write(machine.path("volume/boot.ini"), &menu).expect("written");
    let package = machine.path("package");
    let install = ["install", "--package", package.to_str().expect("text"), "--entry", "2"];
    good(machine.offline(&install));
    assert!(second.join("drivers/idefilter.sys").exists() && !machine.driver("idefilter").exists());
    assert!(machine.boot_ini().contains("\\WINSRV=\"Second (PV disks)\" /fastdetect /GPLPV"));
    refused(machine.offline(&["default", "pv"]), 3, "no PV entry");
    refused(machine.offline(&["default", "pv", "--entry", "1"]), 3, "no PV entry");
    good(machine.offline(&["add", "--entry", "1"]));
    refused(machine.offline(&["default", "pv", "--entry", "1"]), 3, "drivers are not ready");
    good(machine.offline(&["default", "pv", "--entry", "3"]));
    // The PV entry is the default now, and so its Windows is the one.
    good(machine.offline(&["uninstall"]));
    assert!(!second.join("drivers/idefilter.sys").exists());
    assert_eq!(machine.boot_ini().matches("GPLPV").count(), 1, "the other's entry stays");
    good(machine.offline(&["remove"]));
    assert!(!machine.boot_ini().contains("GPLPV"));
    // A folder that no entry names, or whose entry is another volume's.
    let away = BOOT_INI.replace("WINDOWS", "WINNT");
    fs::write(machine.path("volume/boot.ini"), &away).expect("written");
    refused(machine.install(), 3, "there is WINDOWS, WINSRV");
    good(machine.offline(&["--windows", "WINSRV", install[0], install[1], install[2]]));
    assert!(second.join("drivers/idefilter.sys").exists());
    // Without a menu only the folder can say it.
    fs::remove_file(machine.path("volume/boot.ini")).expect("removed");
    for entry in fs::read_dir(machine.path("volume")).expect("listed").flatten() {
        if entry.file_name().to_string_lossy().contains("backup") {
            fs::remove_file(entry.path()).expect("removed");
        }
    }
    let bare = ["install", "--no-entry", install[1], install[2]];
    refused(machine.offline(&bare), 3, "several Windows (WINDOWS, WINSRV)");
}

/// Folders of one name on two partitions: the menu does not say which of them is mounted.
#[test]
fn of_two_windows_in_folders_of_one_name_the_user_says_which() {
    let machine = Machine::new();
    let other = "multi(0)disk(0)rdisk(0)partition(2)\\windows=\"Other\" /fastdetect\r\n";
    fs::write(machine.path("volume/boot.ini"), BOOT_INI.to_owned() + other).expect("written");
    let before = fs::read(machine.hive()).expect("readable");
    let package = machine.path("package");
    let install = ["install", "--package", package.to_str().expect("text"), "--entry", "2"];
    for command in [&install[..], &install[..3], &["uninstall"], &["clean"]] {
        let output = machine.offline(command);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{command:?}: {said}");
        assert!(said.contains("entries 1, 2") && said.contains("--windows"), "{command:?}: {said}");
    }
    assert!(!machine.driver("idefilter").exists());
    assert_eq!(fs::read(machine.hive()).expect("readable"), before);
    // Nothing is said of drivers that may be of the other one.
    let said = good(machine.offline(&["status"]));
    assert!(said.contains("on different partitions"), "{said}");
    good(machine.offline(&[&["--windows", "WINDOWS"], &install[..]].concat()));
    assert!(machine.driver("idefilter").exists());
    assert!(machine.boot_ini().contains("Other (PV disks)"));
    good(machine.offline(&["--windows", "WINDOWS", "uninstall"]));
    // An emulated and a PV entry of one Windows are no two.
    fs::write(machine.path("volume/boot.ini"), with_pv_entry()).expect("written");
    good(machine.offline(&install[..3]));
    good(machine.offline(&["uninstall"]));
}

/// A state in which a boot ends is not called good.
#[test]
fn verify_judges_as_the_loader_does() {
    let machine = Machine::new();
    let wrong = |finding: &str, command: &[&str]| {
        let output = machine.offline(&["verify"]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(finding), "{said}");
        if !command.is_empty() {
            assert_eq!(machine.offline(command).status.code(), Some(3), "{finding}");
        }
    };
    let pv = ["default", "pv"];
    good(machine.install());
    good(machine.offline(&["verify"]));
    let kept = fs::read(machine.driver("idefilter")).expect("there");
    fs::remove_file(machine.driver("idefilter")).expect("removed");
    wrong("both entries boot emulated, by idefallback", &pv);
    fs::remove_file(machine.driver("idefallback")).expect("removed");
    wrong("no entry boots (0x7B)", &pv);
    fs::write(machine.driver("idefilter"), &kept).expect("written");
    wrong("idefallback does not load", &[]);
    fs::write(machine.driver("idefallback"), &kept).expect("written");
    fs::remove_file(machine.driver("xenvbd")).expect("removed");
    wrong("xenvbd does not load (its file", &pv);
    fs::write(machine.driver("xenvbd"), b"MZ no driver").expect("written");
    wrong("is no driver for x64", &pv);
    fs::write(machine.driver("xenvbd"), &kept).expect("written");
    good(machine.offline(&["verify"]));

    // Changes of the hive, each on a copy.
    let hive = fs::read(machine.hive()).expect("readable");
    let edited = |edits: &[Edit]| {
        fs::write(machine.hive(), edit_copy(&hive, edits).expect("edited")).expect("written");
    };
    let services = "ControlSet001\\Services";
    edited(&[Edit::DeleteValues { key: CLASS.to_owned(), names: vec!["UpperFilters".to_owned()] }]);
    wrong("idefilter is not among the filters of {4D36E97D", &pv);
    edited(&[Edit::DeleteKey { key: format!("{services}\\idefilter") }]);
    wrong("perhaps no entry boots (0x7B)", &pv);
    let mark = |name: &str| Edit::Set {
        key: format!("{services}\\{name}\\StartOverride"),
        name: "0".to_owned(),
        kind: hive::data_type::DWORD,
        data: vec![3, 0, 0, 0],
    };
    let start = Edit::Set {
        key: format!("{services}\\atapi"),
        name: "Start".to_owned(),
        kind: hive::data_type::DWORD,
        data: vec![0; 4],
    };
    edited(&[mark("xenvbd")]);
    wrong("the loader leaves xenvbd out", &[]);
    edited(&[start.clone(), mark("atapi")]);
    wrong("the loader leaves atapi out", &[]);
    // Either choice takes the marks of both sides away.
    for choice in ["pv", "emulated"] {
        edited(&[mark("xenvbd"), start.clone(), mark("atapi")]);
        good(machine.offline(&["default", choice]));
        good(machine.offline(&["verify"]));
    }
    edited(&[start, mark("atapi")]);
    good(machine.offline(&["uninstall"]));
    let left = fs::read(machine.hive()).expect("readable");
    let left = Hive::new(&left).expect("a hive");
    assert!(left.key(&format!("{services}\\atapi\\StartOverride")).expect("read").is_none());
}

/// A list of filters that is one string keeps it.
#[test]
fn a_filter_of_the_older_form_stays() {
    let machine = Machine::new();
    machine.with(CLASS, Tree::new().with_text("UpperFilters", "PartMgr"));
    good(machine.install());
    assert_eq!(machine.filters(), Some(vec!["PartMgr".to_owned(), "idefilter".to_owned()]));
    good(machine.offline(&["uninstall"]));
    assert_eq!(machine.filters(), Some(vec!["PartMgr".to_owned()]));
}

/// Whoever writes the guest's volume decides on no file of this machine.
#[test]
fn links_out_of_the_volume_are_refused() {
    let machine = Machine::new();
    let host = machine.path("host");
    fs::create_dir(&host).expect("made");
    let drivers = machine.path("volume/WINDOWS/system32/Drivers");
    fs::remove_dir(&drivers).expect("removed");
    symlink(&host, &drivers).expect("linked");
    refused(machine.install(), 3, "leads out of");
    assert_eq!(fs::read_dir(&host).expect("listed").count(), 0);
    fs::remove_file(&drivers).expect("removed");
    fs::create_dir(&drivers).expect("made");
    fs::write(host.join("secret"), b"secret").expect("written");
    symlink(host.join("secret"), machine.driver("xenvbd")).expect("linked");
    refused(machine.install(), 3, "leads out of");
    fs::remove_file(machine.driver("xenvbd")).expect("removed");
    symlink(host.join("made"), machine.path("volume/boot.ini.lock")).expect("linked");
    refused(machine.offline(&["timeout", "3"]), 3, "is in the way");
    assert!(!host.join("made").exists());
}

/// A package that is not whole is told by a code of its own; names in upper case are taken.
#[test]
fn packages_of_all_kinds() {
    let machine = Machine::new();
    let before = fs::read(machine.hive()).expect("readable");
    fs::write(machine.path("package/xenvbd.sys"), b"no driver").expect("written");
    refused(machine.install(), 10, "is not a driver for x64");
    fs::remove_file(machine.path("package/xenvbd.sys")).expect("removed");
    refused(machine.install(), 10, "is missing or cannot be read");
    assert_eq!(fs::read(machine.hive()).expect("readable"), before);
    machine.package("1");
    for entry in fs::read_dir(machine.path("package")).expect("listed") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().to_ascii_uppercase();
        fs::rename(&path, path.with_file_name(name)).expect("renamed");
    }
    fs::write(machine.path("volume/WINDOWS/system32/Drivers/XENPCI.SYS"), b"old").expect("written");
    good(machine.install());
    assert!(!machine.driver("xenpci").exists(), "one file of that name");
}

/// Packages that stay in the driver store are named.
#[test]
fn a_driver_store_is_not_forgotten() {
    let machine = Machine::new();
    good(machine.install());
    let store = "volume/WINDOWS/system32/DriverStore/FileRepository/xenpci.inf_amd64_0123456789abcdef";
    fs::create_dir_all(machine.path(store)).expect("made");
    let said = good(machine.offline(&["uninstall"]));
    assert!(said.contains("driver store still has xenpci.inf_amd64_0123456789abcdef"), "{said}");
    assert!(!said.contains("Xenguard is removed;"), "{said}");
}

/// Stands for pnputil, rundll32, reg and sc, and refuses what they refuse: rundll32 succeeds whatever it did,
/// pnputil says by its code that no device was there or that a restart is needed, reg and sc fail where
/// nothing is to be removed, and a driver that imports from one whose file is not there does not start.
///
/// It records each call, and keeps a registry of file names: `reg-<name>` is a service, which is another vendor's with
/// `theirs-<name>`, and `critical-<id>` has the service of a critical device. With
/// `loaded` the drivers are in use: a service that is deleted stays with a `deleteflag-<name>` until the next start, and
/// the files stay. `failat` has the number of the call that fails.
const TOOLS: &str = r#"#!/bin/sh
here=$(dirname "$0")
echo "$*" >> "$here/calls"
drivers=$here/windows/System32/drivers
if [ -f "$here/failat" ] && [ "$(wc -l < "$here/calls")" -eq "$(cat "$here/failat")" ]; then
  if [ "$1" = rundll32 ]; then exit 0; else exit 1; fi
fi
case "$1 $3" in
"pnputil -a") [ -f "$4" ] || exit 2
   [ ! -f "$here/runs" ] || touch "$here/problem"
   name=$(basename "$4" .inf)
   # Each version has a copy of its own.
   number=0
   while inf=$here/windows/INF/oem$number.inf; [ -f "$inf" ] && ! cmp -s "$4" "$inf"; do number=$((number + 1)); done
   cp "$4" "$inf"
   # The package of the child registers a service when its device is there.
   if [ "$name" = xenvbd ]; then exit 3; fi
   [ -f "$drivers/idefilter.sys" ] || touch "$here/problem"
   touch "$here/reg-xenpci" "$here/reg-xenvbd" "$drivers/xenpci.sys" "$drivers/xenvbd.sys"; exit 194;;
"pnputil -d") [ -f "$here/windows/INF/$4" ] || exit 2
   [ "$(cat "$here/keeps" 2>/dev/null)" != "$4" ] || exit 5
   rm -f "$here/windows/INF/$4";;
# A file in use is renamed over at the next start.
"rundll32 Idefilter.CopyFile") [ ! -f "$here/nocopy" ] || exit 0
   if [ -f "$here/loaded" ]; then touch "$here/renames"; exit 0; fi
   cp "$(dirname "$5")/idefilter.sys" "$(dirname "$5")/idefallback.sys" "$drivers/";;
"rundll32 DefaultInstall") cp "$5" "$here/windows/INF/oem-idefilter.inf"
   [ -f "$here/reg-xenpci" ] || touch "$here/problem"
   touch "$here/reg-idefilter" "$here/reg-idefallback" "$here/filter";;
"rundll32 DefaultUninstall") rm -f "$here/filter"
   [ ! -f "$here/loaded" ] || { touch "$here/deleteflag-idefilter" "$here/deleteflag-idefallback"; exit 0; }
   rm -f "$here/reg-idefilter" "$here/reg-idefallback";;
"rundll32 Idefilter.RemoveFile") [ -f "$here/filter" ] && touch "$here/problem"
   [ ! -f "$here/loaded" ] || exit 0
   rm -f "$drivers/idefilter.sys" "$drivers/idefallback.sys" "$here/windows/INF/oem-idefilter.inf";;
"sc xenpci"|"sc xenvbd") [ -f "$here/reg-$3" ] || exit 36
   [ ! -f "$here/deleteflag-$3" ] || exit 48
   [ ! -f "$here/loaded" ] || { touch "$here/deleteflag-$3"; exit 0; }
   rm -f "$here/reg-$3" "$drivers/$3.sys";;
"sc xenguard-svc") case $2 in
   create) [ ! -f "$here/reg-xenguard-svc" ] || exit 49; touch "$here/reg-xenguard-svc";;
   delete) [ -f "$here/reg-xenguard-svc" ] || exit 36; rm "$here/reg-xenguard-svc";;
   *) [ -f "$here/reg-xenguard-svc" ] || exit 36;;
   esac;;
# The drivers' device must not be open while it is replaced or removed.
"net xenguard-svc") case $2 in
   start) [ -f "$here/reg-xenguard-svc" ] && touch "$here/runs";;
   stop) [ -f "$here/runs" ] || exit 2; rm "$here/runs";;
   esac;;
flush*) ;;
reg*) case "$2 $3" in
   "query HKLM\\SYSTEM\\CurrentControlSet\\Control\\Session Manager") [ -f "$here/renames" ];;
   query*Class*) [ -f "$here/filter" ];;
   query*Critical*) grep -qx "$9" "$here/critical-${3##*\\}";;
   delete*Critical*) rm "$here/critical-${3##*\\}";;
   query*) name=${3##*\\}
   [ -f "$here/reg-$name" ] || exit 1
   case $5 in
   DisplayName) [ ! -f "$here/theirs-$name" ];;
   DeleteFlag) [ -f "$here/deleteflag-$name" ];;
   esac;;
   add*EventLog*) [ -f "$here/reg-xenguard-svc" ];;
   *) exit 1;;
   esac;;
*) exit 87;;
esac
"#;

/// Runs a command with stand-ins for the tools and for the running system's registry.
fn live(machine: &Machine, command: &[&str]) -> (Output, Vec<String>) {
    let tools = machine.path("tools");
    if !tools.exists() {
        // The codes of pnputil are 259 and 3010; a shell's have eight bits.
        fs::write(&tools, TOOLS).expect("written");
        fs::set_permissions(&tools, fs::Permissions::from_mode(0o755)).expect("set");
    }
    // The calls of this run only.
    let _ = fs::remove_file(machine.path("calls"));
    let (boot_ini, running) = (machine.path("volume/boot.ini"), machine.path("running"));
    let global = [
        "--tools",
        tools.to_str().expect("text"),
        "--boot-ini",
        boot_ini.to_str().expect("text"),
        "--registry",
        running.to_str().expect("text"),
    ];
    let output = machine.run(&[&global[..], command].concat());
    let calls = fs::read_to_string(machine.path("calls")).unwrap_or_default();
    (output, calls.lines().map(str::to_owned).collect())
}

#[test]
fn without_the_tools_of_windows_nothing_is_changed() {
    let machine = Machine::new();
    let package = machine.path("package");
    let install = ["install", "--package", package.to_str().expect("text")];
    let (boot_ini, running) = (machine.path("volume/boot.ini"), machine.path("running"));
    let global = [
        "--tools",
        "nowhere",
        "--boot-ini",
        boot_ini.to_str().expect("text"),
        "--registry",
        running.to_str().expect("text"),
    ];
    for command in
        [&install[..], &["uninstall"], &[&["--dry-run"], &install[..]].concat(), &["--dry-run", "uninstall"]]
    {
        let output = machine.run(&[&global[..], command].concat());
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(8), "{command:?}: {told}");
        assert!(told.contains("nothing was changed") && told.contains("install.cmd"), "{told}");
        assert_eq!(machine.boot_ini(), BOOT_INI);
    }
}

/// Returns the parts of the suite that are left in the system that the stand-in keeps.
fn left(machine: &Machine) -> Vec<String> {
    let mut left = Vec::new();
    for name in ["filter", "problem", "reg-idefilter", "reg-idefallback", "reg-xenpci", "reg-xenvbd"] {
        left.extend(Some(name.to_owned()).filter(|name| machine.path(name).exists()));
    }
    for folder in ["windows/INF", "windows/System32/drivers"] {
        for entry in fs::read_dir(machine.path(folder)).expect("listed") {
            left.push(entry.expect("an entry").file_name().to_string_lossy().into_owned());
        }
    }
    if machine.boot_ini() != BOOT_INI {
        left.push("the PV entry".to_owned());
    }
    left
}

#[test]
fn the_tools_of_a_running_windows_are_called_in_the_safe_order() {
    let machine = Machine::new();
    let package = machine.path("package");
    let install = ["install", "--package", package.to_str().expect("text")];
    let (output, calls) = live(&machine, &install);
    good(output);
    let changing = |calls: Vec<String>| -> Vec<String> {
        calls.into_iter().filter(|call| !call.starts_with("reg query")).collect()
    };
    let calls = changing(calls);
    let wanted = [
        "rundll32 setupapi.dll,InstallHinfSection Idefilter.CopyFile 128",
        // The loader must not find a driver registered whose file is not whole.
        "flush",
        "pnputil -i -a",
        "pnputil -i -a",
        "rundll32 setupapi.dll,InstallHinfSection DefaultInstall 128",
        "flush",
    ];
    assert_eq!(calls.len(), wanted.len(), "{calls:#?}");
    for (call, wanted) in calls.iter().zip(wanted) {
        assert!(call.starts_with(wanted), "{calls:#?}");
    }
    assert!(calls[2].ends_with("xenvbd.inf") && calls[3].ends_with("xenpci.inf"), "{calls:#?}");
    assert!(!machine.path("problem").exists(), "each driver finds what it imports from");
    assert!(machine.boot_ini().contains("/GPLPV"));

    let (output, calls) = live(&machine, &["uninstall"]);
    good(output);
    let calls = changing(calls);
    // The filter first, its file last.
    assert!(calls[0].contains("DefaultUninstall"), "{calls:#?}");
    assert!(calls.last().is_some_and(|call| call.contains("Idefilter.RemoveFile")), "{calls:#?}");
    assert_eq!(calls.iter().filter(|call| call.starts_with("pnputil -f -d oem")).count(), 2, "{calls:#?}");
    assert_eq!(left(&machine), Vec::<String>::new());
}

/// Windows keeps a package for each version that was installed.
#[test]
fn every_version_leaves_the_driver_store() {
    let machine = Machine::new();
    let package = machine.path("package");
    let install = ["install", "--package", package.to_str().expect("text")];
    for version in ["0.1.0.0", "0.2.0.0", "0.3.0.0"] {
        for name in ["idefilter", "xenpci", "xenvbd"] {
            let path = machine.path(&format!("package/{name}.inf"));
            let inf = fs::read_to_string(&path).expect("readable");
            let of_version = |line: &str| match line.split_once("DriverVer") {
                Some(_) => format!("DriverVer = 11/21/2026,{version}\r\n"),
                None => format!("{line}\r\n"),
            };
            fs::write(&path, inf.lines().map(of_version).collect::<String>()).expect("written");
        }
        good(live(&machine, &install).0);
    }
    assert_eq!(left(&machine).iter().filter(|name| name.ends_with(".inf")).count(), 7);
    fs::write(machine.path("keeps"), "oem3.inf").expect("written");
    let said = good(live(&machine, &["uninstall"]).0);
    assert!(said.contains("pnputil -d oem3.inf"), "{said}");
    assert_eq!(left(&machine), ["oem3.inf"]);
    fs::remove_file(machine.path("keeps")).expect("removed");
    let said = good(live(&machine, &["uninstall"]).0);
    assert!(!said.contains("pnputil"), "{said}");
    assert_eq!(left(&machine), Vec::<String>::new());
}

/// With the service: it is stopped before the drivers are touched, made when they are in, and gone with them. It fails
/// alone.
#[test]
fn the_service_is_installed_upgraded_and_removed_with_the_drivers() {
    let machine = Machine::new();
    let package = machine.path("package");
    let install = ["install", "--package", package.to_str().expect("text")];
    let (new, own) = (package.join("xenguard-svc.exe"), machine.path("windows/System32/xenguard-svc.exe"));
    fs::write(&new, sample_program(b"1")).expect("written");
    let is_up = || (machine.path("reg-xenguard-svc").exists(), machine.path("runs").exists());
    let (output, calls) = live(&machine, &install);
    good(output);
    let of_service: Vec<_> = calls.iter().filter(|call| call.contains("xenguard-svc")).collect();
    assert!(
        of_service[0].starts_with("sc create xenguard-svc binPath= %SystemRoot%\\System32\\"),
        "{calls:#?}"
    );
    assert!(of_service.last().is_some_and(|call| *call == "net start xenguard-svc"), "{calls:#?}");
    assert_eq!((is_up(), fs::read(&own).expect("there")), ((true, true), sample_program(b"1")));

    fs::write(&new, sample_program(b"2")).expect("written");
    let first = |calls: &[String]| calls.iter().find(|call| !call.starts_with("reg query")).cloned();
    let (output, calls) = live(&machine, &install);
    good(output);
    assert_eq!(first(&calls).as_deref(), Some("net stop xenguard-svc"));
    assert_eq!((is_up(), fs::read(&own).expect("there")), ((true, true), sample_program(b"2")));
    // A package without it leaves it there, and running.
    fs::remove_file(&new).expect("removed");
    good(live(&machine, &install).0);
    assert_eq!(is_up(), (true, true));
    fs::write(&new, sample_program(b"3")).expect("written");
    // Each call for it fails: the drivers are in, and a line says what is not.
    let calls = live(&machine, &install).1;
    for at in (1..=calls.len()).filter(|at| calls[at - 1].contains("xenguard-svc")) {
        fs::write(machine.path("failat"), at.to_string()).expect("written");
        let text = good(live(&machine, &install).0);
        let harmless = ["net", "sc create"].iter().any(|word| calls[at - 1].starts_with(word));
        assert!(harmless || text.contains("do not depend on it"), "{}: {text}", calls[at - 1]);
        fs::remove_file(machine.path("failat")).expect("removed");
        // What failed at the start ran on.
        let _ = fs::remove_file(machine.path("problem"));
    }
    good(live(&machine, &install).0);
    let (output, calls) = live(&machine, &["uninstall"]);
    good(output);
    assert_eq!(first(&calls).as_deref(), Some("net stop xenguard-svc"));
    assert_eq!((is_up(), own.exists()), ((false, false), false));
    assert_eq!(left(&machine), Vec::<String>::new());
}

/// On a mounted volume, with the file in the folder above the drivers'.
#[test]
fn the_service_is_installed_and_removed_offline() {
    let machine = Machine::new();
    let own = machine.path("volume/WINDOWS/system32/xenguard-svc.exe");
    good(machine.install());
    assert!(!own.exists(), "the package is without it");
    let said = good(machine.offline(&["status"]));
    assert!(said.contains("service: not installed"), "{said}");
    fs::write(machine.path("package/xenguard-svc.exe"), sample_driver(b"", None)).expect("written");
    refused(machine.install(), 10, "xenguard-svc.exe is not a program for x64");
    fs::write(machine.path("package/xenguard-svc.exe"), sample_program(b"1")).expect("written");
    good(machine.install());
    assert_eq!(fs::read(&own).expect("there"), sample_program(b"1"));
    let said = good(machine.offline(&["status"]));
    assert!(said.contains("service: automatic start"), "{said}");
    fs::rename(&own, own.with_extension("away")).expect("renamed");
    let verified = machine.offline(&["verify"]);
    let said = String::from_utf8_lossy(&verified.stdout);
    assert!(said.contains("the service xenguard-svc has no file System32\\xenguard-svc.exe"), "{said}");
    fs::rename(own.with_extension("away"), &own).expect("renamed");
    good(machine.offline(&["uninstall"]));
    assert!(!own.exists());
    let bytes = fs::read(machine.hive()).expect("readable");
    let hive = Hive::new(&bytes).expect("a hive");
    assert!(hive.key("ControlSet001\\Services\\xenguard-svc").expect("read").is_none());
}

/// Each call in turn fails: then everything is as it was, or the message names what is not.
#[test]
fn a_tool_that_fails_takes_the_installation_back() {
    let machine = Machine::new();
    let package = machine.path("package");
    let install = ["install", "--package", package.to_str().expect("text")];
    let (output, calls) = live(&machine, &install);
    good(output);
    good(live(&machine, &["uninstall"]).0);
    for at in 1..=calls.len() {
        fs::write(machine.path("failat"), at.to_string()).expect("written");
        let (output, failed) = live(&machine, &install);
        let what = &calls[at - 1];
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let left = left(&machine);
        // The first question is whether there is an older version: the answer is no either way.
        if output.status.success() {
            let said = String::from_utf8_lossy(&output.stdout);
            // Where the volume is not flushed, the filter's files are, each by itself.
            let is_last = !calls[at..].contains(what);
            let noted = format!("{said}{text}").contains("was not asked to write everything");
            assert!(
                what.starts_with("reg query") || what == "flush" && noted == is_last,
                "{what}: {said}{text}"
            );
        } else {
            assert_eq!(output.status.code(), Some(8), "{what}: {failed:#?}");
            assert!(
                text.contains("taken out again") || text.contains("taking it out again failed"),
                "{what}: {text}"
            );
            assert!(
                left.is_empty() || text.contains("left") || text.contains("failed too"),
                "{what}: {left:?}: {text}"
            );
            assert!(!left.contains(&"the PV entry".to_owned()), "{what}: {text}");
        }
        assert!(!left.contains(&"problem".to_owned()), "{what}");
        fs::remove_file(machine.path("failat")).expect("removed");
        good(live(&machine, &["uninstall"]).0);
        assert_eq!(self::left(&machine), Vec::<String>::new(), "{what}");
    }
}

/// Each call of an upgrade in turn fails: the older version stays whole, or the message says that it may not
/// be. Its entries are as they were, and another run gets through.
#[test]
fn an_upgrade_that_fails_says_what_is_left() {
    let machine = Machine::new();
    let package = machine.path("package");
    let install = ["install", "--package", package.to_str().expect("text")];
    good(live(&machine, &install).0);
    let (output, calls) = live(&machine, &install);
    good(output);
    let (menu, whole) = (machine.boot_ini(), left(&machine));
    assert!(calls.len() > 8, "{calls:#?}");
    for at in 1..=calls.len() {
        machine.package("2");
        fs::write(machine.path("failat"), at.to_string()).expect("written");
        let (output, _) = live(&machine, &install);
        let what = &calls[at - 1];
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((machine.boot_ini(), left(&machine)), (menu.clone(), whole.clone()), "{what}: {text}");
        let version = |name: &str| {
            fs::read(machine.path(&format!("windows/System32/drivers/{name}.sys"))).expect("there").pop()
        };
        if output.status.success() {
            // rundll32 tells no failure: what was to be done was done by a run before, or a question whether a
            // version is installed, or is being removed, was answered no.
            let is_registered_before = what.contains("InstallHinfSection DefaultInstall");
            assert!(
                is_registered_before || what.starts_with("reg query") || what == "flush",
                "{what}: {text}"
            );
            assert_eq!((version("idefilter"), version("idefallback")), (Some(b'2'), Some(b'2')), "{what}");
        } else {
            assert_eq!(output.status.code(), Some(8), "{what}: {text}");
            assert!(
                text.contains("the version that was installed before may be half replaced"),
                "{what}: {text}"
            );
        }
        fs::remove_file(machine.path("failat")).expect("removed");
        good(live(&machine, &install).0);
        assert_eq!(version("idefilter"), Some(b'2'), "{what}: {text}");
        machine.package("1");
        good(live(&machine, &install).0);
        assert_eq!(version("idefilter"), Some(b'1'));
    }
}

/// rundll32 succeeds whatever it did: what an upgrade replaces is compared with the package.
#[test]
fn an_upgrade_is_seen_in_the_files() {
    let machine = Machine::new();
    let package = machine.path("package");
    let install = ["install", "--package", package.to_str().expect("text")];
    good(live(&machine, &install).0);
    machine.package("2");
    fs::write(machine.path("nocopy"), "").expect("written");
    refused(live(&machine, &install).0, 8, "idefilter.sys is not that of the package");
    fs::remove_file(machine.path("nocopy")).expect("removed");
    // Files in use are replaced at the next start.
    fs::write(machine.path("loaded"), "").expect("written");
    assert!(good(live(&machine, &install).0).contains("restart once before a PV boot"));
    fs::remove_file(machine.path("loaded")).expect("removed");
    fs::remove_file(machine.path("renames")).expect("to be renamed");
    good(live(&machine, &install).0);
}

/// Each call of a removal in turn fails: the filter never is without its file, and another run gets through.
#[test]
fn a_removal_that_fails_can_be_run_again() {
    let machine = Machine::new();
    let package = machine.path("package");
    let install = ["install", "--package", package.to_str().expect("text")];
    good(live(&machine, &install).0);
    let (output, calls) = live(&machine, &["uninstall"]);
    good(output);
    for at in 1..=calls.len() {
        good(live(&machine, &install).0);
        fs::write(machine.path("failat"), at.to_string()).expect("written");
        let (output, _) = live(&machine, &["uninstall"]);
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let what = &calls[at - 1];
        let left = left(&machine);
        if left.contains(&"filter".to_owned()) {
            assert!(left.contains(&"idefilter.sys".to_owned()), "{what}: {left:?}");
            assert!(left.contains(&"reg-idefilter".to_owned()), "{what}: {left:?}");
            assert!(!output.status.success() && text.contains("nothing more was removed"), "{what}: {text}");
        }
        if output.status.success() {
            let told = |name: &String| text.contains(name.trim_start_matches("reg-"));
            assert!(left.iter().all(told), "{what}: {left:?}: {text}");
        }
        assert!(!left.contains(&"problem".to_owned()), "{what}");
        fs::remove_file(machine.path("failat")).expect("removed");
        good(live(&machine, &["uninstall"]).0);
        assert_eq!(self::left(&machine), Vec::<String>::new(), "{what}");
    }
}

fn with_pv_entry() -> String {
    BOOT_INI.to_owned() + "multi(0)disk(0)rdisk(0)partition(1)\\WINDOWS=\"PV\" /fastdetect /GPLPV\r\n"
}

/// GPLPV and Xen Project have services of our names, and GPLPV has PV entries like ours.
#[test]
fn another_vendors_drivers_are_no_part_of_a_removal() {
    let machine = Machine::new();
    let with_entry = with_pv_entry();
    let (theirs, device) =
        (["reg-xenpci", "theirs-xenpci", "windows/System32/drivers/xenpci.sys"], "pci#ven_5853&dev_0001");
    for name in theirs {
        fs::write(machine.path(name), "").expect("written");
    }
    fs::write(machine.path(&format!("critical-{device}")), "xenpci\n").expect("written");
    fs::write(machine.path("volume/boot.ini"), &with_entry).expect("written");
    let said = good(live(&machine, &["--dry-run", "uninstall"]).0);
    assert!(!said.contains("sc delete xenpci") && !said.contains(device), "{said}");
    for _ in 0..2 {
        let said = good(live(&machine, &["uninstall"]).0);
        assert!(said.contains("xenpci is another vendor's"), "{said}");
        assert!(!said.contains("xenpci.sys"), "{said}");
        assert!(theirs.iter().all(|name| machine.path(name).exists()));
        assert!(machine.path(&format!("critical-{device}")).exists());
        assert_eq!(machine.boot_ini(), with_entry);
    }
    // Beside services of ours the entries are ours.
    for name in ["reg-idefilter", "reg-idefallback", "reg-xenvbd", "filter"] {
        fs::write(machine.path(name), "").expect("written");
    }
    for name in ["idefilter", "xenvbd"] {
        let inf = machine.path(&format!("windows/INF/oem-{name}.inf"));
        fs::copy(machine.path(&format!("package/{name}.inf")), inf).expect("copied");
    }
    good(live(&machine, &["uninstall"]).0);
    assert!(theirs.iter().all(|name| machine.path(name).exists()));
    assert!(!machine.path("reg-xenvbd").exists() && !machine.path("reg-idefilter").exists());
    assert!(!machine.boot_ini().contains("GPLPV"));

    // Of a driver that is ours, the critical device goes, too.
    fs::remove_file(machine.path("theirs-xenpci")).expect("removed");
    good(live(&machine, &["uninstall"]).0);
    assert!(!machine.path("reg-xenpci").exists() && !machine.path(&format!("critical-{device}")).exists());
}

/// Without an emulated entry a PV entry stays, and so does everything else: the filter does not go first.
#[test]
fn a_menu_that_keeps_its_pv_entry_is_seen_before_a_removal() {
    let machine = Machine::new();
    let package = machine.path("package");
    good(live(&machine, &["install", "--package", package.to_str().expect("text")]).0);
    let only = BOOT_INI.replace("/fastdetect", "/fastdetect /GPLPV");
    fs::write(machine.path("volume/boot.ini"), &only).expect("written");
    let before = left(&machine);
    for arguments in [&["--dry-run", "uninstall"][..], &["uninstall"]] {
        let (output, calls) = live(&machine, arguments);
        refused(output, 3, "entry");
        assert!(calls.iter().all(|call| call.starts_with("reg query")), "{calls:#?}");
        assert_eq!((left(&machine), machine.boot_ini()), (before.clone(), only.clone()));
    }
    // One that is damaged keeps nothing in.
    fs::write(machine.path("volume/boot.ini"), "no menu").expect("written");
    let said = good(live(&machine, &["uninstall"]).0);
    assert!(said.contains("the boot entries are not touched"), "{said}");
    assert!(!machine.path("filter").exists());
}

/// On a mounted volume with GPLPV, and nothing of this suite.
#[test]
fn pv_entries_of_another_vendor_stay() {
    let machine = Machine::new();
    let gplpv = Tree::new().with_dword("Start", 0).with_text("DisplayName", "GPLPV Xen PCI driver");
    machine.with("ControlSet001\\Services\\XenPCI", gplpv);
    let with_entry = with_pv_entry();
    fs::write(machine.path("volume/boot.ini"), &with_entry).expect("written");
    for arguments in [&["--dry-run", "uninstall"][..], &["uninstall"]] {
        let said = good(machine.offline(arguments));
        assert!(said.contains("xenpci is another vendor's"), "{said}");
        assert_eq!(machine.boot_ini(), with_entry);
    }
}

/// Without the program the script itself asks whose a driver is.
#[test]
fn the_script_deletes_no_service_unasked() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../inf/uninstall.cmd");
    let script = fs::read_to_string(script).expect("readable");
    let (_, without) = script.split_once(":without").expect("the part for Server 2003");
    for line in without.lines().filter(|line| line.contains("sc delete") && !line.contains("xenguard-svc")) {
        assert!(line.contains("DisplayName") && line.contains("find /i \"Xenguard\""), "{line}");
    }
    let critical: Vec<_> = without.lines().filter(|line| line.contains("pci#ven_5853")).collect();
    assert!(
        !critical.is_empty() && critical.iter().all(|line| line.starts_with("if defined ours ")),
        "{critical:#?}"
    );
}

fn script(name: &str) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../inf").join(name);
    let script = fs::read_to_string(script).expect("readable");
    assert_eq!(script.matches('\n').count(), script.matches("\r\n").count(), "{name}");
    script.replace("\r\n", "\n")
}

/// Returns the place of a text in a script.
fn at(script: &str, text: &str) -> usize {
    script.find(text).unwrap_or_else(|| panic!("no {text} in\n{script}"))
}

/// From Vista on only the program looks whether the drivers fit; where it does not run, nothing is installed.
#[test]
fn the_script_installs_nothing_unchecked_from_vista_on() {
    let script = script("install.cmd");
    let vista = at(&script, "\nif exist \"%SystemRoot%\\System32\\pnputil.exe\" goto vista\n");
    assert!(vista < at(&script, "InstallHinfSection") && vista < at(&script, "goto without"));
    let (_, part) = script.split_once("\n:vista\n").expect("the part for Vista");
    let refusal = at(part, "xenguard.exe does not run here");
    assert!(part[refusal..].lines().nth(1).is_some_and(|line| line.trim() == "exit /b 8"), "{part}");
    assert!(refusal < at(part, "xenguard.exe install --package . %*"));
    let end = at(part, "exit /b %errorlevel%");
    assert!(part[end..].lines().nth(1).is_none_or(|line| line.is_empty()), "{part}");
    assert!(!part[..end].contains("goto") && !part[..end].contains("InstallHinfSection"), "{part}");
}

/// On Server 2003 setup heeds no `--dry-run`.
#[test]
fn the_scripts_of_server_2003_take_no_arguments() {
    for name in ["install.cmd", "uninstall.cmd"] {
        let script = script(name);
        let refusal = at(&script, "\nif not \"%~1\"==\"\" (\n");
        assert!(
            script[refusal + 1..].lines().nth(2).is_some_and(|line| line.trim() == "exit /b 2"),
            "{script}"
        );
        assert!(at(&script, "pnputil.exe") < refusal, "from Vista on they are passed on");
        for change in ["InstallHinfSection", "xenguard.exe check", "sc delete", "net stop", "copy /y"] {
            assert!(script.find(change).is_none_or(|change| refusal < change), "{change}");
        }
    }
}

/// A program that crashes ends with a negative code, which is below `if errorlevel 1`.
#[test]
fn the_scripts_take_no_crash_for_success() {
    for name in ["install.cmd", "uninstall.cmd"] {
        let script = script(name);
        assert!(!script.to_ascii_lowercase().contains("if errorlevel"), "{name}");
        assert!(script.contains("\"%errorlevel%\"==\"0\""), "{name}");
    }
}

/// Without the Server service, as in safe mode, `net session` fails for an administrator, too.
#[test]
fn the_scripts_ask_nothing_of_a_service() {
    for name in ["install.cmd", "uninstall.cmd"] {
        let script = script(name);
        assert!(!script.contains("net session"), "{name}");
        let asked = at(&script, "fsutil dirty query %SystemDrive%");
        assert!(
            asked < at(&script, "Run this as Administrator.") && asked < at(&script, "xenguard.exe"),
            "{name}"
        );
    }
}

/// A folder of another machine is no current folder of a command prompt, and blanks and marks may be in a path.
#[test]
fn the_scripts_begin_in_their_own_folder_or_not_at_all() {
    for name in ["install.cmd", "uninstall.cmd"] {
        let script = script(name);
        let lines: Vec<&str> = script.lines().filter(|line| !line.starts_with("rem ")).collect();
        assert_eq!(lines[1..3], ["setlocal DisableDelayedExpansion", "cd /d \"%~dp0\" || ("], "{name}");
        assert!(lines[3].contains("nothing was done") && lines[4].trim() == "exit /b 3", "{name}");
    }
    let script = script("uninstall.cmd");
    let missing = at(&script, "if not exist idefilter.inf (");
    assert!(missing < at(&script, "net stop") && missing < at(&script, "InstallHinfSection"), "{script}");
    // Setup tells no failure: what is left is seen.
    let still = at(&script, "DeleteFlag >nul 2>&1 || set still=1");
    assert!(at(&script, "DefaultUninstall") < still && still < at(&script, "sc delete xenvbd"), "{script}");
}

/// The program has Windows write to its disk what setup has copied and registered.
#[test]
fn what_was_installed_is_flushed() {
    let machine = Machine::new();
    let (output, calls) = live(&machine, &["flush"]);
    good(output);
    assert_eq!(calls, ["flush"]);
    let (output, calls) = live(&machine, &["--dry-run", "flush"]);
    good(output);
    assert!(calls.is_empty(), "{calls:?}");
    let output = machine.offline(&["flush"]);
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));

    let script = script("install.cmd");
    let flushes: Vec<usize> = script.match_indices("xenguard.exe flush").map(|(at, _)| at).collect();
    let (copied, registered) =
        (at(&script, "Idefilter.CopyFile"), at(&script, "InstallHinfSection DefaultInstall"));
    assert!(copied < flushes[0] && flushes[0] < registered && registered < flushes[1], "{flushes:?}");
    assert!(flushes[1] < at(&script, "shut Windows down in order before its power may go"));
}

/// Setup keeps no copy of the INF file by which the filter leaves the lists.
#[test]
fn without_the_inf_nothing_is_begun() {
    let machine = Machine::new();
    let package = machine.path("package");
    good(live(&machine, &["install", "--package", package.to_str().expect("text")]).0);
    let inf = machine.path("windows/INF/oem-idefilter.inf");
    let content = fs::read(&inf).expect("there");
    fs::remove_file(&inf).expect("removed");
    // The stand-in has taken the filter out of the lists, perhaps; the services are still there.
    for is_listed in [true, false] {
        let filter = machine.path("filter");
        if !is_listed {
            fs::remove_file(&filter).expect("removed");
        }
        let whole = left(&machine);
        for command in [&["uninstall"][..], &["uninstall", "--dry-run"]] {
            let (output, calls) = live(&machine, command);
            let text = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(3), "{text}");
            assert!(text.contains("idefilter.inf is neither in"), "{text}");
            assert!(calls.iter().all(|call| call.starts_with("reg query")), "{calls:#?}");
        }
        assert_eq!(left(&machine), whole);
        fs::write(&filter, "").expect("written");
    }
    fs::write(&inf, content).expect("written");
    good(live(&machine, &["uninstall"]).0);
    assert_eq!(left(&machine), Vec::<String>::new());
}

/// A service that is installed before the restart that ends a removal goes with it, and the filter lists stay.
#[test]
fn the_script_of_server_2003_sees_what_is_marked_and_what_was_done() {
    let script = script("install.cmd");
    let setup = at(&script, "rundll32.exe setupapi.dll,InstallHinfSection DefaultInstall");
    let marked = at(&script, "/v DeleteFlag");
    assert!(script[..marked].ends_with("\\Services\\%%s\" ") && marked < setup, "{script}");
    let before = &script[..marked];
    let list = &before[before.rfind("for %%s in (").expect("a loop")..];
    for name in DRIVERS {
        assert!(list.contains(name), "{name}: {list}");
    }
    let refusal: Vec<_> = script[marked..].lines().skip(1).take(2).map(str::trim).collect();
    assert!(refusal[0].contains("restart first") && refusal[1] == "exit /b 3", "{refusal:?}");

    let after = &script[setup..at(&script, "The filter is installed")];
    for text in
        ["for %%s in (idefilter idefallback) do", "/v UpperFilters", "find /i \"idefilter\"", "exit /b 5"]
    {
        assert!(after.contains(text), "{text}: {after}");
    }
    let classes = at(after, "for %%c in (4D36E97D 4D36E96A 4D36E97B 4D36E967) do");
    assert!(classes < at(after, "exit /b 5"), "{after}");
}

/// A loaded driver's service is kept, marked for deletion, until the next start (`DeleteService`).
#[test]
fn loaded_drivers_go_at_the_restart() {
    let machine = Machine::new();
    let package = machine.path("package");
    let install = ["install", "--package", package.to_str().expect("text")];
    fs::write(package.join("xenguard-svc.exe"), sample_program(b"1")).expect("written");
    good(live(&machine, &install).0);
    fs::write(machine.path("loaded"), "").expect("written");
    for _ in 0..2 {
        let said = good(live(&machine, &["uninstall"]).0);
        for name in DRIVERS {
            assert!(said.contains(&format!("drivers/{name}.sys")), "{name}: {said}");
            assert!(said.contains(&format!("the service {name}, until the restart")), "{name}: {said}");
        }
        assert!(said.contains("restart") && !said.contains("files go"), "{said}");
        assert!(!machine.path("reg-xenguard-svc").exists(), "the service of user mode is removed");
        assert!(!machine.path("filter").exists() && machine.boot_ini() == BOOT_INI);
    }
    // What is installed now would go at the restart, too, and the filter lists would name a service that is gone.
    let (output, calls) = live(&machine, &install);
    refused(output, 3, "restart first");
    assert!(calls.iter().all(|call| call.starts_with("reg query")), "{calls:#?}");
    for name in DRIVERS {
        fs::remove_file(machine.path(&format!("deleteflag-{name}"))).expect("marked");
        fs::remove_file(machine.path(&format!("reg-{name}"))).expect("registered");
    }
    fs::remove_file(machine.path("loaded")).expect("removed");
    good(live(&machine, &install).0);
}

/// "Last known good" is a control set of its own, which names the filter until the next start that went well.
#[test]
fn a_live_removal_leaves_no_control_set_without_its_filters_file() {
    let machine = Machine::new();
    let package = machine.path("package");
    good(live(&machine, &["install", "--package", package.to_str().expect("text")]).0);
    let alone = CLASS.replace("{4D36E97D", "{4D36E96A");
    let of_last = |key: &str| key.replace("ControlSet001", "ControlSet007");
    let hive = Tree::new()
        .with_key("Select", Tree::new().with_dword("Current", 1).with_dword("LastKnownGood", 7))
        .with_key(CLASS, Tree::new().with_text("Class", "System"))
        .with_key(ENVIRONMENT, Tree::new().with_text("PROCESSOR_ARCHITECTURE", "AMD64"))
        .with_key(&of_last(CLASS), Tree::new().with_texts("UpperFilters", &["partmgr", "IdeFilter"]))
        .with_key(&of_last(&alone), Tree::new().with_texts("UpperFilters", &["idefilter"]))
        .hive("SYSTEM");
    let running = machine.path("running");
    fs::write(&running, &hive).expect("written");
    let filters = |class: &str| {
        let bytes = fs::read(&running).expect("readable");
        let hive = Hive::new(&bytes).expect("a hive");
        let class = hive.key(&of_last(class)).expect("read").expect("there");
        class.value("UpperFilters").expect("read").and_then(|value| value.texts().expect("read"))
    };
    // A registry that cannot be written: its lock's name is taken.
    symlink(machine.path("away"), machine.path("running.lock")).expect("linked");
    let (output, _) = live(&machine, &["uninstall"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("other control sets"), "{said}");
    assert!(machine.path("windows/System32/drivers/idefilter.sys").exists(), "the list names it");
    assert_eq!(filters(&alone), Some(vec!["idefilter".to_owned()]));
    fs::remove_file(machine.path("running.lock")).expect("removed");
    good(live(&machine, &["uninstall"]).0);
    assert_eq!((filters(CLASS), filters(&alone)), (Some(vec!["partmgr".to_owned()]), None));
    assert_eq!(left(&machine), Vec::<String>::new());
}

/// The guide's promises of an installation hold in the running system, too.
#[test]
fn other_suites_in_the_running_system() {
    let machine = Machine::new();
    let package = machine.path("package");
    let install = ["install", "--package", package.to_str().expect("text")];
    let running = |services: &[(&str, Tree)]| {
        let mut hive = Tree::new()
            .with_key("Select", Tree::new().with_dword("Current", 1))
            .with_key(ENVIRONMENT, Tree::new().with_text("PROCESSOR_ARCHITECTURE", "AMD64"));
        for (name, key) in services {
            hive = hive.with_key(&format!("ControlSet001\\Services\\{name}"), key.clone());
        }
        fs::write(machine.path("running"), hive.hive("SYSTEM")).expect("written");
    };
    let boot_start = || Tree::new().with_dword("Start", 0);
    running(&[("xenvbd", boot_start().with_text("DisplayName", "GPL PV disks"))]);
    let (output, calls) = live(&machine, &install);
    refused(output, 3, "another vendor's driver is installed as the service xenvbd");
    assert!(calls.is_empty(), "{calls:#?}");
    running(&[("pvvxblk", boot_start())]);
    assert!(good(live(&machine, &install).0).contains("service pvvxblk"));
    good(live(&machine, &["uninstall"]).0);
    // So does what it says of the architecture.
    let x86 = Tree::new()
        .with_key("Select", Tree::new().with_dword("Current", 1))
        .with_key(ENVIRONMENT, Tree::new().with_text("PROCESSOR_ARCHITECTURE", "x86"));
    fs::write(machine.path("running"), x86.hive("SYSTEM")).expect("written");
    let (output, calls) = live(&machine, &install);
    refused(output, 3, "this Windows is for x86");
    assert!(calls.is_empty(), "{calls:#?}");
}
