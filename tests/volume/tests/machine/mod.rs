//! A disk that remembers in which order it was written, so that a machine can be stopped anywhere.

use std::cell::RefCell;
use std::rc::Rc;

use volume::block::{BlockDevice, IoError, Partition, SECTOR};
use volume::mbr::Mbr;

/// Sectors of the disks here: 2 MiB, the least that can be formatted.
pub(crate) const SECTORS: u64 = 4096;

/// Events of the disk, in order.
#[derive(Clone)]
enum Step {
    Write(u64, Box<[u8; SECTOR]>),
    Flush,
}

#[derive(Default)]
struct State {
    content: Vec<u8>,
    start: Vec<u8>,
    history: Vec<Step>,
}

/// A disk; clones are further paths to the same one.
#[derive(Clone)]
pub(crate) struct Disk(Rc<RefCell<State>>);

impl Disk {
    /// Returns a disk with this content.
    pub(crate) fn new(content: Vec<u8>) -> Self {
        Self(Rc::new(RefCell::new(State { start: content.clone(), content, history: Vec::new() })))
    }

    /// Returns a formatted disk.
    pub(crate) fn formatted() -> Self {
        let mut disk = Self::new(vec![0; SECTORS as usize * SECTOR]);
        volume::format(&mut disk, 0x1234_5678, "test").unwrap();
        Self::new(disk.content())
    }

    /// Returns the disk's volume, reached over this path.
    pub(crate) fn partition(&self) -> Partition<Disk> {
        Mbr::first_partition(self.clone()).unwrap().unwrap()
    }

    /// Returns all bytes of the disk as it is now.
    pub(crate) fn content(&self) -> Vec<u8> {
        self.0.borrow().content.clone()
    }

    /// Returns the number of sectors that have been written, which is the number of places to crash at.
    pub(crate) fn writes(&self) -> usize {
        self.0.borrow().history.iter().filter(|step| matches!(step, Step::Write(..))).count()
    }

    /// Returns the disk after a power failure that lets `writes` sector writes through, of which those after
    /// the last flush reached the medium only where `kept` says so, in turn.
    pub(crate) fn crashed(&self, writes: usize, kept: &[bool]) -> Disk {
        let state = self.0.borrow();
        let mut content = state.start.clone();
        let mut cached = Vec::new();
        let mut done = 0;
        let mut apply = |(sector, bytes): (u64, &[u8; SECTOR])| {
            content[sector as usize * SECTOR..][..SECTOR].copy_from_slice(bytes);
        };
        for step in &state.history {
            match step {
                Step::Flush => cached.drain(..).for_each(&mut apply),
                Step::Write(..) if done == writes => break,
                Step::Write(sector, bytes) => {
                    cached.push((*sector, &**bytes));
                    done += 1;
                }
            }
        }
        let mut kept = kept.iter().copied().chain(std::iter::repeat(true));
        cached.into_iter().filter(|_| kept.next().unwrap_or(true)).for_each(apply);
        Disk::new(content)
    }
}

impl BlockDevice for Disk {
    fn sectors(&self) -> u64 {
        SECTORS
    }
    fn read(&self, sector: u64, buffer: &mut [u8]) -> Result<(), IoError> {
        buffer.copy_from_slice(&self.0.borrow().content[sector as usize * SECTOR..][..buffer.len()]);
        Ok(())
    }
    fn write(&mut self, sector: u64, buffer: &[u8]) -> Result<(), IoError> {
        let mut state = self.0.borrow_mut();
        state.content[sector as usize * SECTOR..][..buffer.len()].copy_from_slice(buffer);
        for (n, bytes) in buffer.chunks_exact(SECTOR).enumerate() {
            state.history.push(Step::Write(sector + n as u64, Box::new(bytes.try_into().unwrap())));
        }
        Ok(())
    }
    fn flush(&mut self) -> Result<(), IoError> {
        self.0.borrow_mut().history.push(Step::Flush);
        Ok(())
    }
}

/// Something to do with a mounted volume.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    /// Write file number `.0` with content made of `.1`, `.2` bytes long.
    Write(u8, u8, u16),
    /// Remove file number `.0`.
    Remove(u8),
    /// Flush.
    Flush,
    /// Write file records home.
    Checkpoint,
}

/// Returns the name of file number `n`.
pub(crate) fn name(n: u8) -> String {
    format!("file{n}.dat")
}

/// Returns the content that [`Action::Write`] gives a file.
pub(crate) fn content(seed: u8, length: u16) -> Vec<u8> {
    (0..usize::from(length)).map(|i| (i / 7) as u8 ^ seed).collect()
}
