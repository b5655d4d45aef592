//! A PV CD-ROM drive: read, locked, ejected and loaded by the guest, emptied and filled by the toolstack.

use alloc::format;
use alloc::string::String;
use alloc::vec;

use protocol::{Checksum, Ready};

use super::{ask, ask_in, wait_until};
use crate::storage::cdb;
use crate::{cdrom, report};

const DRIVER: &str = "xenvbd";
const BLOCK: usize = 2048;
/// Blocks of a read.
const AT_ONCE: u32 = 24;

const NEW_MEDIA: u8 = 2;
const MEDIA_REMOVAL: u8 = 3;

/// Runs the exercise: at `ready for=eject` dom0 waits for the guest's own eject to be told and takes the
/// medium out, at `ready for=insert` it puts one in.
pub(super) fn run() {
    report!("cd what=event {}", event());
    report!("cd what=profile bytes={}", hex(&[0x46, 2, 0, 0, 0, 0, 0, 0, 8, 0], 8));
    report!("cd what=toc bytes={}", hex(&[0x43, 0, 0, 0, 0, 0, 0, 0, 32, 0], 32));
    report!("cd what=toc-msf bytes={}", hex(&[0x43, 2, 0, 0, 0, 0, 0xAA, 0, 32, 0], 32));
    report!("cd what=session bytes={}", hex(&[0x43, 0, 1, 0, 0, 0, 0, 0, 32, 0], 32));
    report!("cd what=content {}", content());
    report!("cd what=write {}", sent(&[0x2A, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
    report!("cd what=lock {}", sent(&[0x1E, 0, 0, 0, 1, 0]));
    report!("cd what=eject-locked {}", sent(&EJECT));
    report!("cd what=unlock {}", sent(&[0x1E, 0, 0, 0, 0, 0]));
    report!("cd what=eject {}", sent(&EJECT));
    report!("cd what=ejected {} {}", sent(&READY), event());
    report!("cd what=load {}", sent(&[0x1B, 0, 0, 0, 3, 0]));
    report!("cd what=loaded {} {} then-{}", event(), sent(&READY), sent(&READY));
    report!("cd what=eject-again {} {}", sent(&EJECT), event());
    ask(Ready::Eject);
    report!("cd what=taken {} {}", wait_for(MEDIA_REMOVAL), sent(&READY));
    ask(Ready::Insert);
    report!("cd what=given {} {}", wait_for(NEW_MEDIA), sent(&READY));
    report!("cd what=content-again {}", content());
}

/// Ejects the medium, has dom0 take it out and put it in again, and reads it.
pub(super) fn exchange(cycle: u32) {
    // Its own removal is told before dom0's.
    let (ejected, told) = (sent(&EJECT), event());
    ask_in(cycle, Ready::Eject);
    let taken = wait_for(MEDIA_REMOVAL);
    ask_in(cycle, Ready::Insert);
    let given = wait_for(NEW_MEDIA);
    // The medium's unit attention.
    let attention = sent(&READY);
    report!("cd what=exchanged cycle={cycle} {ejected} {told} {taken} {given} {attention} {}", content());
}

const READY: [u8; 6] = [0; 6];
const EJECT: [u8; 6] = [0x1B, 0, 0, 0, 2, 0];

/// Polls for a media event until this one has come.
fn wait_for(code: u8) -> String {
    let mut last = String::new();
    let seen = core::cell::RefCell::new(&mut last);
    wait_until("a medium's event", || {
        let (found, text) = media_event();
        **seen.borrow_mut() = text;
        found == code
    });
    last
}

fn event() -> String {
    media_event().1
}

/// Returns the media class's event, and it as a report value with the medium's status.
fn media_event() -> (u8, String) {
    let mut data = [0; 8];
    match cdrom::command(DRIVER, &[0x4A, 1, 0, 0, 0x10, 0, 0, 0, 8, 0], &mut data) {
        Ok(8) => (data[4], format!("event={} status={}", data[4], data[5])),
        Ok(length) => (0, format!("event=short-{length}")),
        Err(sense) => (0, format!("event=refused-{:02x}", sense.code)),
    }
}

/// Sends a command without data. Returns `sense=` with key, code and qualifier, all 0 if it succeeds.
fn sent(cdb: &[u8]) -> String {
    let sense = match cdrom::command(DRIVER, cdb, &mut []) {
        Ok(_) => 0,
        Err(sense) => u32::from_be_bytes([0, sense.key, sense.code, sense.qualifier]),
    };
    format!("sense={sense:#x}")
}

/// Returns the answer to a command, as hexadecimal digits.
fn hex(cdb: &[u8], room: usize) -> String {
    let mut data = vec![0; room];
    match cdrom::command(DRIVER, cdb, &mut data) {
        Ok(length) => data[..length].iter().map(|byte| format!("{byte:02x}")).collect(),
        Err(sense) => format!("refused-{:02x}", sense.code),
    }
}

/// Returns the size of the medium, and the checksum of all of it.
fn content() -> String {
    let mut capacity = [0; 8];
    if cdrom::command(DRIVER, &cdb::read_capacity_10(), &mut capacity).is_err() {
        return "blocks=none".into();
    }
    let blocks = u32::from_be_bytes([capacity[0], capacity[1], capacity[2], capacity[3]]) + 1;
    let (mut hash, mut at) = (Checksum::new(), 0);
    while at < blocks {
        let count = AT_ONCE.min(blocks - at);
        let mut data = vec![0; count as usize * BLOCK];
        let (command, length) = cdb::transfer(false, at.into(), count);
        match cdrom::command(DRIVER, &command[..length], &mut data) {
            Ok(length) if length == data.len() => {}
            _ => return format!("blocks={blocks} failed-at={at}"),
        }
        hash = hash.and(&data);
        at += count;
    }
    format!("blocks={blocks} hash={:016x}", hash.value())
}
