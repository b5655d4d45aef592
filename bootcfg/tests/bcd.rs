//! The program on BCD stores: hives made by this repository's builder and edited by libhivex, and a stand-in
//! for bcdedit.

#![cfg(unix)]

mod run;

use bootcfg::{
    bcd::{BOOT_MANAGER, Bcd, OS_LOADER, element},
    menu::Menu,
};
use hive::build::{Tree, log};
use run::Folder;

const LOADER: &str = "{11111111-2222-3333-4444-555555555555}";
const RESUME: &str = "{99999999-2222-3333-4444-555555555555}";
const SETTINGS: &str = "{6efb52bf-1766-41db-a6b3-0ee5eff72bd7}";

fn object(kind: u32, elements: &[(&str, Tree)]) -> Tree {
    let mut object = Tree::new().with_key("Description", Tree::new().with_dword("Type", kind));
    object = object.with_key("Elements", Tree::new());
    for (number, value) in elements {
        object = object.with_key(&format!("Elements\\{number}"), value.clone());
    }
    object
}

fn text(text: &str) -> Tree {
    Tree::new().with_text("Element", text)
}

fn texts(texts: &[&str]) -> Tree {
    Tree::new().with_texts("Element", texts)
}

fn binary(bytes: &[u8]) -> Tree {
    Tree::new().with_binary("Element", bytes)
}

/// Returns a store as Windows makes it, with one system.
fn store(load_options: Option<&str>) -> Tree {
    let device: Vec<u8> = (0..88).collect();
    let mut loader = vec![
        ("11000001", binary(&device)),
        ("12000002", text("\\Windows\\system32\\winload.exe")),
        ("12000004", text("Windows Server – Größe")),
        ("12000005", text("de-DE")),
        ("14000006", texts(&[SETTINGS])),
        ("21000001", binary(&device)),
        ("22000002", text("\\Windows")),
        ("23000003", text(RESUME)),
        ("25000020", binary(&1_u64.to_le_bytes())),
        ("26000010", binary(&[1])),
    ];
    if let Some(options) = load_options {
        loader.push(("12000030", text(options)));
    }
    let boot_manager = [
        ("11000001", binary(&device)),
        ("12000004", text("Windows Boot Manager")),
        ("23000003", text(LOADER)),
        ("24000001", texts(&[LOADER])),
        ("25000004", binary(&30_u64.to_le_bytes())),
    ];
    Tree::new()
        .with_key("Description", Tree::new().with_text("KeyName", "BCD00000000").with_dword("System", 1))
        .with_key(&format!("Objects\\{BOOT_MANAGER}"), object(0x1010_0002, &boot_manager))
        .with_key(&format!("Objects\\{LOADER}"), object(OS_LOADER, &loader))
        .with_key(&format!("Objects\\{RESUME}"), object(0x1020_0004, &[("12000004", text("Windows Resume"))]))
        .with_key(&format!("Objects\\{SETTINGS}"), object(0x2020_0003, &[]))
}

fn bytes(load_options: Option<&str>) -> Vec<u8> {
    store(load_options).hive("NewStoreRoot")
}

fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("Boot/BCD", &bytes(Some("DDISABLE_INTEGRITY_CHECKS ")));
    folder
}

fn read(folder: &Folder) -> Bcd {
    Bcd::read(&folder.read("Boot/BCD")).expect("a store")
}

#[test]
fn add_copies_and_appends_and_remove_takes_all_of_it_away() {
    let folder = folder();
    let before = read(&folder);
    let facts = folder.run("--root . --json add").gives(0).result();
    let after = read(&folder);
    let loaders = after.loaders();
    assert_eq!((loaders.len(), loaders[0].to_string()), (2, LOADER.to_owned()));
    assert_eq!(facts["entry"]["id"], loaders[1].to_string());
    let (old, new) = (&before.objects[&loaders[0]], &after.objects[&loaders[1]]);
    assert_eq!(after.objects[&loaders[0]], *old, "the source is as it was");
    for (number, data) in &old.elements {
        match *number {
            element::DESCRIPTION => {
                assert_eq!(new.elements[number].text().unwrap(), "Windows Server – Größe (PV disks)")
            }
            element::LOAD_OPTIONS => {
                assert_eq!(new.elements[number].text().unwrap(), "DDISABLE_INTEGRITY_CHECKS GPLPV");
            }
            _ => assert_eq!(new.elements[number], *data, "{number:08x}"),
        }
    }
    assert_eq!(after.default_loader(), before.default_loader());
    assert_eq!(folder.read("Boot/BCD.backup1"), bytes(Some("DDISABLE_INTEGRITY_CHECKS ")));
    assert!(folder.run("--root . add").gives(0).out.contains("already"));
    folder.run("--root . verify").gives(0);

    folder.run("--root . --yes remove").gives(0);
    assert_eq!(read(&folder), before, "an equal tree");
    folder.run("--root . --yes restore Boot/BCD.backup1").gives(0);
    assert_eq!(read(&folder), before);
}

#[test]
fn default_try_timeout() {
    let folder = folder();
    folder.run("--root . try").fails(3, "no PV entry");
    folder.run("--root . default pv --entry 1").fails(3, "no PV entry");
    folder.run("--root . add --name PV").gives(0);
    let pv = read(&folder).loaders()[1];
    folder.run("--root . try").gives(0);
    assert_eq!(read(&folder).data(BOOT_MANAGER, element::BOOT_SEQUENCE).unwrap().guids(), [pv]);
    assert!(folder.run("--root . verify").gives(0).out.contains("for the next boot only"));
    folder.run("--root . default pv").gives(0);
    assert_eq!(read(&folder).default_loader(), Some(pv));
    folder.run("--root . timeout 5").gives(0);
    assert_eq!(Menu::timeout(&read(&folder)), Some(5));
    folder.run("--root . --yes remove").gives(0);
    let end = read(&folder);
    assert_eq!(end.default_loader().unwrap().to_string(), LOADER, "the emulated sibling is the default");
    assert!(end.data(BOOT_MANAGER, element::BOOT_SEQUENCE).is_none(), "no boot of an entry that is gone");
}

#[test]
fn an_entry_without_options_gets_its_own() {
    let folder = Folder::new();
    folder.write("Boot/BCD", &bytes(None));
    folder.run("--root . add").gives(0);
    let pv = read(&folder).loaders()[1];
    assert_eq!(read(&folder).effective_text(pv, element::LOAD_OPTIONS).unwrap(), "GPLPV");
}

#[test]
fn a_dry_run_shows_the_elements() {
    let folder = folder();
    let out = folder.run("--store Boot/BCD -n add").gives(0).out;
    assert!(out.contains("loadoptions") && out.contains("+  12000030"), "{out}");
    assert_eq!(folder.read("Boot/BCD"), bytes(Some("DDISABLE_INTEGRITY_CHECKS ")));
    assert_eq!(folder.names(), ["Boot"]);
}

/// Objects and devices have names in a diff, in text and in the document; what has none is shown as it is.
#[test]
fn a_diff_names_objects_and_devices() {
    let folder = Folder::new();
    let mut device = vec![0; 88];
    device[16] = 6;
    device[24] = 72;
    device[34] = 16;
    device[52] = 1;
    device[56..60].copy_from_slice(&[0x8b, 0x6d, 0x2c, 0x9a]);
    let at = |number: &str| format!("Objects\\{LOADER}\\Elements\\{number}");
    let tree = store(Some("X")).with_key(&at("11000001"), binary(&device));
    folder.write("Boot/BCD", &tree.hive("NewStoreRoot"));
    let text = folder.run("--root . --dry-run add").gives(0).out;
    let document = folder.run("--root . --json --dry-run add").gives(0).result();
    for diff in [text.as_str(), document["diff"].as_str().expect("text")] {
        for line in [
            " \"Windows Server – Größe (PV disks)\" 10200003\n".to_owned(),
            "+  11000001 device           partition at byte 1048576 of disk with signature 9a2c6d8b\n"
                .to_owned(),
            "+  14000006 inherit          {bootloadersettings}\n".to_owned(),
            format!(
                "+  21000001 osdevice         {}\n",
                (0..88).map(|byte| format!("{byte:02x}")).collect::<String>()
            ),
            format!("+  23000003 resumeobject     {RESUME} \"Windows Resume\"\n"),
            format!("-  24000001 displayorder     {LOADER} \"Windows Server – Größe\"\n"),
        ] {
            assert!(diff.contains(&line), "{line}{diff}");
        }
    }
}

/// A message calls an entry what the command line calls it, and another object what bcdedit calls it.
#[test]
fn messages_name_objects() {
    let folder = Folder::new();
    let manager = format!("Objects\\{BOOT_MANAGER}\\Elements");
    let gone = LOADER.replace('1', "7");
    let tree = store(Some("X"))
        .with_key(&format!("Objects\\{LOADER}\\Elements\\23000003"), text(&gone))
        .with_key(&format!("{manager}\\24000002"), texts(&[LOADER]))
        .with_key(&format!("Objects\\{SETTINGS}\\Elements\\12000030"), text("GPLPV"));
    folder.write("Boot/BCD", &tree.hive("NewStoreRoot"));
    let found = folder.run("--root . verify").gives(1).out;
    for text in [
        format!("entry 1 names {gone} as its resumeobject, which is not in the store"),
        "{bootloadersettings} is no entry of the menu, but has `GPLPV`".to_owned(),
        "for the next boot only: entry 1".to_owned(),
    ] {
        assert!(found.contains(&text), "{text}: {found}");
    }
    folder.run("--root . --yes remove --entry 1").fails(3, "entry 1 is not a PV entry");
    // Without what resumes it a system boots all the same.
    let tree = store(Some("X")).with_key(&format!("Objects\\{LOADER}\\Elements\\23000003"), text(&gone));
    folder.write("Boot/BCD", &tree.hive("NewStoreRoot"));
    assert!(folder.run("--root . verify").gives(0).out.contains("as its resumeobject"));
    let tree = store(Some("X")).with_key(&format!("{manager}\\23000003"), text(&gone));
    folder.write("Boot/BCD", &tree.hive("NewStoreRoot"));
    let found = folder.run("--root . verify").gives(1).out;
    assert!(found.contains(&format!("{{bootmgr}} names {gone} as its default")), "{found}");
    let only = store(Some("GPLPV"));
    folder.write("Boot/BCD", &only.hive("NewStoreRoot"));
    folder.run("--root . --yes remove").fails(3, "entry 1 is the only one for its system");
}

#[test]
fn what_is_no_sound_store_is_refused() {
    let folder = folder();
    let good = folder.read("Boot/BCD");
    let mut unreplayed = good.clone();
    unreplayed[4] = 9;
    let sum =
        unreplayed[..508].chunks(4).fold(0, |sum, word| sum ^ u32::from_le_bytes(word.try_into().unwrap()));
    unreplayed[508..512].copy_from_slice(&sum.to_le_bytes());
    folder.write("Boot/BCD", &unreplayed);
    folder.run("--root . add").fails(4, "shut it down cleanly");
    folder.write("Boot/BCD", &good[..good.len() / 2]);
    folder.run("--root . add").fails(4, "offset");
    folder.write("Boot/BCD", b"no hive at all, but longer than a signature");
    folder.run("--root . status").fails(4, "base block");
    folder.write("Boot/BCD", &Tree::new().with_key("Select", Tree::new()).hive("SYSTEM"));
    folder.run("--root . status").fails(4, "not a BCD store");
}

#[test]
fn verify_finds_what_is_wrong() {
    let verify = |change: &dyn Fn(Tree) -> Tree, finding: &str| {
        let folder = Folder::new();
        folder.write("Boot/BCD", &change(store(Some("X"))).hive("NewStoreRoot"));
        let ran = folder.run("--root . verify").gives(1);
        assert!(ran.out.contains(finding), "{}", ran.out);
    };
    let at = |object: &str, element: &str| format!("Objects\\{object}\\Elements\\{element}");
    let manager = BOOT_MANAGER.to_string();
    verify(
        &|tree| tree.with_key(&at(&manager, "23000003"), text(RESUME.replace('9', "8").as_str())),
        "not in the store",
    );
    verify(&|tree| tree.with_key(&at(LOADER, "12000030"), text("GPLPV=1")), "`GPLPV=1` is not GPLPV");
    verify(&|tree| tree.with_key(&at(LOADER, "12000030"), text("GPLPV")), "no way back");
    verify(&|tree| tree.with_key(&at(SETTINGS, "12000030"), text("GPLPV")), "entries inherit");
    verify(&|tree| tree.with_key(&at(&manager, "26000005"), binary(&[1])), "resume a hibernated");
}

/// A guest's volume: the drivers' state is shown, and fast startup is turned off when a PV entry is added,
/// in each set that the next boot may take.
#[test]
fn fast_startup_is_turned_off() {
    let folder = folder();
    let power = |set: u32| format!("ControlSet{set:03}\\Control\\Session Manager\\Power");
    let on = || Tree::new().with_dword("HiberbootEnabled", 1);
    let system = Tree::new()
        .with_key("Select", Tree::new().with_dword("Current", 2).with_dword("Default", 1))
        .with_key("ControlSet001\\Services\\idefilter", Tree::new().with_dword("Start", 0))
        .with_key("ControlSet002\\Control", Tree::new().with_text("SystemStartOptions", " GPLPV"))
        .with_key(&power(2), on())
        .with_key(&power(1), on());
    folder.write("Windows/System32/config/SYSTEM", &system.hive("SYSTEM"));
    let status = folder.run("--root . --json status").gives(0).result();
    let fact = |status: &serde_json::Value, name: &str| status["system"][name]["answer"].clone();
    assert_eq!(fact(&status, "fast_startup"), "yes");
    assert_eq!(fact(&status, "drivers"), "no");
    assert_eq!(status["drivers"]["states"]["xenpci"], "not installed");
    assert_eq!(fact(&status, "last_boot"), "yes", "of the set that was booted last");
    folder.run("--root . add").gives(0);
    let bytes = folder.read("Windows/System32/config/SYSTEM");
    let hive = hive::Hive::new(&bytes).expect("a hive");
    for set in [1, 2] {
        assert_eq!(hive.key(&power(set)).unwrap().unwrap().dword("HiberbootEnabled").unwrap(), Some(0));
    }
    assert_eq!(fact(&folder.run("--root . --json status").result(), "fast_startup"), "no");
    folder.run("--root . default pv").fails(3, "drivers are not ready");
    folder.run("--root . try").fails(3, "drivers are not ready");
}

/// Without a registry it is said that nobody looked.
#[test]
fn what_was_not_looked_at_is_said() {
    let folder = folder();
    let added = folder.run("--store Boot/BCD add").gives(0);
    assert!(added.err.contains("fast startup and StartOverride were not looked at"), "{}", added.err);
    let verified = folder.run("--store Boot/BCD verify").gives(0);
    assert!(verified.out.contains("fast startup is unknown"), "{}", verified.out);
    let status = folder.run("--store Boot/BCD --json status").gives(0).result();
    for name in ["drivers", "hibernation", "fast_startup"] {
        assert_eq!(status["system"][name]["answer"], "unknown", "{name}");
    }
    let made = folder.run("--store Boot/BCD default pv").gives(0);
    assert!(made.err.contains("finds its drivers is not known"), "{}", made.err);
}

/// Returns a second entry of the same system, with a debugger, before the default one.
fn with_debugger() -> (String, Tree) {
    let debugger = LOADER.replace('1', "d");
    let tree = store(Some("X"));
    let device: Vec<u8> = (0..88).collect();
    let elements = [
        ("11000001", binary(&device)),
        ("12000002", text("\\Windows\\system32\\winload.exe")),
        ("12000004", text("Windows (debugger)")),
        ("12000030", text("X")),
        ("16000010", binary(&[1])),
        ("21000001", binary(&device)),
        ("22000002", text("\\Windows")),
    ];
    let manager = format!("Objects\\{BOOT_MANAGER}\\Elements");
    let tree = tree
        .with_key(&format!("Objects\\{debugger}"), object(OS_LOADER, &elements))
        .with_key(&format!("{manager}\\24000001"), texts(&[&debugger, LOADER]));
    (debugger, tree)
}

/// The names that bcdedit has for entries, and an entry's own identifier, wherever a number is taken.
#[test]
fn entries_are_named_as_bcdedit_names_them() {
    let folder = Folder::new();
    let (debugger, tree) = with_debugger();
    folder.write("Boot/BCD", &tree.hive("NewStoreRoot"));
    folder.run("--root . add --entry {bootmgr}").fails(3, "is the boot manager");
    folder.run(&format!("--root . add --entry {BOOT_MANAGER}")).fails(3, "is the boot manager");
    folder.run("--root . add --entry {current}").fails(3, "only a running Windows");
    folder.run(&format!("--root . add --entry {RESUME}")).fails(3, "is no entry of the menu");
    folder.run("--root . add --entry {nonsense}").fails(2, "{default}");
    let added = folder.run("--root . --json add --entry {DEFAULT}").gives(0).result();
    assert_eq!(added["entry"]["number"], 3, "behind the default, which is the second: {added}");
    let default = || read(&folder).default_loader().expect("one").to_string();
    folder.run(&format!("--root . default emulated --entry {}", debugger.to_uppercase())).gives(0);
    assert_eq!(default(), debugger);
    let pv = read(&folder).loaders()[2].to_string();
    folder.run(&format!("--root . try --entry {pv}")).gives(0);
    folder.run("--root . --yes remove --entry {default}").fails(3, "not a PV entry");
    folder.run(&format!("--root . --yes remove --entry {pv}")).gives(0);
    assert_eq!(read(&folder).loaders().len(), 2);
}

/// With the menu of Windows itself a choice restarts the machine; the admin is told.
#[test]
fn the_kind_of_menu_is_told() {
    let with = |object: &str, policy: u64| {
        let folder = Folder::new();
        let at = format!("Objects\\{object}\\Elements\\250000c2");
        folder.write(
            "Boot/BCD",
            &store(Some("X")).with_key(&at, binary(&policy.to_le_bytes())).hive("NewStoreRoot"),
        );
        [folder.run("--root . verify").gives(0).out, folder.run("--root . check").out]
    };
    let note = "entry 1 is the default and has bootmenupolicy standard";
    // Its own, or one that it inherits.
    for out in [with(LOADER, 1), with(SETTINGS, 1)].iter().flatten() {
        assert!(out.contains(note) && out.contains("/set {default} bootmenupolicy legacy"), "{out}");
    }
    assert!(with(LOADER, 0).iter().all(|out| !out.contains("bootmenupolicy")));
}

/// Names as vendors and people make them.
#[test]
fn odd_names() {
    for name in [
        "",
        " ",
        "Größe – 東京 \u{1f5a5}",
        "\u{202e}swodniW",
        "%s {0} \"quoted\" 'x' /GPLPV",
        &"W".repeat(4000),
    ] {
        let folder = Folder::new();
        let at = format!("Objects\\{LOADER}\\Elements\\12000004");
        folder.write("Boot/BCD", &store(Some("X")).with_key(&at, text(name)).hive("NewStoreRoot"));
        let before = read(&folder);
        let status = folder.run("--root . status").gives(0).out;
        assert!(!status.contains('\u{202e}'), "{status}");
        let entry = &folder.run("--root . --json status").result()["entries"][0];
        assert_eq!((entry["name"].as_str(), &entry["disks"]), (Some(name), &"emulated".into()));
        folder.run("--root . add").gives(0);
        let pv = &folder.run("--root . --json status").result()["entries"][1];
        assert_eq!(
            (pv["name"].as_str(), &pv["disks"]),
            (Some(format!("{name} (PV disks)").as_str()), &"pv".into())
        );
        folder.run("--root . --yes remove").gives(0);
        assert_eq!(read(&folder), before, "{name}");
    }
}

/// A PV entry leads back to the entry that it was made from, not to the first of its system.
#[test]
fn the_right_sibling_is_the_default_again() {
    for back in ["default emulated", "--yes remove"] {
        let folder = Folder::new();
        let (debugger, tree) = with_debugger();
        folder.write("Boot/BCD", &tree.hive("NewStoreRoot"));
        folder.run("--root . add").gives(0);
        folder.run("--root . default pv").gives(0);
        folder.run(&format!("--root . {back}")).gives(0);
        assert_eq!(read(&folder).default_loader().unwrap().to_string(), LOADER, "{back}");
        folder.run("--root . default emulated --entry 1").gives(0);
        assert_eq!(read(&folder).default_loader().unwrap().to_string(), debugger);
    }
}

/// Other loaders are shown; the way to a PV entry is named where the default is one of them.
#[test]
fn entries_that_load_no_windows() {
    let folder = Folder::new();
    let ntldr = "{466f5a88-0af2-4f76-9038-095b170dc21c}";
    let recovery = LOADER.replace('1', "e");
    let manager = format!("Objects\\{BOOT_MANAGER}\\Elements");
    let tree = store(Some("X"))
        .with_key(
            &format!("Objects\\{ntldr}"),
            object(0x1030_0006, &[("12000004", text("Earlier \u{1b}[31mWindows"))]),
        )
        .with_key(
            &format!("Objects\\{recovery}"),
            object(
                OS_LOADER,
                &[
                    ("12000002", text("\\windows\\system32\\boot\\winload.exe")),
                    ("12000004", text("Windows Setup")),
                    ("26000022", binary(&[1])),
                ],
            ),
        )
        .with_key(&format!("{manager}\\24000001"), texts(&[ntldr, LOADER, &recovery]))
        .with_key(&format!("{manager}\\23000003"), text(ntldr));
    folder.write("Boot/BCD", &tree.hive("NewStoreRoot"));
    let status = folder.run("--root . status").gives(0);
    assert!(status.out.contains("*  1  other") && status.out.contains("   3  recovery"), "{}", status.out);
    assert!(!status.out.contains('\u{1b}') && status.out.contains("\\u{1b}[31m"), "{}", status.out);
    let entries = folder.run("--root . --json status").result();
    assert_eq!(entries["entries"][0]["loads"], "other");
    assert!(folder.run("--root . verify").out.contains("does not load Windows"));
    folder.run("--root . add").fails(3, "does not load Windows");
    folder.run("--root . add --entry 3").fails(3, "Windows PE");
    folder.run("--root . add --entry 2").gives(0);
    folder.run("--root . try").gives(0);
    folder.run("--root . default pv").gives(0);
    let pv = read(&folder).choices()[2];
    assert_eq!(read(&folder).default_loader(), Some(pv));
    folder.run("--root . --yes remove").gives(0);
    assert_eq!(read(&folder).default_loader().unwrap().to_string(), LOADER);
    let none = Tree::new()
        .with_key("Description", Tree::new().with_text("KeyName", "BCD00000000"))
        .with_key(&format!("Objects\\{BOOT_MANAGER}"), object(0x1010_0002, &[]));
    folder.write("Boot/BCD", &none.hive("NewStoreRoot"));
    assert!(folder.run("--root . verify").gives(1).out.contains("no entry of the menu loads Windows"));
    folder.run("--root . add --entry 1").fails(3, "the store has none");
}

/// A store whose objects are damaged is no usable configuration.
#[test]
fn a_damaged_object_is_told_as_such() {
    let folder = Folder::new();
    let tree = store(Some("X")).with_key(&format!("Objects\\{LOADER}\\Elements\\no number"), text("x"));
    folder.write("Boot/BCD", &tree.hive("NewStoreRoot"));
    folder.run("--root . status").fails(4, "is not a number");
    folder.run("--store Boot status").fails(4, "not a regular file");
}

mod live {
    //! The running system's store, behind the stand-in for bcdedit (`examples/bcdedit.rs`).

    use super::*;
    use std::{env, path::PathBuf, process::Command};

    fn stand_in() -> PathBuf {
        let this = env::current_exe().expect("this test");
        let target = this.ancestors().nth(2).expect("target/debug");
        let path = target.join("examples/bcdedit");
        assert!(path.exists(), "cargo builds {} with the tests", path.display());
        path
    }

    /// Returns a system whose store is `BCD` in the folder.
    fn system() -> Folder {
        let folder = Folder::new();
        folder.write("BCD", &bytes(Some("X")));
        folder
    }

    fn command(folder: &Folder, arguments: &str) -> Command {
        let mut command = folder.command();
        command.arg("--bcdedit").arg(stand_in()).args(arguments.split(' '));
        command.env("STANDIN_STORE", folder.path("BCD")).env("STANDIN_LOG", folder.path("log"));
        command
    }

    fn run(folder: &Folder, arguments: &str) -> run::Ran {
        run::Ran::of(&mut command(folder, arguments))
    }

    fn read(folder: &Folder) -> Bcd {
        Bcd::read(&folder.read("BCD")).expect("a store")
    }

    /// Returns the calls since the last time, without identifiers and the paths of exports.
    fn calls(folder: &Folder) -> Vec<String> {
        let log = String::from_utf8(folder.read("log")).expect("text");
        folder.write("log", b"");
        let word = |word: &str| match word {
            LOADER => "LOADER".to_owned(),
            _ if word.starts_with('{') => "PV".to_owned(),
            _ => word.to_owned(),
        };
        let lines = log.lines().filter(|line| !line.starts_with("/export"));
        lines.map(|line| line.split(' ').map(word).collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn bcdedit_is_called_as_it_wants_to_be() {
        let folder = system();
        let before = read(&folder);
        run(&folder, "status").gives(0);
        assert!(calls(&folder).is_empty());
        run(&folder, "add --name Name").gives(0);
        assert_eq!(calls(&folder), ["/copy LOADER /d Name", "/set PV loadoptions X GPLPV"]);
        assert!(run(&folder, "add").gives(0).out.contains("already"));
        run(&folder, "try").gives(0);
        run(&folder, "default pv").gives(0);
        run(&folder, "default emulated").gives(0);
        run(&folder, "timeout 9").gives(0);
        assert_eq!(calls(&folder), ["/bootsequence PV", "/default PV", "/default LOADER", "/timeout 9"]);
        run(&folder, "timeout 30").gives(0);
        calls(&folder);
        run(&folder, "--yes remove").gives(0);
        assert_eq!(calls(&folder), ["/displayorder LOADER", "/deletevalue PV bootsequence", "/delete PV"]);
        assert_eq!(read(&folder), before);
        assert!(folder.path("Xenguard/bcd.backup1").exists());
        run(&folder, "--yes restore").gives(0);
        assert!(calls(&folder)[0].starts_with("/import "));
    }

    #[test]
    fn a_new_entry_stands_behind_its_source() {
        let folder = system();
        let other = LOADER.replace('1', "a");
        let tree = store(Some("X"))
            .with_key(&format!("Objects\\{other}"), object(OS_LOADER, &[("12000002", text("other"))]))
            .with_key(&format!("Objects\\{BOOT_MANAGER}\\Elements\\24000001"), texts(&[LOADER, &other]));
        folder.write("BCD", &tree.hive("NewStoreRoot"));
        run(&folder, "add").gives(0);
        let order: Vec<_> = read(&folder).display_order().iter().map(ToString::to_string).collect();
        assert_eq!((order.len(), &order[0], &order[2]), (3, &LOADER.to_owned(), &other));
    }

    /// The entry that the running Windows was booted by need not be the default.
    #[test]
    fn the_current_entry_is_asked_for() {
        let folder = system();
        let (debugger, tree) = with_debugger();
        folder.write("BCD", &tree.hive("NewStoreRoot"));
        let current =
            |id: &str, arguments: &str| run::Ran::of(command(&folder, arguments).env("STANDIN_CURRENT", id));
        current("keine", "add --entry {current}").fails(8, "does not say by which entry");
        current(&LOADER.replace('1', "7"), "add --entry {current}").fails(3, "is no entry of the menu");
        let added = current(&debugger, "--json add --entry {current}").gives(0).result();
        assert_eq!(added["entry"]["number"], 2, "{added}");
        let pv = read(&folder).choices()[1];
        assert_eq!(read(&folder).sibling(pv, false).expect("its source").to_string(), debugger);
    }

    /// On Windows a store that is a file is edited by bcdedit on a copy. It exports no such store, so the copy
    /// is read as it is.
    #[test]
    fn a_copy_of_a_store_is_not_exported() {
        let folder = system();
        let before = folder.read("BCD");
        let old = Bcd::read(&before).expect("a store");
        let mut new = old.clone();
        Menu::add_pv(&mut new, 1, None).expect("added");
        let edited =
            bootcfg::bcd::bcdedit::Bcdedit::at(stand_in()).edited(&before, &old, &new).expect("edited");
        let edited = Bcd::read(&edited).expect("a store");
        assert_eq!(edited.choices().len(), 2);
        assert!(edited.options(edited.choices()[1]).selects_pv());
    }

    /// Whichever call fails, the store is as it was afterwards.
    #[test]
    fn a_failure_is_undone() {
        for word in ["/copy", "/set", "/export", "/displayorder"] {
            let folder = system();
            let other = LOADER.replace('1', "a");
            let tree = store(Some("X"))
                .with_key(&format!("Objects\\{other}"), object(OS_LOADER, &[("12000002", text("other"))]))
                .with_key(&format!("Objects\\{BOOT_MANAGER}\\Elements\\24000001"), texts(&[LOADER, &other]));
            folder.write("BCD", &tree.hive("NewStoreRoot"));
            let before = read(&folder);
            let failed = run::Ran::of(command(&folder, "add").env("STANDIN_FAIL", word));
            let failed = failed.fails(8, &format!("bcdedit {word}"));
            assert!(failed.err.contains("administrator"), "{}", failed.err);
            let after = read(&folder);
            if word == "/displayorder" {
                // Undoing needs it too: then the message says what to do.
                assert!(failed.err.contains("import the backup"), "{}", failed.err);
            } else {
                assert_eq!(after, before, "{word}");
            }
        }
    }
}

/// A store whose last change is in its log file only.
#[test]
fn a_dirty_store_is_read_with_its_log_file() {
    let folder = Folder::new();
    let (old, new) = (bytes(None), bytes(Some("NOEXECUTE=OPTIN")));
    let primary = log::dirty(&old, 7);
    folder.write("Boot/BCD", &primary);
    folder.run("--root . add").fails(4, "no log file beside it");
    folder.write("Boot/BCD.LOG1", &log::of_entries(&[&old, &new], 7));
    folder.write("Boot/BCD.LOG2", &[]);
    let note = "Boot/BCD was not written to its end; it is read with BCD.LOG1 replayed";
    assert!(folder.run("--root . verify").gives(0).out.contains(note));
    folder.run("--root . add").gives(0);
    let now = Bcd::read(&folder.read("Boot/BCD")).expect("clean");
    let options: Vec<_> = Menu::entries(&now).iter().map(|entry| entry.options.clone()).collect();
    assert_eq!(options, ["NOEXECUTE=OPTIN", "NOEXECUTE=OPTIN GPLPV"]);
    assert_eq!(folder.read("Boot/BCD.backup1"), primary);
    // The last backup needs no log file.
    folder.run("--root . --yes restore").gives(0);
    assert_eq!(Bcd::read(&folder.read("Boot/BCD")).expect("clean"), Bcd::read(&new).expect("a store"));
}

/// A dirty store means something only with its log file, which does not fit the next store.
#[test]
fn of_a_dirty_store_the_replayed_backup_is_kept() {
    let folder = Folder::new();
    let (old, new) = (bytes(None), bytes(Some("NOEXECUTE=OPTIN")));
    let primary = log::dirty(&old, 7);
    folder.write("kept", &old);
    folder.write("Boot/BCD", &primary);
    folder.write("Boot/BCD.LOG1", &log::of_entries(&[&old, &new], 7));
    let said = folder.run("--root . --yes restore kept").gives(0).out;
    assert!(said.contains("BCD.backup2"), "{said}");
    assert_eq!(folder.read("Boot/BCD"), old);
    assert_eq!(folder.read("Boot/BCD.backup1"), primary);
    let replayed = Bcd::read(&folder.read("Boot/BCD.backup2")).expect("clean");
    assert_eq!(replayed, Bcd::read(&new).expect("a store"));
    // Two more backups.
    folder.run("--root . timeout 7").gives(0);
    folder.run("--root . timeout 8").gives(0);
    folder.run("--root . --yes prune --keep 1").gives(0);
    for (number, is_there) in [(1, true), (2, true), (3, false), (4, true)] {
        assert_eq!(folder.path(&format!("Boot/BCD.backup{number}")).exists(), is_there, "{number}");
    }
    // A store that is damaged beyond reading is kept as it is.
    folder.write("Boot/BCD", b"nothing");
    folder.run("--root . --yes restore kept").gives(0);
    assert_eq!(folder.read("Boot/BCD.backup5"), b"nothing");
}

/// Windows of one folder name on two partitions: the store does not say which of them is mounted.
#[test]
fn of_two_partitions_the_user_says_which() {
    let folder = Folder::new();
    let other = LOADER.replace('1', "a");
    let of_other =
        [("12000004", text("Other")), ("21000001", binary(&[7; 88])), ("22000002", text("\\WINDOWS"))];
    let both = store(None)
        .with_key(&format!("Objects\\{other}"), object(OS_LOADER, &of_other))
        .with_key(&format!("Objects\\{BOOT_MANAGER}\\Elements\\24000001"), texts(&[LOADER, &other]));
    let hive = Tree::new()
        .with_key("Select", Tree::new().with_dword("Current", 1))
        .with_key("ControlSet001\\Services\\disk", Tree::new().with_dword("Start", 0));
    folder.write("Windows/System32/config/SYSTEM", &hive.hive("SYSTEM"));
    folder.write("Windows/System32/drivers/disk.sys", b"");
    folder.write("Boot/BCD", &both.hive("NewStoreRoot"));
    folder.run("--root . --yes uninstall").fails(3, "entries 1, 2 are of Windows in folders named Windows");
    folder.run("--root . --windows Windows --yes uninstall").gives(0);
    // A PV entry of the same system is no other one.
    folder.write("Boot/BCD", &bytes(None));
    folder.run("--root . add").gives(0);
    folder.run("--root . --yes uninstall").gives(0);
    assert_eq!(read(&folder).choices().len(), 1, "the PV entry is gone");
}
