//! Disks of every kind that a backend offers, behind the first: what each says of itself, and what it does.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use protocol::Ready;

use super::{ask, wait_until};
use crate::ob::namespace;
use crate::storage::cdb;
use crate::storage::sense::Sense;
use crate::storage::srb::Direction;
use crate::{disk, report};

/// The extent that data is written to, in bytes.
const WRITTEN: Extent = Extent { at: 512 << 10, length: 256 << 10 };
/// The extent that is given up.
const GIVEN_UP: Extent = Extent { at: 1 << 20, length: 512 << 10 };

struct Extent {
    at: u64,
    length: u32,
}

/// Runs the exercise: each disk behind the first. At `ready for=look` dom0 looks at what was given up, and
/// detaches the second and at last the first of them.
pub(super) fn run() {
    for number in 1.. {
        let name = format!("\\Device\\Harddisk{number}\\DR{number}");
        let Some((device, _)) = namespace::lookup(&name) else { break };
        Raw { device: device.cast(), number }.run();
    }
    ask(Ready::Look);
    wait_until("the first disk's removal", || namespace::lookup("\\Device\\Harddisk1\\DR1").is_none());
    crate::pnp::settle();
}

struct Raw {
    device: *mut crate::nt::DeviceObject,
    number: u32,
}

impl Raw {
    fn run(&self) {
        let mut capacity = [0; 8];
        let found = self.read(&cdb::read_capacity_10(), &mut capacity);
        let block = u32::from_be_bytes([capacity[4], capacity[5], capacity[6], capacity[7]]);
        if found != "ok" || !(512..=4096).contains(&block) {
            report!("kind disk={} capacity={found}", self.number);
            return;
        }
        let mut mode = [0; 4];
        self.read(&[0x1A, 0x08, 0x3F, 0, 4, 0], &mut mode);
        let mut provisioning = [0; 8];
        self.read(&cdb::inquiry(Some(0xB2), 8), &mut provisioning);
        let thin = provisioning[5] & 0x80 != 0;
        let pattern: Vec<u8> =
            (0..WRITTEN.length).map(|at| ((at / 512).wrapping_mul(7) + self.number) as u8).collect();
        let wrote = self.transfer(&WRITTEN, block, Direction::Out, &mut pattern.clone());
        let flushed = self.send(&cdb::synchronize_cache(), Direction::None, &mut []);
        let mut back = vec![0; WRITTEN.length as usize];
        let read = self.transfer(&WRITTEN, block, Direction::In, &mut back);
        let same = if back == pattern { "same" } else { "other" };
        let (unmapped, zero) = if thin { self.give_up(block) } else { ("no".into(), 0) };
        report!(
            "kind disk={} block={block} protected={} thin={} wrote={wrote} flushed={flushed} read={read} back={same} \
             unmapped={unmapped} zero={zero}",
            self.number,
            mode[2] >> 7,
            u8::from(thin),
        );
    }

    /// Sends UNMAP of a stretch. Returns how it ended, and whether it is read as zeros.
    fn give_up(&self, block: u32) -> (String, u8) {
        let (lba, blocks) = (GIVEN_UP.at / u64::from(block), GIVEN_UP.length / block);
        // Header: bytes behind each length; one descriptor (SBC-3 5.28.2).
        let mut list = vec![0, 22, 0, 16, 0, 0, 0, 0];
        list.extend_from_slice(&lba.to_be_bytes());
        list.extend_from_slice(&blocks.to_be_bytes());
        list.extend_from_slice(&[0; 4]);
        let unmapped = self.send(&[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0], Direction::Out, &mut list);
        let mut back = vec![0xFF; GIVEN_UP.length as usize];
        self.transfer(&GIVEN_UP, block, Direction::In, &mut back);
        (unmapped, u8::from(back.iter().all(|byte| *byte == 0)))
    }

    fn transfer(&self, extent: &Extent, block: u32, direction: Direction, data: &mut [u8]) -> String {
        let write = direction == Direction::Out;
        let (command, length) = cdb::transfer(write, extent.at / u64::from(block), extent.length / block);
        self.send(&command[..length], direction, data)
    }

    fn read(&self, cdb: &[u8], data: &mut [u8]) -> String {
        self.send(cdb, Direction::In, data)
    }

    /// `ok`, or what it was refused with.
    fn send(&self, cdb: &[u8], direction: Direction, data: &mut [u8]) -> String {
        // SAFETY: the device of a disk that nobody removes during this exercise; the data is in the
        // executive's heap.
        match unsafe { disk::command(self.device, cdb, direction, data) } {
            Ok(_) => "ok".into(),
            Err(Some(Sense { key, code, qualifier })) => format!("{key:02x}{code:02x}{qualifier:02x}"),
            Err(None) => "failed".into(),
        }
    }
}
