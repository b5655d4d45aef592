//! Reading what the last mount left: superblock, mount records, file records with the log applied,
//! and every contradiction between them. Writes nothing; mounting and checking both begin here.

use crate::block::{BlockDevice, IoError};
use crate::damage::Damage;
use crate::file_record::{self, FileRecord};
use crate::layout::{self, FILES, LOG_RECORDS, MOUNTS};
use crate::log::{self, LogRecord};
use crate::mount_record::MountRecord;
use crate::superblock::Superblock;
use alloc::vec::Vec;

/// A volume's metadata as a mount would see it.
pub struct Recovered {
    /// The superblock.
    pub superblock: Superblock,
    /// The file records with the log applied.
    pub files: [FileRecord; FILES],
    /// Indices of file records that the log changed, in log order.
    pub replayed: Vec<usize>,
    /// The last transaction there is.
    pub sequence: u64,
    /// The readable mount records.
    pub mounts: Vec<MountRecord>,
    /// Contradictions that no crash explains.
    pub damage: Vec<Damage>,
}

impl Recovered {
    /// Reads the metadata of the volume on `device`. `Ok(Err(_))` if there is no volume to speak of.
    pub fn read(device: &impl BlockDevice) -> Result<Result<Self, Damage>, IoError> {
        let Some(superblock) = Superblock::parse(&device.read_sector(layout::SUPERBLOCK)?) else {
            return Ok(Err(Damage::NoSuperblock));
        };
        if superblock.sectors.get() > device.sectors() {
            let (expected, found) = (superblock.sectors.get(), device.sectors());
            return Ok(Err(Damage::Size { expected, found }));
        }
        let mut this = Self {
            superblock,
            files: [FileRecord::free(); FILES],
            replayed: Vec::new(),
            sequence: superblock.sequence.get(),
            mounts: Vec::new(),
            damage: Vec::new(),
        };
        this.read_mounts(device)?;
        this.read_files(device)?;
        this.judge_mounts();
        Ok(Ok(this))
    }

    /// The record of mount `generation`, if it is still there.
    pub fn mount(&self, generation: u64) -> Option<&MountRecord> {
        self.mounts.iter().find(|m| m.generation == generation)
    }

    fn read_mounts(&mut self, device: &impl BlockDevice) -> Result<(), IoError> {
        for slot in 0..MOUNTS {
            let sector = device.read_sector(layout::MOUNT_RECORDS + slot)?;
            self.mounts.extend(MountRecord::parse(&sector));
        }
        Ok(())
    }

    /// Reads the file records at home and applies the log to them.
    fn read_files(&mut self, device: &impl BlockDevice) -> Result<(), IoError> {
        let mut readable = [true; FILES];
        for (index, record) in self.files.iter_mut().enumerate() {
            match FileRecord::parse(&device.read_sector(layout::file_record(index))?) {
                Some(found) => *record = found,
                None => readable[index] = false,
            }
        }
        let mut root = self.superblock.root.get();
        for slot in 0..LOG_RECORDS {
            let mut bytes = [0; log::BYTES];
            device.read(layout::log_record(slot), &mut bytes)?;
            let Some(LogRecord { header, image }) = LogRecord::parse(&bytes) else { break };
            let Some(record) = FileRecord::parse(&image) else { break };
            if header.generation != self.superblock.generation || header.sequence != self.sequence + 1 {
                break;
            }
            let target = header.target.get() as usize;
            (self.files[target], readable[target]) = (record, true);
            self.replayed.push(target);
            self.sequence = header.sequence.get();
            root = header.root.get();
        }
        let unreadable = (0..FILES).filter(|&i| !readable[i]);
        self.damage.extend(unreadable.map(|index| Damage::FileRecord { index }));
        let found = file_record::root(&self.files);
        if found != root {
            self.damage.push(Damage::StaleFileRecords { expected: root, found });
        }
        Ok(())
    }

    /// Holds the mount records against each other, the superblock and the log.
    fn judge_mounts(&mut self) {
        let owner = self.superblock.generation.get();
        match self.mount(owner) {
            None if owner == 0 => {}
            None => self.damage.push(Damage::NoMountRecord { generation: owner }),
            Some(record) if record.promised.get() > self.sequence => {
                let (promised, found) = (record.promised.get(), self.sequence);
                self.damage.push(Damage::LostTransaction { promised, found });
            }
            Some(_) => {}
        }
        for later in &self.mounts {
            let first = later.predecessor.get();
            if let Some(earlier) = self.mount(first)
                && earlier.activity != later.predecessor_activity
            {
                let (second, expected) = (later.generation.get(), later.predecessor_activity.get());
                let found = earlier.activity.get();
                self.damage.push(Damage::MountedTwice { first, second, expected, found });
            }
            // A mount that crashed before it took over the superblock has written nothing else.
            if later.generation.get() > owner && later.activity != 0 {
                let writer = later.generation.get();
                self.damage.push(Damage::GenerationWentBack { superblock: owner, writer });
            }
        }
    }
}
