//! Every file operation fails, or is the last one before the power goes; the boot file must be the old or the
//! new one, whole.

use super::*;
use crate::files::model::{Fault, Model, ModelFile, Tree, administrators};

const OLD: &[u8] = b"the old boot.ini, whole\r\n";
const NEW: &[u8] = b"the new boot.ini, whole, and a little longer\r\n";
const HIDDEN: u32 = Attributes::HIDDEN | Attributes::SYSTEM | Attributes::READ_ONLY;

fn path() -> &'static Path {
    Path::new("/boot.ini")
}

fn tree(dos: u32) -> Tree {
    let attributes = Attributes { dos, unix: None, security: Some(administrators()) };
    Tree::from([(path().into(), ModelFile { content: OLD.into(), attributes, flushed: true })])
}

fn run(dos: u32, fault: Option<(usize, Fault)>) -> (Model, Result<PathBuf>) {
    let model = Model::new(tree(dos), fault);
    let result = replace(&model, path(), OLD, NEW);
    (model, result)
}

#[test]
fn replaces_and_keeps_attributes_and_backup() {
    for dos in [0, Attributes::ARCHIVE, HIDDEN] {
        let (model, result) = run(dos, None);
        let backup = result.expect("replaced");
        let tree = model.tree();
        assert_eq!(tree[path()].content, NEW);
        assert_eq!(tree[path()].attributes.dos, dos);
        assert_eq!(tree[&backup].content, OLD);
        for file in tree.values() {
            assert_eq!(file.attributes.security, Some(administrators()), "nobody else may write it");
        }
        assert_eq!(tree.len(), 2, "no temporary file is left");
    }
}

/// Each operation in turn fails, and the program goes on with its error handling.
#[test]
fn a_failure_at_any_operation() {
    for dos in [Attributes::ARCHIVE, HIDDEN] {
        let operations = run(dos, None).0.operations();
        assert!(operations > 10, "{operations}");
        for at in 0..operations {
            for kind in [ErrorKind::StorageFull, ErrorKind::PermissionDenied, ErrorKind::ReadOnlyFilesystem] {
                let (model, result) = run(dos, Some((at, Fault::Fails(kind))));
                let tree = model.tree();
                let file = &tree[path()];
                match &result {
                    // A query whose answer changes nothing: whether a leftover is in the way.
                    Ok(_) => assert_eq!(file.content, NEW, "operation {at}, {kind}"),
                    Err(error) => {
                        assert!(file.content == OLD || file.content == NEW, "operation {at}, {kind}");
                        let text = format!("{error:#}");
                        if file.content == NEW {
                            let told = ["not yet known", "read back", "may not be on the disk"];
                            assert!(told.iter().any(|t| text.contains(t)), "operation {at}: {text}");
                        }
                    }
                }
                assert_eq!(file.attributes.dos, dos, "operation {at}, {kind}");
            }
        }
    }
}

/// Each operation in turn is where the power goes.
#[test]
fn a_loss_of_power_at_any_operation() {
    for dos in [Attributes::ARCHIVE, HIDDEN] {
        let operations = run(dos, None).0.operations();
        for at in 0..operations {
            let (model, result) = run(dos, Some((at, Fault::Stops)));
            result.expect_err("the machine is off");
            for tree in model.after_power_loss() {
                let file = tree.get(path()).unwrap_or_else(|| panic!("operation {at}: no boot.ini"));
                assert!(file.content == OLD || file.content == NEW, "operation {at}: {:?}", file.content);
                // Before the old file goes, its backup is whole.
                let backup = tree.get(Path::new("/boot.ini.backup1")).map(|file| file.content.as_slice());
                assert!(file.content == OLD || backup == Some(OLD), "operation {at}: no backup");
                // And the next run gets through.
                let again = Model::new(tree.clone(), None);
                let old = file.content.clone();
                replace(&again, path(), &old, b"third").unwrap_or_else(|e| panic!("operation {at}: {e:#}"));
                assert_eq!(again.tree()[path()].content, b"third");
            }
        }
    }
}

#[test]
fn a_file_that_changed_is_not_overwritten() {
    let model = Model::new(tree(0), None);
    let error = replace(&model, path(), b"mine", NEW).expect_err("refused");
    assert!(error.to_string().contains("changed while"));
    assert_eq!(model.tree(), tree(0));
}

#[test]
fn every_backup_is_kept() {
    let model = Model::new(tree(0), None);
    let first = replace(&model, path(), OLD, NEW).expect("replaced");
    assert_eq!(last_backup(&model, path()).as_ref(), Some(&first));
    let second = replace(&model, path(), NEW, b"third").expect("replaced");
    assert_eq!(last_backup(&model, path()).as_ref(), Some(&second));
    assert_eq!((&*model.tree()[&first].content, &*model.tree()[&second].content), (OLD, NEW));
}

/// A new backup is the last one, also where the first ones were removed.
#[test]
fn the_last_backup_is_the_newest() {
    let mut tree = tree(0);
    for number in [2, 5, 999, 1000] {
        tree.insert(format!("/boot.ini.backup{number}").into(), tree[path()].clone());
    }
    for other in ["/boot.ini.backup", "/boot.ini.backup7x", "/boot.ini.backups8", "/bcd.backup9999"] {
        tree.insert(other.into(), tree[path()].clone());
    }
    let model = Model::new(tree, None);
    let made = replace(&model, path(), OLD, NEW).expect("replaced");
    assert_eq!(made, Path::new("/boot.ini.backup1001"));
    assert_eq!(last_backup(&model, path()), Some(made));
}

/// Files of names that somebody else may use are left alone.
#[test]
fn only_the_own_temporary_file_is_removed() {
    let mut tree = tree(0);
    for name in ["/boot.ini.new", "/boot.ini.xenguard-new"] {
        tree.insert(name.into(), tree[path()].clone());
    }
    let model = Model::new(tree, None);
    replace(&model, path(), OLD, NEW).expect("replaced");
    assert!(model.tree().contains_key(Path::new("/boot.ini.new")));
    assert!(!model.tree().contains_key(Path::new("/boot.ini.xenguard-new")));
}

/// A copy of a file that has no rights of its own, with a fault at each operation.
#[test]
fn a_copy_is_never_everybodys() {
    let like = Attributes { dos: 0, unix: None, security: None };
    let copy = Path::new("/copy");
    let whole = Model::new(tree(0), None);
    keep(&whole, copy, NEW, &like).expect("kept");
    assert_eq!(whole.tree()[copy].attributes.security, Some(administrators()));
    for at in 0..whole.operations() {
        let model = Model::new(tree(0), Some((at, Fault::Fails(ErrorKind::PermissionDenied))));
        let error = keep(&model, copy, NEW, &like).expect_err("failed");
        assert!(!model.tree().contains_key(copy), "operation {at}: {error:#}");
        assert!(at == 0 || format!("{error:#}").contains("is removed"), "operation {at}: {error:#}");
    }
}

/// A guest may have made a link of that name: the file behind it is another's.
#[cfg(unix)]
#[test]
fn a_link_of_the_temporary_name_is_removed_unfollowed() {
    use crate::files::Disk;
    use std::{fs, os::unix::fs::PermissionsExt, process::Command, sync::mpsc, time::Duration};
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("volume")).expect("made");
    fs::write(at("secret"), "secret").expect("written");
    fs::set_permissions(at("secret"), fs::Permissions::from_mode(0o440)).expect("set");
    assert!(Command::new("mkfifo").arg(at("pipe")).status().expect("started").success());
    let (file, link) = (at("volume/boot.ini"), at("volume/boot.ini.xenguard-new"));
    for target in ["secret", "pipe", "nothing"] {
        fs::write(&file, OLD).expect("written");
        std::os::unix::fs::symlink(at(target), &link).expect("linked");
        let (send, done) = mpsc::channel();
        let path = file.clone();
        std::thread::spawn(move || send.send(replace(&Disk, &path, OLD, NEW).map(|_| ())));
        let replaced = done.recv_timeout(Duration::from_secs(10)).expect("nobody waits for the pipe");
        replaced.expect("replaced");
        assert_eq!(fs::read(&file).expect("readable"), NEW);
        assert!(fs::symlink_metadata(&link).is_err(), "{target}");
        assert_eq!(fs::metadata(at("secret")).expect("there").permissions().mode() & 0o777, 0o440);
    }
    assert_eq!(fs::read(at("secret")).expect("readable"), b"secret");
}
