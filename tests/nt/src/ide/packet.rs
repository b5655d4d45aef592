//! Packets to a CD-ROM drive: a SCSI command and its data through the data port (ATA/ATAPI-6, 8.25 and 9.12).

use super::ata::{DEVICE_ONES, Error, Registers, status};
use crate::hal::port::{inb, insw, outb, outsw};

/// PACKET.
const PACKET: u8 = 0xA0;
/// Bytes of a packet.
const PACKET_BYTES: usize = 12;
/// Most bytes that the drive may offer at once.
const CHUNK: u16 = 0xF000;
/// REQUEST SENSE.
const REQUEST_SENSE: u8 = 0x03;

impl Registers {
    /// Sends a command and reads its data; how many bytes came. A drive that refuses it says why in sense
    /// data ([`sense`](Self::sense)).
    ///
    /// # Safety
    /// The channel is the caller's alone.
    pub(super) unsafe fn packet_in(
        &mut self,
        drive: u8,
        cdb: &[u8],
        data: &mut [u8],
    ) -> Result<usize, Error> {
        let mut packet = [0; PACKET_BYTES];
        let length = cdb.len().min(PACKET_BYTES);
        packet[..length].copy_from_slice(&cdb[..length]);
        let words: [u16; PACKET_BYTES / 2] =
            core::array::from_fn(|n| u16::from_le_bytes([packet[2 * n], packet[2 * n + 1]]));
        // SAFETY: by this function's contract, the channel is the caller's alone.
        unsafe {
            self.select(DEVICE_ONES | drive << 4);
            let [low, high] = CHUNK.to_le_bytes();
            outb(self.command + 1, 0);
            outb(self.command + 4, low);
            outb(self.command + 5, high);
            outb(self.command + 7, PACKET);
            self.wait(status::DATA_REQUEST)?;
            outsw(self.command, &words);
            let mut at = 0;
            loop {
                // Not busy: either data is offered, or the command is done.
                self.wait(0)?;
                if inb(self.command + 7) & status::DATA_REQUEST == 0 {
                    return Ok(at);
                }
                let offered = usize::from(u16::from_le_bytes([inb(self.command + 4), inb(self.command + 5)]));
                let mut chunk = alloc::vec![0u16; offered.div_ceil(2)];
                insw(self.command, &mut chunk);
                let bytes = chunk.iter().flat_map(|word| word.to_le_bytes()).take(offered);
                for (to, from) in data[at..].iter_mut().zip(bytes) {
                    *to = from;
                }
                at = data.len().min(at + offered);
            }
        }
    }

    /// Asks the drive why it refused the last command.
    ///
    /// # Safety
    /// As [`packet_in`](Self::packet_in).
    pub(super) unsafe fn sense(&mut self, drive: u8, sense: &mut [u8]) -> Result<usize, Error> {
        let length = sense.len() as u8;
        // SAFETY: the caller keeps the contract of [`packet_in`](Self::packet_in).
        unsafe { self.packet_in(drive, &[REQUEST_SENSE, 0, 0, 0, length, 0], sense) }
    }
}
