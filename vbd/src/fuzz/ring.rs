//! Arbitrary acts of a backend, from arbitrary bytes. For fuzzing; panics where something that must hold does
//! not.

use std::vec::Vec;

use xen::blkif::{Completion, Config, Copied, Frontend, Operation, Request, Segment};
use xen::fake::{Blkback, Hal, World};
use xen::wire::blkif::Response;
use xen::{Frame, Port};

/// Checks that every request comes back once, and after a fault nothing is sent, whatever the backend writes.
pub fn ring(bytes: &[u8]) {
    let world = World::with_grants(1024);
    let mut backend = Blkback::new(&world, "device/vbd/768", 1024);
    backend.set("feature-max-indirect-segments", "32");
    backend.set("max-ring-page-order", "1");
    let persistent = bytes.first().is_some_and(|byte| byte & 1 != 0);
    backend.set("feature-persistent", if persistent { "1" } else { "0" });
    let config = Config { ring_order: 1, segments: 32, indirect: 3, pool: 20, persistent };
    let mut frontend = backend.connect_frontend(config, &[Port(7)]).remove(0);
    backend.hostile = true;
    let page = world.page_of(&[]);
    let mut pending: Vec<usize> = Vec::new();
    let came_back = |pending: &mut Vec<usize>, completion: Completion| {
        let place = pending.iter().position(|tag| *tag == completion.tag);
        pending.swap_remove(place.expect("came back twice, or was never sent"));
    };
    for (tag, step) in bytes.chunks_exact(4).enumerate() {
        let [kind, a, b, c] = *step else { continue };
        let broken = frontend.fault().is_some();
        match kind % 8 {
            0..=2 => {
                let sent = submit(&mut frontend, tag, page, a, b);
                assert!(!(sent && broken), "sent after a fault");
                if sent {
                    pending.push(tag);
                }
            }
            3 => {
                frontend.push();
                backend.fetch();
            }
            4 => backend.answer(a.into()),
            5 => backend.respond(&Response {
                id: u64::from(a) % 70,
                operation: [0, 1, 3, 6, b][usize::from(b) % 5],
                status: [0, 0, -1, -2, i16::from(c)][usize::from(c) % 5],
                ..Response::default()
            }),
            6 if a.is_multiple_of(4) => backend.claim(u32::from(b)),
            6 => backend.scribble(usize::from(a) * 8, &[b, c]),
            _ => {
                if let Some(completion) = frontend.poll() {
                    came_back(&mut pending, completion);
                }
            }
        }
        assert_eq!(frontend.in_flight(), pending.len());
    }
    frontend.disconnect();
    while let Some(completion) = frontend.poll() {
        came_back(&mut pending, completion);
    }
    assert!(pending.is_empty(), "{} requests never came back", pending.len());
}

fn submit(frontend: &mut Frontend<Hal>, tag: usize, page: Frame, a: u8, b: u8) -> bool {
    let sector = u64::from(b) * 3;
    let segments: Vec<_> = (0..=usize::from(a) % 40)
        .map(|_| Segment { frame: page, first_sector: a % 8, last_sector: b % 8 })
        .collect();
    match a % 4 {
        0 => frontend.flush(tag).is_ok(),
        1 => frontend.discard(tag, sector, u64::from(a)).is_ok(),
        2 => {
            let (operation, bytes) = (Operation::Read, usize::from(a) * 512);
            let request = Copied { tag, operation, sector, bytes, offset: 0 };
            frontend.submit_copied(&request, |_, _, _| ()).is_ok()
        }
        _ => {
            let operation = if b.is_multiple_of(2) { Operation::Read } else { Operation::Write };
            frontend.submit(&Request { tag, operation, sector, segments: &segments }).is_ok()
        }
    }
}
