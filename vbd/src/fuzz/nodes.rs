//! Arbitrary nodes of a backend, from arbitrary bytes. For fuzzing; panics where something that must hold
//! does not.

use std::format;
use std::string::String;

use xen::blkif::{Disk, Features};
use xen::fake::World;
use xen::store::path::PathBuf;

/// Checks that there is a disk or an error, and features within the protocol, whatever a backend's nodes
/// hold.
pub fn nodes(bytes: &[u8]) {
    const NODES: [&str; 14] = [
        "sectors",
        "sector-size",
        "physical-sector-size",
        "info",
        "feature-flush-cache",
        "feature-barrier",
        "feature-discard",
        "discard-granularity",
        "discard-alignment",
        "feature-persistent",
        "feature-max-indirect-segments",
        "max-ring-page-order",
        "max-ring-pages",
        "multi-queue-max-queues",
    ];
    let store = World::new().store();
    for part in bytes.chunks(9) {
        let [node, value @ ..] = part else { continue };
        let name = NODES[usize::from(*node) % NODES.len()];
        let text = match node / 14 % 3 {
            0 => format!("{}", u64::from_le_bytes(core::array::from_fn(|n| *value.get(n).unwrap_or(&0)))),
            1 => format!("{}", 1u64 << (value.first().unwrap_or(&0) % 64)),
            _ => String::from_utf8_lossy(value).into_owned(),
        };
        store.set(&format!("b/{name}"), &text);
    }
    let (mut store, backend) = (store, PathBuf::new("b").expect("a path"));
    if let Ok(features) = Features::read(&mut store, &backend) {
        assert!((11..=4096).contains(&features.segments) && features.ring_order <= 4 && features.queues > 0);
    }
    if let Ok(disk) = Disk::read(&mut store, &backend) {
        assert!(disk.sectors.checked_mul(512).is_some() && (512..=4096).contains(&disk.sector_size));
        assert!(disk.physical_sector_size >= disk.sector_size);
        assert!(disk.discard.is_none_or(|unit| unit.granularity > 0 && unit.alignment < unit.granularity));
    }
}
