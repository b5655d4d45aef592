//! Kinds of damage to a volume that no crash explains.

use alloc::string::String;
use core::fmt;

/// One finding. Each names what was expected and what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// No partition table, or no partition in it.
    NoPartition,
    /// The first sector of the partition is no intact superblock.
    NoSuperblock,
    /// The superblock describes more sectors than the partition has.
    Size {
        /// Sectors the superblock speaks of.
        expected: u64,
        /// Sectors there are.
        found: u64,
    },
    /// The owning mount's record is missing or unreadable.
    NoMountRecord {
        /// Its generation.
        generation: u64,
    },
    /// A mount went on writing after a later one had taken over: both were mounted at once.
    MountedTwice {
        /// The earlier mount.
        first: u64,
        /// The later mount.
        second: u64,
        /// The earlier mount's activity when the later one took over.
        expected: u64,
        /// Its activity now.
        found: u64,
    },
    /// The superblock belongs to an earlier mount than one that wrote.
    GenerationWentBack {
        /// Generation of the superblock.
        superblock: u64,
        /// Generation of the mount that wrote.
        writer: u64,
    },
    /// Data that a mount flushed is neither at home nor in the log.
    LostTransaction {
        /// The mount's generation.
        generation: u64,
        /// The last that was promised.
        promised: u64,
        /// The last there is.
        found: u64,
    },
    /// A file record is not as any mount wrote it.
    FileRecord {
        /// Its index.
        index: usize,
    },
    /// The file records do not have the checksum that the last transaction gave them: some went
    /// back to an older state.
    StaleFileRecords {
        /// Checksum of the last transaction.
        expected: u32,
        /// Checksum of what is there.
        found: u32,
    },
    /// A file's block lies outside the volume.
    BlockOutside {
        /// The file.
        file: String,
        /// The block.
        block: u32,
    },
    /// A block belongs to two files.
    CrossLinked {
        /// One file.
        first: String,
        /// The other.
        second: String,
        /// The block.
        block: u32,
    },
    /// A block does not have the content its file had.
    Data {
        /// The file.
        file: String,
        /// The block.
        block: u32,
        /// Its checksum in the file record.
        expected: u32,
        /// The checksum of what is there.
        found: u32,
    },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPartition => write!(f, "no partition"),
            Self::NoSuperblock => write!(f, "no superblock"),
            Self::Size { expected, found } => {
                write!(f, "volume of {expected} sectors in a partition of {found}")
            }
            Self::NoMountRecord { generation } => write!(f, "no record of mount {generation}"),
            Self::MountedTwice { first, second, expected, found } => write!(
                f,
                "mount {first} wrote while mount {second} was in charge (activity {expected}, now {found})"
            ),
            Self::GenerationWentBack { superblock, writer } => {
                write!(f, "superblock of mount {superblock} after writes of mount {writer}")
            }
            Self::LostTransaction { generation, promised, found } => write!(
                f,
                "mount {generation} flushed up to transaction {promised}, of which only those up to {found} are there"
            ),
            Self::FileRecord { index } => write!(f, "file record {index} is unreadable"),
            Self::StaleFileRecords { expected, found } => {
                write!(f, "file records have checksum {found:08x}, expected {expected:08x}")
            }
            Self::BlockOutside { file, block } => write!(f, "block {block} of {file} is outside the volume"),
            Self::CrossLinked { first, second, block } => {
                write!(f, "block {block} belongs to {first} and {second}")
            }
            Self::Data { file, block, expected, found } => {
                write!(f, "block {block} of {file} has checksum {found:08x}, expected {expected:08x}")
            }
        }
    }
}
