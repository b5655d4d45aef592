//! The report of an emulated boot to the host: one conversation with xenstore by polling, in a thread of its
//! own, and a second one at the last chance of the shutdown. Nothing of Xen's stays in use between them, and the
//! boot waits for neither.
#![expect(unsafe_code, reason = "maps the store's page and hands it to the ring")]

use core::fmt;
use core::ptr::NonNull;
use core::time::Duration;

use guard::other_suites;
use wdm::mapping::{Caching, Mapping};
use wdm::registry::{self, Key};
use wdm::thread::Thread;
use wdm::{Device, NtStatus, debug_print, pool, time};
use xen::cpuid::{self, Native};
use xen::hypercall::VmCall;
use xen::store::{self, Client, PAYLOAD_BUFFER, Polling, Ring, Store};
use xen::{PAGE_SIZE, SharedMemory, hvm};

use crate::state::Published;
use crate::{DRIVER, Extension, last_word};

/// Time that xenstored may take for everything that it is told of the boot.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time that a shutdown waits for it.
const FAREWELL: Duration = Duration::from_secs(2);

/// The reason why the host was not told.
enum Failure {
    /// CPUID shows no Xen.
    NoXen,
    /// Xen does not say where xenstore is.
    Xen(xen::hypercall::Error),
    /// There is none.
    NoStore,
    /// No memory for the conversation.
    System(NtStatus),
    /// The conversation failed.
    Store(store::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoXen => f.write_str("CPUID shows no Xen"),
            Self::Xen(error) => error.fmt(f),
            Self::NoStore => f.write_str("the domain has no xenstore"),
            Self::System(status) => write!(f, "status {status}"),
            Self::Store(error) => error.fmt(f),
        }
    }
}

/// Tells the host of the boot, in a thread that ends by itself and that the device waits for before it goes. Where that
/// goes well the device is told of the shutdown's last chance ([`at_shutdown`]). PASSIVE_LEVEL.
///
/// # Errors
/// No memory or no thread.
pub(crate) fn tell(device: Device<Extension>) -> wdm::Result<Thread> {
    Thread::spawn(move || {
        if another_suite() {
            debug_print!(DRIVER, "the host is not told of this boot: xenstore may be another suite's");
            return;
        }
        let Some(status) = guard_client::status() else { return };
        let told = converse(PATIENCE, |store| {
            Published::default().tell(store, status, false);
            Ok(())
        });
        match told {
            Ok(()) => last_word::hear_of_last_chance(device),
            Err(failure) => debug_print!(DRIVER, "the host is not told of this boot: {failure}"),
        }
    })
}

/// Tells the host that a boot that it was told of ends in order. PASSIVE_LEVEL, at the last chance of a shutdown;
/// waits for two seconds at most.
pub(crate) fn at_shutdown() {
    if let Some(status) = guard_client::status() {
        // The shutdown goes on, heard or not.
        let _ = converse(FAREWELL, |store| last_word::at_shutdown(store, status));
    }
}

/// Returns true if another vendor's drivers may be in a conversation with xenstore. A doubt counts as that.
fn another_suite() -> bool {
    let start = |name: &str| {
        let mut units = [0; 32];
        units.iter_mut().zip(name.bytes()).for_each(|(unit, byte)| *unit = byte.into());
        let name = &units[..name.len().min(units.len())];
        Key::open(registry::SERVICES)?.open_below(name)?.dword(wdm::utf16!("Start"))
    };
    other_suites::SERVICES.iter().any(|name| match start(name) {
        Ok(start) => other_suites::is_enabled(start),
        Err(status) => status != NtStatus::OBJECT_NAME_NOT_FOUND,
    })
}

/// Holds a conversation, in which xenstored has that long to answer. PASSIVE_LEVEL.
fn converse(
    patience: Duration,
    say: impl FnOnce(&mut dyn Store) -> Result<(), store::Error>,
) -> Result<(), Failure> {
    let xen = cpuid::detect(&Native).ok_or(Failure::NoXen)?;
    // SAFETY: the image stays loaded as long as its threads run.
    let hypercall = unsafe { VmCall::new(&xen, &Native) };
    let location = hvm::store(&hypercall).map_err(Failure::Xen)?.ok_or(Failure::NoStore)?;
    let physical = location.frame.0 * PAGE_SIZE as u64;
    // SAFETY: Xen names this frame as the page it shares with the domain for xenstore; it is memory, so
    // cached.
    let page = unsafe { Mapping::new(physical, PAGE_SIZE, Caching::Cached) }.map_err(Failure::System)?;
    let base = NonNull::new(page.as_ptr()).ok_or(Failure::NoStore)?;
    // SAFETY: one mapped page, resident and aligned, that outlives the ring; no reference into it is made.
    let ring = Ring::new(unsafe { SharedMemory::new(base, PAGE_SIZE) });
    let buffer = pool::try_vec::<u8>(PAYLOAD_BUFFER).map_err(Failure::System)?;
    let (now, frequency) = time::performance_counter();
    let deadline = now + frequency * patience.as_secs();
    let polling = Polling::new(hypercall, location.port, || time::performance_counter().0 < deadline);
    let mut client = Client::new(ring, polling, buffer).map_err(Failure::Store)?;
    let said = say(&mut client).map_err(Failure::Store);
    // A request that is still open must not be left to whoever comes next.
    client.release().map_err(Failure::Store)?;
    said
}
