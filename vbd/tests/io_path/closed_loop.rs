//! Closed loops in virtual time: so many reads are always on their way, each followed by the next one, against a
//! backend on a processor of its own that works on all of them at once.
//!
//! The backend sleeps when it has taken what is published, as Linux' blkback does, and only a notification wakes
//! it; so does an interrupt the driver. A driver that withholds notifications loses here what it saves elsewhere.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use scsi::Action;
use vbd::fake::Order;

use crate::features::{BLKBACK, LARGE};
use crate::{Disk, extent};

/// From a notification until the other end looks, in microseconds.
const WAKE: u64 = 8;
/// From the end of a request until the next one is submitted, in microseconds.
const THINK: u64 = 10;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Submit(usize),
    BackendWakes,
    /// The backend has done the request in this slot of the ring.
    Done(u64),
    Interrupt,
}

/// Results of a loop.
struct Outcome {
    /// Requests in a second.
    rate: f64,
    /// Notifications and interrupts for each request.
    notified: f64,
    interrupted: f64,
    /// Time that the backend took for each, in microseconds.
    service: f64,
}

/// Returns a random number from 0 to 1 (xorshift64, Marsaglia 2003).
fn next(state: &mut u64) -> f64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 11) as f64 / (1u64 << 53) as f64
}

/// Runs a loop of `depth` until `requests` have ended; `service` is how long the backend takes for one.
fn closed_loop(depth: usize, requests: usize, service: impl Fn(&mut u64) -> u64) -> Outcome {
    let mut disk = Disk::with(LARGE, &BLKBACK);
    let lists: Vec<_> = (0..depth).map(|_| disk.pages(512).1).collect();
    let mut running: Vec<Option<Order>> = (0..depth).map(|_| None).collect();
    let mut taken: Vec<u64> = Vec::new();
    let (mut events, mut number) = (BinaryHeap::new(), 0u64);
    let mut plan = |events: &mut BinaryHeap<_>, at: u64, event: Event| {
        number += 1;
        events.push(Reverse((at, number, event)));
    };
    (0..depth).for_each(|n| plan(&mut events, 0, Event::Submit(n)));
    let (mut served, mut total) = (0u64, 0u64);
    let (mut random, mut ended, mut notified, mut interrupted, mut now) = (0x9E37_79B9_7F4A_7C15, 0, 0, 0, 0);
    disk.world.take_notified();
    while ended < requests {
        let Reverse((at, _, event)) = events.pop().expect("both ends wait for each other");
        now = at;
        let announced = disk.backend.borrow().notifications;
        match event {
            Event::Submit(n) => {
                let order = Order::new(512, None, lists[n].clone());
                disk.start(&order, Action::Read { extent: extent(n as u64, 1) }).unwrap();
                running[n] = Some(order);
            }
            Event::BackendWakes => {
                disk.backend.borrow_mut().fetch();
                let ids: Vec<u64> = disk.backend.borrow().queue().iter().map(|request| request.id).collect();
                for id in ids.iter().filter(|id| !taken.contains(id)) {
                    let time = service(&mut random);
                    (served, total) = (served + 1, total + time);
                    plan(&mut events, now + time, Event::Done(*id));
                }
                taken = ids;
            }
            Event::Done(id) => {
                let place = disk.backend.borrow().queue().iter().position(|request| request.id == id);
                disk.backend.borrow_mut().answer(place.expect("a request that was taken"));
                taken.retain(|other| *other != id);
            }
            Event::Interrupt => disk.service(),
        }
        if disk.backend.borrow().notifications != announced {
            interrupted += 1;
            plan(&mut events, now + WAKE, Event::Interrupt);
        }
        let sent = disk.world.take_notified().len();
        notified += sent;
        if sent > 0 {
            plan(&mut events, now + WAKE, Event::BackendWakes);
        }
        for (n, order) in running.iter_mut().enumerate() {
            if order.as_ref().is_some_and(|order| order.answer().is_some()) {
                *order = None;
                ended += 1;
                plan(&mut events, now + THINK, Event::Submit(n));
            }
        }
    }
    let count = ended as f64;
    Outcome {
        rate: count / (now as f64 / 1e6),
        notified: notified as f64 / count,
        interrupted: interrupted as f64 / count,
        service: total as f64 / served as f64,
    }
}

/// A device by name, and how long it takes for a request, in microseconds.
type Device = (&'static str, fn(&mut u64) -> u64);

const DEVICES: [Device; 4] = [
    ("NVMe, 80 µs on average", |random| (-(1.0 - next(random)).ln() * 80.0) as u64 + 1),
    ("SAN, 1 ms ± 20 %", |random| 800 + (next(random) * 400.0) as u64),
    ("network, 5 ms on average", |random| (-(1.0 - next(random)).ln() * 5000.0) as u64 + 1),
    ("0.2 ms, one in ten 20 ms", |random| {
        let base = if next(random) < 0.9 { 200.0 } else { 20_000.0 };
        (base * (0.8 + next(random) * 0.4)) as u64
    }),
];

/// Each request takes its time on the device and on the way, and waits for nothing else.
#[test]
fn no_request_waits_for_another() {
    for (name, service) in DEVICES {
        for depth in [1, 8, 9, 12, 16, 32, 128] {
            let outcome = closed_loop(depth, 600, service);
            let ideal = depth as f64 / (outcome.service + (2 * WAKE + THINK) as f64) * 1e6;
            let part = outcome.rate / ideal;
            println!(
                "{name:26} depth {depth:3}: {:8.0} /s, {part:.3} of the ideal, {:.2} notifications, {:.2} interrupts",
                outcome.rate, outcome.notified, outcome.interrupted
            );
            // The rest is the end of the run and chance.
            assert!(part > 0.85, "{name}, depth {depth}: {part:.3}");
            assert!(outcome.notified <= 1.01 && outcome.interrupted <= 1.01, "{name}, depth {depth}");
        }
    }
}
