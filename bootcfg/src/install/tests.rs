//! Every file operation of an installation, an upgrade and a removal fails, or is the last one before the
//! power goes: the registry must never refer to a file that is not there whole.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    io::ErrorKind,
    path::{Path, PathBuf},
};

use hive::{Hive, build::Tree};

use super::{
    edits::{self, Edits},
    offline::Target,
    package::{DRIVERS, INFS, Package},
};
use crate::{
    exit::{Exit, code},
    files::{
        Attributes,
        model::{Fault, Model, ModelFile, Tree as Volume, administrators, everyone},
    },
    hive_edit::{Edit, edit_copy},
    hive_file::HiveFile,
    image::{sample_driver, sample_program},
    inf::{Inf, installation},
    replace::replace,
    system::registry::Registry,
};

const FOLDER: &str = "/Windows/System32/drivers";
const SERVICE: &str = "/Windows/System32/xenguard-svc.exe";
const HIVE: &str = "/Windows/System32/config/SYSTEM";
const SYSTEM_CLASS: &str = "Control\\Class\\{4D36E97D-E325-11CE-BFC1-08002BE10318}";

/// Returns the package of this workspace's INF files with small drivers of this version.
fn package(version: &str) -> Package {
    let mut package = Package {
        files: BTreeMap::new(),
        service: None,
        installations: Vec::new(),
        version: version.to_owned(),
    };
    package.service = Some(sample_program(version.as_bytes()));
    for name in INFS {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../inf/{name}.inf"));
        let inf = Inf::parse(&std::fs::read_to_string(path).expect("readable")).expect("parsed");
        package.installations.push(installation(&inf).expect("understood"));
    }
    for name in DRIVERS {
        package
            .files
            .insert(format!("{name}.sys"), sample_driver(format!("{name} {version}").as_bytes(), None));
    }
    package
}

/// Returns a Server 2003 that has another vendor's filter, and has seen the platform device.
fn fresh() -> Tree {
    let mut hive =
        Tree::new().with_key("Select", Tree::new().with_dword("Current", 1).with_dword("Default", 1));
    for set in ["ControlSet001", "ControlSet002"] {
        hive = hive
            .with_key(&format!("{set}\\{SYSTEM_CLASS}"), Tree::new().with_texts("UpperFilters", &["theirs"]))
            .with_key(
                &format!("{set}\\Enum\\PCI\\VEN_5853&DEV_0001&SUBSYS_00015853&REV_01\\3&13c0b0c5&0&10"),
                Tree::new().with_dword("ConfigFlags", 0x40).with_text("DeviceDesc", "Unknown device"),
            )
            .with_key(&format!("{set}\\Services\\theirs"), Tree::new().with_dword("Start", 0));
    }
    hive
}

fn bytes(tree: &Tree) -> Vec<u8> {
    tree.hive("SYSTEM")
}

fn installed(version: &str) -> Vec<u8> {
    let hive = bytes(&fresh());
    let edits = edits::install(&Hive::new(&hive).expect("a hive"), &package(version)).expect("understood");
    edit_copy(&hive, &edits.edits).expect("edited")
}

fn texts(hive: &[u8], key: &str, name: &str) -> Vec<String> {
    let hive = Hive::new(hive).expect("a hive");
    let value = hive.key(key).expect("read").and_then(|key| key.value(name).expect("read"));
    value.and_then(|value| value.texts().expect("read")).unwrap_or_default()
}

fn has(hive: &[u8], key: &str) -> bool {
    Hive::new(hive).expect("a hive").key(key).expect("read").is_some()
}

#[test]
fn an_installation_adds_to_the_set_that_is_booted() {
    let hive = installed("1");
    assert_eq!(
        texts(&hive, &format!("ControlSet001\\{SYSTEM_CLASS}"), "UpperFilters"),
        ["theirs", "idefilter"]
    );
    assert_eq!(texts(&hive, &format!("ControlSet002\\{SYSTEM_CLASS}"), "UpperFilters"), ["theirs"]);
    let read = Hive::new(&hive).expect("a hive");
    for (name, group) in [
        ("idefilter", "System Reserved"),
        ("idefallback", "System Reserved"),
        ("xenpci", "System Bus Extender"),
        ("xenvbd", "SCSI miniport"),
    ] {
        let key = read.key(&format!("ControlSet001\\Services\\{name}")).expect("read").expect("there");
        assert_eq!(key.dword("Start").expect("read"), Some(0));
        assert_eq!(key.text("Group").expect("read").as_deref(), Some(group));
        assert_eq!(key.text("ImagePath").expect("read"), Some(format!("system32\\drivers\\{name}.sys")));
        assert!(has(&hive, &format!("ControlSet001\\Services\\EventLog\\System\\{name}")));
    }
    let device = "ControlSet001\\Enum\\PCI\\VEN_5853&DEV_0001&SUBSYS_00015853&REV_01\\3&13c0b0c5&0&10";
    let device = read.key(device).expect("read").expect("there");
    assert_eq!(device.text("Service").expect("read").as_deref(), Some("xenpci"));
    assert_eq!(device.dword("ConfigFlags").expect("read"), Some(0));
    assert!(has(&hive, "ControlSet001\\Control\\CriticalDeviceDatabase\\xenguard#vbd"));
    let service = read.key("ControlSet001\\Services\\xenguard-svc").expect("read").expect("there");
    let number = |name: &str| service.dword(name).expect("read");
    assert_eq!((number("Type"), number("Start")), (Some(0x10), Some(2)));
    assert_eq!(
        service.text("ImagePath").expect("read").as_deref(),
        Some("%SystemRoot%\\System32\\xenguard-svc.exe")
    );
    assert!(has(&hive, "ControlSet001\\Services\\EventLog\\System\\xenguard-svc"));
}

/// A package without the service installs the drivers alone, and leaves a service that is there as it is.
#[test]
fn a_package_may_come_without_the_service() {
    let drivers = Package { service: None, ..package("1") };
    let hive = bytes(&fresh());
    let edits = edits::install(&Hive::new(&hive).expect("a hive"), &drivers).expect("understood");
    assert!(!edits.edits.is_empty());
    assert!(edits.edits.iter().all(|edit| !format!("{edit:?}").contains("xenguard-svc")), "{edits:?}");
}

#[test]
fn a_second_installation_changes_nothing_and_keeps_what_the_admin_set() {
    let hive = installed("1");
    let parameters = "ControlSet001\\Services\\idefilter\\Parameters";
    let set = Edit::Set { key: parameters.into(), name: "Unplug".into(), kind: 4, data: vec![0; 4] };
    let hive = edit_copy(&hive, &[set]).expect("edited");
    let again = edits::install(&Hive::new(&hive).expect("a hive"), &package("2")).expect("understood");
    assert_eq!(again, Edits::default());
}

#[test]
fn a_removal_leaves_nothing_of_ours_and_everything_of_others_in_every_set() {
    // The last known good set has it too.
    let both = bytes(&fresh().with_key("Select", Tree::new().with_dword("Default", 2)));
    let edits = edits::install(&Hive::new(&both).expect("a hive"), &package("1")).expect("understood");
    let hive = edit_copy(&both, &edits.edits).expect("edited");
    assert_eq!(
        texts(&hive, &format!("ControlSet002\\{SYSTEM_CLASS}"), "UpperFilters"),
        ["theirs", "idefilter"]
    );
    let removal = edits::uninstall(&Hive::new(&hive).expect("a hive")).expect("understood");
    let hive = edit_copy(&hive, &removal.edits).expect("edited");
    for set in ["ControlSet001", "ControlSet002"] {
        assert_eq!(texts(&hive, &format!("{set}\\{SYSTEM_CLASS}"), "UpperFilters"), ["theirs"]);
        assert!(has(&hive, &format!("{set}\\Services\\theirs")));
        for name in DRIVERS.into_iter().chain(["xenguard-svc"]) {
            assert!(!has(&hive, &format!("{set}\\Services\\{name}")), "{set} {name}");
            assert!(!has(&hive, &format!("{set}\\Services\\EventLog\\System\\{name}")), "{set} {name}");
        }
        assert!(!has(&hive, &format!("{set}\\Control\\CriticalDeviceDatabase\\xenguard#vbd")));
        let device = format!("{set}\\Enum\\PCI\\VEN_5853&DEV_0001&SUBSYS_00015853&REV_01\\3&13c0b0c5&0&10");
        let read = Hive::new(&hive).expect("a hive");
        let device = read.key(&device).expect("read").expect("the device stays");
        assert_eq!(device.text("Service").expect("read"), None);
        assert_eq!(device.text("DeviceDesc").expect("read"), None, "it was named by us");
    }
    let again = edits::uninstall(&Hive::new(&hive).expect("a hive")).expect("understood");
    assert_eq!(again, Edits::default());
}

/// GPLPV has a service `XenPCI`, which is a filter of its classes: a list that names a service that is gone stops every
/// boot (0x7B).
#[test]
fn a_filter_of_another_vendor_stays() {
    let storage = "Control\\Class\\{4D36E97B-E325-11CE-BFC1-08002BE10318}";
    let gplpv = Tree::new().with_dword("Start", 0).with_text("DisplayName", "GPLPV Xen PCI driver");
    let tree = fresh()
        .with_key("ControlSet001\\Services\\XenPCI", gplpv)
        .with_key(
            &format!("ControlSet001\\{storage}"),
            Tree::new().with_texts("UpperFilters", &["XenPCI", "xenvbd"]),
        )
        .with_key(
            &format!("ControlSet002\\{storage}"),
            Tree::new().with_texts("LowerFilters", &["xenpci", "x"]),
        );
    let hive = bytes(&tree);
    let removal = edits::uninstall(&Hive::new(&hive).expect("a hive")).expect("understood");
    let hive = edit_copy(&hive, &removal.edits).expect("edited");
    assert_eq!(texts(&hive, &format!("ControlSet001\\{storage}"), "UpperFilters"), ["XenPCI"]);
    assert!(has(&hive, "ControlSet001\\Services\\XenPCI"));
    // In the other set nothing has the name, and the list must not.
    assert_eq!(texts(&hive, &format!("ControlSet002\\{storage}"), "LowerFilters"), ["x"]);
}

#[test]
fn a_list_that_held_only_our_filter_goes() {
    let alone = Tree::new()
        .with_key("Select", Tree::new().with_dword("Current", 1))
        .with_key(&format!("ControlSet001\\{SYSTEM_CLASS}"), Tree::new().with_text("Class", "System"));
    let hive = bytes(&alone);
    let edits = edits::install(&Hive::new(&hive).expect("a hive"), &package("1")).expect("understood");
    let hive = edit_copy(&hive, &edits.edits).expect("edited");
    let removal = edits::uninstall(&Hive::new(&hive).expect("a hive")).expect("understood");
    let hive = edit_copy(&hive, &removal.edits).expect("edited");
    let read = Hive::new(&hive).expect("a hive");
    let class = read.key(&format!("ControlSet001\\{SYSTEM_CLASS}")).expect("read").expect("there");
    assert!(class.value("UpperFilters").expect("read").is_none());
    assert_eq!(class.text("Class").expect("read").as_deref(), Some("System"));
}

fn registry(hive: Vec<u8>) -> Registry {
    Registry::Offline { path: "SYSTEM".into(), hive: HiveFile::clean(hive), running: false }
}

#[test]
fn other_suites_are_warned_of_and_namesakes_refused() {
    let with =
        |name: &str, key: Tree| bytes(&fresh().with_key(&format!("ControlSet001\\Services\\{name}"), key));
    let look = |hive: &[u8]| edits::refuse_namesakes(&registry(hive.to_vec()));
    for other in ["xenfilt", "pvvxblk", "xenstub"] {
        let warnings =
            look(&with(other, Tree::new().with_dword("Start", 0))).expect("installed all the same");
        assert!(warnings.len() == 1 && warnings[0].contains(other), "{warnings:?}");
    }
    let disabled = look(&with("xenfilt", Tree::new().with_dword("Start", 4))).expect("installed");
    assert!(disabled.is_empty());
    let theirs = with("xenvbd", Tree::new().with_dword("Start", 0).with_text("DisplayName", "GPL PV disks"));
    assert_eq!(code(&look(&theirs).expect_err("refused")), Exit::Refused);
    let removal = edits::uninstall(&Hive::new(&theirs).expect("a hive")).expect("understood");
    assert!(!removal.edits.iter().any(|edit| format!("{edit:?}").contains("xenvbd")), "{removal:?}");
    assert_eq!(edits::namesakes(&Hive::new(&theirs).expect("a hive")).expect("read"), ["xenvbd"]);
    let new = bytes(&fresh().with_key("DriverDatabase", Tree::new()));
    let plan = edits::install(&Hive::new(&new).expect("a hive"), &package("1"));
    assert_eq!(code(&plan.expect_err("refused")), Exit::Refused);
}

/// A list may be a single string, or have an empty one in it: what it names is kept.
#[test]
fn filters_of_any_form_stay() {
    let at = format!("ControlSet001\\{SYSTEM_CLASS}");
    let single = Tree::new().with_text("UpperFilters", "PartMgr");
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
    let empty_first =
        Tree::new().with_value("UpperFilters", hive::data_type::MULTI_SZ, &utf16("\0PartMgr\0\0"));
    for class in [single, empty_first] {
        let before =
            bytes(&Tree::new().with_key("Select", Tree::new().with_dword("Current", 1)).with_key(&at, class));
        let edits = edits::install(&Hive::new(&before).expect("a hive"), &package("1")).expect("understood");
        let hive = edit_copy(&before, &edits.edits).expect("edited");
        assert_eq!(texts(&hive, &at, "UpperFilters"), ["PartMgr", "idefilter"]);
        let removal = edits::uninstall(&Hive::new(&hive).expect("a hive")).expect("understood");
        let hive = edit_copy(&hive, &removal.edits).expect("edited");
        assert_eq!(texts(&hive, &at, "UpperFilters"), ["PartMgr"]);
    }
    let binary = Tree::new().with_binary("UpperFilters", b"PartMgr");
    let before =
        bytes(&Tree::new().with_key("Select", Tree::new().with_dword("Current", 1)).with_key(&at, binary));
    let plan = edits::install(&Hive::new(&before).expect("a hive"), &package("1"));
    assert_eq!(code(&plan.expect_err("refused")), Exit::Refused);
    assert_eq!(code(&edits::refuse_namesakes(&registry(before)).expect_err("refused")), Exit::Refused);
}

/// A set that is named and not there is not made.
#[test]
fn no_set_is_made() {
    let hive =
        bytes(&fresh().with_key("Select", Tree::new().with_dword("Current", 0).with_dword("Default", 1)));
    let edits = edits::install(&Hive::new(&hive).expect("a hive"), &package("1")).expect("understood");
    assert!(edits.edits.iter().all(|edit| !format!("{edit:?}").contains("ControlSet000")), "{edits:?}");
    let none =
        bytes(&fresh().with_key("Select", Tree::new().with_dword("Current", 7).with_dword("Default", 7)));
    assert_eq!(
        code(&edits::install(&Hive::new(&none).expect("a hive"), &package("1")).expect_err("refused")),
        Exit::Unusable
    );
}

/// The traces that PnP keeps of our devices go too.
#[test]
fn no_device_of_ours_is_left() {
    let class = "Control\\DeviceClasses\\{53f56307-b6bf-11d0-94f2-00a0c91efb8b}";
    let ours = "SCSI#Disk&Ven_XENGUARD&Prod_PV_DISK#1&2a&0#{53f56307}";
    let tree = fresh()
        .with_key(
            "ControlSet001\\Enum\\SCSI\\Disk&Ven_XENGUARD&Prod_PV_DISK\\1&2a&0",
            Tree::new().with_dword("a", 1),
        )
        .with_key("ControlSet001\\Enum\\SCSI\\Disk&Ven_OTHER\\1", Tree::new().with_dword("a", 1))
        .with_key(&format!("ControlSet001\\{class}\\##?#{ours}"), Tree::new().with_dword("a", 1))
        .with_key(&format!("ControlSet001\\{class}\\##?#XENGUARD#VBD#0"), Tree::new().with_dword("a", 1))
        .with_key(&format!("ControlSet001\\{class}\\##?#IDE#Disk#0"), Tree::new().with_dword("a", 1));
    let before = bytes(&tree);
    let edits = edits::install(&Hive::new(&before).expect("a hive"), &package("1")).expect("understood");
    let hive = edit_copy(&before, &edits.edits).expect("edited");
    let removal = edits::uninstall(&Hive::new(&hive).expect("a hive")).expect("understood");
    let hive = edit_copy(&hive, &removal.edits).expect("edited");
    let text = |key: &Hive<'_>, path: &str| {
        let names = key.key(path).expect("read").expect("there").keys().expect("read");
        names.map(|key| key.expect("read").name().to_owned()).collect::<Vec<_>>()
    };
    let read = Hive::new(&hive).expect("a hive");
    assert_eq!(text(&read, "ControlSet001\\Enum\\SCSI"), ["Disk&Ven_OTHER"]);
    assert_eq!(text(&read, &format!("ControlSet001\\{class}")), ["##?#IDE#Disk#0"]);
    let device = "ControlSet001\\Enum\\PCI\\VEN_5853&DEV_0001&SUBSYS_00015853&REV_01\\3&13c0b0c5&0&10";
    let device = read.key(device).expect("read").expect("there");
    assert_eq!(device.dword("ConfigFlags").expect("read"), Some(0x20), "PnP looks for a driver again");
    assert_eq!(device.text("DeviceDesc").expect("read"), None);
}

/// An operation: its start, and the way to run it on a model.
struct Run {
    before: Volume,
    old: Vec<u8>,
    new: Vec<u8>,
    edits: Edits,
}

fn file(content: &[u8]) -> ModelFile {
    let attributes = Attributes { dos: Attributes::ARCHIVE, unix: None, security: Some(administrators()) };
    ModelFile { content: content.into(), attributes, flushed: true }
}

/// Returns the files of a package in a volume.
fn places(package: &Package) -> BTreeMap<PathBuf, &Vec<u8>> {
    let drivers = package.files.iter().map(|(name, content)| (Path::new(FOLDER).join(name), content));
    drivers.chain(package.service.iter().map(|program| (PathBuf::from(SERVICE), program))).collect()
}

fn volume(hive: &[u8], drivers: Option<&Package>) -> Volume {
    let mut volume = Volume::from([(PathBuf::from(HIVE), file(hive))]);
    volume.extend(drivers.map(places).into_iter().flatten().map(|(path, content)| (path, file(content))));
    volume
}

impl Run {
    fn new(old: Vec<u8>, drivers: Option<&Package>, edits: Edits) -> Run {
        let new = edit_copy(&old, &edits.edits).expect("edited");
        Run { before: volume(&old, drivers), old, new, edits }
    }

    fn on(
        &self,
        fault: Option<(usize, Fault)>,
        work: impl Fn(&Target<'_>, &Edits) -> anyhow::Result<()>,
    ) -> (Model, anyhow::Result<()>) {
        let model = Model::new(self.before.clone(), fault);
        // Editing a copy is no operation on the volume.
        let edit = |_: &[u8], _: &[Edit]| Ok(self.new.clone());
        let target = Target {
            files: &model,
            edit: &edit,
            drivers: Path::new(FOLDER),
            hive: Path::new(HIVE),
            content: &HiveFile::clean(self.old.clone()),
        };
        let result = work(&target, &self.edits);
        (model, result)
    }

    /// Checks that the registry refers to our drivers, and that each is there, whole, in one of these versions.
    fn check(&self, volume: &Volume, referring: &[&[u8]], versions: &[&Package], what: &str) {
        let hive = &volume[Path::new(HIVE)].content;
        assert!(
            *hive == self.old || *hive == self.new,
            "{what}: the hive is neither the old nor the new one"
        );
        if !referring.contains(&hive.as_slice()) {
            return;
        }
        for path in places(versions[0]).keys() {
            let found = volume.get(path).map(|file| &file.content);
            let good: BTreeSet<&Vec<u8>> = versions.iter().map(|package| places(package)[path]).collect();
            assert!(
                found.is_some_and(|content| good.contains(content)),
                "{what}: {} is missing or damaged",
                path.display()
            );
        }
    }

    /// Runs `work` with a fault at each operation in turn; `entry` at 0 is the step between registry and
    /// files.
    fn exhaust(
        &self,
        referring: &[&[u8]],
        versions: &[&Package],
        undone_after: bool,
        work: impl Fn(&Target<'_>, &Edits) -> anyhow::Result<()> + Copy,
    ) {
        let (whole, result) = self.on(None, work);
        result.expect("without a fault it works");
        let operations = whole.operations();
        assert!(operations > 5, "{operations}");
        for at in 0..operations {
            let what = format!("stopped at operation {at}");
            let (model, result) = self.on(Some((at, Fault::Stops)), work);
            assert!(result.is_err(), "{what}");
            for left in model.after_power_loss() {
                // A hive that was cut is not what `replace` leaves: its own test has that.
                let hive = &left[Path::new(HIVE)].content;
                assert!(*hive == self.old || *hive == self.new, "{what}");
                self.check(&left, referring, versions, &what);
            }
            for kind in [ErrorKind::StorageFull, ErrorKind::PermissionDenied] {
                let what = format!("operation {at} fails: {kind}");
                let (model, result) = self.on(Some((at, Fault::Fails(kind))), work);
                let left = model.tree();
                self.check(&left, referring, versions, &what);
                let Err(error) = result else { continue };
                let text = format!("{error:#}");
                if left[Path::new(HIVE)].content == self.old {
                    for path in places(versions[0]).keys() {
                        let of = |volume: &Volume| volume.get(path).map(|file| file.content.clone());
                        assert!(
                            of(&left) == of(&self.before) || text.contains("could not be brought back"),
                            "{what}: {}: {text}",
                            path.display()
                        );
                    }
                } else {
                    assert!(!undone_after || text.contains("could not be brought back"), "{what}: {text}");
                }
            }
        }
    }
}

#[test]
fn an_installation_with_a_fault_at_every_operation() {
    let package = package("1");
    let old = bytes(&fresh());
    let edits = edits::install(&Hive::new(&old).expect("a hive"), &package).expect("understood");
    let run = Run::new(old, None, edits);
    let work = |target: &Target<'_>, edits: &Edits| {
        target.install(&package, edits, || Ok(()), || Ok(())).map(|_| ())
    };
    run.exhaust(&[&run.new], &[&package], true, work);
    let (done, _) = run.on(None, work);
    assert_eq!(done.tree()[Path::new(HIVE)].content, run.new);
}

#[test]
fn an_upgrade_with_a_fault_at_every_operation() {
    let (one, two) = (package("1"), package("2"));
    // An older version that wrote less into the registry.
    let gone = Edit::DeleteKey { key: "ControlSet001\\Services\\EventLog".to_owned() };
    let old = edit_copy(&installed("1"), &[gone]).expect("edited");
    let edits = edits::install(&Hive::new(&old).expect("a hive"), &two).expect("understood");
    assert!(!edits.edits.is_empty());
    let run = Run::new(old, Some(&one), edits);
    let work =
        |target: &Target<'_>, edits: &Edits| target.install(&two, edits, || Ok(()), || Ok(())).map(|_| ());
    run.exhaust(&[&run.old, &run.new], &[&one, &two], true, work);
}

#[test]
fn a_removal_with_a_fault_at_every_operation() {
    let one = package("1");
    let old = installed("1");
    let edits = edits::uninstall(&Hive::new(&old).expect("a hive")).expect("understood");
    let run = Run::new(old, Some(&one), edits);
    let names: Vec<_> = places(&one).into_keys().collect();
    let work = |target: &Target<'_>, edits: &Edits| {
        target.uninstall(edits, &names, || Ok(()), || Ok(())).map(|_| ())
    };
    run.exhaust(&[&run.old], &[&one], false, work);
    let (done, _) = run.on(None, work);
    assert!(names.iter().all(|path| !done.tree().contains_key(path)));
}

#[test]
fn a_boot_entry_that_cannot_be_made_undoes_everything() {
    let package = package("1");
    let old = bytes(&fresh());
    let edits = edits::install(&Hive::new(&old).expect("a hive"), &package).expect("understood");
    let run = Run::new(old, None, edits);
    let seen = RefCell::new(None);
    let (model, result) = run.on(None, |target, edits| {
        let entry = || {
            *seen.borrow_mut() = Some(target.files.read(Path::new(HIVE)).expect("read"));
            anyhow::bail!("the menu is full")
        };
        target.install(&package, edits, entry, || Ok(())).map(|_| ())
    });
    assert_eq!(seen.take(), Some(run.new.clone()), "the entry comes after the drivers");
    let error = format!("{:#}", result.expect_err("not installed"));
    assert!(error.contains("menu is full") && error.contains("as it was"), "{error}");
    let left = model.tree();
    assert_eq!(left[Path::new(HIVE)].content, run.old);
    assert!(DRIVERS.iter().all(|name| !left.contains_key(&Path::new(FOLDER).join(format!("{name}.sys")))));
}

/// A fault while the boot file is replaced, also behind its renaming: it is as before with the rest, or the
/// message says that it is not.
#[test]
fn a_boot_file_with_a_fault_at_every_operation() {
    const MENU: &str = "/boot.ini";
    let (emulated, pv) = (b"emulated".as_slice(), b"emulated, and PV".as_slice());
    let package = package("1");
    let fresh = bytes(&fresh());
    let installed = installed("1");
    let into = edits::install(&Hive::new(&fresh).expect("a hive"), &package).expect("understood");
    let out = edits::uninstall(&Hive::new(&installed).expect("a hive")).expect("understood");
    let names: Vec<_> = places(&package).into_keys().collect();
    let put_back = |target: &Target<'_>, before: &[u8]| -> anyhow::Result<()> {
        let now = target.files.read(Path::new(MENU))?;
        if now != before {
            replace(target.files, Path::new(MENU), &now, before)?;
        }
        Ok(())
    };
    let install = |target: &Target<'_>, edits: &Edits| {
        let entry = || replace(target.files, Path::new(MENU), emulated, pv).map(|_| ());
        target.install(&package, edits, entry, || put_back(target, emulated)).map(|_| ())
    };
    let uninstall = |target: &Target<'_>, edits: &Edits| {
        let entries = || replace(target.files, Path::new(MENU), pv, emulated).map(|_| ());
        target.uninstall(edits, &names, entries, || put_back(target, pv)).map(|_| ())
    };
    type Work<'a> = &'a dyn Fn(&Target<'_>, &Edits) -> anyhow::Result<()>;
    let cases: [(_, _, _, _, _, Work<'_>); 2] = [
        (fresh, None, into, emulated, pv, &install),
        (installed, Some(&package), out, pv, emulated, &uninstall),
    ];
    for (old, drivers, edits, before, after, work) in cases {
        let mut run = Run::new(old, drivers, edits);
        run.before.insert(MENU.into(), file(before));
        let (whole, result) = run.on(None, work);
        result.expect("without a fault it works");
        assert_eq!(whole.tree()[Path::new(MENU)].content, after);
        let (mut undone, mut behind) = (0, 0);
        for at in 0..whole.operations() {
            let (model, result) = run.on(Some((at, Fault::Fails(ErrorKind::StorageFull))), work);
            let left = model.tree();
            let Err(error) = result else { continue };
            let text = format!("{error:#}");
            let (hive, menu) = (&left[Path::new(HIVE)].content, &left[Path::new(MENU)].content);
            if text.contains("the suite is out") || text.contains("cannot be removed. Nothing refers") {
                // Only files are left over.
                assert_eq!((menu.as_slice(), hive), (after, &run.new), "operation {at}: {text}");
                behind += 1;
            } else if !text.contains("could not be brought back") {
                assert_eq!((menu.as_slice(), hive), (before, &run.old), "operation {at}: {text}");
                undone += 1;
            }
        }
        assert!(undone > 10, "{undone} failures were undone, {behind} were behind the last step that counts");
    }
}

/// Nobody may write what is written who may not write Windows' own files.
#[test]
fn the_drivers_have_the_rights_of_a_neighbour() {
    let one = package("1");
    let old = bytes(&fresh());
    let edits = edits::install(&Hive::new(&old).expect("a hive"), &one).expect("understood");
    let mut run = Run::new(old, Some(&one), edits);
    // Of an earlier version, which left its files to everybody; and what a converted volume may have.
    for name in ["idefilter.sys", "xenpci.sys", "ntfs.sys"] {
        let mut weak = file(b"weak");
        weak.attributes.security = Some(everyone());
        run.before.insert(Path::new(FOLDER).join(name), weak);
    }
    let mut pci = file(b"pci");
    let rights = crate::files::security::full_access(&[(5, &[18])]);
    pci.attributes.security = Some(rights.clone());
    run.before.insert(Path::new(FOLDER).join("PCI.SYS"), pci);
    // The name as another tool has written it.
    let moved = run.before.remove(&Path::new(FOLDER).join("xenvbd.sys")).expect("there");
    run.before.insert(Path::new(FOLDER).join("XENVBD.SYS"), moved);
    let install =
        |target: &Target<'_>, edits: &Edits| target.install(&one, edits, || Ok(()), || Ok(())).map(|_| ());
    let (model, result) = run.on(None, install);
    result.expect("installed");
    let tree = model.tree();
    for name in ["idefilter.sys", "idefallback.sys", "xenpci.sys", "XENVBD.SYS"] {
        let found = &tree[&Path::new(FOLDER).join(name)];
        assert_eq!(found.attributes.security.as_ref(), Some(&rights), "{name}");
        assert_eq!(found.content, one.files[&name.to_ascii_lowercase()], "{name}");
    }
    assert!(!tree.contains_key(&Path::new(FOLDER).join("xenvbd.sys")), "one file of that name");
    let backup = &tree[Path::new("/Windows/System32/config/SYSTEM.backup1")];
    assert_eq!(backup.attributes.security, Some(administrators()));

    // Where all is open there is nothing to go by.
    for file in run.before.values_mut() {
        file.attributes.security = Some(everyone());
    }
    let (model, result) = run.on(None, install);
    assert_eq!(code(&result.expect_err("refused")), Exit::Refused);
    assert_eq!(model.tree(), run.before);
}
