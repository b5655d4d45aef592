//! A disk as a logical unit, as its backend describes it, and what of that may change.
//!
//! The size may change at any time. When another backend takes the disk over (a migration, a restarted driver
//! domain) every feature may: cache, discard, write protection, physical blocks. The initiator is told by unit
//! attentions, the logical block stays what it was.

use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use scsi::{BlockSize, Cache, Discard, Lun, SECTOR, Sense, SerialNumber};
use xen::blkif::{Disk, FlushMethod};

use crate::MAXIMUM_TRANSFER;

/// Returns the logical unit for a backend's disk. For a `cdrom` drive it is the unit that data moves by; the
/// drive answers commands.
///
/// # Errors
/// The reason why the disk cannot be served.
pub fn unit(disk: &Disk, cdrom: bool, serial: SerialNumber) -> Result<Lun, &'static str> {
    let block_size = BlockSize::new(disk.sector_size).ok_or("its block size is not served")?;
    if disk.cdrom && !cdrom {
        return Err("the toolstack says it is a disk, and the backend a CD-ROM");
    }
    if cdrom && block_size.bytes() > scsi::cdrom::BLOCK.bytes() {
        return Err("its blocks are larger than a CD-ROM's");
    }
    let lun = Lun {
        sectors: disk.sectors,
        block_size,
        physical_block_size: disk.physical_sector_size,
        read_only: disk.read_only || cdrom,
        removable: disk.removable || cdrom,
        discard: disk
            .discard
            .map(|discard| Discard { granularity: discard.granularity, alignment: discard.alignment }),
        maximum_transfer: MAXIMUM_TRANSFER,
        cache: match disk.flush {
            // Nothing of a CD-ROM's is ever written.
            FlushMethod::Flush | FlushMethod::Barrier if !cdrom => Cache::Volatile,
            _ => Cache::NoFlush,
        },
        serial,
    };
    if lun.blocks() == 0 && !cdrom {
        return Err("it has no sectors");
    }
    Ok(lun)
}

/// Bits of [`Unit::attention`].
const CAPACITY: u8 = 1;
const PARAMETERS: u8 = 2;

/// A logical unit whose properties change while commands run: read by many, changed by one.
///
/// Size and features are a word each, so that nobody has to keep what another may still be looking at. A
/// command that sees the one of before and the other of after is checked again when it is put on the ring.
#[derive(Debug)]
pub struct Unit {
    /// The properties that never change, and the first values of those that do.
    base: Lun,
    sectors: AtomicU64,
    features: AtomicU64,
    /// Conditions that the initiator has to be told of.
    attention: AtomicU8,
    /// It answers commands as a disk does; a drive tells of changes by itself.
    tells: bool,
}

impl Unit {
    /// Returns a unit that begins like this; `tells`: changes are told by unit attentions.
    pub fn new(lun: Lun, tells: bool) -> Self {
        Self {
            base: lun,
            sectors: AtomicU64::new(lun.sectors),
            features: AtomicU64::new(pack(&lun)),
            attention: AtomicU8::new(0),
            tells,
        }
    }

    /// Returns the unit now. Any IRQL.
    pub fn lun(&self) -> Lun {
        let lun = Lun { sectors: self.sectors.load(Ordering::Relaxed), ..self.base };
        unpack(lun, self.features.load(Ordering::Relaxed))
    }

    /// Takes over a new size, in sectors of 512 bytes; returns whether it is another. By one thread at a time,
    /// as the methods below.
    pub fn resize(&self, sectors: u64) -> bool {
        let changed = self.sectors.swap(sectors, Ordering::Relaxed) != sectors;
        self.tell(changed, CAPACITY);
        changed
    }

    /// Takes over the disk of another backend; returns whether it differs from the one before.
    ///
    /// A cache that is no longer there stays one that may be flushed: initiators go on asking, and each flush is
    /// done at once.
    pub fn replace(&self, lun: &Lun) -> bool {
        let before = self.lun();
        let cache = match (before.cache, lun.cache) {
            (Cache::Volatile | Cache::Gone, Cache::NoFlush) => Cache::Gone,
            (_, cache) => cache,
        };
        let features = pack(&Lun { cache, ..*lun });
        let changed = self.features.swap(features, Ordering::Relaxed) != features;
        self.tell(changed, PARAMETERS);
        self.resize(lun.sectors) || changed
    }

    /// Takes over what the backend does not do after all: it has refused what it offered. Returns true if
    /// anything changed.
    pub fn unlearn(&self, disk: &Disk) -> bool {
        let before = self.lun();
        let mut lun = before;
        if disk.flush == FlushMethod::None && before.cache == Cache::Volatile {
            lun.cache = Cache::Gone;
        }
        if disk.discard.is_none() {
            lun.discard = None;
        }
        if lun == before {
            return false;
        }
        self.features.store(pack(&lun), Ordering::Relaxed);
        self.tell(true, PARAMETERS);
        true
    }

    /// Takes the condition like [`Unit::take_attention`], if the command in `cdb` is one that is refused for
    /// it. Any IRQL.
    pub fn take_attention_for(&self, cdb: &[u8]) -> Option<Sense> {
        if self.attention.load(Ordering::Relaxed) == 0 || !scsi::hears_attention(cdb) {
            return None;
        }
        self.take_attention()
    }

    /// Takes the unit attention that the initiator has to be given. From here on it counts as given. Any
    /// IRQL.
    pub fn take_attention(&self) -> Option<Sense> {
        if self.attention.fetch_and(!CAPACITY, Ordering::AcqRel) & CAPACITY != 0 {
            return Some(Sense::CAPACITY_CHANGED);
        }
        let told = self.attention.fetch_and(!PARAMETERS, Ordering::AcqRel) & PARAMETERS != 0;
        told.then_some(Sense::PARAMETERS_CHANGED)
    }

    fn tell(&self, changed: bool, what: u8) {
        if changed && self.tells {
            self.attention.fetch_or(what, Ordering::AcqRel);
        }
    }
}

/// Bits of the features' word: flags, then the physical block as a power of two, then the discard unit and its
/// alignment in sectors.
const READ_ONLY: u64 = 1;
const VOLATILE: u64 = 2;
const GONE: u64 = 4;
const DISCARD: u64 = 8;
const PHYSICAL_SHIFT: u32 = 4;
const GRANULARITY_SHIFT: u32 = 10;
const ALIGNMENT_SHIFT: u32 = 33;
/// Bits of a discard unit, which is at most 1 GiB.
const DISCARD_BITS: u64 = (1 << 22) - 1;

fn pack(lun: &Lun) -> u64 {
    let flag = |set: bool, bit: u64| if set { bit } else { 0 };
    let physical = u64::from(lun.physical_block_size.max(1).trailing_zeros() & 0x3F);
    let sectors = |bytes: u32| u64::from(bytes / SECTOR) & DISCARD_BITS;
    let discard = lun.discard.map_or(0, |discard| {
        DISCARD
            | sectors(discard.granularity) << GRANULARITY_SHIFT
            | sectors(discard.alignment) << ALIGNMENT_SHIFT
    });
    flag(lun.read_only, READ_ONLY)
        | flag(lun.cache == Cache::Volatile, VOLATILE)
        | flag(lun.cache == Cache::Gone, GONE)
        | physical << PHYSICAL_SHIFT
        | discard
}

fn unpack(lun: Lun, features: u64) -> Lun {
    let has = |bit: u64| features & bit != 0;
    let bytes = |shift: u32| (features >> shift & DISCARD_BITS) as u32 * SECTOR;
    Lun {
        read_only: has(READ_ONLY),
        cache: match (has(VOLATILE), has(GONE)) {
            (true, _) => Cache::Volatile,
            (false, true) => Cache::Gone,
            (false, false) => Cache::NoFlush,
        },
        physical_block_size: 1 << (features >> PHYSICAL_SHIFT & 0x1F),
        discard: has(DISCARD)
            .then(|| Discard { granularity: bytes(GRANULARITY_SHIFT), alignment: bytes(ALIGNMENT_SHIFT) }),
        ..lun
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISK: Disk = Disk {
        sectors: 4096,
        sector_size: 512,
        physical_sector_size: 4096,
        cdrom: false,
        removable: false,
        read_only: false,
        persistent: false,
        flush: FlushMethod::Flush,
        discard: Some(xen::blkif::Discard { granularity: 1 << 30, alignment: 4096 }),
    };

    fn lun(disk: &Disk) -> Lun {
        unit(disk, false, SerialNumber::local(768)).unwrap()
    }

    #[test]
    fn what_may_change_fits_its_words() {
        for read_only in [false, true] {
            for flush in [FlushMethod::Flush, FlushMethod::None] {
                for physical_sector_size in [512, 4096, 1 << 30] {
                    for discard in [None, DISK.discard] {
                        let disk = Disk { read_only, flush, physical_sector_size, discard, ..DISK };
                        assert_eq!(Unit::new(lun(&disk), true).lun(), lun(&disk));
                    }
                }
            }
        }
    }

    #[test]
    fn the_initiator_is_told_of_each_change_once() {
        let unit = Unit::new(lun(&DISK), true);
        assert!(!unit.replace(&lun(&DISK)));
        assert_eq!(unit.take_attention(), None);
        let other = Disk { sectors: 8192, read_only: true, ..DISK };
        assert!(unit.replace(&lun(&other)));
        assert_eq!(unit.lun(), lun(&other));
        assert_eq!(unit.take_attention(), Some(Sense::CAPACITY_CHANGED));
        assert_eq!(unit.take_attention(), Some(Sense::PARAMETERS_CHANGED));
        assert_eq!(unit.take_attention(), None);
        assert!(unit.resize(4096) && !unit.resize(4096));
        assert_eq!((unit.take_attention(), unit.take_attention()), (Some(Sense::CAPACITY_CHANGED), None));
        let drive = Unit::new(lun(&DISK), false);
        assert!(drive.resize(8));
        assert_eq!(drive.take_attention(), None);
    }

    /// A cache that appears is told of, so that initiators begin to flush; one that goes is flushed for ever.
    #[test]
    fn the_cache_follows_the_backend() {
        let none = Disk { flush: FlushMethod::None, ..DISK };
        let unit = Unit::new(lun(&none), true);
        assert_eq!(unit.lun().cache, Cache::NoFlush);
        assert!(unit.replace(&lun(&DISK)));
        assert_eq!(
            (unit.lun().cache, unit.take_attention()),
            (Cache::Volatile, Some(Sense::PARAMETERS_CHANGED))
        );
        assert!(unit.replace(&lun(&none)));
        assert_eq!((unit.lun().cache, unit.take_attention()), (Cache::Gone, Some(Sense::PARAMETERS_CHANGED)));
        assert!(!unit.replace(&lun(&none)));
        assert!(unit.replace(&lun(&DISK)) && !unit.unlearn(&DISK));
        assert!(unit.unlearn(&Disk { discard: None, ..none }));
        assert_eq!((unit.lun().cache, unit.lun().discard), (Cache::Gone, None));
    }
}
