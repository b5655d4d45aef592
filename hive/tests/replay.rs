//! Dirty hives become whole by their log files, of both formats, or are refused with the reason; damaged log
//! files never panic and never give a hive that cannot be read.

use hive::{
    Hive,
    build::{
        Tree,
        log::{at_time, dirty, of_dirty_pages, of_entries},
    },
    replay::{LogFault, ReplayError, is_dirty, replay},
};
use proptest::prelude::*;

/// Returns a hive of several pages with this number in it, near its start and near its end.
fn hive(number: u32) -> Vec<u8> {
    let big: Vec<u8> = (0..9000_u32).map(|n| (n % 253) as u8).collect();
    Tree::new()
        .with_key("A", Tree::new().with_dword("First", number).with_binary("Big", &big))
        .with_key("Z", Tree::new().with_dword("Last", number))
        .hive("ROOT")
}

/// Returns the same with more bins.
fn larger(number: u32) -> Vec<u8> {
    Tree::new()
        .with_key("A", Tree::new().with_dword("First", number).with_binary("Big", &[7; 30_000]))
        .with_key("Z", Tree::new().with_dword("Last", number))
        .hive("ROOT")
}

/// Returns both numbers of a hive.
fn numbers(file: &[u8]) -> [u32; 2] {
    let hive = Hive::new(file).expect("a hive");
    let number = |key: &str, name: &str| {
        let key = hive.key(key).expect("whole").expect("there");
        key.dword(name).expect("whole").expect("a number")
    };
    [number("A", "First"), number("Z", "Last")]
}

fn sequences(file: &[u8]) -> [u32; 2] {
    [4, 8].map(|at| u32::from_le_bytes(file[at..at + 4].try_into().unwrap()))
}

/// Returns a hive that was written half: the first page is of the new state, the rest of the old.
fn torn(old: &[u8], new: &[u8], sequence: u32) -> Vec<u8> {
    let mut hive = old.to_vec();
    hive[4096..8192].copy_from_slice(&new[4096..8192]);
    dirty(&hive, sequence)
}

#[test]
fn a_clean_hive_stays_whatever_the_logs_hold() {
    let clean = hive(1);
    assert_eq!(is_dirty(&clean), Ok(false));
    let log = of_entries(&[&clean, &hive(2)], 1);
    let replayed = replay(&clean, &[&log]).expect("clean");
    assert_eq!((replayed.hive, replayed.logs.len()), (clean, 0));
}

#[test]
fn entries_of_both_log_files_in_the_order_of_their_numbers() {
    let [one, two, three, four] = [1, 2, 3, 4].map(hive);
    let primary = torn(&one, &three, 10);
    assert_eq!(is_dirty(&primary), Ok(true));
    assert!(Hive::new(&primary).expect_err("dirty").is_unreplayed());
    let early = of_entries(&[&one, &two, &three], 10);
    let late = of_entries(&[&three, &four], 12);
    for (logs, order) in [([&early, &late], [0, 1]), ([&late, &early], [1, 0])] {
        let replayed = replay(&primary, &logs.map(Vec::as_slice)).expect("replayed");
        assert_eq!((replayed.logs, replayed.entries), (order.to_vec(), 3));
        assert_eq!(numbers(&replayed.hive), [4, 4]);
        assert_eq!(sequences(&replayed.hive), [13, 13], "no log file fits it any more");
        assert_eq!(replay(&replayed.hive, &[&early, &late]).expect("clean").entries, 0);
    }
    // A log file behind a gap is of another time.
    let gap = of_entries(&[&three, &four], 14);
    let replayed = replay(&primary, &[&early, &gap]).expect("replayed");
    assert_eq!((numbers(&replayed.hive), replayed.logs), ([3, 3], vec![0]));
}

#[test]
fn a_hive_grows_with_its_entries() {
    let (one, more) = (hive(1), larger(2));
    assert!(more.len() > one.len());
    let replayed = replay(&dirty(&one, 5), &[&of_entries(&[&one, &more], 5)]).map(|r| r.hive);
    let grown = replayed.expect("replayed");
    assert_eq!((numbers(&grown), grown.len()), ([2, 2], more.len()));
    // An entry that promises bins which it does not bring.
    let old =
        replay(&dirty(&at_time(&one, 9), 5), &[&of_dirty_pages(&at_time(&one, 9), &at_time(&more, 9), 6)]);
    assert_eq!(numbers(&old.expect("replayed").hive), [2, 2]);
}

#[test]
fn a_torn_entry_ends_the_replay() {
    let [one, two, three] = [1, 2, 3].map(hive);
    let log = of_entries(&[&one, &two, &three], 10);
    let whole = of_entries(&[&one, &two], 10).len();
    for change in [whole, whole + 12, whole + 50, log.len() - 1] {
        let mut log = log.clone();
        log[change] ^= 1;
        let replayed = replay(&dirty(&one, 10), &[&log]).expect("the first entry is whole");
        assert_eq!((numbers(&replayed.hive), replayed.entries), ([2, 2], 1), "byte {change}");
    }
    let replayed = replay(&dirty(&one, 10), &[&log[..log.len() - 512]]).expect("replayed");
    assert_eq!(replayed.entries, 1);
    // The rest of an older life behind the last entry is none of this one.
    let mut rest = log.clone();
    rest.extend(&of_entries(&[&three, &one], 7)[512..]);
    assert_eq!(numbers(&replay(&dirty(&one, 10), &[&rest]).expect("replayed").hive), [3, 3]);
}

#[test]
fn dirty_pages_of_the_older_format() {
    let [one, two] = [1, 2].map(|number| at_time(&hive(number), 0x1d0_0000));
    let primary = torn(&one, &two, 4);
    let log = of_dirty_pages(&one, &two, 5);
    for logs in [[log.as_slice(), &[]], [&[], log.as_slice()], [&[0; 1024], log.as_slice()]] {
        let replayed = replay(&primary, &logs).expect("replayed");
        assert_eq!((numbers(&replayed.hive), replayed.entries), ([2, 2], 1));
        assert_eq!(sequences(&replayed.hive), [6, 6]);
    }
    // Server 2003 leaves the log file one number behind.
    assert_eq!(numbers(&replay(&primary, &[&of_dirty_pages(&one, &two, 3)]).expect("replayed").hive), [2, 2]);
    // That of another write.
    let other = of_dirty_pages(&at_time(&one, 7), &at_time(&two, 7), 5);
    let error = replay(&primary, &[&other]).expect_err("another write");
    let ReplayError::NoLogFits { sequences: (5, 4), reasons } = error else { panic!("{error}") };
    assert_eq!(reasons, [(0, LogFault::OtherTime(7, 0x1d0_0000))]);
}

#[test]
fn a_base_block_that_was_half_written_comes_from_the_log_file() {
    let [one, two] = [1, 2].map(|number| at_time(&hive(number), 9));
    let mut primary = torn(&one, &two, 4);
    primary[300] ^= 0x55;
    assert_eq!(is_dirty(&primary), Ok(true));
    let replayed = replay(&primary, &[&of_dirty_pages(&one, &two, 5)]).expect("replayed");
    assert_eq!(numbers(&replayed.hive), [2, 2]);
    // Of the newer format only the last log file is taken then.
    let three = at_time(&hive(3), 9);
    let (early, late) = (of_entries(&[&one, &two], 4), of_entries(&[&two, &three], 5));
    let replayed = replay(&primary, &[&early, &late]).expect("replayed");
    assert_eq!((numbers(&replayed.hive), replayed.logs), ([3, 3], vec![1]));
}

#[test]
fn an_older_log_file_left_by_an_upgrade_does_not_hinder() {
    let [one, two] = [1, 2].map(|number| at_time(&hive(number), 9));
    let stale = of_dirty_pages(&two, &one, 2);
    let replayed = replay(&dirty(&one, 4), &[&stale, &of_entries(&[&one, &two], 4)]).expect("replayed");
    assert_eq!((numbers(&replayed.hive), replayed.logs), ([2, 2], vec![1]));
}

#[test]
fn each_reason_is_told() {
    let [one, two] = [1, 2].map(hive);
    let primary = dirty(&one, 10);
    let stale = of_entries(&[&one, &two], 9);
    let mut bad = of_entries(&[&one, &two], 10);
    bad[600] ^= 1;
    let no_log = [7; 600];
    let error = replay(&primary, &[&[], &stale, &bad, &no_log]).expect_err("nothing fits");
    let ReplayError::NoLogFits { sequences: (11, 10), reasons } = &error else { panic!("{error}") };
    assert_eq!(reasons[..2], [(0, LogFault::Empty), (1, LogFault::Earlier(9, 10))]);
    assert!(matches!(reasons[2], (2, LogFault::Damaged(error)) if error.offset == 512 + 24), "{error}");
    assert!(matches!(reasons[3], (3, LogFault::Damaged(error)) if error.offset == 0), "{error}");
    let text = error.to_string();
    for part in [
        "11 and 10",
        "log file 1: it is empty",
        "log file 2: it is of an earlier write",
        "log file 3: hive, offset 0x218",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert!(matches!(replay(b"no hive", &[]), Err(ReplayError::Hive(_))));
    // Sequence numbers go round.
    let last = dirty(&one, u32::MAX - 1);
    assert_eq!(numbers(&replay(&last, &[&of_entries(&[&one, &two], 0)]).expect("behind").hive), [2, 2]);
}

#[test]
fn a_result_that_is_no_hive_is_refused() {
    let one = hive(1);
    let mut broken = one.clone();
    broken[4096..4100].copy_from_slice(b"junk");
    let error = replay(&dirty(&one, 3), &[&of_entries(&[&one, &broken], 3)]).expect_err("junk");
    assert!(matches!(error, ReplayError::Result(error) if error.offset == 4096), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Bytes changed anywhere in hive and log files: an error, or a hive that can be read.
    #[test]
    fn any_damage(
        changes in proptest::collection::vec((0..4_usize, any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let [one, two, three] = [1, 2, 3].map(|number| at_time(&hive(number), 9));
        let mut files = [
            torn(&one, &two, 4), of_dirty_pages(&one, &two, 5), of_entries(&[&one, &two], 4),
            of_entries(&[&two, &three], 5),
        ];
        for (file, index, byte) in changes {
            let at = index.index(files[file].len());
            files[file][at] = byte;
        }
        let length = cut.index(files[3].len());
        let [primary, old, early, late] = &files;
        for logs in [[old.as_slice(), early, late], [old, &late[..length], early], [&[], early, &late[..length]]] {
            if let Ok(replayed) = replay(primary, &logs) {
                prop_assert!(replayed.entries == 0 || Hive::new(&replayed.hive).is_ok());
            }
        }
    }
}
