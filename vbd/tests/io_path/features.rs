//! What a backend may offer, used by the I/O path.

use std::ptr::NonNull;

use scsi::{Action, BlockSize};
use xen::blkif::Config;

use crate::{Disk, SECTORS, done, extent, hal, no_allocation, odd};
use vbd::Answer;
use vbd::MAXIMUM_TRANSFER;
use vbd::fake::Order;

/// What Linux' blkback writes.
const BLKBACK: [(&str, &str); 3] =
    [("feature-persistent", "1"), ("feature-max-indirect-segments", "256"), ("max-ring-page-order", "4")];

const LARGE: Config = Config { ring_order: 2, segments: 256, indirect: 8, pool: 300, persistent: false };

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
    let grants = disk.world.free_grants();
    let size = 700 * 4096;
    let mut data: Vec<u8> = (0..size).map(|n| (n / 777) as u8).collect();
    let written = data.clone();
    for write in [true, false] {
        let (_, list) = disk.pages(size);
        let order = Order::new(size, NonNull::new(data.as_mut_ptr()), list);
        let at = extent(64, size as u64 / 512 - 2000);
        let action = if write {
            Action::Write { extent: at, flush_after: false }
        } else {
            Action::Read { extent: at }
        };
        disk.start(&order, action).unwrap();
        assert_eq!(disk.world.free_grants(), grants);
        disk.run();
        assert_eq!(order.answer(), done(at.bytes() as u32));
        if write {
            data.fill(0);
        }
    }
    let length = size - 2000 * 512;
    assert_eq!(data[..length], written[..length]);
    assert_eq!(disk.backend.borrow().segments.iter().max(), Some(&256));
    assert_eq!(disk.world.free_grants(), grants);
    // A backend that has closed has let go of everything.
    disk.backend.borrow_mut().release_ring();
    let world = disk.world.clone();
    drop(disk.queue);
    assert_eq!(world.leaked_grants(), 0);
}

/// An UNMAP's parameter list.
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
    let order = Order::new(list.len(), NonNull::new(list.as_mut_ptr()), odd(list.len()));
    disk.start(&order, Action::Unmap { bytes, block_size: BlockSize::B512 }).unwrap();
    assert_eq!(order.answer(), None);
    disk.run();
    assert_eq!(order.answer(), done(bytes.into()));
    assert_eq!(disk.backend.borrow().discards, [(8, 4), (200, 1)]);

    // In blocks of 4 KiB the same numbers are other sectors; of nothing at all nothing is sent.
    let order = Order::new(list.len(), NonNull::new(list.as_mut_ptr()), odd(list.len()));
    disk.start(&order, Action::Unmap { bytes, block_size: BlockSize::B4096 }).unwrap();
    disk.run();
    assert_eq!(order.answer(), done(bytes.into()));
    assert_eq!(disk.backend.borrow().discards[2..], [(64, 32), (1600, 8)]);
    let mut list = unmap_list(&[(100, 0)]);
    let order = Order::new(list.len(), NonNull::new(list.as_mut_ptr()), odd(list.len()));
    let nothing = disk.start(&order, Action::Unmap { bytes: 24, block_size: BlockSize::B512 });
    assert_eq!(nothing, Err(Answer::Done { transferred: 24 }));
    let short = Order::new(8, NonNull::new(list.as_mut_ptr()), odd(8));
    let refused = disk.start(&short, Action::Unmap { bytes: 24, block_size: BlockSize::B512 });
    assert_eq!(refused, Err(Answer::InvalidRequest));
}

#[test]
fn an_unmap_that_the_backend_refuses_is_refused() {
    let mut disk = Disk::with(LARGE, &[]);
    let mut list = unmap_list(&[(8, 4)]);
    let order = Order::new(list.len(), NonNull::new(list.as_mut_ptr()), odd(list.len()));
    disk.start(&order, Action::Unmap { bytes: 24, block_size: BlockSize::B512 }).unwrap();
    assert_eq!(order.answer(), Some(Answer::Sense(scsi::Sense::INVALID_OPCODE)));
}

/// Both ends work only when they are notified, and whoever waited for a request starts the next one when it
/// ends. At a depth of 32 at most one notification in each direction is sent for 8 requests, and at a depth
/// of 1 none is missing.
#[test]
fn at_depth_32_one_notification_serves_eight_requests() {
    const REQUESTS: usize = 4000;
    for (depth, most) in [(1, REQUESTS), (32, REQUESTS / 8)] {
        let mut disk = Disk::with(LARGE, &BLKBACK);
        let mut running = Vec::new();
        let mut started = 0;
        let mut sent = 0;
        let start = |disk: &mut Disk, running: &mut Vec<Order>, started: &mut usize| {
            let (_, list) = disk.pages(4096);
            let order = Order::new(4096, None, list);
            disk.start(&order, Action::Read { extent: extent((*started as u64 * 8) % 4000, 8) }).unwrap();
            running.push(order);
            *started += 1;
        };
        for _ in 0..depth {
            start(&mut disk, &mut running, &mut started);
        }
        while !running.is_empty() {
            let notified = disk.world.take_notified().len();
            sent += notified;
            if notified > 0 {
                disk.backend.borrow_mut().fetch();
            }
            let before = disk.backend.borrow().notifications;
            // The backend answers one by one, until it notifies.
            while disk.backend.borrow().notifications == before {
                assert!(!disk.backend.borrow().queue().is_empty(), "both ends wait");
                disk.backend.borrow_mut().answer(0);
                // What was published meanwhile, it sees without being notified.
                disk.backend.borrow_mut().fetch();
            }
            loop {
                no_allocation::during(|| disk.queue.drain().complete());
                let ended = running.iter().filter(|order| order.answer().is_some()).count();
                running.retain(|order| order.answer().is_none());
                for _ in 0..ended.min(REQUESTS - started) {
                    start(&mut disk, &mut running, &mut started);
                }
                if !disk.queue.settle() {
                    break;
                }
            }
        }
        let received = disk.backend.borrow().notifications;
        assert_eq!(started, REQUESTS);
        // Over the whole run, with its beginning and its end.
        assert!(sent <= most + depth && received <= most + depth, "depth {depth}: {sent} and {received}");
    }
}

/// What a backend answers while it is told needs no interrupt, but for the first answer, which a new ring
/// asks for.
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
