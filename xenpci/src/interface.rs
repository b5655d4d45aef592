//! The interface table as this driver fills it: [`xenpci_interface`] says what each entry promises.
//!
//! The entries carry no context, so the one running platform stands in a static. It is set at START and
//! cleared at removal, when the clients' stacks, which are its children, are gone. The table is given out from
//! [`open`] on, which the function device calls for the guard's «Expose» and for nothing else.
#![expect(unsafe_code, reason = "exports functions that take addresses, and finds the platform by one")]

use core::alloc::Layout;
use core::ffi::c_void;
use core::ptr;
use core::slice;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use core::time::Duration;
use wdm::Shared;

use wdm::spin_lock::SpinLock;
use wdm::{NtStatus, memory, time};
use xen::store::{self, Errno, Store};
use xen::{DomainId, PAGE_SIZE, hypercall};
use xenpci_interface::{
    Await, EventCallback, GrantRef, Interface, OpenedCallback, Port, Query, Status, SuspendCallback,
    Transaction, VERSION, Watch, WatchCallback,
};

use crate::clients::Client;
use crate::event_channels::{self, Handler};
use crate::platform::Platform;
use crate::store::{StoreClient, WatchError};

/// The running platform, or null.
static PLATFORM: AtomicPtr<Platform> = AtomicPtr::new(ptr::null_mut());

/// The guard has granted the exposure of PV disks, and the services are given out.
static OPEN: AtomicBool = AtomicBool::new(false);

/// The client that waits for the services.
struct Waiter {
    callback: OpenedCallback,
    /// The context, as a number.
    context: usize,
}

/// The client that waits, and true while its callback is running.
static WAITER: SpinLock<(Option<Waiter>, bool)> = SpinLock::new((None, false));

static TABLE: Interface = Interface {
    version: VERSION,
    size: size_of::<Interface>() as u32,
    store_read,
    store_write,
    store_remove,
    store_directory,
    transaction_begin,
    transaction_end,
    store_watch,
    store_unwatch,
    grant_entries,
    grant_take,
    grant_give,
    event_allocate,
    event_unmask,
    event_mask,
    event_notify,
    event_close,
    page_allocate,
    page_free,
    frame_of,
    suspend_epoch,
    suspend_register,
    suspend_unregister,
};

/// Returns the table of `version`, or null if this driver does not know the version or has not opened its
/// services. Any IRQL.
#[unsafe(no_mangle)]
pub(crate) extern "system" fn XenpciInterface(version: u32) -> *const Interface {
    if version == VERSION && is_open() { &raw const TABLE } else { ptr::null() }
}

/// Has a client called when the services are opened, or not any more. PASSIVE_LEVEL.
///
/// # Safety
/// The callback stays callable with `context` until the call that ends it has returned.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn XenpciAwait(
    callback: Option<OpenedCallback>,
    context: *mut c_void,
) -> Status {
    let Some(callback) = callback else {
        loop {
            let mut waiter = WAITER.lock();
            waiter.0 = None;
            let running = waiter.1;
            drop(waiter);
            if !running {
                return Status::SUCCESS;
            }
            time::sleep(Duration::from_millis(10));
        }
    };
    if platform().is_none() {
        return Status::NO_DEVICE;
    }
    let mut waiter = WAITER.lock();
    // Under the lock, which `open` takes after it has set this.
    if OPEN.load(Ordering::Acquire) || waiter.0.is_some() {
        return Status::EXISTS;
    }
    waiter.0 = Some(Waiter { callback, context: context.expose_provenance() });
    Status::SUCCESS
}

/// The exports have the types that clients import.
const _: (Query, Await) = (XenpciInterface, XenpciAwait);

/// Returns true if the services are given out. Any IRQL.
pub(crate) fn is_open() -> bool {
    platform().is_some() && OPEN.load(Ordering::Acquire)
}

/// Gives the services out from now on, and calls the client that waits for them. PASSIVE_LEVEL; the guard has
/// answered «Expose».
pub(crate) fn open() {
    OPEN.store(true, Ordering::Release);
    let waiting = {
        let mut waiter = WAITER.lock();
        let waiting = waiter.0.take();
        waiter.1 = waiting.is_some();
        waiting
    };
    if let Some(Waiter { callback, context }) = waiting {
        // SAFETY: by `XenpciAwait`'s contract; its end waits while the callback is marked as running.
        unsafe { callback(ptr::with_exposed_provenance_mut(context)) };
        WAITER.lock().1 = false;
    }
}

/// Makes a platform the one that the table works on. PASSIVE_LEVEL.
///
/// # Errors
/// `OBJECT_NAME_COLLISION` where there is one already: a guest has one platform device.
pub(crate) fn publish(platform: &Shared<Platform>) -> wdm::Result {
    let new = Shared::as_ptr(platform).cast_mut();
    PLATFORM
        .compare_exchange(ptr::null_mut(), new, Ordering::AcqRel, Ordering::Relaxed)
        .map(|_| ())
        .map_err(|_| NtStatus::OBJECT_NAME_COLLISION)
}

/// Ends what [`publish`] began; no client may be left. PASSIVE_LEVEL.
pub(crate) fn withdraw(platform: &Shared<Platform>) {
    let old = Shared::as_ptr(platform).cast_mut();
    // Another platform's place is not cleared.
    if PLATFORM.compare_exchange(old, ptr::null_mut(), Ordering::AcqRel, Ordering::Relaxed).is_ok() {
        OPEN.store(false, Ordering::Release);
    }
}

fn platform() -> Option<&'static Platform> {
    // SAFETY: the function device holds the platform while it is published, and withdraws it only when the
    // clients, whose calls these are, have been removed.
    unsafe { PLATFORM.load(Ordering::Acquire).as_ref() }
}

/// Runs an entry's work on the platform.
fn with(work: impl FnOnce(&'static Platform) -> Result<(), Status>) -> Status {
    match platform().map(work) {
        Some(Ok(())) => Status::SUCCESS,
        Some(Err(status)) => status,
        None => Status::NO_DEVICE,
    }
}

/// Runs a request on xenstore.
fn request(work: impl FnOnce(&mut StoreClient) -> Result<(), store::Error>) -> Status {
    with(|platform| match platform.store().request(work) {
        Some(answer) => answer.map_err(store_status),
        None => Err(Status::IO),
    })
}

/// Returns a xenstore error as a status.
fn store_status(error: store::Error) -> Status {
    use store::Error;
    match error {
        Error::Path { .. } | Error::PathLength { .. } | Error::Token => Status::INVALID,
        Error::Payload { .. } => Status::TOO_BIG,
        Error::NoSpace { .. } => Status::NO_BUFFER,
        Error::TimedOut => Status::TIMED_OUT,
        Error::Value | Error::Broken(_) => Status::IO,
        // Xen's errno.h.
        Error::Refused(errno) => match errno {
            Errno::Invalid => Status::INVALID,
            Errno::Access => Status::ACCESS,
            Errno::Exists => Status::EXISTS,
            Errno::IsDirectory => Status(-21),
            Errno::NoEntry => Status::NOT_FOUND,
            Errno::NoMemory => Status::NO_MEMORY,
            Errno::NoSpace | Errno::Quota => Status::NO_SPACE,
            Errno::NotEmpty => Status(-39),
            Errno::NotImplemented => Status(-38),
            Errno::ReadOnly => Status(-30),
            Errno::Busy => Status::BUSY,
            Errno::Again => Status::AGAIN,
            Errno::Connected => Status(-106),
            Errno::TooBig => Status::TOO_BIG,
            Errno::Permission => Status(-1),
            Errno::Io | Errno::Other => Status::IO,
        },
    }
}

fn watch_status(error: WatchError) -> Status {
    match error {
        WatchError::Store(error) => store_status(error),
        WatchError::NotReady => Status::IO,
        WatchError::Full => Status::NO_SPACE,
        WatchError::Unknown => Status::NOT_FOUND,
        WatchError::Deadlock => Status::DEADLOCK,
    }
}

fn channel_status(error: event_channels::Error) -> Status {
    use event_channels::Error;
    match error {
        // An error number is small.
        Error::Xen(hypercall::Error { errno, .. }) => Status(i32::try_from(-errno).unwrap_or(Status::IO.0)),
        Error::Bound(_) => Status::EXISTS,
        Error::NoSuchPort(_) => Status::INVALID,
        Error::NotReady => Status::NO_DEVICE,
        Error::Unbound(_) => Status::NOT_FOUND,
        Error::NoMemory => Status::NO_MEMORY,
    }
}

/// Returns a path argument.
///
/// # Safety
/// `path` is valid for `length` bytes during the call.
unsafe fn text<'a>(path: *const u8, length: usize) -> Result<&'a str, Status> {
    // SAFETY: by contract.
    let bytes = unsafe { bytes(path, length) };
    str::from_utf8(bytes).map_err(|_| Status::INVALID)
}

/// Returns a bytes argument; its address is not looked at where the length is 0.
///
/// # Safety
/// `bytes` is valid for `length` bytes during the call.
unsafe fn bytes<'a>(bytes: *const u8, length: usize) -> &'a [u8] {
    // SAFETY: by contract.
    if length == 0 { &[] } else { unsafe { slice::from_raw_parts(bytes, length) } }
}

/// Returns a buffer argument.
///
/// # Safety
/// `bytes` is valid for writes of `length` bytes during the call, and the caller does not look at it
/// meanwhile.
unsafe fn buffer<'a>(bytes: *mut u8, length: usize) -> &'a mut [u8] {
    // SAFETY: by contract.
    if length == 0 { &mut [] } else { unsafe { slice::from_raw_parts_mut(bytes, length) } }
}

/// Reads at `path` into the caller's buffer. `read` returns the bytes that it put there.
///
/// # Safety
/// The interface's contract on pointers and lengths.
unsafe fn read_into(
    path: (*const u8, usize),
    into: (*mut u8, usize),
    length: *mut usize,
    read: impl FnOnce(&mut StoreClient, &str, &mut [u8]) -> Result<usize, store::Error>,
) -> Status {
    // SAFETY: by contract.
    let (path, into, length) = unsafe { (text(path.0, path.1), buffer(into.0, into.1), &mut *length) };
    match path {
        Ok(path) => request(|client| measure(read(client, path, into), length)),
        Err(status) => status,
    }
}

unsafe extern "system" fn store_read(
    transaction: Transaction,
    path: *const u8,
    path_length: usize,
    into: *mut u8,
    capacity: usize,
    length: *mut usize,
) -> Status {
    // SAFETY: the interface's contract on pointers and lengths.
    unsafe {
        read_into((path, path_length), (into, capacity), length, |client, path, into| {
            client.within(transaction).read(path, into).map(|value| value.len())
        })
    }
}

unsafe extern "system" fn store_directory(
    transaction: Transaction,
    path: *const u8,
    path_length: usize,
    into: *mut u8,
    capacity: usize,
    length: *mut usize,
) -> Status {
    // SAFETY: the interface's contract on pointers and lengths.
    unsafe {
        read_into((path, path_length), (into, capacity), length, |client, path, into| {
            let read = client.within(transaction).directory(path, into);
            read.map(|names| names.map(|name| name.len() + 1).sum())
        })
    }
}

/// Sets the out length of a reading entry: to what was read, or to what is needed.
fn measure(read: Result<usize, store::Error>, length: &mut usize) -> Result<(), store::Error> {
    match read {
        Ok(read) => *length = read,
        Err(store::Error::NoSpace { needed, .. }) => *length = needed,
        Err(_) => {}
    }
    read.map(|_| ())
}

unsafe extern "system" fn store_write(
    transaction: Transaction,
    path: *const u8,
    path_length: usize,
    value: *const u8,
    value_length: usize,
) -> Status {
    // SAFETY: the interface's contract on pointers and lengths.
    match unsafe { (text(path, path_length), bytes(value, value_length)) } {
        (Ok(path), value) => request(|client| client.within(transaction).write(path, value)),
        (Err(status), _) => status,
    }
}

unsafe extern "system" fn store_remove(
    transaction: Transaction,
    path: *const u8,
    path_length: usize,
) -> Status {
    // SAFETY: the interface's contract on pointers and lengths.
    match unsafe { text(path, path_length) } {
        Ok(path) => request(|client| client.within(transaction).remove(path)),
        Err(status) => status,
    }
}

unsafe extern "system" fn transaction_begin(transaction: *mut Transaction) -> Status {
    request(|client| {
        let id = client.begin()?;
        // SAFETY: the interface's contract on out pointers.
        unsafe { transaction.write(id) };
        Ok(())
    })
}

unsafe extern "system" fn transaction_end(transaction: Transaction, commit: u32) -> Status {
    request(|client| client.end(transaction, commit != 0))
}

unsafe extern "system" fn store_watch(
    path: *const u8,
    path_length: usize,
    callback: WatchCallback,
    context: *mut c_void,
    watch: *mut Watch,
) -> Status {
    // SAFETY: the interface's contract on pointers and lengths.
    let path = match unsafe { text(path, path_length) } {
        Ok(path) => path,
        Err(status) => return status,
    };
    with(|platform| {
        // SAFETY: the interface's contract: valid until `store_unwatch` has returned.
        let id = unsafe { platform.store().watch(path, callback, context) }.map_err(watch_status)?;
        // SAFETY: the interface's contract on out pointers.
        unsafe { watch.write(id) };
        Ok(())
    })
}

unsafe extern "system" fn store_unwatch(watch: Watch) -> Status {
    with(|platform| platform.store().unwatch(watch).map_err(watch_status))
}

unsafe extern "system" fn grant_entries(entries: *mut *mut u8, bytes: *mut usize) -> Status {
    with(|platform| {
        let (base, length) = platform.grants().entries().ok_or(Status::NO_DEVICE)?;
        // SAFETY: the interface's contract on out pointers.
        unsafe {
            entries.write(base);
            bytes.write(length);
        }
        Ok(())
    })
}

unsafe extern "system" fn grant_take(references: *mut GrantRef, count: usize, taken: *mut usize) -> Status {
    with(|platform| {
        // SAFETY: the interface's contract: `count` places for references, each a number, and one for the answer.
        let (references, taken) =
            unsafe { (slice::from_raw_parts_mut(references.cast(), count), &mut *taken) };
        *taken = platform.grants().take(references);
        Ok(())
    })
}

unsafe extern "system" fn grant_give(references: *const GrantRef, count: usize) -> Status {
    with(|platform| {
        // SAFETY: the interface's contract: `count` references, each a number.
        platform.grants().give(unsafe { slice::from_raw_parts(references.cast(), count) });
        Ok(())
    })
}

unsafe extern "system" fn event_allocate(
    domid: u16,
    callback: EventCallback,
    context: *mut c_void,
    processor: u32,
    port: *mut Port,
) -> Status {
    with(|platform| {
        // SAFETY: the interface's contract: valid until `event_close` has returned.
        let handler = unsafe { Handler::new(callback, context) };
        let allocated = platform.channels().allocate(DomainId(domid), processor as usize, handler);
        let allocated = allocated.map_err(channel_status)?;
        // SAFETY: the interface's contract on out pointers.
        unsafe { port.write(allocated.0) };
        Ok(())
    })
}

unsafe extern "system" fn event_unmask(port: Port) -> Status {
    with(|platform| platform.channels().unmask(xen::Port(port)).map_err(channel_status))
}

unsafe extern "system" fn event_mask(port: Port) -> Status {
    with(|platform| {
        platform.channels().mask(xen::Port(port));
        Ok(())
    })
}

unsafe extern "system" fn event_notify(port: Port) -> Status {
    with(|platform| platform.channels().notify(xen::Port(port)).map_err(channel_status))
}

unsafe extern "system" fn event_close(port: Port) -> Status {
    with(|platform| platform.channels().close(xen::Port(port)).map_err(channel_status))
}

/// A page that can be granted: pool gives a page's size at a page's boundary.
const PAGE: Layout = match Layout::from_size_align(PAGE_SIZE, PAGE_SIZE) {
    Ok(page) => page,
    Err(_) => unreachable!(),
};

unsafe extern "system" fn page_allocate(page: *mut *mut u8, frame: *mut u64) -> Status {
    with(|_platform| {
        // SAFETY: a layout of a size other than 0.
        let new = unsafe { alloc::alloc::alloc_zeroed(PAGE) };
        if new.is_null() {
            return Err(Status::NO_MEMORY);
        }
        // SAFETY: the interface's contract on out pointers.
        unsafe {
            page.write(new);
            frame.write(frame_of(new.cast()));
        }
        Ok(())
    })
}

unsafe extern "system" fn page_free(page: *mut u8) -> Status {
    if page.is_null() || !page.addr().is_multiple_of(PAGE_SIZE) {
        return Status::INVALID;
    }
    // SAFETY: the interface's contract: a page of `page_allocate`, which nobody uses any more.
    unsafe { alloc::alloc::dealloc(page, PAGE) };
    Status::SUCCESS
}

unsafe extern "system" fn frame_of(address: *const c_void) -> u64 {
    memory::physical_address(address.cast()) / PAGE_SIZE as u64
}

unsafe extern "system" fn suspend_epoch() -> u32 {
    platform().map_or(0, Platform::epoch)
}

unsafe extern "system" fn suspend_register(callback: SuspendCallback, context: *mut c_void) -> Status {
    with(|platform| {
        // SAFETY: the interface's contract: valid until `suspend_unregister` has returned.
        let client = unsafe { Client::new(callback, context) };
        if platform.clients().register(client) { Ok(()) } else { Err(Status::EXISTS) }
    })
}

unsafe extern "system" fn suspend_unregister() -> Status {
    with(|platform| {
        platform.clients().unregister();
        Ok(())
    })
}
