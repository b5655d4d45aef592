//! A backend that goes away at any point and comes back: every request ends once, and nothing is lost.

use std::collections::BTreeMap;

use proptest::prelude::*;
use scsi::Action;
use xen::blkif::Config;
use xen::grant::Cache;
use xen::{Access, DomainId};

use crate::{Disk, PORT, connect, done, extent, hal};
use vbd::Answer;
use vbd::fake::Order;

const CONFIG: Config = Config { ring_order: 1, segments: 32, indirect: 6, pool: 16, persistent: false };
const NODES: [(&str, &str); 2] = [("feature-max-indirect-segments", "32"), ("max-ring-page-order", "1")];

impl Disk {
    /// Replaces the backend: it is gone, with what it had not answered; another comes up.
    fn reconnect(&mut self, resumed: bool) {
        if resumed {
            // The guest's memory is what it was; its grants are gone, and the hypervisor with them.
            self.world.forget_grants();
        }
        self.connect_again(resumed);
    }

    /// Connects the queue to another backend.
    fn connect_again(&mut self, resumed: bool) {
        self.backend.borrow_mut().die();
        let (frontend, ended) = self.queue.detach(resumed);
        ended.complete();
        drop(frontend);
        let platform = hal::Platform::new(self.world.hal(), self.backend.clone());
        let (frontend, disk) = connect(&self.world, &self.backend, &platform, CONFIG);
        self.queue.attach(frontend, PORT, disk, self.terms).complete();
        self.service();
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write {
        place: u8,
        pages: u8,
        flush_after: bool,
    },
    Flush,
    Fetch,
    /// The backend does a request and answers it.
    Answer(usize),
    /// The backend does a request, and its answer is never seen.
    Unanswered(usize),
    Service,
    Hold,
    /// The guest is about to be suspended.
    Freeze,
    /// It was not.
    Release,
    Lose {
        resumed: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u8..16, 1u8..33, any::<bool>())
            .prop_map(|(place, pages, flush_after)| Step::Write { place, pages, flush_after }),
        1 => Just(Step::Flush),
        3 => Just(Step::Fetch),
        4 => any::<usize>().prop_map(Step::Answer),
        1 => any::<usize>().prop_map(Step::Unanswered),
        3 => Just(Step::Service),
        1 => Just(Step::Hold),
        1 => Just(Step::Freeze),
        1 => Just(Step::Release),
        1 => any::<bool>().prop_map(|resumed| Step::Lose { resumed }),
    ]
}

/// A write that was started, and what it wrote where.
struct Write {
    order: Order,
    place: u8,
    seed: u8,
    flush_after: bool,
    done: bool,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    /// The places that writes go to are written by one request at a time, as a file system does it: the disk then has to
    /// end with the last write to each. A write with FUA is on the medium after a flush that followed its data.
    #[test]
    fn every_request_ends_once_whatever_happens_to_the_backend(
        steps in prop::collection::vec(step(), 1..120),
        turns in prop::collection::vec(any::<usize>(), 64),
    ) {
        let mut disk = Disk::with(CONFIG, &NODES);
        let mut writes: Vec<Write> = Vec::new();
        let mut flushes: Vec<Order> = Vec::new();
        let mut last: BTreeMap<u8, (u8, u8)> = BTreeMap::new();
        for (n, step) in steps.iter().enumerate() {
            match *step {
                Step::Write { place, pages, flush_after } => {
                    if writes.iter().any(|write| write.place == place && !write.done) {
                        continue;
                    }
                    let seed = n as u8 | 1;
                    let size = usize::from(pages) * 4096;
                    let (frames, list) = disk.pages(size);
                    for frame in &frames {
                        disk.world.memory(*frame).unwrap().copy_in(0, &[seed; 4096]);
                    }
                    let order = Order::new(size, None, list);
                    let at = extent(u64::from(place) * 256, size as u64 / 512);
                    if writes.len().is_multiple_of(3) {
                        // Handed over while requests wait for a backend, or not.
                        disk.queue.drain().complete();
                    }
                    disk.start(&order, Action::Write { extent: at, flush_after }).unwrap();
                    if writes.len().is_multiple_of(3) {
                        let _ = disk.queue.settle();
                    }
                    writes.push(Write { order, place, seed, flush_after, done: false });
                    last.insert(place, (seed, pages));
                }
                Step::Flush => {
                    let order = Order::new(0, None, Vec::new());
                    disk.start(&order, Action::Flush).unwrap();
                    flushes.push(order);
                }
                Step::Fetch => disk.backend.borrow_mut().fetch(),
                Step::Answer(turn) => disk.backend.borrow_mut().answer(turn),
                Step::Unanswered(turn) => disk.backend.borrow_mut().execute_unanswered(turn),
                Step::Service => disk.service(),
                Step::Hold => disk.queue.hold(),
                Step::Freeze => {
                    disk.queue.hold();
                    disk.queue.freeze();
                }
                Step::Release => {
                    disk.queue.release().complete();
                    disk.service();
                }
                Step::Lose { resumed } => disk.reconnect(resumed),
            }
            for write in writes.iter_mut().filter(|write| !write.done) {
                if let Some(answer) = write.order.answer() {
                    let ended = matches!(answer, Answer::Done { .. });
                    prop_assert!(ended, "{:?}", answer);
                    write.done = true;
                    let at = usize::from(write.place) * 256 * 512;
                    prop_assert_eq!(disk.backend.borrow_mut().sectors()[at], write.seed);
                    prop_assert!(!write.flush_after || !disk.backend.borrow().flushes.is_empty());
                }
            }
        }
        // A last one, which also lets go of what is held or was never answered.
        disk.reconnect(false);
        let mut turns = turns.iter().cycle();
        for _ in 0..4000 {
            disk.backend.borrow_mut().fetch();
            disk.backend.borrow_mut().answer(*turns.next().unwrap());
            disk.service();
            if disk.queue.is_idle() {
                break;
            }
        }
        // `Order` panics where an SRB is completed twice.
        for write in &writes {
            let ended = matches!(write.order.answer(), Some(Answer::Done { .. }));
            prop_assert!(ended, "{:?}", write.order.answer());
        }
        prop_assert!(flushes.iter().all(|order| order.answer() == done(0)));
        for (place, (seed, pages)) in last {
            let at = usize::from(place) * 256 * 512;
            let bytes = usize::from(pages) * 4096;
            prop_assert!(disk.backend.borrow_mut().sectors()[at..at + bytes].iter().all(|byte| *byte == seed));
        }
        prop_assert_eq!(disk.world.leaked_grants(), 0);
    }
}

/// Requests on their way go out again in the order in which they came, whole, and before what came later.
#[test]
fn requests_go_out_again_in_order() {
    let mut disk = Disk::with(CONFIG, &NODES);
    let mut orders = Vec::new();
    let mut start = |disk: &mut Disk, n: u64| {
        let (_, list) = disk.pages(4096);
        let order = Order::new(4096, None, list);
        disk.start(&order, Action::Write { extent: extent(n * 8, 8), flush_after: n == 0 }).unwrap();
        orders.push(order);
    };
    (0..20).for_each(|n| start(&mut disk, n));
    disk.backend.borrow_mut().fetch();
    // The first write's data is there and its flush on the way; two in the middle are done.
    for turn in [0, 4, 9] {
        disk.backend.borrow_mut().answer(turn);
    }
    disk.service();
    disk.queue.hold();
    (20..24).for_each(|n| start(&mut disk, n));
    disk.backend.borrow_mut().fetch();
    disk.reconnect(true);
    disk.backend.borrow_mut().fetch();
    let sectors: Vec<u64> =
        disk.backend.borrow().queue().iter().map(|request| request.sector_number / 8).collect();
    let expected: Vec<u64> = (0..24).filter(|n| ![5, 11].contains(n)).collect();
    assert_eq!(sectors, expected);
    assert!(disk.backend.borrow().flushes.is_empty());
    disk.run();
    assert!(orders.iter().all(|order| order.answer() == done(4096)));
    // The flush that was lost is done, after the data was sent again.
    assert_eq!(disk.backend.borrow().flushes.len(), 1);
}

/// Resumed with others: while another disk is connected to its new backend, one that waits for its turn touches neither the
/// new grant table nor what its old ring holds.
#[test]
fn what_was_suspended_leaves_the_new_grant_table_alone() {
    let mut disk = Disk::with(CONFIG, &NODES);
    let start = |disk: &mut Disk, n: u64| {
        let (_, list) = disk.pages(32 * 4096);
        let order = Order::new(32 * 4096, None, list);
        disk.start(&order, Action::Read { extent: extent(n * 256, 256) }).unwrap();
        order
    };
    let begun: Vec<_> = (0..6).map(|n| start(&mut disk, n)).collect();
    disk.run();
    assert!(begun.iter().all(|order| order.answer() == done(32 * 4096)));
    // One is answered, which nobody has seen, and one is not.
    let last = [start(&mut disk, 6), start(&mut disk, 7)];
    disk.backend.borrow_mut().fetch();
    disk.backend.borrow_mut().answer(0);
    disk.queue.hold();
    disk.queue.freeze();
    disk.world.forget_grants();

    let hal = disk.world.hal();
    let mut other = Cache::new(&hal).unwrap();
    let frames: Vec<_> = (0..400).map(|_| disk.world.page_of(&[])).collect();
    for frame in &frames {
        other.grant(&hal, DomainId(0), *frame, Access::ReadWrite).unwrap();
    }
    let free = disk.world.free_grants();
    disk.world.take_notified();
    for _ in 0..3 {
        assert_eq!(disk.queue.tick(), 0);
        disk.queue.nudge();
        disk.queue.reset().complete();
        disk.queue.drain().complete();
        assert!(!disk.queue.settle());
    }
    assert_eq!(disk.world.take_notified(), []);
    assert_eq!(disk.world.free_grants(), free);
    assert!(frames.iter().all(|frame| disk.world.is_granted(*frame)));
    assert!(last.iter().all(|order| order.answer().is_none()));

    disk.connect_again(true);
    disk.run();
    assert!(last.iter().all(|order| order.answer() == done(32 * 4096)));
    assert!(frames.iter().all(|frame| disk.world.is_granted(*frame)));
}

/// A backend that must not reach the system's pages, after one that might: not those of a request that waited either.
#[test]
fn what_waits_goes_out_under_the_new_backends_terms() {
    let at = extent(0, 16);
    for action in [Action::Read { extent: at }, Action::Write { extent: at, flush_after: false }] {
        let mut disk = Disk::with(CONFIG, &NODES);
        disk.fill(3);
        let (frames, list) = disk.pages(2 * 4096);
        disk.put(&list, &[0x5A; 2 * 4096]);
        let order = Order::new(2 * 4096, None, list.clone());
        disk.start(&order, action).unwrap();
        assert!(frames.iter().all(|frame| disk.world.is_granted(*frame)));
        disk.terms.copy_all = true;
        disk.reconnect(true);
        disk.backend.borrow_mut().fetch();
        assert_eq!(disk.backend.borrow().queue().len(), 1);
        assert!(!frames.iter().any(|frame| disk.world.is_granted(*frame)));
        disk.run();
        assert_eq!(order.answer(), done(2 * 4096));
        assert_eq!(disk.get(&list), disk.bytes(at));
        let written = matches!(action, Action::Write { .. });
        assert_eq!(disk.bytes(at) == [0x5A; 2 * 4096], written);
        // One that was made for the old backend and comes late.
        disk.terms.copy_all = false;
        let late = Order::new(2 * 4096, None, list);
        disk.start(&late, action).unwrap();
        assert!(!frames.iter().any(|frame| disk.world.is_granted(*frame)));
        disk.run();
        assert_eq!(late.answer(), done(2 * 4096));
    }
}

/// A suspend that does not take place: what was answered meanwhile is taken in.
#[test]
fn what_was_not_suspended_goes_on() {
    let mut disk = Disk::with(CONFIG, &NODES);
    let (_, list) = disk.pages(4096);
    let orders = [Order::new(4096, None, list.clone()), Order::new(4096, None, list)];
    // In a round, whose end would publish it.
    disk.queue.drain().complete();
    disk.start(&orders[0], Action::Read { extent: extent(0, 8) }).unwrap();
    disk.queue.hold();
    disk.queue.freeze();
    assert!(!disk.queue.settle());
    assert_eq!(disk.world.take_notified(), []);
    disk.start(&orders[1], Action::Read { extent: extent(8, 8) }).unwrap();
    disk.run();
    assert!(orders.iter().all(|order| order.answer().is_none()));
    disk.queue.release().complete();
    disk.run();
    assert!(orders.iter().all(|order| order.answer() == done(4096)));
}

/// A backend that never comes back: requests end with an error, once.
#[test]
fn without_a_backend_requests_end() {
    let mut disk = Disk::with(CONFIG, &NODES);
    let (_, list) = disk.pages(4096);
    let order = Order::new(4096, None, list.clone());
    disk.start(&order, Action::Read { extent: extent(0, 8) }).unwrap();
    disk.backend.borrow_mut().die();
    let (frontend, ended) = disk.queue.detach(false);
    ended.complete();
    drop(frontend);
    let later = Order::new(4096, None, list);
    disk.start(&later, Action::Read { extent: extent(0, 8) }).unwrap();
    assert_eq!((order.answer(), later.answer()), (None, None));
    disk.queue.abandon().complete();
    assert_eq!((order.answer(), later.answer()), (Some(Answer::NoDevice), Some(Answer::NoDevice)));
}

/// A backend that says that it has closed while requests are under way, after a suspend that did not take place: what it
/// answers then is taken in, and nothing is kept or done twice.
#[test]
fn what_is_answered_after_the_backend_has_closed_is_taken_in() {
    let mut disk = Disk::with(CONFIG, &NODES);
    let start = |disk: &mut Disk, n: u64| {
        let (_, list) = disk.pages(4096);
        let order = Order::new(4096, None, list);
        disk.start(&order, Action::Write { extent: extent(n * 8, 8), flush_after: false }).unwrap();
        order
    };
    let orders: Vec<_> = (0..4).map(|n| start(&mut disk, n)).collect();
    disk.backend.borrow_mut().fetch();
    disk.queue.hold();
    disk.queue.freeze();
    disk.backend.borrow_mut().answer(0);
    disk.service();
    assert!(orders.iter().all(|order| order.answer().is_none()));
    disk.queue.thaw();
    disk.backend.borrow_mut().set_state(xen::xenbus::State::Closed);
    for _ in 1..4 {
        disk.backend.borrow_mut().answer(0);
        disk.service();
    }
    assert_eq!((disk.queue.in_flight(), disk.queue.changes_in_flight()), (0, 0));
    assert!(orders.iter().all(|order| order.answer() == done(4096)));
    // Held still.
    let later = start(&mut disk, 4);
    assert_eq!(disk.queue.in_flight(), 0);
    disk.reconnect(false);
    disk.run();
    assert_eq!(later.answer(), done(4096));
    assert!(!disk.queue.keeps_any());
    assert_eq!(disk.backend.borrow().segments.len(), 5);
}

/// Requests that the old backend may still carry out must not be sent to another.
#[test]
fn a_copied_write_that_is_under_way_may_be_carried_out_later() {
    // Of four pages, and of so many that it is indirect.
    let ways = [(true, false), (true, true), (false, false)];
    for (pages, (copied, persistent)) in [4, 16].into_iter().flat_map(|pages| ways.map(|way| (pages, way))) {
        let write = Action::Write { extent: extent(0, pages as u64 * 8), flush_after: false };
        let config = Config { persistent, ..CONFIG };
        let nodes = [NODES[0], NODES[1], ("feature-persistent", "1")];
        let mut disk = Disk::with(config, &nodes);
        disk.terms.copy_all = copied;
        disk.backend.borrow_mut().hold_pages = true;
        // More than the segments of a request that is not indirect.
        let (_, list) = disk.pages(pages * 4096);
        let order = Order::new(pages * 4096, None, list);
        disk.start(&order, write).unwrap();
        assert_eq!(disk.queue.changes_in_flight(), disk.queue.in_flight());
        assert!(disk.queue.in_flight() > 0 && !disk.queue.may_change_later(), "nobody has looked at it");
        disk.backend.borrow_mut().fetch();
        disk.backend.borrow_mut().execute_unanswered(0);
        assert_eq!(disk.queue.may_change_later(), copied, "{pages} pages, persistent: {persistent}");
        disk.backend.borrow_mut().die();
        assert!(!disk.queue.may_change_later(), "its domain is gone");
        disk.backend.borrow_mut().hold_pages = false;
        disk.connect_again(false);
        disk.run();
        assert_eq!(order.answer(), done(pages as u32 * 4096));
    }
    // Of reads, nothing.
    let mut disk = Disk::with(CONFIG, &NODES);
    let order = Order::new(4096, None, disk.odd(4096));
    disk.start(&order, Action::Read { extent: extent(0, 8) }).unwrap();
    assert_eq!((disk.queue.in_flight(), disk.queue.changes_in_flight()), (1, 0));
    assert!(!disk.queue.may_change_later());
}
