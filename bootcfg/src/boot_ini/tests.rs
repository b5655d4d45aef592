//! Byte-exact edits, refusals, and properties over arbitrary files.

use super::*;
use proptest::prelude::*;

const PLAIN: &[u8] = b"[boot loader]\r\ntimeout=30\r\ndefault=multi(0)disk(0)rdisk(0)partition(1)\\WINDOWS\r\n\
    [operating systems]\r\n\
    multi(0)disk(0)rdisk(0)partition(1)\\WINDOWS=\"Windows Server 2003, Enterprise x64\" /noexecute=optout /fastdetect\r\n";

fn parse(bytes: &[u8]) -> BootIni {
    BootIni::parse(bytes.to_vec()).expect("a boot.ini")
}

#[test]
fn adds_one_line_behind_its_source() {
    let mut file = parse(PLAIN);
    assert_eq!(file.add_pv_entry(1).expect("added"), 2);
    let expected = [
        PLAIN,
        b"multi(0)disk(0)rdisk(0)partition(1)\\WINDOWS=\"Windows Server 2003, Enterprise x64 (PV disks)\" /noexecute=optout /fastdetect /GPLPV\r\n",
    ]
    .concat();
    assert_eq!(file.bytes(), expected);
    let entries = file.entries();
    assert!(!file.selects_pv(&entries[0]) && file.selects_pv(&entries[1]));
}

#[test]
fn a_last_line_without_end_keeps_its_form() {
    let original = &PLAIN[..PLAIN.len() - 2];
    let mut file = parse(original);
    file.add_pv_entry(1).expect("added");
    assert_eq!(file.entries().len(), 2);
    assert!(file.bytes().ends_with(b" /GPLPV"));
    file.remove_pv(2).expect("removed");
    assert_eq!(file.bytes(), original);
}

#[test]
fn refuses_with_what_to_do() {
    let error = |file: &mut BootIni, n| file.add_pv_entry(n).expect_err("refused").to_string();
    let mut file = parse(PLAIN);
    assert!(error(&mut file, 0).contains("entries 1 to 1"));
    assert!(error(&mut file, 2).contains("entries 1 to 1"));
    file.add_pv_entry(1).expect("added");
    assert!(error(&mut file, 2).contains("PV disks already"));
    assert!(error(&mut file, 1).contains("entry 2 boots the same path"));
    assert!(file.remove_pv(1).expect_err("refused").to_string().contains("not a PV entry"));

    let with =
        |switches: &str| parse(format!("[operating systems]\nmulti(0)\\W=\"DOS\" {switches}\n").as_bytes());
    assert!(error(&mut with("/NOGPLPV"), 1).contains("/NOGPLPV"));
    assert!(error(&mut with("/safeboot:minimal"), 1).contains("safe mode"));
    let full = format!("[operating systems]\n{}", "multi(0)\\W=\"DOS\"\n".repeat(MAX_ENTRIES));
    assert!(error(&mut parse(full.as_bytes()), 1).contains("shows 10"));
    for not in [&b""[..], b"hello", b"[operating systems]\r\n; C:\\=\"DOS\"\r\n", b"C:\\=\"DOS\"\r\n"] {
        assert!(BootIni::parse(not.to_vec()).is_err());
    }
}

/// Found by the fuzz target: a value was written into the line behind it.
#[test]
fn an_empty_setting_gets_its_value() {
    for blanks in ["", " ", "\t "] {
        let text = |value| {
            format!(
                "[boot loader]\r\ntimeout={blanks}{value}\r\ndefault=x\r\n[operating systems]\r\nx=\"X\"\r\n"
            )
        };
        let mut file = parse(text("").as_bytes());
        assert_eq!((file.timeout(), file.default_entry()), (None, Some(1)));
        file.set_timeout(7);
        assert_eq!(file.bytes(), text("7").as_bytes());
    }
}

/// Found by the fuzz target: the new entry stood on its source's line.
#[test]
fn a_last_line_that_ends_with_a_return_alone() {
    for end in ["\r\n", "\n"] {
        let original = format!("[operating systems]{end}multi(0)\\W=\"NT\" /sos\r");
        let mut file = parse(original.as_bytes());
        file.add_pv_entry(1).expect("added");
        assert_eq!(file.entries().len(), 2, "{}", String::from_utf8_lossy(file.bytes()));
        file.remove_pv(2).expect("removed");
        assert_eq!(file.bytes(), original.as_bytes());
    }
}

/// The second byte of a character may be a backslash.
#[test]
fn a_folder_in_a_code_page_of_two_bytes() {
    let file = parse(b"[operating systems]\nmulti(0)\\\x95\x5c=\"NT\\x1b\x1b\" /sos\n");
    assert_eq!(file.folder(&file.entries()[0]).as_deref(), Some("\u{fffd}"));
    assert_eq!(file.name(&file.entries()[0]), "NT\\x1b\\x1b");
    let file = file.with_code_page(crate::code_page::CodePage::of_number(932));
    assert_eq!(file.folder(&file.entries()[0]).as_deref(), Some("表"));
    assert!(crate::menu::Menu::text(&file).ends_with("表=\"NT\\x1b\\x1b\" /sos\n"));
}

/// Found by the fuzz target: an entry was called a PV entry whose /GPLPV stood behind a NUL.
#[test]
fn an_entry_with_a_nul_is_no_source() {
    let mut file = parse(b"[operating systems]\nmulti(0)\\W=\"NT\" /fast\0detect\nmulti(0)\\X=\"NT\" /sos\n");
    assert!(file.add_pv_entry(1).expect_err("refused").to_string().contains("NUL byte"));
    let findings = crate::menu::Menu::check(&file);
    assert_eq!(findings.iter().filter(|finding| finding.text.contains("entry 1 has a NUL byte")).count(), 1);
    assert_eq!(file.add_pv_entry(2).expect("added"), 3);
}

#[test]
fn bytes_of_the_code_page_stay() {
    let mut file = parse(b"[Operating Systems]\nmulti(0)\\W=\"Fen\x88tre\xFF\"  /fastdetect  \n; end\n");
    file.add_pv_entry(1).expect("added");
    assert_eq!(
        file.bytes(),
        b"[Operating Systems]\nmulti(0)\\W=\"Fen\x88tre\xFF\"  /fastdetect  \nmulti(0)\\W=\"Fen\x88tre\xFF (PV disks)\"  /fastdetect /GPLPV\n; end\n"
    );
    let shown = |file: &BootIni| file.name(&file.entries()[0]);
    assert_eq!(shown(&file), "Fen\\x88tre\\xff");
    let page = |number| crate::code_page::CodePage::of_number(number);
    assert_eq!(shown(&file.clone().with_code_page(page(850))), "Fenêtre\u{a0}");
    // Not every byte is a character of this one.
    assert_eq!(shown(&file.with_code_page(page(932))), "Fen\\x88tre\\xff");
}

proptest! {
    /// Adding and removing gives the original bytes, whatever stands around the entry.
    #[test]
    fn add_then_remove(
        before in "([ -Z^-~]{0,30}(\r\n|\n)){0,5}",
        switches in "( /[a-z]{1,9}(=[a-z]{1,5})?){0,4} {0,2}",
        after in "((\r\n|\n)[ -Z^-~]{0,30}){0,5}",
    ) {
        let text = format!("{before}[operating systems]\r\nmulti(0)\\WINNT=\"NT\"{switches}{after}");
        let mut file = parse(text.as_bytes());
        prop_assume!(file.entries().len() < MAX_ENTRIES);
        prop_assume!(file.entries().iter().all(|e| !file.selects_pv(e)));
        if let Ok(number) = file.add_pv_entry(1) {
            prop_assert!(file.selects_pv(&file.entries()[number - 1]));
            file.remove_pv(number).expect("just added");
            prop_assert_eq!(file.bytes(), text.as_bytes());
        }
    }

    /// No bytes at all make the parser panic.
    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let text = [b"[operating systems]\n".as_slice(), &bytes].concat();
        if let Ok(mut file) = BootIni::parse(text) {
            let _ = file.add_pv_entry(1);
        }
    }
}
