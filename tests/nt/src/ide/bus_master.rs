//! Bus-master DMA of a PCI IDE controller ("Programming Interface for Bus Master IDE Controller" 1.0).

use crate::hal::port::{inb, outb, outl};
use crate::mm;
use crate::nt::{PAGE_SIZE, Pvoid};
use crate::storage::pieces::{Piece, pieces};

/// Command register: start moving.
const START: u8 = 0x01;
/// Command register: from the drive to memory.
const TO_MEMORY: u8 = 0x08;
/// Status register: moving.
const ACTIVE: u8 = 0x01;
/// Status register: the transfer failed on the memory side.
const ERROR: u8 = 0x02;
/// Status register: error and interrupt, cleared by writing ones.
const ERROR_AND_INTERRUPT: u8 = 0x06;

/// A physical region descriptor: an even number of bytes (0 for 65536) that do not cross a 64 KiB boundary.
#[repr(C)]
#[derive(Clone, Copy)]
struct Region {
    address: u32,
    bytes: u16,
    flags: u16,
}

/// The last region of a table.
const END_OF_TABLE: u16 = 0x8000;
/// Regions that a table's page holds.
const REGIONS: usize = PAGE_SIZE / size_of::<Region>();

/// Progress of a transfer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Progress {
    Moving,
    Done,
    Failed,
}

/// The bus-master registers of one channel, with its table of regions.
pub(super) struct BusMaster {
    base: u16,
    table: *mut Region,
    direction: u8,
}

// SAFETY: the table is the channel's own.
unsafe impl Send for BusMaster {}

impl BusMaster {
    /// Returns the registers at I/O port `base`; `None` without memory for the table. PASSIVE_LEVEL.
    pub(super) fn new(base: u16) -> Option<Self> {
        let table = mm::MmAllocateContiguousMemory(PAGE_SIZE, i64::from(u32::MAX)).cast::<Region>();
        (!table.is_null()).then_some(Self { base, table, direction: 0 })
    }

    /// Prepares a transfer to or from `length` bytes at `address`; false if they cannot be reached by DMA.
    ///
    /// # Safety
    /// The channel is the caller's alone; the buffer must stay until the transfer is done.
    pub(super) unsafe fn prepare(&mut self, address: usize, length: usize, write: bool) -> bool {
        if !address.is_multiple_of(2) || !length.is_multiple_of(2) || length == 0 {
            return false;
        }
        let mut count = 0;
        // SAFETY: by this function's contract, the channel is the caller's alone; the buffer must stay
        // until the transfer is done.
        unsafe {
            for Piece { address, length } in pieces(address, length) {
                if address + u64::from(length) > 1 << 32 {
                    return false;
                }
                let (mut at, end) = (address, address + u64::from(length));
                while at < end {
                    let bytes = (0x1_0000 - at % 0x1_0000).min(end - at);
                    if count == REGIONS {
                        return false;
                    }
                    self.table.add(count).write(Region { address: at as u32, bytes: bytes as u16, flags: 0 });
                    (at, count) = (at + bytes, count + 1);
                }
            }
            (*self.table.add(count - 1)).flags = END_OF_TABLE;
            self.direction = if write { 0 } else { TO_MEMORY };
            outl(self.base + 4, mm::MmGetPhysicalAddress(self.table.cast()) as u32);
            outb(self.base + 2, ERROR_AND_INTERRUPT);
            outb(self.base, self.direction);
        }
        true
    }

    /// Starts moving; the drive has its command.
    pub(super) unsafe fn start(&self) {
        // SAFETY: the port is the bus master's, whose table describes memory that stays until
        // [`stop`](Self::stop).
        unsafe {
            outb(self.base, self.direction | START);
        }
    }

    /// Returns the progress of the transfer.
    pub(super) fn progress(&self) -> Progress {
        // SAFETY: reading the status changes nothing.
        match unsafe { inb(self.base + 2) } {
            status if status & ERROR != 0 => Progress::Failed,
            status if status & ACTIVE != 0 => Progress::Moving,
            _ => Progress::Done,
        }
    }

    /// Ends the transfer, done or not.
    pub(super) unsafe fn stop(&self) {
        // SAFETY: the port is the bus master's.
        unsafe {
            outb(self.base, 0);
        }
    }
}

impl Drop for BusMaster {
    fn drop(&mut self) {
        // SAFETY: allocated by `new`, and not used any more.
        unsafe { mm::MmFreeContiguousMemory(self.table as Pvoid) };
    }
}
