//! Hives are read back as they were made; damaged ones give an error that says where, and never a panic.

use hive::{Error, Found, Hive, Key, build::Tree, data_type};
use proptest::prelude::*;

fn sample() -> Tree {
    Tree::new()
        .with_key(
            "ControlSet001\\Control",
            Tree::new().with_text("SystemStartOptions", " FASTDETECT GPLPV").with_dword("Flags", 7),
        )
        .with_key("Select", Tree::new().with_dword("Current", 1).with_dword("Default", 1))
        .with_key(
            "Lists",
            Tree::new().with_texts("Three", &["one", "two", "three"]).with_binary("", b"default"),
        )
        .with_key("Large", Tree::new().with_binary("Data", &large()).with_binary("Odd", &[1, 2, 3]))
}

fn large() -> Vec<u8> {
    (0..17_000_u32).map(|n| (n % 251) as u8).collect()
}

/// Reads everything below a key, but not deeper than `depth`.
fn walk(key: &Key<'_>, depth: usize) -> Result<usize, Error> {
    let mut seen = 1;
    for value in key.values()? {
        let value = value?;
        value.data()?;
        value.text()?;
        value.texts()?;
        seen += 1;
    }
    if depth > 0 {
        for key in key.keys()? {
            seen += walk(&key?, depth - 1)?;
        }
    }
    Ok(seen)
}

#[test]
fn reads_what_was_made() {
    let bytes = sample().hive("ROOT");
    let hive = Hive::new(&bytes).expect("a hive");
    let control = hive.key("CONTROLSET001\\control").expect("whole").expect("there");
    assert_eq!(control.text("systemstartoptions").expect("whole").as_deref(), Some(" FASTDETECT GPLPV"));
    assert_eq!(control.dword("Flags").expect("whole"), Some(7));
    assert_eq!(control.dword("SystemStartOptions").expect("whole"), None);
    assert!(control.value("Missing").expect("whole").is_none());
    assert!(hive.key("Select\\Missing").expect("whole").is_none());
    let lists = hive.key("Lists").expect("whole").expect("there");
    let three = lists.value("Three").expect("whole").expect("there");
    assert_eq!(three.texts().expect("whole").expect("a list"), ["one", "two", "three"]);
    assert_eq!(three.data_type(), data_type::MULTI_SZ);
    assert_eq!(&*lists.value("").expect("whole").expect("there").data().expect("whole"), b"default");
    let large_key = hive.key("Large").expect("whole").expect("there");
    assert_eq!(&*large_key.value("Data").expect("whole").expect("there").data().expect("whole"), large());
    assert_eq!(&*large_key.value("Odd").expect("whole").expect("there").data().expect("whole"), [1, 2, 3]);
    let names: Vec<_> = hive
        .root()
        .expect("whole")
        .keys()
        .expect("whole")
        .map(|key| key.expect("whole").name().to_owned())
        .collect();
    assert_eq!(names, ["ControlSet001", "Large", "Lists", "Select"]);
}

fn error_of(change: impl FnOnce(&mut Vec<u8>)) -> Error {
    let mut bytes = sample().hive("ROOT");
    change(&mut bytes);
    match Hive::new(&bytes) {
        Ok(hive) => hive.root().and_then(|root| walk(&root, 8)).expect_err("damaged"),
        Err(error) => error,
    }
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    let sum = bytes[..508].chunks(4).fold(0, |sum, word| sum ^ u32::from_le_bytes(word.try_into().unwrap()));
    bytes[508..512].copy_from_slice(&sum.to_le_bytes());
}

#[test]
fn each_damage_is_told() {
    let not = error_of(|bytes| bytes[0] = b'R');
    assert_eq!((not.offset, not.found), (0, Found::Signature(*b"Regf")));
    let unreplayed = error_of(|bytes| put(bytes, 4, 2));
    assert!(unreplayed.is_unreplayed());
    assert!(unreplayed.to_string().contains("shut it down cleanly"), "{unreplayed}");
    assert_eq!(error_of(|bytes| put(bytes, 24, 7)).expected, "minor version 2 to 6");
    assert_eq!(error_of(|bytes| bytes[100] = 1).offset, 508, "checksum");
    assert_eq!(error_of(|bytes| bytes.truncate(4096)).found, Found::End);
    assert_eq!(error_of(|bytes| bytes.truncate(100)).offset, 100);
    assert_eq!(error_of(|bytes| bytes[4096] = 0).offset, 4096);
    assert_eq!(error_of(|bytes| put(bytes, 40, 4097)).offset, 40);
    assert_eq!(error_of(|bytes| put(bytes, 36, 0x7fff_fff8)).found, Found::Number(0x7fff_fff8));
    assert_eq!(error_of(|bytes| put(bytes, 36, 33)).found, Found::Number(33));
    // The root's cell: made free, then no key node.
    let root = {
        let bytes = sample().hive("ROOT");
        4096 + u32::from_le_bytes(bytes[36..40].try_into().unwrap()) as usize
    };
    assert_eq!(error_of(|bytes| bytes[root + 3] = 0).offset, root);
    assert_eq!(error_of(|bytes| bytes[root + 4] = b'x').found, Found::Signature([b'x', b'k', 0, 0]));
    assert!(error_of(|bytes| bytes[root + 4 + 20] = 9).expected.contains("as many subkeys"));
}

#[test]
fn short_files() {
    let bytes = sample().hive("ROOT");
    for length in (0..bytes.len()).filter(|length| length % 97 == 0 || *length < 600) {
        let Err(error) = Hive::new(&bytes[..length]) else { panic!("{length} bytes are no hive") };
        assert!(error.offset <= length);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Bytes changed anywhere, with the checksum put right: an error or a tree, and an end.
    #[test]
    fn any_damage(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12)) {
        let mut bytes = sample().hive("ROOT");
        for (index, byte) in changes {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        let sequence = [bytes[4], bytes[5], bytes[6], bytes[7]];
        put(&mut bytes, 8, u32::from_le_bytes(sequence));
        if let Ok(hive) = Hive::new(&bytes) {
            let _ = hive.root().and_then(|root| walk(&root, 4));
        }
    }

    /// A cell reference changed to any other place.
    #[test]
    fn any_reference(at in any::<prop::sample::Index>(), to in 0_u32..2000) {
        let mut bytes = sample().hive("ROOT");
        let at = 4096 + at.index((bytes.len() - 4096) / 4) * 4;
        bytes[at..at + 4].copy_from_slice(&(to * 8).to_le_bytes());
        if let Ok(hive) = Hive::new(&bytes) {
            let _ = hive.root().and_then(|root| walk(&root, 4));
        }
    }
}
