//! A queue between SRBs and a backend of any behaviour, from arbitrary bytes. For fuzzing; panics where
//! something that must hold does not.

use std::vec::Vec;

use scsi::{Action, Extent};
use xen::Port;
use xen::blkif::{Config, Element};
use xen::fake::{Blkback, Hal, World};
use xen::wire::blkif::Response;

use crate::fake::{Order, Srb, Window};
use crate::{Queue, Request, Terms};

const SECTORS: u64 = 1024;
const CONFIG: Config = Config { ring_order: 1, segments: 32, indirect: 3, pool: 20, persistent: false };

/// A queue, its backend and the commands given to it.
struct Bench {
    world: World,
    backend: Blkback,
    queue: Queue<Hal, Srb>,
    orders: Vec<Order>,
}

/// Checks that every SRB ends once, whatever the backend does, and no grant stays behind an honest one.
pub fn queue(bytes: &[u8]) {
    let world = World::with_grants(1024);
    let mut backend = Blkback::new(&world, "device/vbd/768", SECTORS);
    backend.set("feature-max-indirect-segments", "32");
    backend.set("max-ring-page-order", "1");
    backend.set("feature-discard", "1");
    let (mut frontend, disk) = backend.connect_disk(CONFIG, &[Port(7)]);
    let honest = bytes.first().is_none_or(|byte| byte & 1 == 0);
    backend.hostile = !honest;
    let queue = Queue::new(frontend.remove(0), world.hal(), Window::new(&world), Port(7), disk);
    let mut bench = Bench { world, backend, queue, orders: Vec::new() };
    for step in bytes.chunks_exact(4) {
        let [kind, a, b, c] = *step else { continue };
        bench.step(kind, a, b, c, honest);
    }
    // A disk is not given up while the guest may be suspended.
    bench.queue.release().complete();
    bench.queue.abandon().complete();
    bench.service();
    assert!(bench.orders.iter().all(|order| order.answer().is_some()), "an SRB has not ended");
    if honest {
        assert_eq!(bench.world.leaked_grants(), 0);
    }
}

impl Bench {
    fn step(&mut self, kind: u8, a: u8, b: u8, c: u8, honest: bool) {
        match kind % 12 {
            0..=3 => self.start(kind, a, b, c),
            4 => self.backend.fetch(),
            5 | 6 => self.backend.answer(a.into()),
            7 if !honest => self.backend.respond(&Response {
                id: u64::from(a) % 70,
                operation: [0, 1, 3, 5, b][usize::from(b) % 5],
                status: [0, 0, -1, -2, i16::from(c)][usize::from(c) % 5],
                ..Response::default()
            }),
            8 if !honest && a.is_multiple_of(4) => self.backend.claim(u32::from(b)),
            9 => self.queue.reset().complete(),
            10 if a.is_multiple_of(2) => {
                self.queue.hold();
                if a.is_multiple_of(4) {
                    self.queue.freeze();
                }
            }
            10 => self.queue.release().complete(),
            11 if a.is_multiple_of(4) => self.lose(b.is_multiple_of(2)),
            _ => self.service(),
        }
    }

    /// Starts a command with a buffer whose pieces need not be sectors.
    fn start(&mut self, kind: u8, a: u8, b: u8, c: u8) {
        let extent = Extent { sector: u64::from(b) * 3, sectors: u64::from(a % 64) + 1 };
        let size = extent.bytes() as usize;
        let mut list = Vec::new();
        while list.len() * 4096 < size + 4096 {
            let (within, length) =
                if c & 1 == 0 { (0, 4096) } else { (u64::from(c) * 2, 4096 - u32::from(c) * 2) };
            list.push(Element { address: self.world.page_of(&[]).0 * 4096 + within, length });
        }
        let action = match (kind % 4, a % 4) {
            (0, _) => Action::Read { extent },
            (1, _) => Action::Write { extent, flush_after: c & 4 != 0 },
            (2, 0) => Action::Flush,
            (2, _) => Action::Verify { extent },
            _ => Action::Read { extent },
        };
        let order = Order::new(size, None, list);
        // SRBs that end at once have no order to wait for.
        if let Ok(request) =
            Request::new(order.srb(), action, Terms { copy_all: c & 8 != 0, block_size: 512 })
        {
            let (ended, again) = self.queue.start(request.settle().expect("an extension"));
            ended.complete();
            if again {
                self.service();
            }
            self.orders.push(order);
        }
    }

    /// Takes the backend away, with what it had; another comes.
    fn lose(&mut self, resumed: bool) {
        if resumed {
            self.world.forget_grants();
        }
        self.backend.die();
        let (frontend, ended) = self.queue.detach(resumed);
        ended.complete();
        drop(frontend);
        let (mut frontend, disk) = self.backend.connect_disk(CONFIG, &[Port(7)]);
        let terms = Terms { copy_all: self.world.life().is_multiple_of(2), block_size: 512 };
        self.queue.attach(frontend.remove(0), Port(7), disk, terms).complete();
        self.service();
    }

    fn service(&mut self) {
        // A hostile backend may claim for ever.
        for _ in 0..100 {
            self.queue.drain().complete();
            if !self.queue.settle() {
                return;
            }
        }
    }
}
