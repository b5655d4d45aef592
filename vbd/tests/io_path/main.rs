//! The I/O path on the host, between SRBs of the test's and the xen crate's pretended backend.
#![expect(unsafe_code, reason = "the Hal under the code is an unsafe trait, and an allocator is watched")]

mod closed_loop;
mod features;
mod hal;
mod no_allocation;
mod recovery;

use std::cell::RefCell;
use std::rc::Rc;

use proptest::prelude::*;
use scsi::{Action, Extent, Sense};
use vbd::fake::{Order, Srb, Window};
use vbd::{Answer, Ended, Request, Terms};
use xen::blkif::{Config, Element, Event, Frontend, QueueOffer, XenbusDevice};
use xen::fake::{Blkback, World};
use xen::wire::blkif::Response;

/// Sectors of the disk.
const SECTORS: u64 = 4096;
const VBD: &str = "device/vbd/768";
const PORT: xen::Port = xen::Port(7);
/// Slots of a ring of one page.
const SLOTS: usize = 32;

/// One connected disk.
struct Disk {
    world: World,
    backend: Rc<RefCell<Blkback>>,
    queue: vbd::Queue<hal::Platform, Srb>,
    terms: Terms,
}

impl Disk {
    fn new() -> Self {
        Self::with(Config::SMALL, &[])
    }

    /// Returns a disk made within `config`; `nodes` are the backend's, beyond the usual.
    fn with(config: Config, nodes: &[(&str, &str)]) -> Self {
        Self::in_world(World::with_grants(8192), config, nodes)
    }

    fn in_world(world: World, config: Config, nodes: &[(&str, &str)]) -> Self {
        let mut backend = Blkback::new(&world, VBD, SECTORS);
        nodes.iter().for_each(|(node, value)| backend.set(node, value));
        let backend = Rc::new(RefCell::new(backend));
        let platform = hal::Platform::new(world.hal(), backend.clone());
        let (frontend, disk) = connect(&world, &backend, &platform, config);
        let queue = vbd::Queue::new(frontend, platform, Window::new(&world), PORT, disk);
        let terms = Terms { copy_all: queue.copies_all(), block_size: disk.sector_size };
        Self { world, terms, backend, queue }
    }

    /// Starts a request; `Err` if it ends at once.
    fn start(&mut self, order: &Order, action: Action) -> Result<(), Answer> {
        let srb = order.srb();
        no_allocation::during(|| match Request::new(srb, action, self.terms) {
            Ok(request) => {
                let request = request.settle().expect("an extension");
                let (ended, again) = self.queue.start(request);
                ended.complete();
                if again {
                    self.service();
                }
                Ok(())
            }
            Err((_, answer)) => Err(answer),
        })
    }

    fn read_now(&mut self, sector: u64, into: &mut [u8]) -> Result<(), vbd::ReadError> {
        let platform = hal::Platform::new(self.world.hal(), self.backend.clone());
        self.queue.read_now(sector, into, |time| platform.pause(time))
    }

    /// Takes in what the backend has answered, as the driver's channel does.
    fn service(&mut self) {
        no_allocation::during(|| {
            loop {
                self.queue.drain().complete();
                if !self.queue.settle() {
                    return;
                }
            }
        });
    }

    /// Lets the backend do everything, as often as it takes.
    fn run(&mut self) {
        for _ in 0..50 {
            self.backend.borrow_mut().run();
            self.service();
        }
    }

    fn fill(&self, seed: u8) {
        let mut backend = self.backend.borrow_mut();
        for (index, byte) in backend.sectors().iter_mut().enumerate() {
            *byte = (index / 512) as u8 ^ (index as u8).wrapping_mul(7) ^ seed;
        }
    }

    fn bytes(&self, extent: Extent) -> Vec<u8> {
        let at = extent.sector as usize * 512;
        self.backend.borrow_mut().sectors()[at..][..extent.bytes() as usize].to_vec()
    }

    /// Returns a buffer of pages, whose bytes are reached by their frames only.
    fn pages(&self, bytes: usize) -> (Vec<xen::Frame>, Vec<Element>) {
        let frames: Vec<_> = (0..bytes.div_ceil(4096)).map(|_| self.world.page_of(&[])).collect();
        let element = |(index, frame): (usize, &xen::Frame)| Element {
            address: frame.0 * 4096,
            length: (bytes - index * 4096).min(4096) as u32,
        };
        let list = frames.iter().enumerate().map(element).collect();
        (frames, list)
    }

    /// Returns a buffer that no page can be granted of: pieces of odd sizes at odd addresses.
    fn odd(&self, bytes: usize) -> Vec<Element> {
        let mut list = Vec::new();
        let mut left = bytes;
        while left > 0 {
            let address = self.world.page_of(&[]).0 * 4096;
            // Some go on at the start of the next page, as in a buffer that is contiguous somewhere.
            let (within, length) = [(4, 4092), (0, 4096), (0, 4096), (0, 100), (333, 2000)][list.len() % 5];
            let length = left.min(length);
            list.push(Element { address: address + within, length: length as u32 });
            left -= length;
        }
        list
    }

    /// Puts `data` into a buffer.
    fn put(&self, list: &[Element], data: &[u8]) {
        let mut data = data;
        for element in list {
            let (here, rest) = data.split_at(data.len().min(element.length as usize));
            let memory = self.world.memory(xen::Frame(element.address / 4096)).unwrap();
            memory.copy_in(element.address as usize % 4096, here);
            data = rest;
        }
    }

    /// Returns the contents of a buffer.
    fn get(&self, list: &[Element]) -> Vec<u8> {
        let part = |element: &Element| {
            let at = element.address as usize % 4096;
            self.world.content(xen::Frame(element.address / 4096))[at..at + element.length as usize].to_vec()
        };
        list.iter().flat_map(part).collect()
    }

    fn content(&self, frames: &[xen::Frame], bytes: usize) -> Vec<u8> {
        let mut content: Vec<u8> = frames.iter().flat_map(|frame| self.world.content(*frame)).collect();
        content.truncate(bytes);
        content
    }

    /// Writes a response of this status to the oldest request that the backend has fetched.
    fn respond(&mut self, status: i16) {
        let mut backend = self.backend.borrow_mut();
        backend.fetch();
        let request = backend.queue()[0];
        let (id, operation) = (request.id, request.operation);
        backend.respond(&Response { id, operation, status, ..Response::default() });
    }
}

/// Returns a frontend and its backend, connected.
fn connect(
    world: &World,
    backend: &RefCell<Blkback>,
    platform: &hal::Platform,
    config: Config,
) -> (Frontend<hal::Platform>, xen::blkif::Disk) {
    let mut store = world.store();
    let mut xenbus = XenbusDevice::open(&mut store, VBD).unwrap();
    let mut frontend = None;
    for _ in 0..20 {
        match xenbus.advance(&mut store).unwrap() {
            Event::Wanted(features) => {
                let config = config.within(&features);
                let made = Frontend::new(platform.clone(), xenbus.vbd(), config).unwrap();
                let queue = QueueOffer { ring: made.ring(), port: PORT };
                xenbus.publish(&mut store, config.persistent, &[queue]).unwrap();
                frontend = Some(made);
            }
            Event::Connected(disk) => return (frontend.unwrap(), disk),
            _ => backend.borrow_mut().negotiate(),
        }
    }
    panic!("not connected");
}

fn extent(sector: u64, sectors: u64) -> Extent {
    Extent { sector, sectors }
}

fn done(bytes: u32) -> Option<Answer> {
    Some(Answer::Done { transferred: bytes })
}

#[test]
fn pages_move_directly_even_where_the_ring_is_too_small() {
    let mut disk = Disk::new();
    disk.fill(1);
    // Four times 160 pages: two of them fill the ring.
    let size = 160 * 4096;
    let mut reads = Vec::new();
    for n in 0..4 {
        let at = extent(n * 100, size as u64 / 512);
        let (frames, list) = disk.pages(size);
        let order = Order::new(size, None, list);
        disk.start(&order, Action::Read { extent: at }).unwrap();
        reads.push((order, frames, at));
    }
    assert!(reads.iter().all(|(order, ..)| order.answer().is_none()));
    disk.run();
    for (order, frames, at) in &reads {
        assert_eq!(order.answer(), done(size as u32));
        assert_eq!(disk.content(frames, size), disk.bytes(*at));
    }
    assert_eq!(disk.world.leaked_grants(), 0);
}

#[test]
fn odd_buffers_bounce() {
    let mut disk = Disk::new();
    let at = extent(9, 17);
    let written: Vec<u8> = (0..at.bytes()).map(|n| (n % 251) as u8).collect();
    let list = disk.odd(written.len());
    disk.put(&list, &written);
    let order = Order::new(written.len(), None, list);
    disk.start(&order, Action::Write { extent: at, flush_after: false }).unwrap();
    disk.run();
    assert_eq!(order.answer(), done(at.bytes() as u32));
    assert_eq!(disk.bytes(at), written);
    assert!(disk.backend.borrow().flushes.is_empty());

    let list = disk.odd(written.len());
    let order = Order::new(written.len(), None, list.clone());
    disk.start(&order, Action::Read { extent: at }).unwrap();
    disk.run();
    assert_eq!(order.answer(), done(at.bytes() as u32));
    assert_eq!(disk.get(&list), written);
}

#[test]
fn a_backend_that_is_not_trusted_sees_no_page_of_the_systems() {
    let mut disk = Disk::new();
    disk.terms.copy_all = true;
    disk.fill(3);
    let at = extent(64, 800);
    let (frames, list) = disk.pages(at.bytes() as usize);
    let order = Order::new(at.bytes() as usize, None, list);
    disk.start(&order, Action::Read { extent: at }).unwrap();
    assert!(frames.iter().all(|frame| !disk.world.is_granted(*frame)));
    disk.run();
    assert_eq!(order.answer(), done(at.bytes() as u32));
    assert_eq!(disk.content(&frames, at.bytes() as usize), disk.bytes(at));
}

#[test]
fn fua_flushes_after_the_data() {
    for aligned in [true, false] {
        let mut disk = Disk::new();
        let at = extent(0, 8);
        let list = if aligned { disk.pages(4096).1 } else { disk.odd(4096) };
        let order = Order::new(4096, None, list);
        disk.start(&order, Action::Write { extent: at, flush_after: true }).unwrap();
        disk.backend.borrow_mut().run();
        assert!(disk.backend.borrow().flushes.is_empty());
        disk.service();
        // The data is there, the command is not done: its flush is on the way.
        assert_eq!(order.answer(), None);
        disk.backend.borrow_mut().run();
        assert_eq!(disk.backend.borrow().flushes.len(), 1);
        disk.service();
        assert_eq!(order.answer(), done(4096));
    }
}

#[test]
fn a_flush_is_a_flush_and_one_that_is_refused_is_the_last() {
    let mut disk = Disk::new();
    let order = Order::new(0, None, Vec::new());
    disk.start(&order, Action::Flush).unwrap();
    assert_eq!(order.answer(), None);
    disk.run();
    assert_eq!(order.answer(), done(0));
    assert_eq!(disk.backend.borrow().flushes.len(), 1);

    let order = Order::new(0, None, Vec::new());
    disk.start(&order, Action::Flush).unwrap();
    disk.respond(-2);
    disk.service();
    // As Linux does it: there is no other way, and no use in failing what nobody can do.
    assert_eq!(order.answer(), done(0));
    assert_eq!(disk.queue.disk().map(|disk| disk.flush), Some(xen::blkif::FlushMethod::None));
    let order = Order::new(0, None, Vec::new());
    disk.start(&order, Action::Flush).unwrap();
    assert_eq!((order.answer(), disk.queue.in_flight()), (done(0), 0));
}

/// A backend that offers a flush and answers "not supported", as it may at any time: writes with FUA go on.
#[test]
fn fua_survives_a_flush_that_is_not_supported_after_all() {
    let mut disk = Disk::new();
    disk.backend.borrow_mut().refuses_features = true;
    for n in 0..2 {
        let (_, list) = disk.pages(4096);
        let order = Order::new(4096, None, list);
        disk.start(&order, Action::Write { extent: extent(n * 8, 8), flush_after: true }).unwrap();
        disk.run();
        assert_eq!(order.answer(), done(4096), "write {n}");
    }
    assert_eq!(disk.queue.disk().map(|disk| disk.flush), Some(xen::blkif::FlushMethod::None));
}

/// Blocks of 4 KiB, a buffer of whole sectors that begins inside a page: the backend takes no part of a block.
#[test]
fn a_segment_is_whole_blocks_or_the_data_is_copied() {
    for (within, copied) in [(0, false), (512, true), (2048, true)] {
        let mut disk = Disk::with(Config::SMALL, &[("sector-size", "4096")]);
        disk.fill(2);
        let (at, frames) = (extent(8, 16), [(); 3].map(|()| disk.world.page_of(&[])));
        let mut list: Vec<_> =
            frames.iter().map(|frame| Element { address: frame.0 * 4096, length: 4096 }).collect();
        list[0] = Element { address: list[0].address + within, length: 4096 - within as u32 };
        let order = Order::new(8192, None, list.clone());
        disk.start(&order, Action::Read { extent: at }).unwrap();
        assert_eq!(disk.world.is_granted(frames[0]), !copied);
        disk.run();
        assert_eq!(order.answer(), done(8192));
        assert_eq!(disk.get(&list)[..8192], disk.bytes(at));
    }
}

/// A table of 600 references, of which two busy disks hold nearly all: a third, idle one loses no request.
#[test]
fn an_idle_disk_has_grants_whatever_others_hold() {
    let mut disk = Disk::new();
    disk.fill(8);
    disk.world.hold_grants();
    for (write, aligned) in [(false, true), (false, false), (true, true), (true, false)] {
        let size = 160 * 4096;
        let list = if aligned { disk.pages(size).1 } else { disk.odd(size) };
        let at = extent(0, size as u64 / 512);
        let (order, later) = (Order::new(size, None, list.clone()), Order::new(size, None, list.clone()));
        let action =
            if write { Action::Write { extent: at, flush_after: true } } else { Action::Read { extent: at } };
        disk.start(&order, action).unwrap();
        disk.start(&later, action).unwrap();
        assert_eq!((order.answer(), later.answer()), (None, None));
        for _ in 0..20 {
            disk.run();
        }
        assert_eq!((order.answer(), later.answer()), (done(size as u32), done(size as u32)));
        assert_eq!(disk.get(&list), disk.bytes(at));
    }
    assert_eq!(disk.world.leaked_grants(), 0);
}

#[test]
fn a_failed_part_fails_the_command_so_that_it_is_tried_again() {
    let mut disk = Disk::new();
    let (_, list) = disk.pages(4096);
    let order = Order::new(4096, None, list);
    disk.start(&order, Action::Read { extent: extent(24, 8) }).unwrap();
    disk.respond(-1);
    disk.service();
    // What the backend means by it, nobody knows: it may be out of memory.
    assert_eq!(order.answer(), Some(Answer::Sense(Sense::TRANSPORT_FAULT)));

    // Three ring requests: 11, 11 and 3 pages.
    let size = 4096 * 25;
    let list = disk.odd(size);
    let order = Order::new(size, None, list);
    disk.start(&order, Action::Write { extent: extent(0, 200), flush_after: true }).unwrap();
    let ids: Vec<_> = {
        let mut backend = disk.backend.borrow_mut();
        backend.fetch();
        backend.queue().iter().skip(1).map(|request| (request.id, request.operation)).collect()
    };
    for ((id, operation), status) in ids.into_iter().zip([0, -1, 0]) {
        assert_eq!(order.answer(), None);
        disk.backend.borrow_mut().respond(&Response { id, operation, status, ..Response::default() });
        disk.service();
    }
    assert_eq!(order.answer(), Some(Answer::Sense(Sense::TRANSPORT_FAULT)));
    assert!(disk.backend.borrow().flushes.is_empty());
}

/// Linux tells one flush that cached writes were lost, and answers the next one as if none had been.
#[test]
fn a_failed_flush_is_not_tried_again() {
    let mut disk = Disk::new();
    let order = Order::new(0, None, Vec::new());
    disk.start(&order, Action::Flush).unwrap();
    disk.respond(-1);
    disk.service();
    assert_eq!(order.answer(), Some(Answer::Sense(Sense::WRITE_ERROR)));

    // A write that is tried again brings its data with it.
    let (_, list) = disk.pages(4096);
    let order = Order::new(4096, None, list);
    disk.start(&order, Action::Write { extent: extent(0, 8), flush_after: true }).unwrap();
    for status in [0, -1] {
        assert_eq!(order.answer(), None);
        let mut backend = disk.backend.borrow_mut();
        backend.fetch();
        let request = backend.queue().last().expect("a request");
        let (id, operation) = (request.id, request.operation);
        backend.respond(&Response { id, operation, status, ..Response::default() });
        drop(backend);
        disk.service();
    }
    assert_eq!(order.answer(), Some(Answer::Sense(Sense::TRANSPORT_FAULT)));
}

#[test]
fn a_verify_reads_everything_and_needs_no_buffer() {
    let mut disk = Disk::new();
    let order = Order::new(0, None, Vec::new());
    // As many ring requests as fifteen rings have.
    disk.start(&order, Action::Verify { extent: extent(0, SECTORS) }).unwrap();
    assert_eq!(order.answer(), None);
    disk.run();
    assert_eq!(order.answer(), done(0));
}

#[test]
fn buffers_that_do_not_fit_are_refused_before_anything_is_sent() {
    let mut disk = Disk::new();
    let read = Action::Read { extent: extent(0, 8) };
    let (_, list) = disk.pages(4096);
    assert_eq!(disk.start(&Order::new(2048, None, list.clone()), read), Err(Answer::InvalidRequest));
    let short = disk.odd(4095);
    assert_eq!(disk.start(&Order::new(4096, None, short), read), Err(Answer::InvalidRequest));
    assert_eq!(disk.start(&Order::new(4096, None, Vec::new()), read), Err(Answer::InvalidRequest));
    // A longer buffer is an underrun.
    let order = Order::new(8192, None, list);
    disk.start(&order, read).unwrap();
    disk.run();
    assert_eq!(order.answer(), done(4096));
}

#[test]
fn a_backend_that_breaks_the_protocol_ends_everything_once() {
    let mut disk = Disk::new();
    let orders: Vec<_> = (0..6)
        .map(|n| {
            let size = 160 * 4096;
            let (_, list) = disk.pages(size);
            let order = Order::new(size, None, list);
            disk.start(&order, Action::Read { extent: extent(n, 1280) }).unwrap();
            order
        })
        .collect();
    disk.backend.borrow_mut().respond(&Response { id: 999, ..Response::default() });
    disk.service();
    assert!(orders.iter().all(|order| order.answer() == Some(Answer::NoDevice)));
    let late = Order::new(0, None, Vec::new());
    disk.start(&late, Action::Flush).unwrap();
    assert_eq!(late.answer(), Some(Answer::NoDevice));
    assert!(!disk.queue.is_connected());
}

#[test]
fn pages_that_the_backend_keeps_are_not_given_back() {
    let mut disk = Disk::new();
    disk.backend.borrow_mut().hold_pages = true;
    let (_, list) = disk.pages(4096);
    let order = Order::new(4096, None, list);
    disk.start(&order, Action::Read { extent: extent(0, 8) }).unwrap();
    disk.run();
    // The system's page may still be written, so the system does not get it back, and a reset is not done.
    assert_eq!(order.answer(), None);
    disk.queue.reset().complete();
    assert!(disk.queue.is_idle() && disk.queue.keeps_any());
    assert_eq!(order.answer(), None);

    // The driver's own page stays away instead, and the command ends.
    let mut disk = Disk::new();
    disk.backend.borrow_mut().hold_pages = true;
    let list = disk.odd(4096);
    let order = Order::new(4096, None, list);
    disk.start(&order, Action::Read { extent: extent(0, 8) }).unwrap();
    disk.run();
    assert_eq!(order.answer(), Some(Answer::NoDevice));
    assert!(!disk.queue.keeps_any());
    let pages = disk.world.pages();
    drop(disk.queue);
    // The ring's page and all bounce pages but one are freed.
    assert_eq!(pages - disk.world.pages(), SLOTS - 1);
}

/// A backend maps what a request has granted before the request is sent, which then finds no more references: its pages are
/// not given back either.
#[test]
fn pages_that_were_mapped_before_the_request_was_sent_are_not_given_back() {
    let nodes = [("feature-max-indirect-segments", "1024"), ("max-ring-page-order", "1")];
    let config = Config { ring_order: 1, segments: 1024, indirect: 4, pool: 1, persistent: false };
    // A page of segments gets its references, and the second does not.
    let mut disk = Disk::in_world(World::with_grants(8 + 600), config, &nodes);
    let page = || Element { address: disk.world.page_of(&[]).0 * 4096, length: 512 };
    let order = Order::new(900 * 512, None, (0..900).map(|_| page()).collect());
    hal::guess();
    disk.start(&order, Action::Read { extent: extent(0, 900) }).unwrap();
    disk.run();
    assert_eq!(order.answer(), None);
    assert!(disk.queue.keeps_any());
    assert_eq!(disk.world.leaked_grants(), 1);
}

#[test]
fn a_reset_gives_up_only_what_was_not_begun() {
    let mut disk = Disk::new();
    disk.fill(5);
    let size = 160 * 4096;
    let orders: Vec<_> = (0..6)
        .map(|n| {
            let (frames, list) = disk.pages(size);
            let order = Order::new(size, None, list);
            disk.start(&order, Action::Read { extent: extent(n, 1280) }).unwrap();
            (order, frames)
        })
        .collect();
    disk.queue.reset().complete();
    let (begun, waiting) = orders.split_at(3);
    assert!(begun.iter().all(|(order, _)| order.answer().is_none()));
    assert!(waiting.iter().all(|(order, _)| order.answer() == Some(Answer::Reset)));
    disk.run();
    for (n, (order, frames)) in begun.iter().enumerate() {
        assert_eq!(order.answer(), done(size as u32));
        assert_eq!(disk.content(frames, size), disk.bytes(extent(n as u64, 1280)));
    }
}

#[test]
fn a_read_before_any_command_waits_for_its_answer() {
    let mut disk = Disk::new();
    disk.fill(9);
    let mut block = [0; 512];
    disk.read_now(3, &mut block).unwrap();
    assert_eq!(block.as_slice(), disk.bytes(extent(3, 1)));
    assert!(disk.read_now(SECTORS, &mut block).is_err());
    assert!(disk.queue.is_connected());
    hal::silence();
    assert!(disk.read_now(0, &mut block).is_err());
    assert!(!disk.queue.is_connected());
}

#[test]
fn a_read_that_is_not_answered_ends_after_thirty_seconds_on_a_coarse_clock() {
    let mut disk = Disk::new();
    hal::silence();
    assert!(disk.read_now(0, &mut [0; 512]).is_err());
    let seconds = hal::paused().as_secs_f64();
    assert!((30.0..30.1).contains(&seconds), "{seconds}");
}

#[test]
fn a_read_whose_notification_is_lost_is_told_again() {
    let mut disk = Disk::new();
    disk.fill(9);
    hal::silence();
    hal::quicken();
    hal::lose();
    let mut block = [0; 512];
    disk.read_now(3, &mut block).unwrap();
    assert_eq!(block.as_slice(), disk.bytes(extent(3, 1)));
    let seconds = hal::paused().as_secs_f64();
    assert!((1.0..1.1).contains(&seconds), "{seconds}");
}

#[test]
fn a_request_that_reached_no_queue_has_no_device() {
    let order = Order::new(0, None, Vec::new());
    let Ok(request) = Request::new(order.srb(), Action::Flush, Terms { copy_all: false, block_size: 512 })
    else {
        panic!()
    };
    Ended::unserved(request.settle().expect("an extension")).complete();
    assert_eq!(order.answer(), Some(Answer::NoDevice));
}

/// One command of the property below.
#[derive(Clone, Debug)]
struct Step {
    write: bool,
    flush_after: bool,
    aligned: bool,
    sector: u64,
    sectors: u64,
    seed: u8,
}

fn any_step() -> impl Strategy<Value = Step> {
    (any::<bool>(), any::<bool>(), any::<bool>(), 0..SECTORS - 1400, 1u64..1400, any::<u8>()).prop_map(
        |(write, flush_after, aligned, sector, sectors, seed)| Step {
            write,
            flush_after,
            aligned,
            sector,
            sectors,
            seed,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever way data takes, and in whatever order the backend answers, the disk ends up as a plain array would.
    #[test]
    fn data_arrives(steps in prop::collection::vec(any_step(), 1..8), order in prop::collection::vec(any::<usize>(), 40)) {
        let mut disk = Disk::new();
        let mut model = disk.backend.borrow_mut().sectors().clone();
        let mut turns = order.iter().cycle();
        for step in steps {
            let at = extent(step.sector, step.sectors);
            let size = at.bytes() as usize;
            let range = at.sector as usize * 512..at.sector as usize * 512 + size;
            let data: Vec<u8> = (0..size).map(|n| (n / 3) as u8 ^ step.seed).collect();
            let list = if step.aligned { disk.pages(size).1 } else { disk.odd(size) };
            if step.write {
                disk.put(&list, &data);
                model[range.clone()].copy_from_slice(&data);
            }
            let order = Order::new(size, None, list.clone());
            let action = match step.write {
                true => Action::Write { extent: at, flush_after: step.flush_after },
                false => Action::Read { extent: at },
            };
            disk.start(&order, action).unwrap();
            while order.answer().is_none() {
                disk.backend.borrow_mut().fetch();
                let turn = *turns.next().unwrap();
                disk.backend.borrow_mut().answer(turn);
                disk.service();
            }
            prop_assert_eq!(order.answer(), done(size as u32));
            if !step.write {
                prop_assert_eq!(&disk.get(&list), &model[range]);
            }
        }
        prop_assert!(*disk.backend.borrow_mut().sectors() == model);
        prop_assert_eq!(disk.world.leaked_grants(), 0);
    }
}
