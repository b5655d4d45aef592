//! The program on boot.ini files: byte for byte, and what it refuses.

mod run;

use hive::build::Tree;
use run::{BOOT_INI, Folder, PV_LINE};
use std::fs;

fn with_pv() -> Vec<u8> {
    [BOOT_INI, PV_LINE].concat()
}

fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("boot.ini", BOOT_INI);
    folder
}

#[test]
fn add_default_remove_and_every_backup() {
    let folder = folder();
    folder.run("--root . add").gives(0);
    assert_eq!(folder.read("boot.ini"), with_pv());
    assert_eq!(folder.read("boot.ini.backup1"), BOOT_INI);
    let again = folder.run("--root . add").gives(0);
    assert!(again.out.contains("already"), "{}", again.out);
    assert_eq!(folder.read("boot.ini"), with_pv(), "added once only");

    folder.run("--root . default pv").gives(0);
    let text = String::from_utf8(folder.read("boot.ini")).expect("ASCII");
    let pv = text.find("/GPLPV").expect("there");
    assert!(
        pv < text.rfind("/fastdetect\r\n").expect("there"),
        "of one path the first is the default: {text}"
    );
    assert_eq!(text.len(), with_pv().len());
    folder.run("--root . add").gives(0);
    folder.run("--root . default emulated").gives(0);
    assert_eq!(folder.read("boot.ini"), with_pv());

    folder.run("--root . default pv").gives(0);
    folder.run("--root . --yes remove").gives(0);
    assert_eq!(folder.read("boot.ini"), BOOT_INI);
    assert_eq!(folder.run("--root . --yes remove").gives(0).out, "There is no PV entry\n");
    let names = ["boot.ini", "boot.ini.backup1", "boot.ini.backup2", "boot.ini.backup3", "boot.ini.backup4"];
    assert_eq!(folder.names()[..5], names);
    assert!(!folder.names().iter().any(|name| name.ends_with(".lock") || name.ends_with(".new")));
}

#[test]
fn a_dry_run_shows_and_changes_nothing() {
    let folder = folder();
    let ran = folder.run("--boot-ini boot.ini --dry-run add --name PV").gives(0);
    assert!(ran.out.contains("+multi(0)disk(0)rdisk(0)partition(1)\\WINDOWS=\"PV\""), "{}", ran.out);
    assert!(!ran.out.contains("\n-multi"), "{}", ran.out);
    assert_eq!(folder.names(), ["boot.ini"]);
    assert_eq!(folder.read("boot.ini"), BOOT_INI);
}

#[test]
fn json_is_one_document_with_the_exit_code() {
    let folder = folder();
    let status = folder.run("--boot-ini boot.ini --json status").gives(0).result();
    assert_eq!(status["kind"], "boot.ini");
    assert_eq!(status["entries"][0]["disks"], "emulated");
    assert_eq!((&status["entries"][0]["default"], &status["timeout"]), (&true.into(), &30.into()));
    let added = folder.run("--boot-ini boot.ini --json add").gives(0).json();
    assert_eq!(
        (&added["result"]["entry"]["number"], &added["changed"], &added["exit"]),
        (&2.into(), &true.into(), &0.into())
    );
    let refused = folder.run("--boot-ini boot.ini --json add --entry 9").gives(3).json();
    assert_eq!(refused["exit"], 3);
    assert!(refused["error"].as_str().expect("text").contains("entries 1 to 2"));
}

/// Every command prints a document of the one form: errors, dry runs and lines that are not understood, too.
#[test]
fn json_has_one_form_in_all_commands() {
    let folder = folder();
    for (line, code) in [
        ("status", 0),
        ("verify", 0),
        ("--dry-run add", 0),
        ("add", 0),
        ("add", 0),
        ("default pv", 0),
        ("try", 3),
        ("timeout 5", 0),
        ("backup", 0),
        ("--dry-run backup", 0),
        ("restore --list", 0),
        ("--yes restore", 0),
        ("--dry-run prune --keep 0", 0),
        ("--yes prune --keep 1", 0),
        ("--yes remove", 0),
        ("remove", 0),
        ("completions bash", 0),
        ("install --package missing", 10),
        ("timeout 1000", 2),
        ("nonsense", 2),
        ("add --entry 7", 3),
    ] {
        let document = folder.run(&format!("--boot-ini boot.ini --json {line}")).gives(code).json();
        assert_eq!(document["exit"], code, "{line}");
        assert_eq!(document["error"].is_null(), code == 0, "{line}: {document}");
        assert_eq!(document["dry_run"], line.contains("--dry-run"), "{line}");
        assert!(!line.contains("--dry-run") || document["changed"] == false, "{line}: {document}");
    }
    let completions = folder.run("completions zsh").gives(0).out;
    assert!(completions.contains("--dry-run") && !completions.contains("--tools"), "{completions}");
}

/// A disk that is full is no success.
#[cfg(target_os = "linux")]
#[test]
fn output_that_is_lost_is_no_success() {
    let folder = folder();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("there");
    let mut command = folder.command();
    let status = command.args(["--boot-ini", "boot.ini", "--json", "status"]).stdout(full).status();
    assert_eq!(status.expect("started").code(), Some(5));
}

const NT: &str = "[boot loader]\r\ntimeout=-1\r\ndefault=multi(0)disk(0)rdisk(0)partition(1)\\WINNT\r\n[operating systems]\r\n\
    multi(0)disk(0)rdisk(0)partition(1)\\WINNT=\"NT 4.00\"\r\n\
    C:\\=\"MS-DOS\"\r\n\
    multi(0)disk(0)rdisk(0)partition(1)\\WINNT=\"NT 4.00 [VGA mode]\" /basevideo /sos\r\n";

/// Of several entries of one path each way back leads to what was there.
#[test]
fn the_former_default_is_the_default_again() {
    for entry in [1, 3] {
        let folder = Folder::new();
        folder.write("boot.ini", NT.as_bytes());
        folder.run(&format!("--boot-ini boot.ini add --entry {entry}")).gives(0);
        let added = folder.read("boot.ini");
        folder.run("--boot-ini boot.ini default pv").gives(0);
        assert_ne!(folder.read("boot.ini"), added);
        folder.run("--boot-ini boot.ini default emulated").gives(0);
        assert_eq!(folder.read("boot.ini"), added, "entry {entry}: {}", String::from_utf8_lossy(&added));
        folder.run("--boot-ini boot.ini default pv").gives(0);
        folder.run("--boot-ini boot.ini --yes remove").gives(0);
        assert_eq!(folder.read("boot.ini"), NT.as_bytes(), "entry {entry}");
    }
    let folder = Folder::new();
    folder.write("boot.ini", NT.as_bytes());
    let status = folder.run("--boot-ini boot.ini status").gives(0);
    assert!(status.out.contains("waits for a choice"), "{}", status.out);
    assert_eq!(folder.run("--boot-ini boot.ini --json status").result()["timeout"], -1);
    folder.run("--boot-ini boot.ini timeout 4294967295").gives(2);
    // The other entry can be asked for.
    folder.run("--boot-ini boot.ini default emulated --entry 3").gives(0);
    let entries = folder.run("--boot-ini boot.ini --json status").result();
    assert_eq!(entries["entries"][0]["name"], "NT 4.00 [VGA mode]");
}

/// An entry that loads no Windows is shown and never made a PV entry.
#[test]
fn entries_that_load_no_windows() {
    let folder = Folder::new();
    let console = "[boot loader]\r\ndefault=C:\\CMDCONS\\BOOTSECT.DAT\r\n[operating systems]\r\n\
        multi(0)disk(0)rdisk(0)partition(1)\\WINDOWS=\"Windows\" /fastdetect\r\n\
        C:\\CMDCONS\\BOOTSECT.DAT=\"Recovery Console\" /cmdcons\r\nC:\\=\"MS-DOS\"\r\n";
    folder.write("boot.ini", console.as_bytes());
    folder.run("--boot-ini boot.ini add").fails(3, "does not load Windows");
    folder.run("--boot-ini boot.ini add --entry 3").fails(3, "does not load Windows");
    let entries = folder.run("--boot-ini boot.ini --json status").result();
    let loads: Vec<_> = (0..3).map(|at| entries["entries"][at]["loads"].as_str().expect("a word")).collect();
    assert_eq!(loads, ["windows", "recovery", "other"]);
    assert!(
        folder.run("--boot-ini boot.ini verify").out.contains("the default, entry 2, does not load Windows")
    );
    // The PV entry of the one Windows is meant, though it is not the default's.
    folder.run("--boot-ini boot.ini add --entry 1").gives(0);
    folder.run("--boot-ini boot.ini default pv").gives(0);
    let entries = folder.run("--boot-ini boot.ini --json status").result();
    assert_eq!(
        (&entries["entries"][0]["disks"], &entries["entries"][0]["default"]),
        (&"pv".into(), &true.into())
    );
}

/// boot.ini has a default, and neither identifiers nor a memory of what was booted.
#[test]
fn entries_are_named_as_far_as_boot_ini_can() {
    let folder = Folder::new();
    folder.write("boot.ini", NT.as_bytes());
    let added = folder.run("--boot-ini boot.ini --json add --entry {default}").gives(0).result();
    assert_eq!(added["entry"]["number"], 2, "{added}");
    folder.run("--boot-ini boot.ini add --entry {current}").fails(3, "only a running Windows");
    folder
        .run("--boot-ini boot.ini add --entry {11111111-2222-3333-4444-555555555555}")
        .fails(3, "is no entry of the menu");
}

/// Names in a code page, with what stands for syntax elsewhere: every byte stays.
#[test]
fn odd_names() {
    for name in [&b""[..], b" ", b"Fen\x88tre \xe1\xff", b"a=b [x] ;c /GPLPV", b"\x1b[31m", &[b'W'; 4000]] {
        let folder = Folder::new();
        let line = [b"multi(0)disk(0)rdisk(0)partition(1)\\WINDOWS=\"", name, b"\" /fastdetect\r\n"].concat();
        let text = [b"[boot loader]\r\ntimeout=3\r\n[operating systems]\r\n", &line[..]].concat();
        folder.write("boot.ini", &text);
        let status = folder.run("--boot-ini boot.ini status").gives(0).out;
        assert!(status.contains("emulated") && !status.contains('\u{1b}'), "{status}");
        folder.run("--boot-ini boot.ini add").gives(0);
        let pv = [&line[..line.len() - b"\" /fastdetect\r\n".len()], b" (PV disks)\" /fastdetect /GPLPV\r\n"]
            .concat();
        assert_eq!(folder.read("boot.ini"), [text.clone(), pv].concat());
        folder.run("--boot-ini boot.ini --yes remove").gives(0);
        assert_eq!(folder.read("boot.ini"), text);
    }
}

/// Names are in the code page that the guest's Windows is set to; where it is not known, no byte is taken for
/// a character.
#[test]
fn names_in_the_guests_code_page() {
    let folder = Folder::new();
    let line = |name: &[u8], switches: &str| {
        [b"multi(0)disk(0)rdisk(0)partition(1)\\WINDOWS=\"", name, b"\" ", switches.as_bytes(), b"\r\n"]
            .concat()
    };
    let text = [b"[operating systems]\r\n", &line(b"Fen\x88tre", "/fastdetect")[..]].concat();
    folder.write("boot.ini", &text);
    let status = folder.run("--root . status").gives(0).out;
    assert!(status.contains("Fen\\x88tre\n") && status.contains("OEM code page    unknown"), "{status}");
    folder.run_words(&["--root", ".", "add", "--name", "Größe"]).fails(3, "unknown here");

    let with_page = |page: &str| {
        let pages = Tree::new().with_text("OEMCP", page);
        let select = Tree::new().with_dword("Current", 1).with_dword("Default", 1);
        let hive =
            Tree::new().with_key("Select", select).with_key("ControlSet001\\Control\\Nls\\CodePage", pages);
        folder.write("WINDOWS/system32/config/system", &hive.hive("SYSTEM"));
    };
    for page in ["65001", "none", ""] {
        with_page(page);
        let status = folder.run("--root . --json status").gives(0).result();
        assert_eq!(status["entries"][0]["name"], "Fen\\x88tre", "{page}");
        assert_eq!(status["system"]["code_page"]["answer"], "unknown", "{page}");
    }
    with_page("850");
    let status = folder.run("--root . --json status").gives(0).result();
    assert_eq!(status["entries"][0]["name"], "Fenêtre");
    assert_eq!(status["system"]["code_page"]["text"], "850");
    // The same of a file that is named, on its volume.
    let status = folder.run("--boot-ini boot.ini status").gives(0).out;
    assert!(status.contains("Fenêtre"), "{status}");
    folder.run_words(&["--root", ".", "add", "--name", "Окно"]).fails(3, "code page 850 has not");
    let tried = folder.run_words(&["--root", ".", "--dry-run", "add", "--name", "Größe"]).gives(0).out;
    assert!(
        tried.contains("=\"Fenêtre\"")
            && tried.contains("+multi(0)disk(0)rdisk(0)partition(1)\\WINDOWS=\"Größe\"")
    );
    assert_eq!(folder.read("boot.ini"), text);
    folder.run_words(&["--root", ".", "add", "--name", "Größe"]).gives(0);
    assert_eq!(folder.read("boot.ini"), [text, line(b"Gr\x94\xe1e", "/fastdetect /GPLPV")].concat());
}

#[test]
fn text_in_other_codings_is_told() {
    let folder = Folder::new();
    let utf16: Vec<u8> =
        std::iter::once(0xfeff).chain(NT.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    folder.write("boot.ini", &utf16);
    folder.run("--boot-ini boot.ini status").fails(4, "save it as ANSI");
    folder.write("boot.ini", &[b"\xef\xbb\xbf", BOOT_INI].concat());
    folder.run("--boot-ini boot.ini timeout 7").fails(4, "save it as ANSI");
    folder.write("boot.ini", BOOT_INI);
    folder
        .run_words(&["--boot-ini", "boot.ini", "add", "--name", "a\u{1b}[31m"])
        .fails(3, "control character");
}

#[test]
fn try_is_refused_with_the_reason() {
    folder().run("--boot-ini boot.ini try").fails(3, "remembers nothing");
}

#[test]
fn timeout_in_its_place() {
    let folder = folder();
    folder.run("--boot-ini boot.ini timeout 7").gives(0);
    let expected = String::from_utf8_lossy(BOOT_INI).replace("timeout=30", "timeout=7");
    assert_eq!(folder.read("boot.ini"), expected.as_bytes());
}

#[test]
fn removal_asks_and_takes_no_for_an_answer() {
    let folder = folder();
    folder.run("--boot-ini boot.ini add").gives(0);
    folder.run("--boot-ini boot.ini remove").fails(9, "--yes");
    folder.run("--boot-ini boot.ini remove --yes --entry 1").fails(3, "not a PV entry");
    assert_eq!(folder.read("boot.ini"), with_pv());
}

#[test]
fn backup_and_restore() {
    let folder = folder();
    folder.run("--boot-ini boot.ini backup kept").gives(0);
    folder.run("--boot-ini boot.ini backup kept").fails(3, "not overwritten");
    let elsewhere = folder.run("--boot-ini boot.ini backup missing/kept").gives(5);
    assert!(elsewhere.err.contains("cannot write missing/kept"), "{}", elsewhere.err);
    folder.run("--boot-ini boot.ini restore").fails(4, "no backup beside");
    folder.run("--boot-ini boot.ini add").gives(0);
    folder.run("--boot-ini boot.ini timeout 5").gives(0);
    folder.run("--boot-ini boot.ini restore").fails(9, "--yes");
    folder.run("--boot-ini boot.ini --yes restore").gives(0);
    assert_eq!(folder.read("boot.ini"), with_pv(), "the last backup");
    folder.run("--boot-ini boot.ini --yes restore kept").gives(0);
    assert_eq!(folder.read("boot.ini"), BOOT_INI);
    // A damaged file, too, can be restored.
    folder.write("boot.ini", b"\0\0\0");
    folder.run("--boot-ini boot.ini status").fails(4, "not a boot.ini");
    folder.run("--boot-ini boot.ini --yes restore kept").gives(0);
    assert_eq!(folder.read("boot.ini"), BOOT_INI);
    // So can one that is gone. The last backup is that of the damaged one.
    fs::remove_file(folder.path("boot.ini.backup5")).expect("removed");
    fs::remove_file(folder.path("boot.ini")).expect("removed");
    folder.run("--root . status").fails(4, "`xenguard restore` brings it back");
    folder.run("--root . --yes restore").gives(0);
    fs::remove_file(folder.path("boot.ini")).expect("removed");
    folder.run("--boot-ini boot.ini --yes restore kept").gives(0);
    let list = folder.run("--root . --json restore --list").gives(0).result();
    let first = &list["backups"][0];
    assert_eq!((&first["number"], &first["size"]), (&1.into(), &BOOT_INI.len().into()));
    assert!(first["content"].as_str().expect("text").contains("as it is now"), "{list}");
    assert!(first["time"].as_str().expect("text").ends_with("UTC"), "{list}");
    // What is no boot.ini is not put in place.
    folder.write("other", b"no boot.ini");
    folder.run("--boot-ini boot.ini --yes restore other").fails(4, "other is no backup");
    assert_eq!(folder.read("boot.ini"), BOOT_INI);
}

#[test]
fn old_backups_are_removed_when_asked_for() {
    let folder = folder();
    for seconds in 1..=6 {
        folder.run(&format!("--root . timeout {seconds}")).gives(0);
    }
    folder.run("--root . prune").gives(0);
    folder.run("--root . prune --keep 2").fails(9, "--yes");
    folder.run("--root . prune --keep 2 --dry-run").gives(0);
    folder.run("--root . --yes prune --keep 2").gives(0);
    let names = ["boot.ini", "boot.ini.backup1", "boot.ini.backup5", "boot.ini.backup6"];
    assert_eq!(folder.names(), names);
    assert_eq!(folder.read("boot.ini.backup1"), BOOT_INI, "the state before bootcfg");
    folder.run("--root . backup").gives(0);
    assert!(folder.path("boot.ini.backup7").exists());
}

#[test]
fn verify_finds_what_is_wrong() {
    let folder = folder();
    folder.run("--boot-ini boot.ini add").gives(0);
    let verify = |content: &[u8]| {
        folder.write("boot.ini", content);
        folder.run("--boot-ini boot.ini verify")
    };
    let good = with_pv();
    assert!(verify(&good).gives(0).out.contains("is consistent"));
    let text = String::from_utf8(good).expect("ASCII");
    for (from, to, finding) in [
        (" /GPLPV", " /GPLPVX", "`/GPLPVX` is not GPLPV"),
        ("/fastdetect\r\n", "/sos/NOGPLPV\r\n", "`/sos/NOGPLPV` may rule PV disks out or not"),
        ("/fastdetect /GPLPV", "/fastdetect/GPLPV", "`/fastdetect/GPLPV` may select PV disks or not"),
        ("default=multi(0)", "default=multi(7)", "names no entry's path"),
        ("/noexecute=optout /fastdetect\r\n", "/GPLPV\r\n", "no way back"),
    ] {
        let ran = verify(text.replace(from, to).as_bytes()).gives(1);
        assert!(ran.out.contains(finding), "{}", ran.out);
    }
    // What may select PV disks is treated as if it did.
    folder.write("boot.ini", text.replace("/fastdetect /GPLPV", "/fastdetect/GPLPV").as_bytes());
    let doubtful = folder.run("--boot-ini boot.ini --json status").gives(0).result();
    assert_eq!(doubtful["entries"][1]["disks"], "pv");
    let twice = [text.as_bytes(), PV_LINE].concat();
    assert!(verify(&twice).gives(1).out.contains("entries 2 and 3 both boot"));
    let many = [text.as_bytes(), &b"C:\\=\"DOS\"\r\n".repeat(9)].concat();
    assert!(verify(&many).gives(1).out.contains("11 entries"));
}

#[test]
fn what_is_given_is_looked_at_first() {
    let folder = Folder::new();
    folder.run("status").fails(2, "--root DIR");
    folder.run("--root . status").fails(4, "no boot.ini");
    folder.run("--root missing status").fails(4, "no folder");
    folder.run("--boot-ini missing status").fails(4, "cannot read missing");
    fs::create_dir(folder.path("folder")).expect("made");
    folder.run("--boot-ini folder status").fails(4, "not a regular file");
    folder.write("empty", b"");
    folder.run("--boot-ini empty add").fails(4, "not a boot.ini");
    folder.run("--boot-ini a --store b status").fails(2, "cannot be used with");
}

#[test]
fn a_huge_file_is_edited_in_a_moment_and_a_gigantic_one_refused() {
    let folder = Folder::new();
    let comments = b"; a comment that nobody reads\r\n".repeat(60_000);
    let huge = [BOOT_INI, &comments].concat();
    folder.write("boot.ini", &huge);
    folder.run("--boot-ini boot.ini add").gives(0);
    assert_eq!(folder.read("boot.ini"), [BOOT_INI, PV_LINE, &comments].concat());
    let file = fs::File::create(folder.path("gigantic")).expect("made");
    file.set_len(1 << 40).expect("sparse");
    folder.run("--boot-ini gigantic status").fails(4, "too large");
}

#[test]
fn a_hibernated_guest_is_left_alone() {
    let folder = folder();
    folder.write("hiberfil.sys", &[b"HIBR".as_slice(), &[1; 4092]].concat());
    for command in ["--root . add", "--boot-ini boot.ini add", "--root . --yes remove", "--root . timeout 1"]
    {
        folder.run(command).fails(3, "hibernated");
    }
    assert!(folder.run("--root . verify").gives(1).out.contains("hibernation image"));
    folder.run("--root . --dry-run add").gives(0);
    assert_eq!(folder.read("boot.ini"), BOOT_INI);
    folder.run("--root . backup").fails(3, "hibernated");
    folder.run("--root . backup here").fails(3, "hibernated");
    assert_eq!(folder.names(), ["boot.ini", "hiberfil.sys"]);
    folder.write("hiberfil.sys", &[b"wake".as_slice(), &[1; 4092]].concat());
    folder.run("--root . add").gives(0);
}

/// Only the volume that Windows is on has the file of an image.
#[test]
fn a_volume_without_windows_does_not_tell() {
    let folder = folder();
    let status = folder.run("--root . --json status").gives(0).result();
    assert_eq!(status["system"]["hibernation"]["answer"], "unknown", "{status}");
    assert!(folder.run("--root . verify").out.contains("hibernation is not known"));
    assert!(folder.run("--root . add").gives(0).err.contains("hibernated is not known"));
}

#[cfg(unix)]
mod unix {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_link_stays_one_and_its_target_is_edited() {
        let folder = Folder::new();
        folder.write("volume/boot.ini", BOOT_INI);
        symlink("volume/boot.ini", folder.path("boot.ini")).expect("linked");
        folder.run("--boot-ini boot.ini add").gives(0);
        assert!(folder.path("boot.ini").is_symlink());
        assert_eq!(folder.read("volume/boot.ini"), with_pv());
        assert_eq!(folder.read("volume/boot.ini.backup1"), BOOT_INI);
        symlink("nowhere", folder.path("dangling")).expect("linked");
        folder.run("--boot-ini dangling add").fails(4, "cannot read dangling");
    }

    #[test]
    fn a_read_only_file_is_edited_and_stays_read_only() {
        let folder = folder();
        let set = |mode| {
            fs::set_permissions(folder.path("boot.ini"), fs::Permissions::from_mode(mode)).expect("set")
        };
        set(0o440);
        folder.run("--boot-ini boot.ini add").gives(0);
        let mode = fs::metadata(folder.path("boot.ini")).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o440);
        assert_eq!(folder.read("boot.ini"), with_pv());
    }

    #[test]
    fn a_bootcfg_at_work_keeps_others_away() {
        let folder = folder();
        let lock = bootcfg::lock::Lock::take(&folder.path("boot.ini")).expect("free");
        folder.run("--boot-ini boot.ini add").fails(6, "another xenguard");
        folder.run("--boot-ini boot.ini status").gives(0);
        drop(lock);
        folder.run("--boot-ini boot.ini add").gives(0);
    }
}
