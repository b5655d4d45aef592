//! The drive's commands against MMC-5's own words, and against arbitrary bytes.

use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

/// A CD of this many blocks.
const BLOCKS: u32 = 300;

fn drive() -> Drive {
    Drive::new(u64::from(BLOCKS) * 4, SerialNumber::local(5632))
}

fn empty() -> Drive {
    Drive::new(0, SerialNumber::local(5632))
}

fn data(drive: &Drive, cdb: &[u8]) -> Vec<u8> {
    match drive.execute(cdb) {
        Outcome::Good(reply) => reply.as_bytes().to_vec(),
        other => panic!("{cdb:02x?}: {other:?}"),
    }
}

fn refusal(drive: &Drive, cdb: &[u8]) -> (u8, u8, u8) {
    match drive.execute(cdb) {
        Outcome::Refused(sense) => (sense.key as u8, sense.code, sense.qualifier),
        other => panic!("{cdb:02x?}: {other:?}"),
    }
}

const READY: [u8; 6] = [0; 6];
const EJECT: [u8; 6] = [0x1B, 0, 0, 0, 0x02, 0];
const LOAD: [u8; 6] = [0x1B, 0, 0, 0, 0x03, 0];
/// GET EVENT STATUS NOTIFICATION, polled, media class.
const EVENT: [u8; 10] = [0x4A, 1, 0, 0, 0x10, 0, 0, 0, 8, 0];
const NO_MEDIUM: (u8, u8, u8) = (0x02, 0x3A, 0x01);
const TRAY_OPEN: (u8, u8, u8) = (0x02, 0x3A, 0x02);
const CHANGED: (u8, u8, u8) = (0x06, 0x28, 0x00);

/// Returns the event code and the status of the media class.
fn event(drive: &Drive) -> (u8, u8) {
    let reply = data(drive, &EVENT);
    assert_eq!(&reply[..4], &[0, 6, 4, 0x10]);
    (reply[4], reply[5])
}

#[test]
fn inquiry_names_a_removable_cdrom() {
    let reply = data(&drive(), &[0x12, 0, 0, 0, 36, 0]);
    assert_eq!(&reply[..8], &[0x05, 0x80, 5, 2, 31, 0, 0, 2]);
    assert_eq!(&reply[8..], b"XENGUARDPVCDROM         0001");
    assert_eq!(data(&drive(), &[0x12, 1, 0, 0, 255, 0]), [0x05, 0, 0, 3, 0x00, 0x80, 0x83]);
    assert_eq!(data(&drive(), &[0x12, 1, 0x80, 0, 255, 0])[4..], *b"vbd-1600");
    assert_eq!(data(&drive(), &[0x12, 1, 0x83, 0, 255, 0])[0], 0x05);
    assert_eq!(refusal(&drive(), &[0x12, 1, 0xB0, 0, 255, 0]), (0x05, 0x24, 0x00));
}

#[test]
fn capacity_is_in_blocks_of_2048() {
    let capacity = [0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(data(&drive(), &capacity), [0, 0, 1, 43, 0, 0, 8, 0]);
    // What does not fill a block is out of reach.
    assert_eq!(data(&Drive::new(7, SerialNumber::local(1)), &capacity), [0, 0, 0, 0, 0, 0, 8, 0]);
    assert_eq!(refusal(&Drive::new(3, SerialNumber::local(1)), &capacity), NO_MEDIUM);
}

#[test]
fn reads_are_of_whole_blocks_and_inside() {
    let at = |sector, sectors| Outcome::Act(Action::Read { extent: Extent { sector, sectors } });
    let drive = drive();
    assert_eq!(drive.execute(&[0x28, 0, 0, 0, 0, 16, 0, 0, 4, 0]), at(64, 16));
    assert_eq!(drive.execute(&[0xA8, 0, 0, 0, 1, 43, 0, 0, 0, 1, 0, 0]), at(1196, 4));
    assert_eq!(drive.execute(&[0xBE, 0, 0, 0, 0, 16, 0, 0, 4, 0x10, 0, 0]), at(64, 16));
    assert_eq!(drive.execute(&[0xBE, 0x08, 0, 0, 0, 16, 0, 0, 4, 0x10, 0, 0]), at(64, 16));
    // Seeks.
    assert!(data(&drive, &[0x28, 0, 0, 0, 0, 16, 0, 0, 0, 0]).is_empty());
    assert!(data(&drive, &[0xBE, 0, 0, 0, 0, 16, 0, 0, 4, 0, 0, 0]).is_empty());
    for out in [[0x28, 0, 0, 0, 1, 43, 0, 0, 2, 0], [0x28, 0, 0, 0, 1, 44, 0, 0, 0, 0]] {
        assert_eq!(refusal(&drive, &out), (0x05, 0x21, 0x00));
    }
    // Audio, headers, subchannels.
    for (at, value) in [(1, 0x04), (9, 0xF8), (10, 1)] {
        let mut cdb = [0xBE, 0, 0, 0, 0, 16, 0, 0, 4, 0x10, 0, 0];
        cdb[at] = value;
        assert_eq!(refusal(&drive, &cdb), (0x05, 0x24, 0x00));
    }
}

#[test]
fn nothing_is_written() {
    for code in [0x0A, 0x2A, 0xAA, 0x8A, 0x2E] {
        let cdb = [code, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0];
        assert_eq!(refusal(&drive(), &cdb), (0x07, 0x27, 0x00), "{code:#x}");
    }
    for code in [0x35, 0x42, 0x2F, 0x04, 0x53] {
        assert_eq!(refusal(&drive(), &[code, 0, 0, 0, 0, 0, 0, 0, 1, 0]), (0x05, 0x20, 0x00), "{code:#x}");
    }
}

#[test]
fn the_table_of_contents_has_one_data_track_and_a_lead_out() {
    let toc = |flags, format, track, allocation| {
        data(&drive(), &[0x43, flags, format, 0, 0, 0, track, 0, allocation, 0])
    };
    let track = [0, 0x14, 1, 0, 0, 0, 0, 0];
    let lead_out = [0, 0x14, 0xAA, 0, 0, 0, 1, 44];
    assert_eq!(toc(0, 0, 0, 255), [&[0, 18, 1, 1][..], &track, &lead_out].concat());
    assert_eq!(toc(0, 0, 0xAA, 255), [&[0, 10, 1, 1][..], &lead_out].concat());
    // 300 blocks and the two seconds before them are six seconds.
    let msf = [&[0, 18, 1, 1][..], &[0, 0x14, 1, 0, 0, 0, 2, 0], &[0, 0x14, 0xAA, 0, 0, 0, 6, 0]].concat();
    assert_eq!(toc(2, 0, 1, 255), msf);
    // The last session begins with track 1.
    assert_eq!(toc(0, 1, 0, 255), [&[0, 10, 1, 1][..], &track].concat());
    // The format where it stood before MMC.
    assert_eq!(
        data(&drive(), &[0x43, 0, 0, 0, 0, 0, 0, 0, 255, 0x40]),
        [&[0, 10, 1, 1][..], &track].concat()
    );
    assert_eq!(toc(0, 0, 0, 4), [0, 18, 1, 1]);
    assert_eq!(refusal(&drive(), &[0x43, 0, 0, 0, 0, 0, 2, 0, 255, 0]), (0x05, 0x24, 0x00));
    assert_eq!(refusal(&drive(), &[0x43, 0, 2, 0, 0, 0, 0, 0, 255, 0]), (0x05, 0x24, 0x00));
    assert_eq!(refusal(&empty(), &[0x43, 0, 0, 0, 0, 0, 0, 0, 255, 0]), NO_MEDIUM);
}

#[test]
fn a_large_medium_is_a_dvd() {
    let configuration = |drive: &Drive| data(drive, &[0x46, 0, 0, 0, 0, 0, 0, 0, 255, 0]);
    let cd = configuration(&drive());
    assert_eq!(cd[..8], [0, 0, 0, cd.len() as u8 - 4, 0, 0, 0, 0x08]);
    assert_eq!(cd[8..20], [0, 0, 3, 8, 0, 0x10, 0, 0, 0, 0x08, 1, 0]);
    let dvd = configuration(&Drive::new(4 << 21, SerialNumber::local(1)));
    assert_eq!(dvd[..8], [0, 0, 0, dvd.len() as u8 - 4, 0, 0, 0, 0x10]);
    assert_eq!(dvd[8..20], [0, 0, 3, 8, 0, 0x10, 1, 0, 0, 0x08, 0, 0]);
    assert_eq!(configuration(&empty())[6..8], [0, 0]);
    // Its lead-out as minutes is beyond what one byte can say.
    let toc = data(&Drive::new(1 << 24, SerialNumber::local(1)), &[0x43, 2, 0, 0, 0, 0, 0xAA, 0, 255, 0]);
    assert_eq!(toc[8..], [0, 0xFF, 59, 74]);
}

#[test]
fn features_are_given_as_asked_for() {
    let features = |wanted, first: u16| {
        let [high, low] = first.to_be_bytes();
        let reply = data(&drive(), &[0x46, wanted, high, low, 0, 0, 0, 0, 255, 0]);
        let (mut rest, mut codes) = (&reply[8..], vec![]);
        while let [high, low, _, length, ..] = *rest {
            codes.push(u16::from_be_bytes([high, low]));
            rest = &rest[4 + usize::from(length)..];
        }
        assert!(rest.is_empty());
        codes
    };
    assert_eq!(features(0, 0), [0, 1, 2, 3, 0x10, 0x1E, 0x1F]);
    assert_eq!(features(1, 0), [0, 1, 2, 3, 0x10, 0x1E]);
    assert_eq!(features(0, 3), [3, 0x10, 0x1E, 0x1F]);
    assert_eq!(features(2, 3), [3]);
    assert_eq!(features(2, 0x21), []);
    assert_eq!(refusal(&drive(), &[0x46, 3, 0, 0, 0, 0, 0, 0, 255, 0]), (0x05, 0x24, 0x00));
}

#[test]
fn events_are_told_once() {
    let drive = drive();
    assert_eq!(event(&drive), (2, 2));
    assert_eq!(event(&drive), (0, 2));
    assert_eq!(event(&empty()), (0, 0));
    // Other classes than media, and what is not polled.
    assert_eq!(data(&drive, &[0x4A, 1, 0, 0, 0x02, 0, 0, 0, 8, 0]), [0, 2, 0x80, 0x10]);
    assert_eq!(refusal(&drive, &[0x4A, 0, 0, 0, 0x10, 0, 0, 0, 8, 0]), (0x05, 0x24, 0x00));
}

#[test]
fn a_medium_is_ejected_and_loaded() {
    let drive = drive();
    event(&drive);
    assert!(data(&drive, &EJECT).is_empty());
    assert!(drive.is_ejected());
    assert_eq!(event(&drive), (3, 1));
    assert_eq!(refusal(&drive, &READY), TRAY_OPEN);
    assert_eq!(refusal(&drive, &[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0]), TRAY_OPEN);
    assert_eq!(data(&drive, &[0xBD, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0])[1], 0x10);
    // Ejecting what is out is no event.
    assert!(data(&drive, &EJECT).is_empty());
    assert_eq!(event(&drive), (0, 1));
    assert!(data(&drive, &LOAD).is_empty());
    assert!(!drive.is_ejected());
    // An event does not wait for the attention, nor takes it.
    assert_eq!(event(&drive), (2, 2));
    assert_eq!(refusal(&drive, &READY), CHANGED);
    assert!(data(&drive, &READY).is_empty());
    assert_eq!(data(&drive, &[0xBD, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0])[1], 0);
    // Loading what is in changes nothing.
    assert!(data(&drive, &LOAD).is_empty());
    assert!(data(&drive, &READY).is_empty());
}

#[test]
fn a_locked_medium_stays_in() {
    let drive = drive();
    assert!(data(&drive, &[0x1E, 0, 0, 0, 1, 0]).is_empty());
    assert_eq!(refusal(&drive, &EJECT), (0x05, 0x53, 0x02));
    assert!(data(&drive, &READY).is_empty());
    assert!(data(&drive, &[0x1E, 0, 0, 0, 0, 0]).is_empty());
    assert!(data(&drive, &EJECT).is_empty());
    assert_eq!(refusal(&drive, &[0x1E, 0, 0, 0, 2, 0]), (0x05, 0x24, 0x00));
}

#[test]
fn the_backends_medium_comes_and_goes() {
    let drive = drive();
    event(&drive);
    // The same as before.
    drive.set_medium(1200, false);
    assert_eq!(event(&drive), (0, 2));
    // It goes, though the initiator has locked it in.
    data(&drive, &[0x1E, 0, 0, 0, 1, 0]);
    drive.set_medium(0, false);
    assert_eq!(event(&drive), (3, 0));
    assert_eq!(refusal(&drive, &READY), NO_MEDIUM);
    assert_eq!(refusal(&drive, &[0x1B, 0, 0, 0, 1, 0]), NO_MEDIUM);
    // Another comes.
    drive.set_medium(800, false);
    assert_eq!(event(&drive), (2, 2));
    assert_eq!(refusal(&drive, &READY), CHANGED);
    assert_eq!(data(&drive, &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0])[..4], [0, 0, 0, 199]);
    // One of the same size in its place.
    drive.set_medium(800, true);
    assert_eq!(refusal(&drive, &READY), CHANGED);
    // One that was put out stays out until another comes.
    data(&drive, &[0x1E, 0, 0, 0, 0, 0]);
    data(&drive, &EJECT);
    drive.set_medium(800, false);
    assert_eq!(refusal(&drive, &READY), TRAY_OPEN);
    drive.set_medium(800, true);
    assert_eq!(refusal(&drive, &READY), CHANGED);
    assert!(data(&drive, &READY).is_empty());
    // An attention that nobody heard goes with its medium.
    drive.set_medium(400, false);
    drive.set_medium(0, false);
    assert_eq!(refusal(&drive, &READY), NO_MEDIUM);
}

#[test]
fn an_attention_waits_for_a_command_that_hears_it() {
    let drive = drive();
    drive.set_medium(800, false);
    for cdb in [&[0x12, 0, 0, 0, 36, 0][..], &[0x46, 0, 0, 0, 0, 0, 0, 0, 8, 0], &EVENT] {
        data(&drive, cdb);
    }
    assert_eq!(data(&drive, &[0x03, 0, 0, 0, 18, 0])[2], 0);
    assert_eq!(refusal(&drive, &[0x43, 0, 0, 0, 0, 0, 0, 0, 4, 0]), CHANGED);
    assert_eq!(data(&drive, &[0x43, 0, 0, 0, 0, 0, 0, 0, 4, 0]), [0, 18, 1, 1]);
}

#[test]
fn mode_pages() {
    let reply = data(&drive(), &[0x5A, 0, 0x2A, 0, 0, 0, 0, 0, 255, 0]);
    assert_eq!(reply[..8], [0, 26, 0, 0, 0, 0, 0, 0]);
    assert_eq!(reply[8..16], [0x2A, 18, 0x08, 0, 0, 0, 0x29, 0]);
    let all = data(&drive(), &[0x1A, 0, 0x3F, 0, 255, 0]);
    assert_eq!(all[..5], [35, 0, 0, 0, 0x01]);
    assert_eq!(all[16], 0x2A);
    // Nothing can be changed.
    assert!(data(&drive(), &[0x5A, 0, 0x6A, 0, 0, 0, 0, 0, 255, 0])[10..].iter().all(|byte| *byte == 0));
    assert_eq!(refusal(&drive(), &[0x5A, 0, 0xEA, 0, 0, 0, 0, 0, 255, 0]), (0x05, 0x39, 0x00));
    assert_eq!(refusal(&drive(), &[0x5A, 0, 0x08, 0, 0, 0, 0, 0, 255, 0]), (0x05, 0x24, 0x00));
}

#[test]
fn disc_information_says_complete() {
    let reply = data(&drive(), &[0x51, 0, 0, 0, 0, 0, 0, 0, 255, 0]);
    assert_eq!(reply.len(), 34);
    assert_eq!(reply[..8], [0, 32, 0x0E, 1, 1, 1, 1, 0]);
    assert_eq!(refusal(&empty(), &[0x51, 0, 0, 0, 0, 0, 0, 0, 255, 0]), NO_MEDIUM);
}

#[test]
fn one_unit_is_listed() {
    assert_eq!(data(&drive(), &[0xA0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0])[..4], [0, 0, 0, 8]);
    assert_eq!(refusal(&drive(), &[0xA0, 0, 0, 0, 0, 0, 0, 0, 0, 15, 0, 0]), (0x05, 0x24, 0x00));
}

proptest! {
    /// Whatever is sent: no panic, nothing outside of the medium, never a write, no data without medium.
    #[test]
    fn arbitrary_commands(
        commands in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..17), 0u64..3000), 1..40),
    ) {
        let drive = drive();
        for (cdb, sectors) in commands {
            match drive.execute(&cdb) {
                Outcome::Act(Action::Read { extent }) => {
                    prop_assert!(!drive.is_ejected());
                    prop_assert!(extent.sector + extent.sectors <= drive.medium.load(Ordering::Relaxed));
                    prop_assert!(extent.sectors > 0 && extent.sectors.is_multiple_of(4));
                }
                Outcome::Act(other) => prop_assert!(false, "{:?}", other),
                Outcome::Good(_) | Outcome::Refused(_) => {}
            }
            if cdb.len() == 3 {
                drive.set_medium(sectors, false);
            }
        }
    }
}
