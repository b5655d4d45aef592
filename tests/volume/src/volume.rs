//! A mounted volume: cached metadata, a log that is ahead of it, homes that lag behind.

use crate::block::{BlockDevice, IoError};
use crate::checksum::crc32;
use crate::damage::Damage;
use crate::file_record::{self, BlockRef, FileRecord, MAX_SIZE, NAME};
use crate::layout::{self, BLOCK, LOG_RECORDS};
use crate::log::LogRecord;
use crate::mount_record::MountRecord;
use crate::recover::Recovered;
use crate::superblock::Superblock;
use alloc::collections::BTreeSet;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

/// The reason why an operation on a volume failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The device failed.
    Io(IoError),
    /// The volume contradicts itself; it is not mounted, or the read not answered.
    Corrupt(Damage),
    /// No free block or file record, or the disk is too small to format.
    NoSpace,
    /// No file of this name.
    NotFound,
    /// An empty or too long name or label.
    BadName,
    /// More than [`MAX_SIZE`] bytes.
    TooLarge,
}

impl From<IoError> for Error {
    fn from(error: IoError) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Corrupt(damage) => damage.fmt(f),
            Self::NoSpace => write!(f, "no space"),
            Self::NotFound => write!(f, "no such file"),
            Self::BadName => write!(f, "name is empty or longer than {NAME} bytes (label: 16)"),
            Self::TooLarge => write!(f, "file is larger than {MAX_SIZE} bytes"),
        }
    }
}

impl core::error::Error for Error {}

/// A mounted volume. It trusts its cache as file systems do: what it has read of the metadata it
/// never reads again, because nobody else writes it. Dropping it is a crash; see
/// [`unmount`](Self::unmount).
#[derive(Debug)]
pub struct Volume<D> {
    device: D,
    superblock: Superblock,
    record: MountRecord,
    files: Vec<FileRecord>,
    /// File records that are newer in the log than at home.
    dirty: BTreeSet<usize>,
    /// The last transaction in the log.
    sequence: u64,
    /// Log slot of the next transaction.
    next_slot: u64,
    used: Vec<bool>,
    /// Blocks that the last transactions gave up. The versions of files they belong to are what a
    /// crash now would bring back, so they are not reused before a flush.
    released: Vec<u32>,
}

impl<D: BlockDevice> Volume<D> {
    /// Mounts the volume on `device` (a partition): recovers it, becomes its owner, writes what was
    /// in the log home and starts an empty log.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the volume contradicts itself; it is then left untouched.
    pub fn mount(device: D) -> Result<Self, Error> {
        let found = Recovered::read(&device)?.map_err(Error::Corrupt)?;
        if let Some(damage) = found.damage.first() {
            return Err(Error::Corrupt(damage.clone()));
        }
        let owner = found.superblock.generation.get();
        let record = MountRecord::new(owner + 1, found.mount(owner), found.sequence);
        let mut used = vec![false; layout::data_blocks(found.superblock.sectors.get()) as usize];
        for block in found.files.iter().flat_map(FileRecord::blocks) {
            if let Some(bit) = used.get_mut(block.block.get() as usize) {
                *bit = true;
            }
        }
        let mut this = Self {
            device,
            superblock: found.superblock,
            record,
            files: found.files,
            dirty: found.replayed.into_iter().collect(),
            sequence: found.sequence,
            next_slot: 0,
            used,
            released: Vec::new(),
        };
        this.write_record()?;
        this.device.flush()?;
        this.superblock.generation = record.generation;
        this.superblock.mounted = 1.into();
        this.write_home()?;
        Ok(this)
    }

    /// Returns this mount's generation: 1 for the first since format, one more each time.
    pub fn generation(&self) -> u64 {
        self.record.generation.get()
    }

    /// Returns the device that it is on.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// Returns the volume's label.
    pub fn label(&self) -> &str {
        self.superblock.label()
    }

    /// Returns the names of the files.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(FileRecord::name).filter(|name| !name.is_empty())
    }

    /// Reads a file, each block against its checksum.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Corrupt`] if a block is not what was written.
    pub fn read_file(&self, name: &str) -> Result<Vec<u8>, Error> {
        let record = &self.files[self.find(name).ok_or(Error::NotFound)?];
        let mut content = vec![0; record.blocks().len() * BLOCK];
        for (at, block) in content.chunks_exact_mut(BLOCK).zip(record.blocks()) {
            self.device.read(layout::data_block(block.block.get()), at)?;
            let found = crc32(at);
            if block.crc != found {
                let (file, expected) = (name.to_string(), block.crc.get());
                return Err(Error::Corrupt(Damage::Data { file, block: block.block.get(), expected, found }));
            }
        }
        content.truncate(record.size.get() as usize);
        Ok(content)
    }

    /// Writes a file, new or in place of an old one. After a crash there is the old or the new
    /// one; after [`flush`](Self::flush) the new one.
    ///
    /// # Errors
    /// [`Error::BadName`], [`Error::TooLarge`], [`Error::NoSpace`].
    pub fn write_file(&mut self, name: &str, content: &[u8]) -> Result<(), Error> {
        if name.is_empty() || name.len() > NAME {
            return Err(Error::BadName);
        }
        if content.len() > MAX_SIZE {
            return Err(Error::TooLarge);
        }
        let target = self.find(name).or_else(|| self.find("")).ok_or(Error::NoSpace)?;
        if self.next_slot == LOG_RECORDS {
            self.checkpoint()?;
        }
        let blocks = match self.free_blocks(content.len().div_ceil(BLOCK)) {
            Some(blocks) => blocks,
            None => {
                self.flush()?;
                self.free_blocks(content.len().div_ceil(BLOCK)).ok_or(Error::NoSpace)?
            }
        };
        self.announce()?;
        let blocks = self.write_data(&blocks, content)?;
        // The record must not be durable before the data it speaks of.
        self.device.flush()?;
        let mut record = FileRecord::new(name, content.len(), &blocks).ok_or(Error::BadName)?;
        record.generation = self.record.generation;
        record.sequence = (self.sequence + 1).into();
        self.log(target, record)
    }

    /// Removes a file. After a crash it may be there still; after [`flush`](Self::flush) it is not.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn remove_file(&mut self, name: &str) -> Result<(), Error> {
        let target = self.find(name).ok_or(Error::NotFound)?;
        if self.next_slot == LOG_RECORDS {
            self.checkpoint()?;
        }
        self.announce()?;
        self.log(target, FileRecord::free())
    }

    /// Makes everything written so far durable, and says so in the mount record.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.device.flush()?;
        for block in self.released.drain(..) {
            self.used[block as usize] = false;
        }
        if self.record.promised.get() != self.sequence {
            self.record.promised = self.sequence.into();
            self.announce()?;
            self.device.flush()?;
        }
        Ok(())
    }

    /// Writes the file records that lag behind home and starts an empty log.
    pub fn checkpoint(&mut self) -> Result<(), Error> {
        self.flush()?;
        if self.next_slot != 0 {
            self.announce()?;
            self.write_home()?;
        }
        Ok(())
    }

    /// Ends the mount; the volume is clean after it. Returns the device.
    pub fn unmount(mut self) -> Result<D, Error> {
        self.flush()?;
        self.announce()?;
        self.superblock.mounted = 0.into();
        self.write_home()?;
        Ok(self.device)
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.files.iter().position(|record| record.name() == name)
    }

    /// `count` blocks that no file has.
    fn free_blocks(&self, count: usize) -> Option<Vec<u32>> {
        let free = (0..).zip(&self.used).filter(|(_, used)| !**used).map(|(block, _)| block);
        let blocks: Vec<u32> = free.take(count).collect();
        (blocks.len() == count).then_some(blocks)
    }

    /// Writes `content` to `blocks`, the last one padded with zeros.
    fn write_data(&mut self, blocks: &[u32], content: &[u8]) -> Result<Vec<BlockRef>, Error> {
        let mut written = Vec::with_capacity(blocks.len());
        for (&block, part) in blocks.iter().zip(content.chunks(BLOCK)) {
            let mut bytes = [0; BLOCK];
            bytes[..part.len()].copy_from_slice(part);
            self.device.write(layout::data_block(block), &bytes)?;
            written.push(BlockRef { block: block.into(), crc: crc32(&bytes).into() });
        }
        Ok(written)
    }

    /// Appends the transaction that makes file record `target` into `record`.
    fn log(&mut self, target: usize, record: FileRecord) -> Result<(), Error> {
        let sector = record.to_sector();
        let old = core::mem::replace(&mut self.files[target], record);
        self.released.extend(old.blocks().iter().map(|b| b.block.get()));
        for block in record.blocks() {
            self.used[block.block.get() as usize] = true;
        }
        self.sequence += 1;
        let root = file_record::root(&self.files);
        let entry = LogRecord::new(self.generation(), self.sequence, target, root, sector);
        self.device.write(layout::log_record(self.next_slot), &entry.to_bytes())?;
        self.next_slot += 1;
        self.dirty.insert(target);
        Ok(())
    }

    /// Raises the activity on disk, before anything else is written.
    fn announce(&mut self) -> Result<(), Error> {
        self.record.activity += 1;
        self.write_record()
    }

    fn write_record(&mut self) -> Result<(), Error> {
        let sector = layout::mount_record(self.generation());
        Ok(self.device.write(sector, &self.record.to_sector())?)
    }

    /// Writes dirty file records home, then a superblock that no longer needs the log.
    fn write_home(&mut self) -> Result<(), Error> {
        for index in core::mem::take(&mut self.dirty) {
            self.device.write(layout::file_record(index), &self.files[index].to_sector())?;
        }
        self.device.flush()?;
        self.superblock.sequence = self.sequence.into();
        self.superblock.root = file_record::root(&self.files).into();
        self.device.write(layout::SUPERBLOCK, &self.superblock.to_sector())?;
        self.device.flush()?;
        self.next_slot = 0;
        Ok(())
    }
}
