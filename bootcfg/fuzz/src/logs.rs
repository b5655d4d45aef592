//! A dirty hive and its log files with bytes changed, hashes and checksums put right where the input asks for
//! it, so that the fuzzer gets behind them: an error, or a hive that is clean and can be read.

use std::sync::LazyLock;

use hive::{
    Hive,
    build::{
        Tree,
        log::{at_time, dirty, of_dirty_pages, of_entries, put_right},
    },
    replay::{is_dirty, replay},
};

/// A hive that was being written, a log file of the older format, and two of the newer.
static FILES: LazyLock<[Vec<u8>; 4]> = LazyLock::new(|| {
    let [one, two, three] = [10, 9000, 200].map(|length| {
        let values = Tree::new().with_dword("Number", length).with_binary("Bytes", &vec![7; length as usize]);
        at_time(&Tree::new().with_key("A\\B", values).hive("ROOT"), 9)
    });
    [
        dirty(&one, 4),
        of_dirty_pages(&one, &two, 5),
        of_entries(&[&one, &two], 4),
        of_entries(&[&two, &three, &one], 5),
    ]
});

/// Takes one input.
pub fn take(data: &[u8]) {
    let [how, changes @ ..] = data else { return };
    let mut files = FILES.clone();
    for change in changes.chunks_exact(4) {
        let file = &mut files[usize::from(change[0] % 4)];
        // Most of what matters stands at the start of a file or of a page.
        let at = u16::from_le_bytes([change[1], change[2]]) as usize;
        let at = if change[0] & 0x80 == 0 { at } else { at % 16 * 512 + at / 16 % 64 };
        if change[0] & 0x40 != 0 {
            file.truncate(at);
        } else if let Some(byte) = file.get_mut(at) {
            *byte = change[3];
        }
    }
    if how & 1 != 0 {
        files.iter_mut().for_each(|file| put_right(file));
    }
    let [primary, old, early, late] = &files;
    let logs: &[&[u8]] = match how >> 1 & 3 {
        0 => &[early, late],
        1 => &[late, early, old],
        2 => &[old, late],
        _ => &[old],
    };
    let Ok(replayed) = replay(primary, logs) else { return };
    assert_eq!(is_dirty(&replayed.hive), Ok(false));
    if !replayed.logs.is_empty() {
        Hive::new(&replayed.hive).expect("what was replayed can be read").root().expect("its root, too");
        assert!(replayed.hive.len() <= primary.len() + logs.iter().map(|log| log.len()).sum::<usize>());
    }
}
