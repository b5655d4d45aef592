//! The I/O path with the features that a backend may offer.

use std::ptr::NonNull;

use scsi::{Action, BlockSize};
use xen::blkif::Config;

use crate::{Disk, SECTORS, done, extent, hal};
use vbd::Answer;
use vbd::MAXIMUM_TRANSFER;
use vbd::fake::Order;

/// The nodes that Linux' blkback writes.
pub(crate) const BLKBACK: [(&str, &str); 3] =
    [("feature-persistent", "1"), ("feature-max-indirect-segments", "256"), ("max-ring-page-order", "4")];

pub(crate) const LARGE: Config =
    Config { ring_order: 2, segments: 256, indirect: 8, pool: 300, persistent: false };

#[test]
fn four_megabytes_take_four_indirect_requests() {
    let mut disk = Disk::with(LARGE, &BLKBACK);
    // Twice as large as the disk: read in two places at once.
    let size = SECTORS as usize * 512;
    disk.fill(4);
    let (frames, list) = disk.pages(size);
    let order = Order::new(size, None, list);
    disk.start(&order, Action::Read { extent: extent(0, SECTORS) }).unwrap();
    disk.run();
    assert_eq!(order.answer(), done(size as u32));
    assert_eq!(disk.content(&frames, size), disk.bytes(extent(0, SECTORS)));
    assert_eq!(disk.backend.borrow().segments, vec![256; size / 4096 / 256]);
    assert_eq!((disk.backend.borrow().ring_pages(), MAXIMUM_TRANSFER), (4, 4 << 20));
    assert_eq!(disk.world.leaked_grants(), 0);
}

#[test]
fn more_than_the_indirect_pages_serve_wait() {
    let mut disk = Disk::with(Config { indirect: 2, ..LARGE }, &BLKBACK);
    let size = 200 * 4096;
    let orders: Vec<_> = (0..6)
        .map(|n| {
            let (_, list) = disk.pages(size);
            let order = Order::new(size, None, list);
            disk.start(&order, Action::Read { extent: extent(n, size as u64 / 512) }).unwrap();
            order
        })
        .collect();
    assert_eq!(disk.queue.in_flight(), 2);
    disk.run();
    assert!(orders.iter().all(|order| order.answer() == done(size as u32)));
}

#[test]
fn with_persistent_grants_nothing_is_granted_while_requests_run() {
    let mut disk = Disk::with(Config { persistent: true, ..LARGE }, &BLKBACK);
    assert!(disk.backend.borrow().is_persistent());
    let grants = disk.world.granted();
    let size = 700 * 4096;
    let written: Vec<u8> = (0..size).map(|n| (n / 777) as u8).collect();
    let mut read = Vec::new();
    for write in [true, false] {
        let (_, list) = disk.pages(size);
        if write {
            disk.put(&list, &written);
        }
        let order = Order::new(size, None, list.clone());
        let at = extent(64, size as u64 / 512 - 2000);
        let action = if write {
            Action::Write { extent: at, flush_after: false }
        } else {
            Action::Read { extent: at }
        };
        disk.start(&order, action).unwrap();
        assert_eq!(disk.world.granted(), grants);
        disk.run();
        assert_eq!(order.answer(), done(at.bytes() as u32));
        read = disk.get(&list);
    }
    let length = size - 2000 * 512;
    assert_eq!(read[..length], written[..length]);
    assert_eq!(disk.backend.borrow().segments.iter().max(), Some(&256));
    assert_eq!(disk.world.granted(), grants);
    // A backend that has closed has let go of everything.
    disk.backend.borrow_mut().release_ring();
    let world = disk.world.clone();
    drop(disk.queue);
    assert_eq!(world.leaked_grants(), 0);
}

/// Returns an UNMAP's parameter list.
fn unmap_list(parts: &[(u64, u32)]) -> Vec<u8> {
    let length = parts.len() as u16 * 16;
    let mut list = [(length + 6).to_be_bytes(), length.to_be_bytes()].concat();
    list.extend([0; 4]);
    for (lba, blocks) in parts {
        list.extend([&lba.to_be_bytes()[..], &blocks.to_be_bytes(), &[0; 4]].concat());
    }
    list
}

#[test]
fn an_unmap_discards_what_it_names_and_nothing_else() {
    let mut disk = Disk::with(LARGE, &[("feature-discard", "1")]);
    disk.fill(6);
    let mut list = unmap_list(&[(8, 4), (100, 0), (200, 1)]);
    let bytes = list.len() as u16;
    let order = Order::new(list.len(), NonNull::new(list.as_mut_ptr()), Vec::new());
    disk.start(&order, Action::Unmap { bytes, block_size: BlockSize::B512 }).unwrap();
    assert_eq!(order.answer(), None);
    disk.run();
    assert_eq!(order.answer(), done(bytes.into()));
    assert_eq!(disk.backend.borrow().discards, [(8, 4), (200, 1)]);

    // In blocks of 4 KiB the same numbers are other sectors; of nothing at all nothing is sent.
    let order = Order::new(list.len(), NonNull::new(list.as_mut_ptr()), Vec::new());
    disk.start(&order, Action::Unmap { bytes, block_size: BlockSize::B4096 }).unwrap();
    disk.run();
    assert_eq!(order.answer(), done(bytes.into()));
    assert_eq!(disk.backend.borrow().discards[2..], [(64, 32), (1600, 8)]);
    let mut list = unmap_list(&[(100, 0)]);
    let order = Order::new(list.len(), NonNull::new(list.as_mut_ptr()), Vec::new());
    let nothing = disk.start(&order, Action::Unmap { bytes: 24, block_size: BlockSize::B512 });
    assert_eq!(nothing, Err(Answer::Done { transferred: 24 }));
    let short = Order::new(8, NonNull::new(list.as_mut_ptr()), Vec::new());
    let refused = disk.start(&short, Action::Unmap { bytes: 24, block_size: BlockSize::B512 });
    assert_eq!(refused, Err(Answer::InvalidRequest));
}

#[test]
fn an_unmap_that_the_backend_refuses_is_refused() {
    let mut disk = Disk::with(LARGE, &[]);
    let mut list = unmap_list(&[(8, 4)]);
    let order = Order::new(list.len(), NonNull::new(list.as_mut_ptr()), Vec::new());
    disk.start(&order, Action::Unmap { bytes: 24, block_size: BlockSize::B512 }).unwrap();
    assert_eq!(order.answer(), Some(Answer::Sense(scsi::Sense::INVALID_OPCODE)));
}

/// An answer that the backend gives while it is told needs no interrupt, but for the first answer, which a
/// new ring asks for.
#[test]
fn a_backend_that_is_quicker_than_its_notification_does_not_interrupt() {
    const REQUESTS: usize = 50;
    let mut disk = Disk::with(LARGE, &BLKBACK);
    hal::quicken();
    for n in 0..REQUESTS as u64 {
        let (_, list) = disk.pages(4096);
        let order = Order::new(4096, None, list);
        disk.start(&order, Action::Read { extent: extent(n * 8, 8) }).unwrap();
        assert_eq!(order.answer(), done(4096));
    }
    assert_eq!((disk.world.take_notified().len(), disk.backend.borrow().notifications), (REQUESTS, 1));
}
