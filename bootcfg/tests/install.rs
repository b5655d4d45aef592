//! The program installs and uninstalls: on a folder that stands for a mounted volume, and with a stand-in for
//! the tools of a running Windows.
#![cfg(unix)]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use hive::{
    Hive,
    build::{Tree, log},
};

const CLASS: &str = "ControlSet001\\Control\\Class\\{4D36E97D-E325-11CE-BFC1-08002BE10318}";
const BOOT_INI: &str = "[boot loader]\r\ntimeout=30\r\ndefault=multi(0)disk(0)rdisk(0)partition(1)\\WINDOWS\r\n\
    [operating systems]\r\nmulti(0)disk(0)rdisk(0)partition(1)\\WINDOWS=\"Server\" /fastdetect\r\n";

const DRIVERS: [&str; 4] = ["idefilter", "idefallback", "xenpci", "xenvbd"];

/// A folder with a system volume and a package.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Machine {
        let machine = Machine(tempfile::tempdir().expect("a folder"));
        for folder in
            ["volume/WINDOWS/system32/config", "volume/WINDOWS/system32/Drivers", "package", "windows/INF"]
        {
            fs::create_dir_all(machine.path(folder)).expect("made");
        }
        let hive = Tree::new()
            .with_key("Select", Tree::new().with_dword("Current", 1))
            .with_key(CLASS, Tree::new().with_text("Class", "System"))
            .with_key("ControlSet001\\Services", Tree::new());
        fs::write(machine.hive(), hive.hive("SYSTEM")).expect("written");
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
        for name in DRIVERS {
            let mut image = vec![0; 0x100];
            image[..2].copy_from_slice(b"MZ");
            image[0x3c] = 0x40;
            image[0x40..0x46].copy_from_slice(b"PE\0\0\x64\x86");
            image[0x40 + 24 + 68] = 1;
            image.extend(version.bytes());
            fs::write(self.path(&format!("package/{name}.sys")), image).expect("written");
        }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut program = Command::new(env!("CARGO_BIN_EXE_bootcfg"));
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

    machine.package("2");
    good(machine.offline(&install));
    assert!(fs::read(machine.driver("xenvbd")).expect("there").ends_with(b"2"));
    assert_eq!(machine.boot_ini(), with_entry, "one PV entry");

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

/// Stands for pnputil, rundll32, reg and sc: records each call, and keeps a registry of file names.
const TOOLS: &str = r#"#!/bin/sh
here=$(dirname "$0")
echo "$*" >> "$here/calls"
if [ -f "$here/fail" ] && grep -qF "$1 $2 $3" "$here/fail"; then exit 1; fi
case "$1 $3" in
"pnputil -a") name=$(basename "$4" .inf); cp "$4" "$here/windows/INF/oem-$name.inf"; touch "$here/reg-$name";
   if [ "$name" = xenpci ]; then touch "$here/reg-xenvbd"; fi;;
"pnputil -d") rm -f "$here/windows/INF/$4";;
"rundll32 DefaultInstall") touch "$here/reg-idefilter" "$here/reg-idefallback" "$here/filter"; cp "$5" "$here/windows/INF/oem-idefilter.inf";;
"rundll32 DefaultUninstall") rm -f "$here/reg-idefilter" "$here/reg-idefallback" "$here/filter";;
"rundll32 Idefilter.RemoveFile") [ ! -f "$here/filter" ];;
"sc xenpci"|"sc xenvbd") rm -f "$here/reg-$3";;
reg*) case "$2 $3" in
   *Class*) [ -f "$here/filter" ];;
   query*) [ -f "$here/reg-${3##*\\}" ];;
   esac;;
esac
"#;

fn live(machine: &Machine, command: &[&str]) -> (Output, Vec<String>) {
    let tools = machine.path("tools");
    if !tools.exists() {
        fs::write(&tools, TOOLS).expect("written");
        fs::set_permissions(&tools, fs::Permissions::from_mode(0o755)).expect("set");
    }
    // The calls of this run only.
    let _ = fs::remove_file(machine.path("calls"));
    let boot_ini = machine.path("volume/boot.ini");
    let global = ["--tools", tools.to_str().expect("text"), "--boot-ini", boot_ini.to_str().expect("text")];
    let output = machine.run(&[&global[..], command].concat());
    let calls = fs::read_to_string(machine.path("calls")).unwrap_or_default();
    (output, calls.lines().filter(|call| !call.starts_with("reg query")).map(str::to_owned).collect())
}

#[test]
fn the_tools_of_a_running_windows_are_called_in_the_safe_order() {
    let machine = Machine::new();
    let package = machine.path("package");
    let install = ["install", "--package", package.to_str().expect("text")];
    let (output, calls) = live(&machine, &install);
    good(output);
    let starts = |calls: &[String], wanted: &[&str]| {
        assert_eq!(calls.len(), wanted.len(), "{calls:#?}");
        for (call, wanted) in calls.iter().zip(wanted) {
            assert!(call.starts_with(wanted), "{calls:#?}");
        }
    };
    starts(
        &calls,
        &["pnputil -i -a", "pnputil -i -a", "rundll32 setupapi.dll,InstallHinfSection DefaultInstall 128"],
    );
    assert!(calls[0].ends_with("xenvbd.inf") && calls[1].ends_with("xenpci.inf"), "{calls:#?}");
    assert!(machine.boot_ini().contains("/GPLPV"));

    let (output, calls) = live(&machine, &["uninstall"]);
    good(output);
    // The filter first, its file last.
    assert!(calls[0].contains("DefaultUninstall"), "{calls:#?}");
    assert!(calls.last().is_some_and(|call| call.contains("Idefilter.RemoveFile")), "{calls:#?}");
    assert_eq!(calls.iter().filter(|call| call.starts_with("pnputil -f -d oem-")).count(), 2, "{calls:#?}");
    assert_eq!(machine.boot_ini(), BOOT_INI);
    for left in ["filter", "reg-idefilter", "reg-idefallback", "reg-xenpci", "reg-xenvbd"] {
        assert!(!machine.path(left).exists(), "{left}");
    }
}

#[test]
fn a_tool_that_fails_takes_the_installation_back() {
    let machine = Machine::new();
    let package = machine.path("package");
    let install = ["install", "--package", package.to_str().expect("text")];
    for failing in ["rundll32 setupapi.dll,InstallHinfSection DefaultInstall", "pnputil -i -a"] {
        fs::write(machine.path("fail"), failing).expect("written");
        let (output, calls) = live(&machine, &install);
        assert_eq!(output.status.code(), Some(8), "{calls:#?}");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains("taken out again"), "{text}");
        assert_eq!(machine.boot_ini(), BOOT_INI);
        for left in ["filter", "reg-idefilter", "reg-idefallback", "reg-xenpci", "reg-xenvbd"] {
            assert!(!machine.path(left).exists(), "{failing}: {left}");
        }
    }
    // The filter stays: nothing that it needs may go.
    fs::remove_file(machine.path("fail")).expect("removed");
    good(live(&machine, &install).0);
    fs::write(machine.path("fail"), "rundll32 setupapi.dll,InstallHinfSection DefaultUninstall")
        .expect("written");
    let (output, calls) = live(&machine, &["uninstall"]);
    assert_eq!(output.status.code(), Some(8));
    assert_eq!(calls.len(), 1, "{calls:#?}");
    assert!(machine.boot_ini().contains("/GPLPV"));
}
