//! Judging a disk from outside, without writing to it.

use crate::block::{BlockDevice, IoError, Partition};
use crate::checksum::crc32;
use crate::damage::Damage;
use crate::file_record::FileRecord;
use crate::layout::{self, BLOCK};
use crate::mbr::Mbr;
use crate::recover::Recovered;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

/// State of a disk's volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Unmounted in order, or never mounted; everything there.
    Intact,
    /// Mounted when its machine stopped; a mount will replay the log and find everything there.
    Replayable,
    /// No mount can bring it back.
    Destroyed,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Intact => "intact",
            Self::Replayable => "dirty-but-replayable",
            Self::Destroyed => "destroyed",
        })
    }
}

/// Findings of [`check`].
#[derive(Clone, Debug)]
pub struct Report {
    /// The verdict; [`Verdict::Destroyed`] if and only if there is damage.
    pub verdict: Verdict,
    /// The disk signature; 0 if there is no partition table.
    pub signature: u32,
    /// The volume's label.
    pub label: String,
    /// Generation of the last mount; 0 if there was none.
    pub generation: u64,
    /// The files with their sizes in bytes.
    pub files: Vec<(String, u64)>,
    /// Everything that is wrong, the cause first.
    pub damage: Vec<Damage>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.verdict)?;
        for (n, damage) in self.damage.iter().enumerate() {
            write!(f, "{}{damage}", if n == 0 { ": " } else { "; " })?;
        }
        Ok(())
    }
}

/// Reads a file of the volume in the first partition of `disk`; `None` where there is none of this name, or no
/// volume.
pub fn read_file(disk: &dyn BlockDevice, name: &str) -> Result<Option<Vec<u8>>, IoError> {
    let Some(mbr) = Mbr::read(disk)? else { return Ok(None) };
    let Some((first, sectors)) = mbr.partitions(disk.sectors()).next() else { return Ok(None) };
    let partition = Partition::new(ReadOnly(disk), first, sectors);
    let Ok(found) = Recovered::read(&partition)? else { return Ok(None) };
    let Some(record) = found.files.iter().find(|record| record.name() == name) else { return Ok(None) };
    let mut content = alloc::vec![0; record.blocks().len() * BLOCK];
    for (at, block) in content.chunks_exact_mut(BLOCK).zip(record.blocks()) {
        partition.read(layout::data_block(block.block.get()), at)?;
    }
    content.truncate(record.size.get() as usize);
    Ok(Some(content))
}

/// Checks the volume in the first partition of `disk`: metadata with the log applied, and the
/// checksum of every block of every file.
pub fn check(disk: &dyn BlockDevice) -> Result<Report, IoError> {
    let mut report = Report {
        verdict: Verdict::Destroyed,
        signature: 0,
        label: String::new(),
        generation: 0,
        files: Vec::new(),
        damage: Vec::new(),
    };
    let Some(mbr) = Mbr::read(disk)? else {
        report.damage.push(Damage::NoPartition);
        return Ok(report);
    };
    report.signature = mbr.signature.get();
    let Some((first, sectors)) = mbr.partitions(disk.sectors()).next() else {
        report.damage.push(Damage::NoPartition);
        return Ok(report);
    };
    let partition = Partition::new(ReadOnly(disk), first, sectors);
    let found = match Recovered::read(&partition)? {
        Ok(found) => found,
        Err(damage) => {
            report.damage.push(damage);
            return Ok(report);
        }
    };
    report.label = found.superblock.label().to_string();
    report.generation = found.superblock.generation.get();
    let files = found.files.iter().filter(|record| !record.name().is_empty());
    report.files = files.map(|record| (record.name().to_string(), record.size.get())).collect();
    report.damage = found.damage;
    check_data(&partition, &found.files, found.superblock.sectors.get(), &mut report.damage)?;
    report.verdict = match (report.damage.is_empty(), found.superblock.mounted.get()) {
        (false, _) => Verdict::Destroyed,
        (true, 0) => Verdict::Intact,
        (true, _) => Verdict::Replayable,
    };
    Ok(report)
}

/// Reads every block of every file.
fn check_data(
    device: &impl BlockDevice,
    files: &[FileRecord],
    sectors: u64,
    damage: &mut Vec<Damage>,
) -> Result<(), IoError> {
    let mut owners = BTreeMap::new();
    for record in files {
        for block in record.blocks() {
            let (number, file) = (block.block.get(), record.name().to_string());
            if number >= layout::data_blocks(sectors) {
                damage.push(Damage::BlockOutside { file, block: number });
                continue;
            }
            if let Some(first) = owners.insert(number, record.name()) {
                let first = first.to_string();
                damage.push(Damage::CrossLinked { first, second: file.clone(), block: number });
            }
            let mut bytes = [0; BLOCK];
            device.read(layout::data_block(number), &mut bytes)?;
            let (expected, found) = (block.crc.get(), crc32(&bytes));
            if expected != found {
                damage.push(Damage::Data { file, block: number, expected, found });
            }
        }
    }
    Ok(())
}

/// A device that refuses to be written.
struct ReadOnly<'a>(&'a dyn BlockDevice);

impl BlockDevice for ReadOnly<'_> {
    fn sectors(&self) -> u64 {
        self.0.sectors()
    }
    fn read(&self, sector: u64, buffer: &mut [u8]) -> Result<(), IoError> {
        self.0.read(sector, buffer)
    }
    fn write(&mut self, sector: u64, _: &[u8]) -> Result<(), IoError> {
        /// Read-only file system (`EROFS`).
        const READ_ONLY: i32 = 30;
        Err(IoError { sector, code: READ_ONLY })
    }
    fn flush(&mut self) -> Result<(), IoError> {
        Ok(())
    }
}
