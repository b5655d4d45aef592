//! `check` before an installation, and `clean` of another suite's leftovers, on a folder that stands for a
//! mounted volume.
#![cfg(unix)]

mod run;

use hive::{Hive, build::Tree};
use run::{BOOT_INI, Folder};

const SYSTEM: &str = "{4D36E97D-E325-11CE-BFC1-08002BE10318}";
const IDE: &str = "{4D36E96A-E325-11CE-BFC1-08002BE10318}";
const DISKS: &str = "{4D36E967-E325-11CE-BFC1-08002BE10318}";
const PLATFORM: &str = "Enum\\PCI\\VEN_5853&DEV_0001&SUBSYS_00015853&REV_01\\3&1";
const HIVE: &str = "WINDOWS/system32/config/SYSTEM";
const DRIVERS: &str = "WINDOWS/system32/drivers";

fn service(start: u32, file: &str) -> Tree {
    Tree::new()
        .with_dword("Start", start)
        .with_dword("Type", 1)
        .with_text("ImagePath", &format!("system32\\drivers\\{file}.sys"))
}

/// Returns a Windows that boots from emulated IDE disks, and nothing else.
fn plain() -> Tree {
    let mut set = Tree::new()
        .with_key(
            "Control\\Session Manager\\Environment",
            Tree::new().with_text("PROCESSOR_ARCHITECTURE", "AMD64"),
        )
        .with_key(&format!("Control\\Class\\{DISKS}"), Tree::new().with_texts("UpperFilters", &["PartMgr"]))
        .with_key(PLATFORM, Tree::new().with_text("DeviceDesc", "PCI device"))
        .with_key(
            "Enum\\PCI\\VEN_8086&DEV_7010&SUBSYS_11001AF4&REV_00\\3&2",
            Tree::new().with_text("Service", "intelide").with_text("ClassGUID", IDE),
        );
    for name in ["acpi", "pci", "disk", "partmgr", "mountmgr", "intelide", "atapi"] {
        set = set.with_key(&format!("Services\\{name}"), service(0, name));
    }
    set
}

/// Returns the same with Xen Project's drivers, whose filter hides the controllers.
fn with_xen_project() -> Tree {
    let mut set = plain()
        .with_key(
            &format!("Control\\Class\\{SYSTEM}"),
            Tree::new().with_texts("UpperFilters", &["XENFILT", "mine"]),
        )
        .with_key(&format!("Control\\Class\\{IDE}"), Tree::new().with_texts("UpperFilters", &["xenfilt"]))
        .with_key(
            PLATFORM,
            Tree::new()
                .with_text("Service", "xenbus")
                .with_text("ClassGUID", SYSTEM)
                .with_texts("UpperFilters", &["xenfilt"]),
        )
        .with_key("Enum\\XENBUS\\VEN_XP0001&DEV_VBD\\_", Tree::new().with_text("Service", "xenvbd"))
        .with_key("Services\\mine", service(3, "mine"))
        .with_key(
            "Services\\xenagent",
            Tree::new().with_dword("Type", 16).with_text("ImagePath", "C:\\Xen\\xenagent.exe"),
        )
        .with_key("Services\\atapi\\StartOverride", Tree::new().with_dword("0", 3))
        .with_key(
            "Control\\CriticalDeviceDatabase\\pci#ven_5853&dev_0001",
            Tree::new().with_text("Service", "xenbus"),
        );
    for name in ["xenbus", "xenfilt", "xenvbd", "xeniface"] {
        set = set.with_key(&format!("Services\\{name}"), service(0, name));
    }
    set
}

fn volume(set: &Tree) -> Folder {
    let folder = Folder::new();
    let tree = Tree::new()
        .with_key("Select", Tree::new().with_dword("Current", 1).with_dword("Default", 1))
        .with_key("ControlSet001", set.clone());
    folder.write(HIVE, &tree.hive("SYSTEM"));
    folder.write("boot.ini", BOOT_INI);
    for name in [
        "acpi", "pci", "disk", "partmgr", "mountmgr", "intelide", "atapi", "mine", "xenbus", "xenfilt",
        "xenvbd", "xeniface",
    ] {
        folder.write(&format!("{DRIVERS}/{name}.sys"), name.as_bytes());
    }
    folder
}

fn has(folder: &Folder, key: &str) -> bool {
    let bytes = folder.read(HIVE);
    let hive = Hive::new(&bytes).expect("a hive");
    hive.key(&format!("ControlSet001\\{key}")).expect("whole").is_some()
}

fn filters(folder: &Folder, class: &str) -> Option<Vec<String>> {
    let bytes = folder.read(HIVE);
    let hive = Hive::new(&bytes).expect("a hive");
    let key = hive.key(&format!("ControlSet001\\Control\\Class\\{class}")).expect("whole").expect("there");
    key.value("UpperFilters").expect("whole").and_then(|value| value.texts().expect("whole"))
}

#[test]
fn a_sound_system_may_be_installed_into() {
    let folder = volume(&plain());
    let ran = folder.run("--root . check").gives(0);
    assert!(ran.out.contains("the Xen platform device has no driver: it is free"), "{}", ran.out);
    assert!(ran.out.contains("nothing stands against an installation"), "{}", ran.out);
    assert!(ran.out.contains("from entry 1"), "{}", ran.out);
}

/// Every cause of 0x7B that stands in the registry, and what else keeps the suite out: one at a time.
#[test]
fn each_cause_is_found() {
    let filters = |names: &[&str]| Tree::new().with_texts("UpperFilters", names);
    let environment = "Control\\Session Manager\\Environment";
    let controller = "Enum\\PCI\\VEN_8086&DEV_7010&SUBSYS_11001AF4&REV_00\\3&2";
    let class = |guid: &str| format!("Control\\Class\\{guid}");
    let cases: [(&str, Tree, &str); 13] = [
        (environment, Tree::new().with_text("PROCESSOR_ARCHITECTURE", "x86"), "this Windows is for x86"),
        (
            "Services\\partmgr",
            Tree::new().with_dword("Start", 3),
            "partmgr does not start at boot (Start is 3)",
        ),
        ("Services\\atapi\\StartOverride", Tree::new().with_dword("0", 3), "leaves atapi out"),
        ("Services\\disk\\StartOverride", Tree::new().with_dword("0", 3), "the loader leaves disk out"),
        (&class(SYSTEM), filters(&["gone"]), "the filter gone in UpperFilters of the class of System"),
        (&class(DISKS), Tree::new().with_text("LowerFilters", "gone"), "the filter gone in LowerFilters"),
        (controller, filters(&["gone"]), "the filter gone in UpperFilters of PCI\\VEN_8086"),
        (controller, Tree::new().with_text("Service", "gone"), "driven by gone, which has no key"),
        (
            "Services\\intelide",
            Tree::new().with_dword("Start", 4),
            "driven by intelide, which does not start at boot",
        ),
        (
            "Services\\intelide",
            service(0, "gone"),
            "driven by intelide, whose file system32\\drivers\\gone.sys",
        ),
        ("Services\\xenblk", service(0, "xenblk"), "drivers of SUSE VMDP are installed (xenblk)"),
        (
            PLATFORM,
            Tree::new().with_text("Service", "xenpci"),
            "the Xen platform device is driven by xenpci of GPLPV",
        ),
        ("Services\\pci", service(0, "gone"), "the file of pci, system32\\drivers\\gone.sys, is missing"),
    ];
    for (key, change, finding) in cases {
        let folder = volume(&plain().with_key(key, change));
        let ran = folder.run("--root . check").gives(1);
        assert!(
            ran.out.lines().any(|line| line.starts_with("wrong") && line.contains(finding)),
            "{finding}: {}",
            ran.out
        );
    }
    let notes: [(&str, Tree, &str); 3] = [
        ("Services\\partmgr\\Parameters", Tree::new().with_dword("SanPolicy", 2), "OfflineShared"),
        (
            controller,
            Tree::new().with_text("Service", "mine"),
            "driven by mine, which Windows does not bring along",
        ),
        (environment, Tree::new().with_dword("PROCESSOR_ARCHITECTURE", 1), "the architecture is not known"),
    ];
    for (key, change, finding) in notes {
        let folder = volume(&plain().with_key("Services\\mine", service(0, "mine")).with_key(key, change));
        let ran = folder.run("--root . check").gives(0);
        assert!(
            ran.out.lines().any(|line| line.starts_with("note") && line.contains(finding)),
            "{finding}: {}",
            ran.out
        );
    }
}

#[test]
fn another_suite_is_taken_out_and_nothing_else() {
    let folder = volume(&with_xen_project());
    let inf = b"[Version]\r\nProvider = \"Xen Project\"\r\n[SourceDisksFiles]\r\nxenvbd.sys = 1\r\n";
    folder.write("WINDOWS/INF/oem3.inf", inf);
    folder.write(
        "WINDOWS/INF/oem4.inf",
        b"[Version]\r\nProvider = \"Other\"\r\n[SourceDisksFiles]\r\nother.sys = 1\r\n",
    );
    let store = "WINDOWS/system32/DriverStore/FileRepository/xenvbd.inf_amd64_0123";
    folder.write(&format!("{store}/xenvbd.inf"), inf);
    let before = folder.read(HIVE);
    let found = folder.run("--root . check").gives(1).out;
    assert!(
        found.contains("drivers of Xen Project, XenServer or XCP-ng are installed (xenbus, xenfilt"),
        "{found}"
    );
    assert!(found.contains("the Xen platform device is driven by xenbus"), "{found}");

    let shown = folder.run("--root . --dry-run clean").gives(0).out;
    for part in
        ["would remove ControlSet001\\Services\\xenbus", "xenfilt.sys to …", "oem3.inf to …", "Enum\\XENBUS"]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert_eq!(folder.read(HIVE), before, "a dry run changes nothing");
    folder.run("--root . clean").gives(9);
    assert_eq!(folder.read(HIVE), before, "nobody said yes");

    folder.run("--root . --yes clean").gives(0);
    assert_eq!(filters(&folder, SYSTEM).expect("a list"), ["mine"]);
    assert_eq!(filters(&folder, IDE), None);
    assert_eq!(filters(&folder, DISKS).expect("a list"), ["PartMgr"]);
    for gone in [
        "Services\\xenbus",
        "Services\\xenfilt",
        "Services\\xenagent",
        "Enum\\XENBUS",
        "Services\\atapi\\StartOverride",
        "Control\\CriticalDeviceDatabase\\pci#ven_5853&dev_0001",
    ] {
        assert!(!has(&folder, gone), "{gone}");
    }
    for stays in ["Services\\mine", "Services\\atapi", PLATFORM] {
        assert!(has(&folder, stays), "{stays}");
    }
    assert!(!folder.path(&format!("{DRIVERS}/xenbus.sys")).exists());
    assert_eq!(folder.read(&format!("{DRIVERS}/xenbus.sys.removed")), b"xenbus");
    assert!(folder.path(&format!("{DRIVERS}/mine.sys")).exists());
    assert!(
        folder.path("WINDOWS/INF/oem3.inf.removed").exists() && folder.path("WINDOWS/INF/oem4.inf").exists()
    );
    assert!(folder.path(&format!("{store}.removed/xenvbd.inf")).exists());
    assert_eq!(folder.read(&format!("{HIVE}.backup1")), before);
    folder.run("--root . check").gives(0);
    let bytes = folder.read(HIVE);
    let hive = Hive::new(&bytes).expect("a hive");
    let platform = hive.key(&format!("ControlSet001\\{PLATFORM}")).expect("whole").expect("there");
    let values: Vec<_> =
        platform.values().expect("whole").map(|value| value.expect("whole").name().to_owned()).collect();
    assert_eq!(values, ["DeviceDesc"]);
    assert!(folder.run("--root . --yes clean").gives(0).out.contains("Nothing of another suite is left"));
}

#[test]
fn what_another_needs_stays() {
    // This suite's own drivers have names that GPLPV has, too.
    let ours = service(0, "xenvbd").with_text("DisplayName", "Xenguard PV disk adapter");
    let folder = volume(&plain().with_key("Services\\xenvbd", ours));
    assert!(folder.run("--root . --yes clean").gives(0).out.contains("Nothing of another suite is left"));
    assert!(has(&folder, "Services\\xenvbd"));
    // A file that a service of another name has, and a service that only has the name.
    let set = with_xen_project()
        .with_key("Services\\kept", service(0, "xeniface"))
        .with_key("Services\\xencrsh", service(0, "unlike"));
    let folder = volume(&set);
    let ran = folder.run("--root . --yes clean").gives(0);
    assert!(ran.err.contains("xeniface.sys stays: the service kept has it"), "{}", ran.err);
    assert!(ran.err.contains("the service xencrsh stays"), "{}", ran.err);
    assert!(has(&folder, "Services\\xencrsh") && folder.path(&format!("{DRIVERS}/xeniface.sys")).exists());
    // A filter without a service, left by an uninstaller.
    let list = Tree::new().with_text("LowerFilters", "scsifilt");
    let folder = volume(&plain().with_key(&format!("Control\\Class\\{DISKS}"), list));
    folder.run("--root . check").gives(1);
    folder.run("--root . --yes clean").gives(0);
    folder.run("--root . check").gives(0);
}

#[test]
fn a_system_that_would_boot_no_more_is_left_alone() {
    let set = with_xen_project().with_key("Services\\atapi", Tree::new().with_dword("Start", 4));
    let set = set.with_key("Services\\intelide", Tree::new().with_dword("Start", 3));
    let folder = volume(&set);
    let before = folder.read(HIVE);
    folder.run("--root . --yes clean").fails(3, "no driver of an emulated disk controller starts at boot");
    assert_eq!(folder.read(HIVE), before);
    assert!(folder.path(&format!("{DRIVERS}/xenbus.sys")).exists());
    // Hibernated.
    let folder = volume(&with_xen_project());
    folder.write("hiberfil.sys", &[b"HIBR".as_slice(), &[1; 4096]].concat());
    folder.run("--root . --yes clean").gives(3);
}

/// From Windows 8 on the driver store has an index that only Windows keeps.
#[test]
fn the_index_of_the_driver_store_is_left_to_windows() {
    let folder = volume(&with_xen_project());
    folder.write("WINDOWS/system32/config/DRIVERS", b"a hive");
    let inf = b"[Version]\r\nProvider = \"Xen Project\"\r\n[SourceDisksFiles]\r\nxenbus.sys = 1\r\n";
    folder.write("WINDOWS/INF/oem3.inf", inf);
    let out = folder.run("--root . --yes clean").gives(0).out;
    assert!(out.contains("/remove-driver /driver:oem3.inf"), "{out}");
    assert!(folder.path("WINDOWS/INF/oem3.inf").exists());
}
