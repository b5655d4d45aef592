//! Any bytes as the guard's records, from a dump, the registry or a program: none panics, and what is read is what is
//! written again.

use guard::{
    census_record::CensusRecord,
    crash_dump::Stopped,
    last_boot::LastBoot,
    record::{self, Record},
};

/// Takes one input.
pub fn take(bytes: &[u8]) {
    let _ = (Stopped::parse(bytes), Record::parse(bytes));
    if let Some(census) = CensusRecord::parse(bytes) {
        assert!(census.disks().len() <= census.disk_count as usize);
    }
    if let Some(boot) = LastBoot::parse(bytes) {
        assert_eq!(LastBoot::parse(&boot.to_bytes()), Some(boot));
        let _ = (boot.is_pv(), boot.phase());
    }
    // With the head that a record has, so that its events are reached.
    let mut whole = *Record::new().as_bytes();
    whole[12..].iter_mut().zip(bytes).for_each(|(place, byte)| *place = *byte);
    let record = Record::parse(&whole).expect("a record's head");
    assert!(record.entries(0).count() <= record::CAPACITY);
    record.entries(0).for_each(|(_, entry)| assert!(!entry.to_string().is_empty()));
}
