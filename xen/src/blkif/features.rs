//! Features of a backend's rings, and the part of them that a frontend uses.

use super::{Error, MAX_INDIRECT_SEGMENTS, MAX_SEGMENTS};
use crate::store::{self, Store, path::PathBuf};
use crate::wire::blkif::MAX_RING_ORDER;

/// The features that a backend offers in its nodes. Each is at least what the protocol began with: one queue,
/// one page, eleven segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// Keeps grants mapped between requests (`feature-persistent`); `None` where it has not said so yet, and
    /// [`super::Disk::persistent`] will.
    pub persistent: Option<bool>,
    /// Segments of one request (`feature-max-indirect-segments`), 11 without indirect requests.
    pub segments: u16,
    /// Pages of a ring, as a power of two (`max-ring-page-order`, or `max-ring-pages` of older backends).
    pub ring_order: u8,
    /// Queues (`multi-queue-max-queues`).
    pub queues: u16,
}

impl Features {
    /// Reads the nodes below `backend`, which has come to `InitWait`. *Passive*.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn read(store: &mut impl Store, backend: &PathBuf) -> Result<Self, Error> {
        let mut number = |node: &'static str| {
            let path = backend.join(node).map_err(|error| Error::Store { node, error })?;
            match store::read_optional(store, &path) {
                // What is no number is no offer.
                Err(store::Error::Value) => Ok(None),
                other => other.map_err(|error| Error::Store { node, error }),
            }
        };
        let persistent = number("feature-persistent")?.map(|persistent| persistent != 0);
        let indirect = number("feature-max-indirect-segments")?.unwrap_or(0);
        let segments = indirect.clamp(MAX_SEGMENTS as u64, MAX_INDIRECT_SEGMENTS as u64) as u16;
        let order = match number("max-ring-page-order")? {
            Some(order) => order,
            None => u64::from(number("max-ring-pages")?.unwrap_or(1).max(1).ilog2()),
        };
        let queues = number("multi-queue-max-queues")?.unwrap_or(1).clamp(1, u64::from(u16::MAX)) as u16;
        let ring_order = order.min(MAX_RING_ORDER.into()) as u8;
        Ok(Self { persistent, segments, ring_order, queues })
    }
}

/// Sizes of one [`super::Frontend`]. The larger they are, the more memory and grants it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Pages of the ring, as a power of two up to 4.
    pub ring_order: u8,
    /// Most segments of one request, 11 to 4096.
    pub segments: u16,
    /// Requests with more than 11 segments that can be in flight, for each 512 of their segments.
    pub indirect: u16,
    /// Pages of the frontend's own, through which data is copied.
    pub pool: u16,
    /// The pool's pages stay granted for good, and all data goes through them: the backend keeps whatever it
    /// has mapped.
    pub persistent: bool,
}

impl Config {
    /// The sizes that every backend can serve: one page, eleven segments.
    pub const SMALL: Self = Self { ring_order: 0, segments: 11, indirect: 0, pool: 32, persistent: false };

    /// Returns the same sizes, as far as the backend offers them.
    #[must_use]
    pub fn within(self, features: &Features) -> Self {
        let segments = if self.indirect == 0 { 11 } else { self.segments.min(features.segments).max(11) };
        Self {
            ring_order: self.ring_order.min(features.ring_order),
            segments,
            indirect: if segments == 11 { 0 } else { self.indirect },
            persistent: self.persistent && features.persistent != Some(false),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Tree;

    fn read(nodes: &[(&str, &str)]) -> Features {
        let mut tree = Tree::default();
        tree.set("b/state", "2");
        for (node, value) in nodes {
            tree.set(&std::format!("b/{node}"), value);
        }
        Features::read(&mut tree, &PathBuf::new("b").unwrap()).unwrap()
    }

    #[test]
    fn nodes_make_features() {
        let least = Features { persistent: None, segments: 11, ring_order: 0, queues: 1 };
        assert_eq!(read(&[]), least);
        // As blkback of Linux 6.1 writes them.
        let blkback = read(&[
            ("feature-persistent", "1"),
            ("feature-max-indirect-segments", "256"),
            ("max-ring-page-order", "4"),
            ("multi-queue-max-queues", "8"),
        ]);
        let expected = Features { persistent: Some(true), segments: 256, ring_order: 4, queues: 8 };
        assert_eq!(blkback, expected);
        // The older nodes; what is no power of two is rounded down.
        for (pages, order) in [("1", 0), ("2", 1), ("7", 2), ("16", 4), ("1000", 4), ("0", 0)] {
            let features = read(&[("max-ring-pages", pages)]);
            assert_eq!(features.ring_order, order, "{pages}");
        }
        // Both: the newer one holds.
        let both = read(&[("max-ring-pages", "16"), ("max-ring-page-order", "1")]);
        assert_eq!(both.ring_order, 1);
    }

    #[test]
    fn a_backend_that_boasts_or_babbles_is_held_to_the_protocol() {
        let features = read(&[
            ("feature-persistent", "yes"),
            ("feature-max-indirect-segments", "1000000"),
            ("max-ring-page-order", "63"),
            ("multi-queue-max-queues", "0"),
        ]);
        assert_eq!(features.persistent, None);
        assert_eq!((features.segments, features.ring_order, features.queues), (4096, 4, 1));
        assert_eq!(read(&[("feature-max-indirect-segments", "3")]).segments, 11);
    }

    #[test]
    fn a_frontend_takes_what_both_have() {
        let wish = Config { ring_order: 3, segments: 1024, indirect: 8, pool: 9, persistent: true };
        let features = read(&[("feature-max-indirect-segments", "256"), ("max-ring-page-order", "1")]);
        // Whether grants are persistent the backend has not said yet.
        let expected = Config { ring_order: 1, segments: 256, indirect: 8, pool: 9, persistent: true };
        assert_eq!(wish.within(&features), expected);
        assert!(!wish.within(&read(&[("feature-persistent", "0")])).persistent);
        let none = wish.within(&read(&[]));
        assert_eq!((none.segments, none.indirect, none.ring_order), (11, 0, 0));
    }
}
