//! Sizes of a disk's rings: the driver's registry values, and what many disks have room for.
//!
//! `Services\xenvbd\Parameters`, all DWORDs:
//!
//! | value | default | meaning |
//! |---|---|---|
//! | `RingOrder` | 2 | pages of a ring as a power of two, 0 to 4, as far as the backend goes along |
//! | `Segments` | 256 | pages of memory in one ring request, 11 to 4096, as far as the backend goes along |
//! | `Queues` | 8 | most queues of a disk; never more than processors |
//! | `PersistentGrants` | 0 | 1: data is copied through pages that stay granted |

use wdm::registry::{self, Key};
use wdm::utf16;
use xen::blkif::Config;

/// Disks up to which each has all that it can use; with more, each has less.
const FEW: usize = 8;

/// The values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    ring_order: u8,
    segments: u16,
    /// Most queues of a disk.
    pub queues: usize,
    persistent: bool,
}

impl Options {
    /// Reads the values; `disks` is how many there are. PASSIVE_LEVEL.
    pub(crate) fn read(disks: usize) -> Self {
        let parameters = Key::open(registry::SERVICES)
            .and_then(|services| services.open_below(utf16!("xenvbd\\Parameters")))
            .ok();
        let value = |name: &[u16], default: u32, least: u32, most: u32| {
            let found = parameters.as_ref().and_then(|key| key.dword(name).ok());
            found.unwrap_or(default).clamp(least, most)
        };
        // 64 disks of one page each take as many grants as 16 of four.
        let order = if disks > FEW { 0 } else { 2 };
        let queues = if disks > FEW { 1 } else { 8 };
        Self {
            ring_order: value(utf16!("RingOrder"), order, 0, 4) as u8,
            segments: value(utf16!("Segments"), 256, 11, 4096) as u16,
            queues: value(utf16!("Queues"), queues, 1, 64) as usize,
            persistent: value(utf16!("PersistentGrants"), 0, 0, 1) == 1,
        }
    }

    /// Returns the sizes of each of a disk's `queues` rings.
    pub(crate) fn config(&self, queues: usize) -> Config {
        let slots = 32u16 << self.ring_order;
        // A quarter of the requests in flight may be large ones, and all of them together no larger than 16
        // MiB.
        let pages_each = self.segments.div_ceil(512);
        let indirect = (slots / 4).max(4) * pages_each;
        // Persistent grants are all there is to move data through; otherwise pages serve what cannot be
        // granted.
        let pool = if self.persistent { (1024 / queues as u16).max(64) } else { 64 };
        Config {
            ring_order: self.ring_order,
            segments: self.segments,
            indirect,
            pool: pool.max(self.segments.min(256)),
            persistent: self.persistent,
        }
    }
}
