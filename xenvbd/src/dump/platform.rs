//! Xen's services without xenpci: hypercalls, xenstore by polling, a frame of grant table.
#![expect(unsafe_code, reason = "gives pages to Xen and maps what Xen shares; implements an unsafe trait")]

use alloc::vec::Vec;
use core::alloc::Layout;
use core::cell::RefCell;
use core::fmt;
use core::ptr::NonNull;

use wdm::memory::physical_address;
use wdm::port::Port as IoPort;
use wdm::{NtStatus, bugcheck, cpu, pool};
use xen::blkif::polled;
use xen::cpuid::{self, Native};
use xen::event_channel::Channels;
use xen::hvm::StoreLocation;
use xen::hypercall::{self, VmCall};
use xen::store::{self, Client, PAYLOAD_BUFFER, Polling, Ring};
use xen::{
    DomainId, Frame, GrantRef, Hal, PAGE_SIZE, Port, SharedMemory, SharedPage, event_channel, grant, hvm,
    sched,
};
use xenpci_interface::DUMP_WINDOW;

use super::port_driver::{PortDriver, say, stall};

/// Time that xenstored may take for all of its answers together, in seconds.
pub(super) const STORE_SECONDS: u32 = 60;

/// One pause, in microseconds. Meanwhile other domains may have the processor.
const PAUSE: u32 = 100;
/// Pauses for which xenstored must have been quiet before its ring is taken over: 50 ms.
const QUIET: u32 = 50_000 / PAUSE;

/// The reason why there is no adapter.
#[derive(Clone, Copy, Debug)]
pub(super) enum Refusal {
    /// The running system uses its disks: no bugcheck is under way, and it has not let go of them to
    /// hibernate.
    InUse,
    /// CPUID shows no Xen.
    NoXen,
    /// Xen refused.
    Xen(hypercall::Error),
    /// The domain has no xenstore.
    NoStore,
    /// The port driver maps nothing there.
    NoMapping(u64),
    /// Memory has run out.
    NoMemory(NtStatus),
    /// Xenstored does not come to rest.
    Restless,
    /// Xenstore failed.
    Store(store::Error),
    /// No disk is shown by the running system: it did not boot from PV disks.
    NotShown,
    /// The platform device is not on bus 0.
    NoDevice,
    /// The grant table has no frame to spare.
    NoFrame,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse => write!(f, "the running system uses its disks"),
            Self::NoXen => write!(f, "CPUID shows no Xen"),
            Self::Xen(error) => write!(f, "{error}"),
            Self::NoStore => write!(f, "the domain has no xenstore"),
            Self::NoMapping(address) => write!(f, "{address:#x} cannot be mapped"),
            Self::NoMemory(status) => write!(f, "out of memory: {status}"),
            Self::Restless => write!(f, "xenstored does not come to rest"),
            Self::Store(error) => write!(f, "{error}"),
            Self::NotShown => write!(f, "no PV disk is shown by this boot"),
            Self::NoDevice => write!(f, "there is no Xen platform device"),
            Self::NoFrame => write!(f, "the grant table has no frame to spare"),
        }
    }
}

impl From<hypercall::Error> for Refusal {
    fn from(error: hypercall::Error) -> Self {
        Self::Xen(error)
    }
}

impl From<store::Error> for Refusal {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

impl From<NtStatus> for Refusal {
    fn from(status: NtStatus) -> Self {
        Self::NoMemory(status)
    }
}

/// The clock of the copy: the processor's time stamp counter. Nothing else of the stopped system counts time.
#[derive(Clone, Copy)]
struct Clock {
    hypercall: VmCall,
    /// Ticks of the counter in a microsecond.
    rate: u64,
}

impl Clock {
    /// Stalls by which the counter's rate is measured. The shortest counts: in a longer one Xen had given the
    /// processor away.
    const SAMPLES: u32 = 8;

    /// Returns a clock, whose rate is measured against the port driver's stalls.
    fn new(hypercall: VmCall) -> Self {
        let sample = |_| {
            let before = cpu::time_stamp();
            stall(PAUSE);
            cpu::time_stamp().wrapping_sub(before)
        };
        let shortest = (0..Self::SAMPLES).map(sample).min().unwrap_or_default();
        Self { hypercall, rate: (shortest / u64::from(PAUSE)).max(1) }
    }

    /// Returns the ticks of so many seconds.
    const fn ticks(self, seconds: u32) -> u64 {
        seconds as u64 * 1_000_000 * self.rate
    }

    /// Lets a moment pass. Returns the ticks that it took, those of other domains with it.
    fn pause(self) -> u64 {
        let before = cpu::time_stamp();
        sched::yield_now(&self.hypercall);
        stall(PAUSE);
        cpu::time_stamp().wrapping_sub(before)
    }
}

/// A wait of so many seconds, whatever is done between its pauses.
#[derive(Clone, Copy)]
pub(super) struct Wait {
    clock: Clock,
    /// The counter when the wait began.
    began: u64,
    /// In ticks.
    limit: u64,
}

impl Wait {
    fn new(clock: Clock, seconds: u32) -> Self {
        Self { clock, began: cpu::time_stamp(), limit: clock.ticks(seconds) }
    }

    /// Lets a moment pass. Returns `false` when time is up.
    pub(super) fn pause(&mut self) -> bool {
        self.clock.pause();
        cpu::time_stamp().wrapping_sub(self.began) < self.limit
    }
}

/// Xenstore by polling.
pub(super) type Store = Client<Polling<VmCall, StoreWait>, Vec<u8>>;
/// The routine by which a look at xenstore waits.
pub(super) type StoreWait = alloc::boxed::Box<dyn FnMut() -> bool>;

/// The copy's part of Xen.
pub(super) struct Platform {
    clock: Clock,
    table: RefCell<grant::Table<Vec<u32>>>,
    /// Number of the first entry of the table's frame.
    first: u32,
}

impl Platform {
    /// Finds Xen and xenstore, and then, if the running system shows disks, what a frontend needs.
    ///
    /// # Errors
    /// See [`Refusal`]. Up to [`Refusal::NotShown`] nothing has been changed but what this image alone uses.
    pub(super) fn find(port_driver: &PortDriver) -> Result<(Self, Store), Refusal> {
        let xen = cpuid::detect(&Native).ok_or(Refusal::NoXen)?;
        // SAFETY: the copy stays loaded until the machine is reset, or until nobody calls it any
        // more.
        let hypercall = unsafe { VmCall::new(&xen, &Native) };
        let window = platform_memory().ok_or(Refusal::NoDevice)?;
        let location = hvm::store(&hypercall)?.ok_or(Refusal::NoStore)?;
        if !bugcheck::is_under_way() {
            let shared_info = map(port_driver, window)?;
            if !Channels::are_in(&shared_info) || !Channels::is_masked_in(&shared_info, location.port) {
                return Err(Refusal::InUse);
            }
        }
        let clock = Clock::new(hypercall);
        let mut store = open_store(clock, location, port_driver)?;
        let mut names: Vec<u8> = pool::try_vec(polled::NAMES)?;
        let names = names.as_mut_slice().try_into().map_err(|_| Refusal::NoStore)?;
        if !polled::any_shown(&mut store, names)? {
            return Err(Refusal::NotShown);
        }
        let window = window + (DUMP_WINDOW * PAGE_SIZE) as u64;
        let (_, index) = grant::shares(grant::query_size(&hypercall)?.max_frames);
        let index = index.ok_or(Refusal::NoFrame)?;
        // SAFETY: a frame of the platform device's BAR, address space without memory, behind those that
        // xenpci uses; the frame of the table is left to this copy by `grant::shares`.
        unsafe { grant::map_one(&hypercall, index, Frame(window / PAGE_SIZE as u64))? };
        // Entries of an earlier start of this image, which its backend may have mapped still, are left alone by the table.
        let entries = map(port_driver, window)?;
        let list = pool::try_vec(grant::ENTRIES_PER_FRAME)?;
        let table = grant::Table::new(entries, list).map_err(|_| Refusal::NoFrame)?;
        let first = index * grant::ENTRIES_PER_FRAME as u32;
        Ok((Self { clock, table: RefCell::new(table), first }, store))
    }

    /// Returns a wait of so many seconds.
    pub(super) fn wait(&self, seconds: u32) -> Wait {
        Wait::new(self.clock, seconds)
    }

    /// Allocates a port that a domain may bind to. Nobody listens: it stays masked, as every port that xenpci
    /// did not unmask.
    ///
    /// # Errors
    /// Xen's answer.
    pub(super) fn port(&self, domain: DomainId) -> Result<Port, hypercall::Error> {
        event_channel::alloc_unbound(&self.clock.hypercall, domain)
    }
}

/// Takes xenstore over from whoever used it.
fn open_store(clock: Clock, location: StoreLocation, port_driver: &PortDriver) -> Result<Store, Refusal> {
    let hypercall = clock.hypercall;
    let memory = map(port_driver, location.frame.0 * PAGE_SIZE as u64)?;
    // Between its answers the copy writes to the disk, which is no time of xenstored's.
    let mut left = clock.ticks(STORE_SECONDS);
    let mut pause = move || {
        left = left.saturating_sub(clock.pause());
        left > 0
    };
    let ring = Ring::inherit(memory, QUIET, || {
        // It may be waiting for room that was made, or for a notification that was never sent.
        let _ = event_channel::send(&hypercall, location.port);
        pause()
    });
    let pause: StoreWait = pool::try_box(pause)?;
    let polling = Polling::new(hypercall, location.port, pause);
    Ok(Client::new(ring.ok_or(Refusal::Restless)?, polling, pool::try_vec(PAYLOAD_BUFFER)?)?)
}

/// Maps a page.
fn map(port_driver: &PortDriver, physical: u64) -> Result<SharedMemory, Refusal> {
    let base = port_driver.device_base(physical, PAGE_SIZE as u32);
    let base = base.and_then(NonNull::new).ok_or(Refusal::NoMapping(physical))?;
    // SAFETY: a mapped page of memory that Xen shares with the domain, mapped for good, and aligned; no
    // reference into it is made.
    Ok(unsafe { SharedMemory::new(base, PAGE_SIZE) })
}

/// Returns the base of the Xen platform device's memory BAR, from configuration space (PCI 3.0, 3.2.2.3.2),
/// bus 0, function 0 of each device (xen-pci-device-reservations.7: 5853:0001 or 0002).
fn platform_memory() -> Option<u64> {
    const XEN: u32 = 0x5853;
    const MEMORY_BAR: u32 = 0x14;
    (0..32).find_map(|device| {
        let id = configuration(device, 0);
        if id & 0xFFFF != XEN || !matches!(id >> 16, 1 | 2) {
            return None;
        }
        let base = configuration(device, MEMORY_BAR);
        (base & 1 == 0 && base & !0xF != 0).then_some(u64::from(base & !0xF))
    })
}

/// Reads a doubleword of a function's configuration space, by mechanism 1. No other processor runs, and none
/// was stopped between the two accesses: NT makes them with interrupts off.
fn configuration(device: u32, offset: u32) -> u32 {
    // SAFETY: the ports of configuration mechanism 1, which every machine with the platform device has.
    let (address, data) = unsafe { (IoPort::new(0xCF8), IoPort::new(0xCFC)) };
    let before = address.read_u32();
    address.write_u32(1 << 31 | device << 11 | offset);
    let value = data.read_u32();
    address.write_u32(before);
    value
}

/// A page's size at a page's boundary.
const PAGE: Layout = match Layout::from_size_align(PAGE_SIZE, PAGE_SIZE) {
    Ok(page) => page,
    Err(_) => unreachable!(),
};

// SAFETY: entries come from a table in a frame that nobody else uses, which hands each out once and keeps one
// that cannot be ended; pages are pieces of the image's arena, the caller's until freed, with the frame that
// the page tables name.
unsafe impl Hal for Platform {
    fn grant_entries(&self) -> Option<grant::Entries> {
        let table = self.table.borrow();
        let base = table.memory().base();
        // SAFETY: the mapping of the table's frame, which stays.
        Some(grant::Entries::new(unsafe { SharedMemory::new(base, table.memory().len()) }, self.first))
    }

    fn take_references(&self, into: &mut [GrantRef]) -> usize {
        let taken = self.table.borrow_mut().take(into);
        into[..taken].iter_mut().for_each(|reference| reference.0 += self.first);
        taken
    }

    fn give_references(&self, references: &[GrantRef]) {
        for reference in references {
            // This has no other user, who could be told of a stranger.
            let _ = self.table.borrow_mut().give(&[GrantRef(reference.0.wrapping_sub(self.first))]);
        }
    }

    fn notify(&self, port: Port) {
        // Where the notification fails no answer comes, and the wait says so.
        let _ = event_channel::send(&self.clock.hypercall, port);
    }

    fn alloc_shared_page(&self) -> Option<SharedPage> {
        // SAFETY: a layout of a size other than 0.
        let page = NonNull::new(unsafe { alloc::alloc::alloc_zeroed(PAGE) })?;
        let frame = Frame(physical_address(page.as_ptr()) / PAGE_SIZE as u64);
        // SAFETY: a page of the image's own, resident, this caller's alone, with this frame behind it.
        Some(unsafe { SharedPage::new(page, frame) })
    }

    unsafe fn free_shared_page(&self, page: SharedPage) {
        // SAFETY: the caller's promise: it came from `alloc_shared_page`, and no grant of it is left.
        unsafe { alloc::alloc::dealloc(page.memory().base().as_ptr(), PAGE) };
    }

    fn log(&self, message: fmt::Arguments<'_>) {
        say(message);
    }
}
