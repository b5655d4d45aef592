//! Reading what the last mount left: superblock, mount records, file records with the log applied,
//! and every contradiction between them. Writes nothing; mounting and checking both begin here.

use crate::block::{BlockDevice, IoError, SECTOR, Sector};
use crate::damage::Damage;
use crate::file_record::{self, FileRecord};
use crate::layout::{self, FILES, LOG_RECORDS, MOUNTS};
use crate::log::LogRecord;
use crate::mount_record::MountRecord;
use crate::superblock::Superblock;
use alloc::vec;
use alloc::vec::Vec;

/// Everything before the data, read in one transfer.
struct Metadata(Vec<Sector>);

impl Metadata {
    fn read(device: &impl BlockDevice) -> Result<Self, IoError> {
        let mut sectors = vec![[0; SECTOR]; layout::DATA as usize];
        device.read(0, sectors.as_flattened_mut())?;
        Ok(Self(sectors))
    }

    fn sector(&self, sector: u64) -> &Sector {
        &self.0[sector as usize]
    }
}

/// A volume's metadata as a mount would see it.
pub(crate) struct Recovered {
    /// The superblock.
    pub superblock: Superblock,
    /// The file records with the log applied.
    pub files: Vec<FileRecord>,
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
    pub(crate) fn read(device: &impl BlockDevice) -> Result<Result<Self, Damage>, IoError> {
        if device.sectors() < layout::DATA {
            return Ok(Err(Damage::NoSuperblock));
        }
        let metadata = Metadata::read(device)?;
        let Some(superblock) = Superblock::parse(metadata.sector(layout::SUPERBLOCK)) else {
            return Ok(Err(Damage::NoSuperblock));
        };
        if superblock.sectors.get() > device.sectors() {
            let (expected, found) = (superblock.sectors.get(), device.sectors());
            return Ok(Err(Damage::Size { expected, found }));
        }
        let mut this = Self {
            superblock,
            files: vec![FileRecord::free(); FILES],
            replayed: Vec::new(),
            sequence: superblock.sequence.get(),
            mounts: Vec::new(),
            damage: Vec::new(),
        };
        this.read_mounts(&metadata);
        this.read_files(&metadata);
        this.judge_mounts();
        Ok(Ok(this))
    }

    /// Returns the record of mount `generation`, if it is still there.
    pub(crate) fn mount(&self, generation: u64) -> Option<&MountRecord> {
        self.mounts.iter().find(|m| m.generation == generation)
    }

    fn read_mounts(&mut self, metadata: &Metadata) {
        let sectors = (0..MOUNTS).map(|slot| metadata.sector(layout::MOUNT_RECORDS + slot));
        self.mounts.extend(sectors.filter_map(MountRecord::parse));
    }

    /// Takes the file records at home and applies the log to them.
    fn read_files(&mut self, metadata: &Metadata) {
        let mut readable = [true; FILES];
        for (index, record) in self.files.iter_mut().enumerate() {
            match FileRecord::parse(metadata.sector(layout::file_record(index))) {
                Some(found) => *record = found,
                None => readable[index] = false,
            }
        }
        let mut root = self.superblock.root.get();
        for slot in 0..LOG_RECORDS {
            let at = layout::log_record(slot);
            let Some(entry) = LogRecord::parse(metadata.sector(at), metadata.sector(at + 1)) else { break };
            let Some(record) = FileRecord::parse(&entry.image) else { break };
            let header = entry.header;
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
    }

    /// Holds the mount records against each other, the superblock and the log.
    fn judge_mounts(&mut self) {
        let owner = self.superblock.generation.get();
        match self.mount(owner) {
            None if owner == 0 => {}
            None => self.damage.push(Damage::NoMountRecord { generation: owner }),
            Some(record) if record.promised.get() > self.sequence => {
                let (promised, found) = (record.promised.get(), self.sequence);
                self.damage.push(Damage::LostTransaction { generation: owner, promised, found });
            }
            Some(_) => {}
        }
        let mounts = self.mounts.clone();
        for later in &mounts {
            let first = later.predecessor.get();
            if let Some(earlier) = mounts.iter().find(|m| m.generation == first)
                && earlier.activity != later.predecessor_activity
            {
                let (second, expected) = (later.generation.get(), later.predecessor_activity.get());
                let found = earlier.activity.get();
                self.damage.push(Damage::MountedTwice { first, second, expected, found });
                // The later mount never saw what the earlier one flushed after the change; nor does
                // the volume, unless the earlier one took it back.
                let (promised, found) = (earlier.promised.get(), later.found.get());
                if promised > found && owner != first {
                    self.damage.push(Damage::LostTransaction { generation: first, promised, found });
                }
            }
            // A mount that crashed before it took over the superblock has written nothing else.
            if later.generation.get() > owner && later.activity != 0 {
                let writer = later.generation.get();
                self.damage.push(Damage::GenerationWentBack { superblock: owner, writer });
            }
        }
    }
}
