use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::blkif::{FlushMethod, XenbusDevice};
use crate::fake::{self, Blkback, World};
use crate::grant;
use crate::ring::Overrun;
use crate::wire::ring::Header;

const PORT: Port = Port(7);
const SECTORS: u64 = 1024;
const SLOTS: usize = 32;

struct Setup {
    world: World,
    backend: Blkback,
    frontend: Frontend<fake::Hal>,
}

/// Returns a connected frontend; `nodes` are the backend's, beyond the usual.
fn setup_in(world: World, nodes: &[(&str, &str)]) -> Setup {
    let mut backend = Blkback::new(&world, "device/vbd/768", SECTORS);
    for (node, value) in nodes {
        backend.set(node, value);
    }
    let frontend = backend.connect_frontend(Config::SMALL, &[PORT]).remove(0);
    Setup { world, backend, frontend }
}

fn setup() -> Setup {
    setup_in(World::new(), &[])
}

fn page(frame: Frame) -> Segment {
    Segment { frame, first_sector: 0, last_sector: 7 }
}

fn read(tag: usize, sector: u64, segments: &[Segment]) -> Request<'_> {
    Request { tag, operation: Operation::Read, sector, segments }
}

fn write(tag: usize, sector: u64, segments: &[Segment]) -> Request<'_> {
    Request { tag, operation: Operation::Write, sector, segments }
}

fn flush(tag: usize) -> Request<'static> {
    Request { tag, operation: Operation::Flush, sector: 0, segments: &[] }
}

impl Setup {
    fn submit(&mut self, request: &Request<'_>) {
        self.frontend.submit(request).unwrap();
    }

    fn completions(&mut self) -> Vec<Completion> {
        core::iter::from_fn(|| self.frontend.poll()).collect()
    }

    fn results(&mut self) -> Vec<(usize, Result<(), Failure>)> {
        self.completions().into_iter().map(|done| (done.tag, done.result)).collect()
    }

    /// Pushes and lets the backend take what there is.
    fn fetch(&mut self) {
        self.frontend.push();
        self.backend.fetch();
    }

    /// Checks that nothing is in flight, and nothing granted but the ring and the pool's reserve.
    fn check_idle(&self) {
        assert_eq!(self.frontend.in_flight(), 0);
        assert_eq!(self.world.granted(), 1 + 11 + self.world.leaked_grants());
    }
}

#[test]
fn data_goes_out_and_comes_back() {
    let mut setup = setup();
    let pages: Vec<Frame> = (0..11u8).map(|n| setup.world.page_of(&[n + 1; 4096])).collect();
    let segments: Vec<Segment> = pages.iter().copied().map(page).collect();
    setup.submit(&write(1, 16, &segments));
    setup.fetch();
    setup.backend.run();
    assert_eq!(setup.results(), [(1, Ok(()))]);
    for n in 0..11 {
        let at = (16 + n * 8) * 512;
        assert!(setup.backend.sectors()[at..at + 4096].iter().all(|byte| *byte == n as u8 + 1));
    }
    setup.check_idle();

    // Part of a page: sectors 2 to 4 of the page, from the middle of the second page written.
    let target = setup.world.page_of(&[0; 4096]);
    setup.submit(&read(2, 16 + 8 + 6, &[Segment { frame: target, first_sector: 2, last_sector: 4 }]));
    setup.frontend.push();
    setup.backend.run();
    assert_eq!(setup.results(), [(2, Ok(()))]);
    let content = setup.world.content(target);
    let expected = [vec![0; 1024], vec![2; 1024], vec![3; 512], vec![0; 1536]].concat();
    assert_eq!(content, expected);
    setup.check_idle();
}

#[test]
fn a_request_is_on_the_wire_as_the_header_says() {
    let mut setup = setup();
    let frame = setup.world.page_of(&[]);
    setup.submit(&write(0xABCD, 100, &[Segment { frame, first_sector: 1, last_sector: 3 }]));
    setup.fetch();
    let [request] = setup.backend.queue() else { panic!() };
    assert_eq!((request.operation, request.nr_segments, request.handle), (1, 1, 768));
    assert_eq!((request.id, request.sector_number), (0, 100));
    assert_eq!((request.seg[0].first_sect, request.seg[0].last_sect), (1, 3));
    assert_eq!(request.seg[1..], [wire::Segment::default(); 10]);
}

#[test]
fn what_is_written_to_the_disk_is_granted_for_reading_only() {
    let mut setup = setup();
    let frame = setup.world.page_of(&[]);
    setup.submit(&write(1, 0, &[page(frame)]));
    setup.fetch();
    let reference = GrantRef(setup.backend.queue()[0].seg[0].gref);
    assert!(setup.world.map(Blkback::DOMAIN, reference, true).is_none());
    assert!(setup.world.map(Blkback::DOMAIN, reference, false).is_some());
}

#[test]
fn a_flush_is_the_operation_that_the_backend_has() {
    for (nodes, operation) in [
        (&[("feature-barrier", "1")][..], wire::OP_FLUSH_DISKCACHE),
        (&[("feature-flush-cache", "0"), ("feature-barrier", "1")], wire::OP_WRITE_BARRIER),
    ] {
        let mut setup = setup_in(World::new(), nodes);
        setup.submit(&flush(1));
        setup.frontend.push();
        setup.backend.run();
        assert_eq!(setup.results(), [(1, Ok(()))]);
        assert_eq!(setup.backend.flushes, [operation]);
    }
    let mut setup = setup_in(World::new(), &[("feature-flush-cache", "0")]);
    assert_eq!(setup.frontend.submit(&flush(1)), Err(Error::FlushUnsupported));
    assert_eq!(setup.frontend.in_flight(), 0);
}

#[test]
fn the_backends_refusals_are_told_apart() {
    let mut setup = setup();
    for (status, failure) in [(-1, Failure::Backend), (-2, Failure::NotSupported)] {
        setup.submit(&flush(1));
        setup.fetch();
        let request = setup.backend.queue()[0];
        setup.backend.answer(0);
        // Over the answer just written.
        let index = setup.backend.ring_page()[8];
        let at = 64 + usize::from(index - 1) * 112;
        setup.backend.scribble(at + 10, &i16::to_le_bytes(status));
        assert_eq!(setup.results(), [(1, Err(failure))]);
        assert_eq!(request.operation, wire::OP_FLUSH_DISKCACHE);
    }
    assert_eq!(setup.frontend.fault(), None);
}

#[test]
fn requests_that_make_no_sense_are_not_sent() {
    let mut setup = setup();
    let frame = setup.world.page_of(&[]);
    let whole = page(frame);
    let segments = |count| vec![whole; count];
    let mut refuse = |request: &Request<'_>, error| assert_eq!(setup.frontend.submit(request), Err(error));
    refuse(&read(1, 0, &segments(12)), Error::Segments { found: 12, limit: 11 });
    refuse(&read(1, 0, &[]), Error::Segments { found: 0, limit: 11 });
    let flush_with_data = Request { segments: &[whole], ..flush(1) };
    refuse(&flush_with_data, Error::Segments { found: 1, limit: 0 });
    for (first, last) in [(3, 2), (0, 8), (8, 8), (255, 255)] {
        let segment = Segment { frame, first_sector: first, last_sector: last };
        refuse(&read(1, 0, &[whole, segment]), Error::Segment { first, last });
    }
    let range = |sector| Error::Range { sector, count: 8, sectors: SECTORS };
    refuse(&read(1, SECTORS - 7, &[whole]), range(SECTORS - 7));
    refuse(&write(1, u64::MAX - 3, &[whole]), range(u64::MAX - 3));
    assert!(setup.backend.queue().is_empty());
    setup.check_idle();

    let mut setup = setup_in(World::new(), &[("info", "4"), ("sector-size", "4096")]);
    assert_eq!(setup.frontend.submit(&write(1, 0, &[whole])), Err(Error::ReadOnly));
    let half = Segment { last_sector: 3, ..whole };
    let block = Error::Block { sector: 0, count: 4, block: 4096 };
    assert_eq!(setup.frontend.submit(&read(1, 0, &[half])), Err(block));
}

#[test]
fn a_full_ring_takes_more_after_a_completion() {
    let mut setup = setup();
    for tag in 0..SLOTS {
        assert_eq!(setup.frontend.room(), SLOTS - tag);
        setup.submit(&flush(tag));
    }
    assert_eq!(setup.frontend.submit(&flush(99)), Err(Error::Full));
    setup.fetch();
    // Out of order.
    setup.backend.answer(5);
    assert_eq!(setup.results(), [(5, Ok(()))]);
    setup.submit(&flush(99));
    assert_eq!(setup.frontend.submit(&flush(100)), Err(Error::Full));
    setup.frontend.push();
    setup.backend.run();
    let mut tags: Vec<_> = setup.results().into_iter().map(|(tag, _)| tag).collect();
    tags.sort_unstable();
    assert_eq!(tags, (0..SLOTS).filter(|tag| *tag != 5).chain([99]).collect::<Vec<_>>());
}

#[test]
fn the_backend_is_notified_only_when_it_waits() {
    let mut setup = setup();
    setup.submit(&flush(1));
    assert!(setup.world.take_notified().is_empty());
    setup.frontend.push();
    assert_eq!(setup.world.take_notified(), [PORT]);
    // Not fetched yet, so the backend will find these by itself.
    setup.submit(&flush(2));
    setup.frontend.push();
    setup.frontend.push();
    assert!(setup.world.take_notified().is_empty());
    setup.backend.fetch();
    setup.submit(&flush(3));
    setup.frontend.push();
    assert_eq!(setup.world.take_notified(), [PORT]);
}

#[test]
fn the_frontend_is_notified_after_it_found_nothing() {
    let mut setup = setup();
    for tag in 0..3 {
        setup.submit(&flush(tag));
    }
    setup.fetch();
    setup.backend.answer(0);
    assert_eq!(setup.backend.notifications, 1);
    // No poll yet: it will find these by itself.
    setup.backend.answer(0);
    assert_eq!(setup.backend.notifications, 1);
    assert_eq!(setup.results().len(), 2);
    setup.backend.answer(0);
    assert_eq!(setup.backend.notifications, 2);
    assert_eq!(setup.results().len(), 1);
}

#[test]
fn a_ring_page_is_cleared_before_it_is_granted() {
    let setup = setup();
    let page = setup.backend.ring_page();
    assert!(page[size_of::<Header>()..].iter().all(|byte| *byte == 0));
}

#[test]
fn without_a_page_or_a_grant_there_is_no_frontend() {
    let world = World::new();
    let _backend = Blkback::new(&world, "device/vbd/768", 64);
    let vbd = XenbusDevice::open(&mut world.store(), "device/vbd/768").unwrap().vbd();
    world.limit_pages(0);
    assert_eq!(Frontend::new(world.hal(), vbd, Config::SMALL).err(), Some(Error::NoMemory));
    world.limit_pages(100);
    world.hold_grants();
    assert_eq!(
        Frontend::new(world.hal(), vbd, Config::SMALL).err(),
        Some(Error::Grant(grant::Error::Exhausted))
    );
    assert_eq!(world.pages(), 0);
}

#[test]
fn when_grants_run_out_the_request_is_taken_back() {
    // The ring's, those of the pool's reserve, and 10 for requests.
    let mut setup = setup_in(World::with_grants(8 + 1 + 11 + 10), &[]);
    let segments = [page(setup.world.page_of(&[])); 6];
    setup.submit(&read(1, 0, &segments));
    let exhausted = Err(Error::Grant(grant::Error::Exhausted));
    assert_eq!(setup.frontend.submit(&read(2, 0, &segments)), exhausted);
    assert_eq!(setup.frontend.in_flight(), 1);
    setup.frontend.push();
    setup.backend.run();
    assert_eq!(setup.results(), [(1, Ok(()))]);
    setup.submit(&read(2, 0, &segments));
}

#[test]
fn requests_one_after_the_other_touch_nothing_that_frontends_share() {
    let mut setup = setup();
    let segments = [page(setup.world.page_of(&[])); 11];
    setup.world.take_reference_calls();
    for tag in 0..1000 {
        setup.submit(&read(tag, 0, &segments));
        setup.frontend.push();
        setup.backend.run();
        assert_eq!(setup.results(), [(tag, Ok(()))]);
    }
    assert_eq!(setup.world.take_reference_calls(), 0);
}

#[test]
fn references_that_are_not_needed_are_others() {
    let mut setup = setup();
    let segments = [page(setup.world.page_of(&[])); 11];
    for tag in 0..32 {
        setup.submit(&read(tag, 0, &segments));
    }
    assert!(setup.world.free_grants() < 504 - 32 * 11);
    setup.frontend.push();
    setup.backend.run();
    assert_eq!(setup.results().len(), 32);
    setup.frontend.trim();
    // The ring's and the reserve's, and half a batch for what comes next.
    assert_eq!(setup.world.free_grants(), 504 - 1 - 11 - 32);
}

#[test]
fn a_resumed_guest_gives_nothing_back_of_its_former_life() {
    let Setup { world, mut backend, mut frontend } = setup();
    backend.die();
    world.forget_grants();
    frontend.forget();
    // Another disk is connected before this one is gone.
    let mut other = Blkback::new(&world, "device/vbd/832", SECTORS);
    let mut next = other.connect_frontend(Config::SMALL, &[PORT]).remove(0);
    let frame = world.page_of(&[]);
    next.submit(&read(1, 0, &[page(frame)])).unwrap();
    drop(frontend);
    assert!(world.is_granted(frame));
    assert_eq!(world.granted(), 1 + 11 + 1);
    next.push();
    other.run();
    assert_eq!(next.poll().unwrap().result, Ok(()));
    other.release_ring();
}

#[test]
fn before_and_after_the_connection_nothing_is_sent() {
    let world = World::new();
    let _backend = Blkback::new(&world, "device/vbd/768", 64);
    let vbd = XenbusDevice::open(&mut world.store(), "device/vbd/768").unwrap().vbd();
    let mut frontend = Frontend::new(world.hal(), vbd, Config::SMALL).unwrap();
    assert_eq!(frontend.submit(&flush(1)), Err(Error::NotConnected));
    frontend.push();
    assert_eq!(frontend.poll(), None);
    assert_eq!((frontend.disk(), world.take_notified()), (None, Vec::new()));

    let mut setup = setup();
    setup.submit(&flush(1));
    setup.submit(&flush(2));
    setup.fetch();
    setup.submit(&flush(3));
    setup.frontend.disconnect();
    assert_eq!(setup.frontend.submit(&flush(4)), Err(Error::NotConnected));
    setup.frontend.push();
    setup.backend.run();
    let failed = Err(Failure::Disconnected);
    assert_eq!(setup.results(), [(1, failed), (2, failed), (3, failed)]);
    assert_eq!(setup.frontend.disk(), None);
    setup.check_idle();
}

#[test]
fn a_dropped_frontend_leaves_nothing_behind() {
    let mut setup = setup();
    let frame = setup.world.page_of(&[]);
    setup.submit(&read(1, 0, &[page(frame)]));
    setup.backend.release_ring();
    drop(setup.frontend);
    assert_eq!((setup.world.free_grants(), setup.world.leaked_grants(), setup.world.pages()), (504, 0, 1));
}

#[test]
fn a_ring_that_the_backend_keeps_is_leaked() {
    let setup = setup();
    drop(setup.frontend);
    assert_eq!((setup.world.free_grants(), setup.world.leaked_grants(), setup.world.pages()), (503, 1, 1));
    assert_eq!(setup.world.log().len(), 1);
}

#[test]
fn a_new_size_counts_at_once() {
    let mut setup = setup();
    setup.frontend.resize(8);
    let segments = [page(setup.world.page_of(&[]))];
    let range = Error::Range { sector: 8, count: 8, sectors: 8 };
    assert_eq!(setup.frontend.submit(&read(1, 8, &segments)), Err(range));
    setup.submit(&read(1, 0, &segments));
}

/// Lets a backend with three requests in flight (a read, a flush, and one that is not pushed) do something;
/// the fault has to be this, stick, and bring everything back once.
fn hostile(fault: impl Fn(&Setup) -> Fault, act: impl FnOnce(&mut Setup)) {
    let mut setup = setup();
    let frame = setup.world.page_of(&[]);
    setup.submit(&read(1, 0, &[page(frame)]));
    setup.submit(&flush(2));
    setup.fetch();
    setup.submit(&flush(3));
    act(&mut setup);
    let done = setup.completions();
    let fault = fault(&setup);
    let mut tags: Vec<_> = done.iter().map(|done| done.tag).collect();
    tags.sort_unstable();
    assert_eq!(tags, [1, 2, 3]);
    assert!(done.iter().all(|done| done.result == Err(Failure::Broken)), "{done:?}");
    assert_eq!(setup.frontend.fault(), Some(fault));
    setup.check_idle();

    // Nothing more goes out or comes in.
    let produced = setup.backend.ring_page()[..4].to_vec();
    setup.world.take_notified();
    assert_eq!(setup.frontend.submit(&flush(4)), Err(Error::Broken(fault)));
    setup.frontend.push();
    setup.frontend.disconnect();
    setup.frontend.connect(PORT, Disk { sectors: 1, ..DISK });
    setup.frontend.resize(DISK.sectors);
    setup.backend.claim(1000);
    assert_eq!(setup.frontend.poll(), None);
    assert_eq!(setup.frontend.fault(), Some(fault));
    assert_eq!(setup.backend.ring_page()[..4], produced);
    assert_eq!((setup.world.take_notified(), setup.world.log().len()), (Vec::new(), 1));
}

const DISK: Disk = Disk {
    discard: None,
    sectors: 64,
    sector_size: 512,
    physical_sector_size: 512,
    cdrom: false,
    removable: false,
    read_only: false,
    persistent: false,
    flush: FlushMethod::Flush,
};

fn response(id: u64, operation: u8, status: i16) -> wire::Response {
    wire::Response { id, operation, status, ..wire::Response::default() }
}

#[test]
fn responses_that_no_request_waits_for() {
    for claimed in [3, 33, 34, 0x8000_0000, u32::MAX] {
        let overrun = Fault::Overrun(Overrun { responses: claimed, outstanding: 2 });
        hostile(|_| overrun, |setup| setup.backend.claim(claimed));
    }
}

#[test]
fn responses_with_an_id_of_no_slot() {
    for id in [32, 33, 1 << 32, u64::MAX] {
        let fault = Fault::UnknownId { id, slots: 32 };
        hostile(|_| fault, |setup| setup.backend.respond(&response(id, wire::OP_READ, 0)));
    }
}

#[test]
fn responses_to_what_is_not_in_flight() {
    // A free slot, and one whose request is not pushed.
    for id in [2, 3, 31] {
        let fault = Fault::NotInFlight { id };
        hostile(|_| fault, |setup| setup.backend.respond(&response(id, wire::OP_FLUSH_DISKCACHE, 0)));
    }
}

#[test]
fn a_second_response_to_one_request() {
    let mut setup = setup();
    setup.submit(&flush(1));
    setup.submit(&flush(2));
    setup.fetch();
    setup.backend.respond(&response(0, wire::OP_FLUSH_DISKCACHE, 0));
    setup.backend.respond(&response(0, wire::OP_FLUSH_DISKCACHE, 0));
    assert_eq!(setup.results(), [(1, Ok(())), (2, Err(Failure::Broken))]);
    assert_eq!(setup.frontend.fault(), Some(Fault::NotInFlight { id: 0 }));
}

#[test]
fn responses_of_another_operation() {
    for found in [wire::OP_WRITE, wire::OP_FLUSH_DISKCACHE, 255] {
        let fault = Fault::Operation { expected: wire::OP_READ, found };
        hostile(|_| fault, |setup| setup.backend.respond(&response(0, found, 0)));
    }
}

#[test]
fn responses_with_a_status_that_does_not_exist() {
    for found in [1, -3, i16::MIN, i16::MAX] {
        let fault = Fault::Status { found };
        hostile(|_| fault, |setup| setup.backend.respond(&response(0, wire::OP_READ, found)));
    }
}

#[test]
fn pages_kept_after_the_response() {
    let mut setup = setup();
    let frame = setup.world.page_of(&[]);
    setup.submit(&flush(1));
    setup.submit(&read(2, 0, &[page(frame); 3]));
    setup.submit(&read(3, 0, &[page(frame)]));
    setup.backend.hold_pages = true;
    setup.fetch();
    let held = GrantRef(setup.backend.queue()[1].seg[0].gref);
    setup.backend.answer(0);
    setup.backend.answer(0);
    let done = setup.completions();
    let failed = Err(Failure::Broken);
    let summary: Vec<_> = done.iter().map(|done| (done.tag, done.result, done.pages_held)).collect();
    assert_eq!(summary, [(1, Ok(()), false), (2, failed, true), (3, failed, false)]);
    assert_eq!(setup.frontend.fault(), Some(Fault::GrantHeld { reference: held }));
    assert_eq!(setup.world.leaked_grants(), 3);
    setup.check_idle();
    // The references are gone for good, even once the backend has let go.
    setup.backend.release_pages();
    setup.backend.release_ring();
    drop(setup.frontend);
    assert_eq!((setup.world.free_grants(), setup.world.leaked_grants()), (501, 3));
}

/// Lets the backend map a page of a request in flight, without an answer; the request then comes back for
/// another reason.
fn kept_meanwhile(act: impl FnOnce(&mut Setup)) -> (Setup, Completion) {
    let mut setup = setup();
    let frame = setup.world.page_of(&[]);
    setup.submit(&read(1, 0, &[page(frame)]));
    setup.fetch();
    let reference = GrantRef(setup.backend.queue()[0].seg[0].gref);
    assert!(setup.world.map(Blkback::DOMAIN, reference, true).is_some());
    act(&mut setup);
    let done = setup.completions();
    assert_eq!((done.len(), setup.world.leaked_grants()), (1, 1));
    assert!(done[0].pages_held);
    (setup, done[0])
}

#[test]
fn the_first_reason_stays_when_pages_are_kept_too() {
    let (setup, done) = kept_meanwhile(|setup| setup.backend.claim(1000));
    let fault = Fault::Overrun(Overrun { responses: 1000, outstanding: 1 });
    assert_eq!((done.result, setup.frontend.fault()), (Err(Failure::Broken), Some(fault)));
    let (setup, done) = kept_meanwhile(|setup| setup.frontend.disconnect());
    assert_eq!((done.result, setup.frontend.fault()), (Err(Failure::Disconnected), None));
}

#[test]
fn pages_kept_of_a_request_that_could_not_be_sent() {
    // The ring's, those of the pool's reserve, those of two pages of segments, and those of one of them, and some.
    let mut setup = setup_in(World::with_grants(8 + 1 + 11 + 2 + 512 + 6), &[]);
    let world = setup.world.clone();
    let frame = world.page_of(&[]);
    // A backend that guesses references maps them before they are sent: Xen allows it. Here the hal does it
    // for it.
    struct Guessing(World, Frame);
    #[expect(unsafe_code, reason = "implements the unsafe Hal trait")]
    // SAFETY: forwards to the fake's hal.
    unsafe impl Hal for Guessing {
        fn grant_entries(&self) -> Option<grant::Entries> {
            self.0.hal().grant_entries()
        }
        fn take_references(&self, into: &mut [GrantRef]) -> usize {
            let taken = self.0.hal().take_references(into);
            // More are asked for than there are: what a part of the request has granted already is mapped.
            if taken == 0 {
                let page = self.0.memory(self.1).unwrap().base();
                let map = |number| self.0.map(Blkback::DOMAIN, GrantRef(number), false);
                assert!((8..540).any(|number| map(number).is_some_and(|mapped| mapped.base() == page)));
            }
            taken
        }
        fn give_references(&self, references: &[GrantRef]) {
            self.0.hal().give_references(references);
        }
        fn notify(&self, port: Port) {
            self.0.hal().notify(port);
        }
        fn alloc_shared_page(&self) -> Option<crate::SharedPage> {
            self.0.hal().alloc_shared_page()
        }
        unsafe fn free_shared_page(&self, page: crate::SharedPage) {
            // SAFETY: the caller's promise.
            unsafe { self.0.hal().free_shared_page(page) }
        }
        fn log(&self, message: core::fmt::Arguments<'_>) {
            self.0.hal().log(message);
        }
    }
    setup.backend.release_ring();
    drop(setup.frontend);
    let vbd = XenbusDevice::open(&mut world.store(), "device/vbd/768").unwrap().vbd();
    let config = Config { segments: 1024, indirect: 2, ..Config::SMALL };
    let mut frontend = Frontend::new(Guessing(world.clone(), frame), vbd, config).unwrap();
    frontend.connect(PORT, Disk { sectors: 8000, ..DISK });
    let answer = frontend.submit(&read(1, 0, &[page(frame); 600]));
    let Err(Error::Grant(grant::Error::InUse { reference })) = answer else { panic!("{answer:?}") };
    assert_eq!(frontend.fault(), Some(Fault::GrantHeld { reference }));
    assert_eq!(world.leaked_grants(), 1);
    assert_eq!(frontend.poll(), None);
}

#[test]
fn the_request_on_the_page_is_not_read_back() {
    let mut setup = setup();
    let frame = setup.world.page_of(&[]);
    setup.submit(&read(1, 0, &[page(frame)]));
    setup.fetch();
    setup.backend.scribble(64, &[0xFF; 112]);
    setup.backend.answer(0);
    assert_eq!(setup.results(), [(1, Ok(()))]);
    setup.check_idle();
}

/// Returns the disk before anything is written.
fn original() -> Vec<u8> {
    (0..SECTORS as usize * 512).map(|n| (n / 512 * 7 + n % 512) as u8).collect()
}

#[derive(Clone, Debug)]
enum Step {
    Submit { kind: u8, place: Index, shape: Vec<(u8, u8)> },
    Push,
    Fetch,
    Answer(Index),
    Poll,
    PollOne,
}

fn step() -> impl Strategy<Value = Step> {
    let shape = prop::collection::vec((0u8..8, 0u8..8).prop_map(|(a, b)| (a.min(b), a.max(b))), 1..12);
    prop_oneof![
        4 => (0u8..5, any::<Index>(), shape)
            .prop_map(|(kind, place, shape)| Step::Submit { kind, place, shape }),
        2 => Just(Step::Push),
        2 => Just(Step::Fetch),
        4 => any::<Index>().prop_map(Step::Answer),
        1 => Just(Step::Poll),
        1 => Just(Step::PollOne),
    ]
}

static ORIGINAL: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(original);

/// The expected request in flight.
struct Expected {
    operation: Operation,
    sector: u64,
    segments: Vec<Segment>,
    data: Vec<u8>,
}

fn bytes_of(world: &World, segments: &[Segment]) -> Vec<u8> {
    let part = |segment: &Segment| {
        let content = world.content(segment.frame);
        content[usize::from(segment.first_sector) * 512..(usize::from(segment.last_sector) + 1) * 512]
            .to_vec()
    };
    segments.iter().flat_map(part).collect()
}

proptest! {
    // Long cases that move much data.
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the order of submitting, pushing, fetching, answering and polling: every request comes back
    /// exactly once, with the right data, and nothing stays granted.
    #[test]
    fn every_interleaving_completes_everything_once(steps in prop::collection::vec(step(), 0..200)) {
        let mut setup = setup();
        setup.backend.sectors().copy_from_slice(&ORIGINAL);
        let mut pending: BTreeMap<usize, Expected> = BTreeMap::new();
        // Sectors below are only read, those above are written, each once.
        let mut next_written = SECTORS / 2;
        let mut tag = 0;
        let mut done = 0;
        let mut flushes = 0;
        type Pending = BTreeMap<usize, Expected>;
        let mut finish = |pending: &mut Pending, setup: &mut Setup, completion: Completion| {
            let expected = pending.remove(&completion.tag);
            let expected = expected.expect("came back twice, or was never sent");
            assert_eq!((completion.operation, completion.result), (expected.operation, Ok(())));
            assert!(!completion.pages_held);
            let at = expected.sector as usize * 512;
            match expected.operation {
                Operation::Read => {
                    let found = bytes_of(&setup.world, &expected.segments);
                    assert_eq!(found, ORIGINAL[at..at + found.len()]);
                }
                Operation::Write => {
                    assert_eq!(setup.backend.sectors()[at..at + expected.data.len()], expected.data[..]);
                }
                Operation::Flush => flushes += 1,
                Operation::Discard => unreachable!(),
            }
            done += 1;
        };
        for step in steps {
            match step {
                Step::Submit { kind, place, shape } => {
                    tag += 1;
                    let operation = match kind {
                        0 | 1 => Operation::Read,
                        2 | 3 => Operation::Write,
                        _ => Operation::Flush,
                    };
                    let segments: Vec<Segment> = shape
                        .iter()
                        .enumerate()
                        .map(|(n, (first, last))| Segment {
                            frame: setup.world.page_of(&[(tag * 13 + n) as u8; 4096]),
                            first_sector: *first,
                            last_sector: *last,
                        })
                        .collect();
                    let count: u64 = segments.iter().map(Segment::sectors).sum();
                    let (sector, segments) = match operation {
                        Operation::Read => (place.index((SECTORS / 2 - 88) as usize) as u64, segments),
                        Operation::Write if next_written + count <= SECTORS => (next_written, segments),
                        _ => (0, Vec::new()),
                    };
                    let operation = if segments.is_empty() { Operation::Flush } else { operation };
                    let data = bytes_of(&setup.world, &segments);
                    let request = Request { tag, operation, sector, segments: &segments };
                    match setup.frontend.submit(&request) {
                        Ok(()) => {
                            if operation == Operation::Write {
                                next_written += count;
                            }
                            pending.insert(tag, Expected { operation, sector, segments, data });
                        }
                        Err(error) => {
                            prop_assert_eq!(error, Error::Full);
                            prop_assert_eq!(pending.len(), SLOTS);
                        }
                    }
                }
                Step::Push => {
                    setup.frontend.push();
                }
                Step::Fetch => setup.backend.fetch(),
                Step::Answer(index) => setup.backend.answer(index.index(SLOTS)),
                Step::Poll => while let Some(completion) = setup.frontend.poll() {
                    finish(&mut pending, &mut setup, completion);
                },
                Step::PollOne => if let Some(completion) = setup.frontend.poll() {
                    finish(&mut pending, &mut setup, completion);
                },
            }
            prop_assert_eq!(setup.frontend.in_flight(), pending.len());
        }
        setup.frontend.push();
        setup.backend.run();
        while let Some(completion) = setup.frontend.poll() {
            finish(&mut pending, &mut setup, completion);
        }
        prop_assert!(pending.is_empty());
        prop_assert_eq!(flushes, setup.backend.flushes.len());
        prop_assert_eq!(setup.frontend.fault(), None);
        setup.check_idle();
        prop_assert_eq!(setup.world.leaked_grants(), 0);
    }

}

proptest! {
    /// Driven by notifications alone – the backend fetches only when notified, the frontend polls only when
    /// notified – every request still comes back.
    #[test]
    fn notifications_are_enough(
        bursts in prop::collection::vec((1usize..8, 0usize..8, any::<bool>()), 1..60),
    ) {
        let mut setup = setup();
        let mut sent = 0;
        let mut back = 0;
        let mut seen = 0;
        for (submit, answer, late) in bursts {
            for _ in 0..submit.min(setup.frontend.room()) {
                sent += 1;
                setup.submit(&flush(sent));
            }
            setup.frontend.push();
            if late {
                // The backend answers some before it looks at its notifications.
                (0..answer).for_each(|_| setup.backend.answer(0));
            }
            if !setup.world.take_notified().is_empty() {
                setup.backend.fetch();
            }
            (0..answer).for_each(|_| setup.backend.answer(0));
            if setup.backend.notifications != seen {
                seen = setup.backend.notifications;
                back += setup.results().len();
            }
        }
        loop {
            if !setup.world.take_notified().is_empty() {
                setup.backend.fetch();
            }
            if setup.backend.queue().is_empty() {
                break;
            }
            setup.backend.answer(0);
            if setup.backend.notifications != seen {
                seen = setup.backend.notifications;
                back += setup.results().len();
            }
        }
        prop_assert_eq!(back, sent);
    }

    /// Whatever a backend writes: no panic, nothing comes back twice or never, and after a fault nothing is
    /// sent.
    #[test]
    fn a_hostile_backend_gets_nowhere(
        steps in prop::collection::vec((0u8..9, any::<Index>(), any::<u64>(), any::<[u8; 4]>()), 0..150),
    ) {
        let mut setup = setup();
        setup.backend.hostile = true;
        let frame = setup.world.page_of(&[]);
        let mut pending = Vec::new();
        let mut next_tag = 0;
        for (step, index, word, bytes) in steps {
            let fault = setup.frontend.fault();
            match step {
                0 | 1 => {
                    next_tag += 1;
                    let segments = vec![page(frame); 1 + index.index(11)];
                    let request = match word % 3 {
                        0 => flush(next_tag),
                        _ => read(next_tag, word % 900, &segments),
                    };
                    match setup.frontend.submit(&request) {
                        Ok(()) => {
                            prop_assert_eq!(fault, None);
                            pending.push(next_tag);
                        }
                        Err(error) => match fault {
                            Some(fault) => prop_assert_eq!(error, Error::Broken(fault)),
                            None => prop_assert_eq!(error, Error::Full),
                        },
                    }
                }
                2 => {
                    setup.frontend.push();
                    setup.backend.fetch();
                }
                3 => {
                    setup.backend.hold_pages = word % 8 == 0;
                    setup.backend.answer(index.index(32));
                }
                4 => {
                    // Nearly right.
                    let operation = [0, 3, bytes[0]][usize::from(bytes[1] % 3)];
                    let status = [0, 0, -1, -2, i16::from(bytes[2])][usize::from(bytes[3] % 5)];
                    setup.backend.respond(&response(word % 34, operation, status));
                }
                5 if word % 4 == 0 => setup.backend.claim(u32::from_le_bytes(bytes) % 70),
                6 if word % 4 == 0 => setup.backend.scribble(index.index(4092), &bytes),
                _ => if let Some(completion) = setup.frontend.poll() {
                    let place = pending.iter().position(|tag| *tag == completion.tag);
                    prop_assert!(place.is_some(), "{:?} came back twice, or was never sent", completion);
                    pending.swap_remove(place.unwrap());
                    let broken = matches!(completion.result, Err(Failure::Broken));
                    prop_assert!(!completion.pages_held || broken);
                },
            }
            prop_assert!(fault.is_none() || setup.frontend.fault() == fault);
            prop_assert_eq!(setup.frontend.in_flight(), pending.len());
        }
        setup.frontend.disconnect();
        while let Some(completion) = setup.frontend.poll() {
            let place = pending.iter().position(|tag| *tag == completion.tag);
            prop_assert!(place.is_some());
            pending.swap_remove(place.unwrap());
        }
        prop_assert!(pending.is_empty());
        setup.check_idle();
        setup.backend.release_pages();
        setup.backend.release_ring();
        let Setup { world, frontend, .. } = setup;
        drop(frontend);
        prop_assert_eq!(world.free_grants() + world.leaked_grants(), 504);
        prop_assert_eq!(world.pages(), 1);
    }
}

/// Linux's blkback says only when it connects whether it keeps grants mapped.
#[test]
fn grants_are_persistent_where_the_backend_says_so_at_last() {
    for (says, persistent) in [(Some(true), true), (Some(false), false), (None, false)] {
        let world = World::new();
        let free = world.free_grants();
        let mut backend = Blkback::new(&world, "device/vbd/768", SECTORS);
        backend.persistent_at_last = says;
        let config = Config { persistent: true, ..Config::SMALL };
        let mut frontend = backend.connect_frontend(config, &[PORT]).remove(0);
        assert_eq!(frontend.config().persistent, persistent);
        assert_eq!(backend.is_persistent(), persistent);
        // Data goes through the frontend's pages either way; what they were granted for ends with the
        // request.
        for sector in [0, 8] {
            let request = Copied { tag: 1, operation: Operation::Write, sector, bytes: 4096, offset: 0 };
            frontend.submit_copied(&request, |_, _, memory| memory.copy_in(0, &[7; 4096])).unwrap();
            frontend.push();
            backend.run();
            assert_eq!(frontend.poll().unwrap().result, Ok(()));
        }
        assert_eq!(backend.sectors()[..8192], [7; 8192]);
        let frame = world.page_of(&[]);
        let direct = frontend.submit(&read(2, 0, &[page(frame)]));
        assert_eq!(direct, if persistent { Err(Error::CopyOnly) } else { Ok(()) });
        frontend.push();
        backend.run();
        assert_eq!(frontend.poll().is_some(), !persistent);
        backend.release_ring();
        drop(frontend);
        assert_eq!((world.free_grants(), world.leaked_grants()), (free, 0));
    }
}
