//! Notifications of device interfaces, delivered in order by one event worker at `PASSIVE_LEVEL`.
//!
//! A change is queued when it happens and delivered later, so a driver cannot count on hearing of a disk
//! inside of the request that started it. All events go through one queue: what is enabled later is heard of
//! later.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use super::{StaticEvent, interface};
use crate::disk::foreign;
use crate::io::driver;
use crate::ke::{Lock, clock, delay, thread};
use crate::ldr::{Place, with_image_at};
use crate::nt::*;
use crate::verifier::{Violation, balanced, violation};
use crate::{ob, po};

struct Registration {
    id: usize,
    class: Guid,
    driver: usize,
    callback: NotificationCallback,
    context: usize,
}

struct Event {
    class: Guid,
    link: String,
    arrival: bool,
}

static REGISTRATIONS: Lock<Vec<Registration>> = Lock::new(Vec::new());
static EVENTS: Lock<VecDeque<Event>> = Lock::new(VecDeque::new());
static QUEUED: StaticEvent = StaticEvent::new();
/// Held while a callback runs.
static CALLING: StaticEvent = StaticEvent::new();
static BUSY: AtomicBool = AtomicBool::new(false);
static DELIVERED: AtomicU32 = AtomicU32::new(0);
/// The thread whose callback runs, which may unregister from inside.
static CALLER: AtomicU32 = AtomicU32::new(0);

const PRIORITY: i32 = 13;

/// Starts the event worker.
pub(super) fn init() {
    QUEUED.init(false);
    CALLING.init(true);
    // SAFETY: `work` may run in a thread of its own; called once.
    unsafe {
        let worker = thread::create(work, core::ptr::null_mut(), PRIORITY, 0).expect("the event worker");
        ob::dereference(worker.cast());
    }
}

/// A driver whose callbacks are not called any more, and milliseconds by which everyone hears of an event
/// late.
static LOST: Lock<Option<(String, u64)>> = Lock::new(None);

/// Loses a driver's notifications from now on, and delays everyone else's: delivery is the event worker's, in
/// its own time.
pub(crate) fn lose(driver: &str, late: u64) {
    *LOST.lock() = Some((driver.to_string(), late));
}

/// Tells drivers that an interface was enabled or disabled.
pub(super) fn changed(class: Guid, link: String, arrival: bool) {
    EVENTS.lock().push_back(Event { class, link, arrival });
    QUEUED.set();
}

/// Tells drivers once more of a class's enabled interfaces.
pub(crate) fn announce_again(class: &Guid) {
    for link in interface::enabled(class) {
        changed(*class, link, true);
    }
}

/// Returns the number of events that were delivered so far.
pub(super) fn delivered() -> u32 {
    DELIVERED.load(Ordering::Relaxed)
}

/// Waits until every queued event has been delivered, as NT does before it goes on from its boot drivers. A callback
/// of a driver's file that does not return is a violation. `PASSIVE_LEVEL`.
pub(super) fn wait_until_delivered() {
    while BUSY.load(Ordering::Relaxed) || !EVENTS.lock().is_empty() {
        delay(20);
        let since = CALLED.load(Ordering::Relaxed);
        let now = clock::interrupt_time();
        let callback = CALLBACK.load(Ordering::Relaxed);
        // The mount manager's, which is the executive's own, waits for its disk.
        let of_a_file = || with_image_at(callback, |_| ()).is_some();
        if since != 0 && now.saturating_sub(since) > PATIENCE && of_a_file() {
            violation(
                Violation::NotificationBlocked,
                format_args!("callback={} ms={}", Place(callback), PATIENCE / 10_000),
            );
        }
    }
}

/// Time that a callback may take, in 100 ns.
const PATIENCE: u64 = 10 * 10_000_000;
/// When the callback that runs was called; 0 for none.
static CALLED: AtomicU64 = AtomicU64::new(0);
/// Its address.
static CALLBACK: AtomicUsize = AtomicUsize::new(0);

unsafe extern "win64" fn work(_context: Pvoid) {
    // SAFETY: a registration stays until it is unregistered, which waits for a callback that runs.
    unsafe {
        loop {
            QUEUED.wait();
            BUSY.store(true, Ordering::Relaxed);
            loop {
                let Some(event) = EVENTS.lock().pop_front() else { break };
                deliver(&event);
                DELIVERED.fetch_add(1, Ordering::Relaxed);
            }
            BUSY.store(false, Ordering::Relaxed);
        }
    }
}

unsafe fn deliver(event: &Event) {
    let lost = LOST.lock().clone();
    if let Some((_, late)) = lost {
        delay(late);
    }
    // SAFETY: a registration's driver object and callback stay until it is unregistered.
    unsafe {
        if event.class == GUID_DEVICE_SYS_BUTTON {
            // The power manager hears of its buttons as drivers hear of theirs.
            if event.arrival { po::button::arrived(&event.link) } else { po::button::gone(&event.link) }
        }
        let hears = |registration: &&Registration| {
            let name = driver::name_of(registration.driver as *mut DriverObject);
            registration.class == event.class && lost.as_ref().is_none_or(|(driver, _)| *driver != name)
        };
        let ids: Vec<usize> = REGISTRATIONS.lock().iter().filter(hears).map(|r| r.id).collect();
        for id in ids {
            call(id, event);
        }
    }
    if event.arrival && event.class == GUID_DEVINTERFACE_DISK {
        foreign::heard_of(&event.link);
    }
}

/// Calls a registration's callback, if it is still registered.
unsafe fn call(id: usize, event: &Event) {
    CALLING.wait();
    CALLER.store(thread::current() as usize as u32, Ordering::Relaxed);
    let found = {
        let registrations = REGISTRATIONS.lock();
        registrations.iter().find(|r| r.id == id).map(|r| (r.callback, r.context))
    };
    // SAFETY: the registered callback takes a notification that lives here for the call.
    unsafe {
        if let Some((callback, context)) = found {
            let units: Vec<u16> = event.link.encode_utf16().chain([0]).collect();
            let length = ((units.len() - 1) * 2) as u16;
            let mut link =
                UnicodeString { length, maximum_length: length + 2, buffer: units.as_ptr().cast_mut() };
            let mut notification = DeviceInterfaceChangeNotification {
                version: 1,
                size: size_of::<DeviceInterfaceChangeNotification>() as u16,
                event: if event.arrival {
                    GUID_DEVICE_INTERFACE_ARRIVAL
                } else {
                    GUID_DEVICE_INTERFACE_REMOVAL
                },
                interface_class_guid: event.class,
                symbolic_link_name: &raw mut link,
            };
            let notification: Pvoid = (&raw mut notification).cast();
            let before = crate::ke::clock::interrupt_time();
            CALLBACK.store(callback as usize, Ordering::Relaxed);
            CALLED.store(before, Ordering::Relaxed);
            balanced("notification", callback as usize, || callback(notification, context as Pvoid));
            CALLED.store(0, Ordering::Relaxed);
            if event.class == GUID_DEVINTERFACE_DISK {
                crate::work::NOTIFIED.add((crate::ke::clock::interrupt_time() - before) / 10);
            }
        }
    }
    CALLER.store(0, Ordering::Relaxed);
    CALLING.set();
}

/// `IoRegisterPlugPlayNotification`, for device interfaces. With `INCLUDE_EXISTING_INTERFACES` the callback
/// is called for each enabled interface before this returns. IRQL `PASSIVE_LEVEL`.
///
/// # Safety
/// As documented by the WDK.
pub(crate) unsafe extern "win64" fn IoRegisterPlugPlayNotification(
    category: u32,
    flags: u32,
    data: Pvoid,
    driver: *mut DriverObject,
    callback: NotificationCallback,
    context: Pvoid,
    entry: *mut Pvoid,
) -> NtStatus {
    // SAFETY: the caller does as the WDK documents.
    unsafe {
        *entry = core::ptr::null_mut();
        if category != EVENT_CATEGORY_DEVICE_INTERFACE_CHANGE {
            return status::NOT_SUPPORTED;
        }
        let class = *data.cast::<Guid>();
        let id = Box::into_raw(Box::new(0u8)) as usize;
        ob::reference(driver.cast());
        let registration =
            Registration { id, class, driver: driver as usize, callback, context: context as usize };
        REGISTRATIONS.lock().push(registration);
        *entry = id as Pvoid;
        if flags & PNPNOTIFY_INCLUDE_EXISTING_INTERFACES != 0 {
            for link in interface::enabled(&class) {
                call(id, &Event { class, link, arrival: true });
            }
        }
        status::SUCCESS
    }
}

/// `IoUnregisterPlugPlayNotification`: when it returns, the callback is not running. IRQL `PASSIVE_LEVEL`.
///
/// # Safety
/// `entry` came from [`IoRegisterPlugPlayNotification`] and is not used any more.
pub(crate) unsafe extern "win64" fn IoUnregisterPlugPlayNotification(entry: Pvoid) -> NtStatus {
    let inside = CALLER.load(Ordering::Relaxed) == thread::current() as usize as u32;
    if !inside {
        CALLING.wait();
    }
    let found = {
        let mut registrations = REGISTRATIONS.lock();
        let at = registrations.iter().position(|r| r.id == entry as usize);
        at.map(|at| registrations.remove(at))
    };
    if !inside {
        CALLING.set();
    }
    // SAFETY: by this function's contract, `entry` came from [`IoRegisterPlugPlayNotification`] and is not
    // used any more.
    unsafe {
        match found {
            Some(registration) => {
                drop(Box::from_raw(registration.id as *mut u8));
                ob::dereference(registration.driver as Pvoid);
                status::SUCCESS
            }
            None => status::INVALID_PARAMETER,
        }
    }
}

/// Returns true if a callback inside of an image is registered.
pub(crate) fn registered_within(start: usize, end: usize) -> bool {
    REGISTRATIONS.lock().iter().any(|r| (start..end).contains(&(r.callback as usize)))
}
