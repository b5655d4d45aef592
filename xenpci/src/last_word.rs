//! The last that the host hears of a guest, in `data/xenguard/last` (`guard::last_boot` has its line): at the
//! last chance of a shutdown in order, and when the guard stops the system. The toolstack decides how long the
//! node stays.
//!
//! A stop is told by a bugcheck callback, at HIGH_LEVEL on the one processor that still runs: by polling, over
//! the page that the running system used, as the dump's copy of the drivers does. Locks are not asked for. Who
//! was in a request when the system stopped is thrown away with it ([`Ring::inherit`]), and a store that does
//! not answer is given up.
#![expect(unsafe_code, reason = "takes over, at a stop, what the running system used")]

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, Ordering};
use core::time::Duration;

use guard::abi::{PhaseNumber, Status};
use guard::crash_dump;
use guard::host;
use guard::last_boot::{self, End, LastBoot};
use wdm::bugcheck::{self, Callback};
use wdm::{Device, debug_print, pool, time};
use xen::hypercall::VmCall;
use xen::store::path::PathBuf;
use xen::store::{Client, Error, PAYLOAD_BUFFER, Polling, Ring, Store};
use xen::{PAGE_SIZE, Port, SharedMemory, event_channel};

use crate::state::Text;
use crate::{DRIVER, Extension};

/// Looks at xenstore that all of a stop's requests may take together, and the time between two: a second. The
/// dump is written before, and the restart waits.
const LOOKS: u32 = 20_000;
const PAUSE: Duration = Duration::from_micros(50);
/// Looks for which xenstored must have been quiet before its ring is taken over.
const QUIET: u32 = 100;

/// Returns the record of this boot as it ends.
fn record(status: Status, end: End) -> LastBoot {
    LastBoot::of_running(time::system_time(), time::interrupt_time(), end, status)
}

/// Tells the host of the end. IRQL: the store's.
fn tell(store: &mut (impl Store + ?Sized), record: &LastBoot) -> Result<(), Error> {
    let node = PathBuf::new(host::STATE)?.join(last_boot::NODE)?;
    store.write(&node, Text::of(format_args!("{}", record.line())).as_bytes())
}

/// Has the device told of a shutdown when file systems are gone. PASSIVE_LEVEL.
pub(crate) fn hear_of_last_chance(device: Device<Extension>) {
    if let Err(status) = device.hear_of_last_chance() {
        debug_print!(DRIVER, "the host will not be told of a shutdown: status {status}");
    }
}

/// Tells the host of a shutdown in order. PASSIVE_LEVEL; waits for xenstore.
///
/// # Errors
/// What xenstore answers.
pub(crate) fn at_shutdown(store: &mut (impl Store + ?Sized), status: Status) -> Result<(), Error> {
    tell(store, &record(status, End::InOrder))
}

static CALLBACK: Callback = Callback::new(c"xenpci", at_stop);
/// The connection to use at a stop; null while there is none.
static ARMED: AtomicPtr<Connection> = AtomicPtr::new(ptr::null_mut());

/// Everything that a stop needs, as nothing can be had then.
struct Connection {
    hypercall: VmCall,
    port: Port,
    page: NonNull<u8>,
    buffer: Vec<u8>,
}

/// A connection that a stop may use. Dropping it ends that.
pub(crate) struct LastWord(NonNull<Connection>);

// SAFETY: the value only takes back what it has given out.
unsafe impl Send for LastWord {}

impl LastWord {
    /// Lets a stop use xenstore's mapped page; `None` where there is no memory. PASSIVE_LEVEL.
    ///
    /// # Safety
    /// `page` is a whole page, mapped as long as the value lives.
    pub(crate) unsafe fn new(hypercall: VmCall, port: Port, page: NonNull<u8>) -> Option<Self> {
        let buffer = pool::try_vec(PAYLOAD_BUFFER).ok()?;
        let connection = Box::leak(pool::try_box(Connection { hypercall, port, page, buffer }).ok()?);
        let connection = NonNull::from(connection);
        // Registered by an earlier connection, as often as not.
        let _ = CALLBACK.register();
        ARMED.store(connection.as_ptr(), Ordering::Release);
        Some(Self(connection))
    }

    /// Has the kernel forget the callback: the driver may be unloaded. PASSIVE_LEVEL.
    pub(crate) fn forget() {
        CALLBACK.deregister();
    }
}

impl Drop for LastWord {
    fn drop(&mut self) {
        // Another one may have taken its place.
        let _ = ARMED.compare_exchange(self.0.as_ptr(), ptr::null_mut(), Ordering::AcqRel, Ordering::Acquire);
        // SAFETY: leaked in `new`. A stop that uses it halts every processor, this one too.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// Tells the host of a stop by the guard. HIGH_LEVEL, while the system stops.
fn at_stop() {
    let Some((code, parameters)) = bugcheck::under_way() else { return };
    let Some(stop) = crash_dump::stop_of(code, parameters.map(|parameter| parameter as u64)) else { return };
    // SAFETY: null, or a connection that nobody drops any more: the other processors are halted.
    let Some(connection) = (unsafe { ARMED.swap(ptr::null_mut(), Ordering::AcqRel).as_mut() }) else {
        return;
    };
    let status = Status { phase: PhaseNumber::STOPPED, reason: stop.reason.code(), ..Status::default() };
    // The guest stops, heard or not.
    let _ = connection.tell(&record(status, End::Stopped(stop)));
}

impl Connection {
    fn tell(&mut self, record: &LastBoot) -> Result<(), Error> {
        let Self { hypercall, port, page, buffer } = self;
        let mut left = LOOKS;
        let mut pause = || {
            time::stall(PAUSE);
            left = left.saturating_sub(1);
            left > 0
        };
        // SAFETY: a whole mapped page, resident and aligned, for as long as the connection is armed; no reference
        // into it is made.
        let memory = unsafe { SharedMemory::new(*page, PAGE_SIZE) };
        // What was asked and not notified is answered, too.
        let _ = event_channel::send(hypercall, *port);
        let ring = Ring::inherit(memory, QUIET, &mut pause).ok_or(Error::TimedOut)?;
        let polling = Polling::new(*hypercall, *port, pause);
        let mut client = Client::new(ring, polling, &mut buffer[..])?;
        tell(&mut client, record)?;
        let folder = PathBuf::new(host::STATE)?;
        client.write(&folder.join("phase")?, record.phase().as_bytes())?;
        let reason = Text::of(format_args!("{:#x}", record.status.reason));
        client.write(&folder.join("reason")?, reason.as_bytes())
    }
}
