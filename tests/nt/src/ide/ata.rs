//! ATA commands at a channel's registers (ATA/ATAPI-6, 7 and 9).

use super::bus_master::{BusMaster, Progress};
use super::identify::{Identify, Kind};
use crate::hal::port::{inb, insw, outb, outsw};
use crate::ke;

/// Command codes.
mod command {
    pub(super) const READ_SECTORS: u8 = 0x20;
    pub(super) const READ_SECTORS_EXT: u8 = 0x24;
    pub(super) const READ_DMA_EXT: u8 = 0x25;
    pub(super) const WRITE_SECTORS: u8 = 0x30;
    pub(super) const WRITE_SECTORS_EXT: u8 = 0x34;
    pub(super) const WRITE_DMA_EXT: u8 = 0x35;
    pub(super) const IDENTIFY_PACKET_DEVICE: u8 = 0xA1;
    pub(super) const READ_DMA: u8 = 0xC8;
    pub(super) const WRITE_DMA: u8 = 0xCA;
    pub(super) const FLUSH_CACHE: u8 = 0xE7;
    pub(super) const IDENTIFY_DEVICE: u8 = 0xEC;
}

/// Status register bits.
pub(super) mod status {
    pub(crate) const ERROR: u8 = 0x01;
    pub(crate) const DATA_REQUEST: u8 = 0x08;
    pub(crate) const DEVICE_FAULT: u8 = 0x20;
    pub(crate) const BUSY: u8 = 0x80;
}

/// Device control: the drive's interrupt off.
const INTERRUPT_OFF: u8 = 0x02;
/// Device register: obsolete bits that are set.
pub(super) const DEVICE_ONES: u8 = 0xA0;
/// Device register: addresses are block addresses.
const DEVICE_LBA: u8 = 0x40;

/// Most sectors in one command.
pub(super) const MAX_SECTORS: u32 = 256;
/// Seconds a command may take; a flush may take long.
const TIMEOUT: u64 = 30;

/// The reason why a command failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Error {
    /// The drive reported an error: its error register.
    Device(u8),
    /// The controller could not reach the memory.
    BusMaster,
    /// No answer in time.
    TimedOut,
    /// The system is stopping: nothing goes to a disk any more.
    Stopping,
}

/// The registers of a channel in compatibility mode.
pub(super) struct Registers {
    pub(super) command: u16,
    control: u16,
    /// The value that the device register was last set to.
    device: Option<u8>,
}

/// A data transfer: where on the drive, and which way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transfer {
    /// 0 or 1.
    pub drive: u8,
    pub write: bool,
    pub lba: u64,
    /// 1 to [`MAX_SECTORS`].
    pub sectors: u32,
}

impl Registers {
    /// Returns the registers of channel 0 or 1. In compatibility mode they are where the AT had them.
    pub(super) fn new(channel: u8) -> Self {
        let (command, control) = if channel == 0 { (0x1F0, 0x3F6) } else { (0x170, 0x376) };
        Self { command, control, device: None }
    }

    /// Asks drive 0 or 1 what it is. PASSIVE_LEVEL.
    ///
    /// # Safety
    /// The channel is the caller's alone.
    pub(super) unsafe fn identify(&mut self, drive: u8) -> Option<Identify> {
        // SAFETY: by this function's contract, the channel is the caller's alone.
        unsafe {
            outb(self.control, INTERRUPT_OFF);
            self.select(DEVICE_ONES | drive << 4);
            // An empty channel floats high; an absent drive beside another reads as zero.
            if matches!(inb(self.command + 7), 0 | 0x7F | 0xFF) {
                return None;
            }
            let (kind, found) = match self.read_identify(command::IDENTIFY_DEVICE) {
                Ok(words) => (Kind::Disk, words),
                Err(Error::Device(_)) if self.has_packet_signature() => {
                    (Kind::CdRom, self.read_identify(command::IDENTIFY_PACKET_DEVICE).ok()?)
                }
                Err(_) => return None,
            };
            Some(Identify::new(kind, found))
        }
    }

    /// Returns true if a drive that refused IDENTIFY DEVICE takes packets (9.12, "signature").
    unsafe fn has_packet_signature(&self) -> bool {
        // SAFETY: the ports are the channel's, and reading these registers changes nothing.
        unsafe { (inb(self.command + 4), inb(self.command + 5)) == (0x14, 0xEB) }
    }

    unsafe fn read_identify(&mut self, code: u8) -> Result<[u16; 256], Error> {
        // SAFETY: the ports are the channel's, and the caller is its only user.
        unsafe {
            outb(self.command + 7, code);
            self.wait(status::DATA_REQUEST)?;
            let mut words = [0; 256];
            insw(self.command, &mut words);
            Ok(words)
        }
    }

    /// Moves data by DMA.
    ///
    /// # Safety
    /// The channel is the caller's alone, and `bus_master` is prepared with the transfer's buffer.
    pub(super) unsafe fn transfer_dma(
        &mut self,
        transfer: Transfer,
        bus_master: &BusMaster,
    ) -> Result<(), Error> {
        let code = match (transfer.write, transfer.is_long()) {
            (false, false) => command::READ_DMA,
            (false, true) => command::READ_DMA_EXT,
            (true, false) => command::WRITE_DMA,
            (true, true) => command::WRITE_DMA_EXT,
        };
        // SAFETY: by this function's contract, the channel is the caller's alone, and `bus_master` is
        // prepared with the transfer's buffer.
        unsafe {
            self.address(&transfer)?;
            outb(self.command + 7, code);
            bus_master.start();
            let mut progress = Progress::Moving;
            let moved = poll(|| {
                progress = bus_master.progress();
                progress != Progress::Moving
            });
            bus_master.stop();
            moved?;
            match progress {
                Progress::Failed => Err(Error::BusMaster),
                _ => self.wait(0),
            }
        }
    }

    /// Moves data through the data port, sector by sector in one command.
    ///
    /// # Safety
    /// The channel is the caller's alone, and `data` has as many words as the transfer.
    pub(super) unsafe fn transfer_pio(&mut self, transfer: Transfer, data: &mut [u16]) -> Result<(), Error> {
        let code = match (transfer.write, transfer.is_long()) {
            (false, false) => command::READ_SECTORS,
            (false, true) => command::READ_SECTORS_EXT,
            (true, false) => command::WRITE_SECTORS,
            (true, true) => command::WRITE_SECTORS_EXT,
        };
        // SAFETY: by this function's contract, the channel is the caller's alone, and `data` has as many
        // words as the transfer.
        unsafe {
            self.address(&transfer)?;
            outb(self.command + 7, code);
            for sector in data.chunks_exact_mut(256) {
                self.wait(status::DATA_REQUEST)?;
                if transfer.write {
                    outsw(self.command, sector);
                } else {
                    insw(self.command, sector);
                }
            }
            self.wait(0)
        }
    }

    /// Makes the drive write its cache to the medium.
    ///
    /// # Safety
    /// The channel is the caller's alone.
    pub(super) unsafe fn flush(&mut self, drive: u8) -> Result<(), Error> {
        if ke::stopping() {
            return Err(Error::Stopping);
        }
        // SAFETY: by this function's contract, the channel is the caller's alone.
        unsafe {
            self.select(DEVICE_ONES | DEVICE_LBA | drive << 4);
            outb(self.command + 7, command::FLUSH_CACHE);
            self.wait(0)
        }
    }

    /// Writes count and address; the command register is next.
    unsafe fn address(&mut self, transfer: &Transfer) -> Result<(), Error> {
        if ke::stopping() {
            return Err(Error::Stopping);
        }
        let lba = transfer.lba.to_le_bytes();
        let count = transfer.sectors.to_le_bytes();
        let mut device = DEVICE_ONES | DEVICE_LBA | transfer.drive << 4;
        // SAFETY: the ports are the channel's, and the caller is its only user.
        unsafe {
            if transfer.is_long() {
                self.select(device);
                // The registers are two deep; the older half goes first.
                for (at, value) in [count[1], lba[3], lba[4], lba[5]].into_iter().enumerate() {
                    outb(self.command + 2 + at as u16, value);
                }
            } else {
                device |= lba[3];
                self.select(device);
            }
            for (at, value) in [count[0], lba[0], lba[1], lba[2]].into_iter().enumerate() {
                outb(self.command + 2 + at as u16, value);
            }
        }
        Ok(())
    }

    /// Sets the device register, if it is not so already.
    pub(super) unsafe fn select(&mut self, device: u8) {
        // SAFETY: the ports are the channel's, and the caller is its only user.
        unsafe {
            if self.device.replace(device) != Some(device) {
                outb(self.command + 6, device);
            }
        }
    }

    /// Waits until the drive is not busy, and has `bits` set.
    pub(super) unsafe fn wait(&self, bits: u8) -> Result<(), Error> {
        let mut found = 0;
        // SAFETY: the ports are the channel's, and the caller is its only user.
        unsafe {
            poll(|| {
                found = inb(self.command + 7);
                let failed = found & (status::ERROR | status::DEVICE_FAULT) != 0;
                found & status::BUSY == 0 && (failed || found & bits == bits)
            })?;
            match found & (status::ERROR | status::DEVICE_FAULT) {
                0 => Ok(()),
                _ => Err(Error::Device(inb(self.command + 1))),
            }
        }
    }
}

impl Transfer {
    /// Returns true if the request needs a 48-bit command: beyond 2^28 sectors.
    fn is_long(&self) -> bool {
        self.lba + u64::from(self.sectors) > 1 << 28
    }
}

/// Looks until `done`: at once a few times, then once a millisecond. PASSIVE_LEVEL.
fn poll(mut done: impl FnMut() -> bool) -> Result<(), Error> {
    let end = ke::clock::interrupt_time() + TIMEOUT * 10_000_000;
    for attempt in 0u64.. {
        if done() {
            return Ok(());
        }
        if ke::clock::interrupt_time() > end {
            return Err(Error::TimedOut);
        }
        if attempt >= 8 {
            ke::wait::delay(1);
        }
    }
    Err(Error::TimedOut)
}
