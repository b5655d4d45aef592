//! The disk that a backend describes.

use super::{Error, SECTOR_SIZE};
use crate::store::{self, Store, path::PathBuf};
use crate::wire::blkif::{INFO_CDROM, INFO_READ_ONLY, INFO_REMOVABLE};

/// The backend's way to make earlier writes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushMethod {
    /// `feature-flush-cache`: FLUSH_DISKCACHE.
    Flush,
    /// `feature-barrier` alone: an empty WRITE_BARRIER.
    Barrier,
    /// Neither. The protocol then has no request that would make data durable, and does not say whether a
    /// write is when it completes (blkback offers no flush where its device has no volatile cache; others may
    /// simply not know how). The frontend refuses a flush; it never pretends one.
    None,
}

/// The backend's limits for discarding (`feature-discard`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discard {
    /// Bytes that are discarded together (`discard-granularity`); a multiple of the logical block.
    pub granularity: u32,
    /// Offset of the first such unit, in bytes (`discard-alignment`); less than the granularity.
    pub alignment: u32,
}

/// A disk, from the backend's nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Size in sectors of 512 bytes (`sectors`, which counts so whatever `sector-size` says).
    pub sectors: u64,
    /// Bytes of a logical block (`sector-size`), 512 to 4096; first sector and length of every request are
    /// multiples.
    pub sector_size: u32,
    /// Bytes of a physical block (`physical-sector-size`).
    pub physical_sector_size: u32,
    /// A CD-ROM (`info`).
    pub cdrom: bool,
    /// Removable (`info`).
    pub removable: bool,
    /// Read-only (`info`).
    pub read_only: bool,
    /// The backend keeps grants mapped between requests (`feature-persistent`). Linux's blkback says so when
    /// it connects and not before.
    pub persistent: bool,
    /// The way to flush.
    pub flush: FlushMethod,
    /// Limits for discarding, if sectors can be discarded.
    pub discard: Option<Discard>,
}

impl Disk {
    /// Reads the backend's nodes below `backend`. *Passive*.
    ///
    /// # Errors
    /// [`Error::Store`]; [`Error::Node`] where a value is out of bounds.
    pub fn read(store: &mut impl Store, backend: &PathBuf) -> Result<Self, Error> {
        let mut number = |node: &'static str| {
            let path = backend.join(node).map_err(|error| Error::Store { node, error })?;
            store::read_optional(store, &path).map_err(|error| Error::Store { node, error })
        };
        let missing = |node| Error::Store { node, error: store::Error::Refused(store::Errno::NoEntry) };

        let sectors = number("sectors")?.ok_or(missing("sectors"))?;
        // Bytes of the disk fit 64 bits.
        if sectors > u64::MAX / u64::from(SECTOR_SIZE) {
            return Err(Error::Node { node: "sectors", found: sectors });
        }
        let sector_size = number("sector-size")?.unwrap_or(SECTOR_SIZE.into());
        if !matches!(sector_size, 512 | 1024 | 2048 | 4096) {
            return Err(Error::Node { node: "sector-size", found: sector_size });
        }
        if !sectors.is_multiple_of(sector_size / u64::from(SECTOR_SIZE)) {
            return Err(Error::Node { node: "sectors", found: sectors });
        }
        let physical = number("physical-sector-size")?.unwrap_or(sector_size);
        if !physical.is_power_of_two() || physical < sector_size || physical > 1 << 30 {
            return Err(Error::Node { node: "physical-sector-size", found: physical });
        }
        let info = number("info")?.ok_or(missing("info"))?;
        let has = |bit: u32| info & u64::from(bit) != 0;
        let persistent = match number("feature-persistent") {
            // What is no number is no offer.
            Err(Error::Store { error: store::Error::Value, .. }) => false,
            other => other?.unwrap_or(0) != 0,
        };
        let flush = if number("feature-flush-cache")?.unwrap_or(0) != 0 {
            FlushMethod::Flush
        } else if number("feature-barrier")?.unwrap_or(0) != 0 {
            FlushMethod::Barrier
        } else {
            FlushMethod::None
        };
        let discard = if number("feature-discard")?.unwrap_or(0) == 0 {
            None
        } else {
            // Values that make no sense lose the unit, not the disk: discarding is advice.
            let granularity = number("discard-granularity")?.unwrap_or(sector_size);
            let alignment = number("discard-alignment")?.unwrap_or(0);
            let sound = granularity != 0
                && granularity.is_multiple_of(sector_size)
                && granularity <= 1 << 30
                && alignment < granularity
                && alignment.is_multiple_of(sector_size);
            let (granularity, alignment) = if sound { (granularity, alignment) } else { (sector_size, 0) };
            Some(Discard { granularity: granularity as u32, alignment: alignment as u32 })
        };
        Ok(Self {
            sectors,
            sector_size: sector_size as u32,
            physical_sector_size: physical as u32,
            cdrom: has(INFO_CDROM),
            removable: has(INFO_REMOVABLE),
            read_only: has(INFO_READ_ONLY),
            persistent,
            flush,
            discard,
        })
    }

    /// Checks that a run of sectors is on the disk and made of whole logical blocks.
    ///
    /// # Errors
    /// [`Error::Range`], [`Error::Block`].
    #[inline]
    pub fn check(&self, sector: u64, count: u64) -> Result<(), Error> {
        if sector.checked_add(count).is_none_or(|end| end > self.sectors) {
            return Err(Error::Range { sector, count, sectors: self.sectors });
        }
        // A block is a power of two of sectors.
        let inside_block = u64::from(self.sector_size / SECTOR_SIZE).wrapping_sub(1);
        if (sector | count) & inside_block != 0 {
            return Err(Error::Block { sector, count, block: self.sector_size });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Tree;
    use crate::store::Errno;

    const NODES: [(&str, &str); 6] = [
        ("sectors", "2048"),
        ("sector-size", "512"),
        ("physical-sector-size", "4096"),
        ("info", "0"),
        ("feature-flush-cache", "1"),
        ("feature-barrier", "1"),
    ];

    fn read(changes: &[(&str, Option<&str>)]) -> Result<Disk, Error> {
        let mut tree = Tree::default();
        for (node, value) in NODES {
            tree.set(&std::format!("b/{node}"), value);
        }
        for (node, value) in changes {
            let path = std::format!("b/{node}");
            match value {
                Some(value) => tree.set(&path, value),
                None => assert!(tree.delete(&path)),
            }
        }
        Disk::read(&mut tree, &PathBuf::new("b").unwrap())
    }

    #[test]
    fn nodes_make_a_disk() {
        let disk = read(&[]).unwrap();
        let expected = Disk {
            sectors: 2048,
            sector_size: 512,
            physical_sector_size: 4096,
            cdrom: false,
            removable: false,
            read_only: false,
            persistent: false,
            flush: FlushMethod::Flush,
            discard: None,
        };
        assert_eq!(disk, expected);
        let info =
            |value| read(&[("info", Some(value))]).map(|disk| (disk.cdrom, disk.removable, disk.read_only));
        assert_eq!(info("1"), Ok((true, false, false)));
        assert_eq!(info("2"), Ok((false, true, false)));
        assert_eq!(info("4"), Ok((false, false, true)));
    }

    #[test]
    fn sectors_are_512_bytes_whatever_the_block() {
        assert_eq!(read(&[("sector-size", Some("4096"))]).unwrap().sectors, 2048);
    }

    #[test]
    fn a_flush_is_preferred_to_a_barrier_and_neither_is_said() {
        let flush = |changes: &[_]| read(changes).unwrap().flush;
        assert_eq!(flush(&[("feature-flush-cache", None)]), FlushMethod::Barrier);
        assert_eq!(flush(&[("feature-flush-cache", Some("0"))]), FlushMethod::Barrier);
        assert_eq!(flush(&[("feature-barrier", None)]), FlushMethod::Flush);
        assert_eq!(
            flush(&[("feature-flush-cache", Some("0")), ("feature-barrier", Some("0"))]),
            FlushMethod::None
        );
        assert_eq!(flush(&[("feature-flush-cache", None), ("feature-barrier", None)]), FlushMethod::None);
    }

    #[test]
    fn discarding_is_offered_with_its_unit() {
        let discard = |changes: &[_]| read(changes).unwrap().discard;
        let unit = |granularity, alignment| Some(Discard { granularity, alignment });
        let on = ("feature-discard", Some("1"));
        assert_eq!(discard(&[]), None);
        assert_eq!(discard(&[("feature-discard", Some("0"))]), None);
        assert_eq!(discard(&[on]), unit(512, 0));
        let with = |granularity, alignment| {
            discard(&[on, ("discard-granularity", Some(granularity)), ("discard-alignment", Some(alignment))])
        };
        assert_eq!(with("65536", "4096"), unit(65536, 4096));
        for (granularity, alignment) in [("0", "0"), ("700", "0"), ("4096", "4096"), ("4096", "100")] {
            assert_eq!(with(granularity, alignment), unit(512, 0), "{granularity} {alignment}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (node, value, found) in [
            ("sectors", "36028797018963968", 1 << 55),
            ("sector-size", "0", 0),
            ("sector-size", "513", 513),
            ("sector-size", "8192", 8192),
            ("physical-sector-size", "0", 0),
            ("physical-sector-size", "768", 768),
            ("physical-sector-size", "256", 256),
            ("physical-sector-size", "2147483648", 1 << 31),
        ] {
            assert_eq!(read(&[(node, Some(value))]), Err(Error::Node { node, found }), "{value}");
        }
        let uneven = read(&[("sectors", Some("2047")), ("sector-size", Some("4096"))]);
        assert_eq!(uneven, Err(Error::Node { node: "sectors", found: 2047 }));
        let text = read(&[("sectors", Some("many"))]);
        assert_eq!(text, Err(Error::Store { node: "sectors", error: store::Error::Value }));
        for node in ["sectors", "info"] {
            let error = store::Error::Refused(Errno::NoEntry);
            assert_eq!(read(&[(node, None)]), Err(Error::Store { node, error }));
        }
        assert_eq!(read(&[("physical-sector-size", None)]).unwrap().physical_sector_size, 512);
    }

    #[test]
    fn runs_are_whole_blocks_on_the_disk() {
        let disk = read(&[("sector-size", Some("4096"))]).unwrap();
        assert_eq!(disk.check(2040, 8), Ok(()));
        assert_eq!(disk.check(2048, 0), Ok(()));
        let range = |sector, count| Err(Error::Range { sector, count, sectors: 2048 });
        assert_eq!(disk.check(2041, 8), range(2041, 8));
        assert_eq!(disk.check(u64::MAX, 8), range(u64::MAX, 8));
        let block = |sector, count| Err(Error::Block { sector, count, block: 4096 });
        assert_eq!(disk.check(4, 8), block(4, 8));
        assert_eq!(disk.check(8, 4), block(8, 4));
    }
}
