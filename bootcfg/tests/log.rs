//! `xenguard log` on a mounted volume, and where there is nothing to read.

#![cfg(unix)]

mod run;

use hive::build::Tree;
use run::{BOOT_INI, Folder};

/// Returns a volume with a Windows in this folder, and the boot configuration that loads one in `WINDOWS`.
fn volume(windows: &str) -> Folder {
    let folder = Folder::new();
    folder.write("boot.ini", BOOT_INI);
    folder.write(&format!("{windows}/System32/config/SYSTEM"), &Tree::new().hive("SYSTEM"));
    folder
}

#[test]
fn the_files_of_a_volume_are_shown_the_older_one_first() {
    let folder = volume("WINDOWS");
    folder.write("WINDOWS/Xenguard/activity.log", b"2 xenpci: \x1b[2J\r\n3 lines are lost\r\n");
    folder.write("WINDOWS/Xenguard/Activity.Old.Log", b"1 idefilter: a\r\n");
    let out = folder.run("--root . log").gives(0).out;
    let lines: Vec<_> = out.lines().skip(1).take(2).collect();
    assert_eq!(lines, ["1 idefilter: a", "./WINDOWS/Xenguard/activity.log"]);
    let result = folder.run("--root . --json log").gives(0).result();
    assert_eq!((&result["record"], &result["lost"]), (&serde_json::Value::Null, &0.into()));
    assert_eq!(result["files"][1]["lines"], serde_json::json!(["2 xenpci: \u{1b}[2J", "3 lines are lost"]));
}

/// The volume that Windows is on need not be the one that is booted from.
#[test]
fn no_boot_configuration_is_needed() {
    let folder = volume("Windows");
    std::fs::remove_file(folder.path("boot.ini")).expect("removed");
    assert!(folder.run("--root . log").gives(0).out.contains("has no activity log"));
    folder.write("Windows/Xenguard/activity.log", b"1 idefilter: a\r\n");
    assert!(folder.run("--root . log").gives(0).out.contains("1 idefilter: a"));
    folder.write("Other/System32/config/SYSTEM", b"");
    folder.run("--root . log").fails(3, "--windows");
    assert!(folder.run("--root . --windows Windows log").gives(0).out.contains("1 idefilter: a"));
}

#[test]
fn what_cannot_be_read_is_told_with_what_to_do() {
    let folder = volume("WINDOWS");
    folder.run("log").fails(2, "--root DIR");
    folder.run("--boot-ini boot.ini log").fails(2, "--root DIR");
    folder.run("--root . log --follow").fails(3, "leave --follow out");
    folder.run("--quiet log --follow").fails(2, "leave --json and --quiet out");
    let refused = folder.run("--json log --follow").gives(2);
    assert!(refused.json()["error"].as_str().is_some_and(|error| error.contains("--follow")));
}

/// Whoever writes the guest's volume must not choose the file of this machine that is shown.
#[test]
fn a_link_that_leads_out_is_not_followed() {
    let (folder, outside) = (volume("WINDOWS"), Folder::new());
    let secret = outside.write("secret", b"1 xenpci: secret");
    std::fs::create_dir(folder.path("WINDOWS/Xenguard")).expect("made");
    std::os::unix::fs::symlink(secret, folder.path("WINDOWS/Xenguard/activity.log")).expect("linked");
    let ran = folder.run("--root . log").fails(3, "leads out");
    assert!(!ran.out.contains("secret"));
}
