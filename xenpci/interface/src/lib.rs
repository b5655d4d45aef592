//! Protocol between the platform driver (xenpci) and its client (xenvbd): the table of services, and the place
//! in the device's memory that is kept for the writer of a crash dump.
//!
//! xenpci exports two functions. [`Query`], under the name `XenpciInterface`, answers a version with a pointer
//! to the one [`Interface`] of that version, or null if xenpci has not started its device, does not know the
//! version, or has not opened its services: it opens them once the guard has granted the exposure of PV disks,
//! and in an emulated boot never. [`Await`], under the name `XenpciAwait`, has a client called when they are
//! opened. The table and the functions in it stay valid until the client's device stack has been removed: the
//! client's physical device object is xenpci's child, so xenpci outlives it. After xenpci's device has been
//! removed every entry answers [`Status::NO_DEVICE`].
//!
//! # Conventions
//! - A table grows at its end only. `version` changes when a meaning changes, `size` when an entry is added;
//!   a client checks both (see [`Interface::usable`]).
//! - Every entry answers a [`Status`]: 0, or a negative error number of Xen's `errno.h`. An out parameter is
//!   written only where its documentation says so; on any other error it is left alone.
//! - Paths and names are bytes without a terminator, in the character set of xenstore (`[A-Za-z0-9-/_@]`),
//!   absolute (at most 3072 bytes) or relative to the guest's own directory (at most 2048).
//! - IRQL: `PASSIVE_LEVEL` is 0, `DISPATCH_LEVEL` is 2. "≤ DISPATCH" entries never wait. No entry may be
//!   called above `DISPATCH_LEVEL`, except [`Interface::suspend_epoch`] and [`Interface::frame_of`].
//!
//! # Safety
//! Every pointer with a length must be valid for that length for the duration of the call, in memory that is
//! resident at the IRQL of the call; every out pointer must be valid for a write; every callback and its
//! context must stay valid until the call that ends it ([`Interface::store_unwatch`],
//! [`Interface::event_close`]) has returned.

#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod suspend;

use core::ffi::c_void;
use core::mem::{offset_of, size_of};

use xen::grant::MOST_FRAMES;

/// Place of the frame that the writer of a crash dump has of the grant table, in pages from the start of the
/// platform device's memory BAR: behind shared info and the running system's frames.
pub const DUMP_WINDOW: usize = 1 + MOST_FRAMES as usize;

/// The version this crate describes.
pub const VERSION: u32 = 5;

/// The routine that xenpci exports as `XenpciInterface`. Any IRQL.
pub type Query = unsafe extern "system" fn(version: u32) -> *const Interface;

/// Called at `PASSIVE_LEVEL`, once, when xenpci opens its services, in the course of its own bus relations: a
/// disk that the callback has Storport announce is found before NT looks for its boot disk.
pub type OpenedCallback = unsafe extern "system" fn(context: *mut c_void);

/// The routine that xenpci exports as `XenpciAwait`. It has `callback` called with `context` when the
/// services are opened. `PASSIVE_LEVEL`. A null callback ends that: when the call has returned, the callback
/// is not running and will not run. One client can wait at a time.
///
/// [`Status::SUCCESS`]: it will be called, or will not be any more. [`Status::EXISTS`]: the services are open,
/// or another client waits. [`Status::NO_DEVICE`]: they are not opened in this boot, or xenpci has not started
/// its device.
pub type Await = unsafe extern "system" fn(callback: Option<OpenedCallback>, context: *mut c_void) -> Status;

/// The answer of an entry: 0 for success, or the negative of an error number of Xen (public/errno.h).
///
/// A xenstore error is passed on as the server named it; the constants are those that have a meaning here.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub i32);

impl Status {
    /// The operation was done.
    pub const SUCCESS: Self = Self(0);
    /// Xenstore: the node does not exist. Unwatch, close, free: no such watch, port or page.
    pub const NOT_FOUND: Self = Self(-2);
    /// The reply was malformed, or the connection to xenstore is broken. It stays broken until a resume.
    pub const IO: Self = Self(-5);
    /// Xenstore: the message or the reply exceeds 4096 bytes.
    pub const TOO_BIG: Self = Self(-7);
    /// Xenstore: the transaction collided with another and has to be done again from its start.
    pub const AGAIN: Self = Self(-11);
    /// No memory, or no free grant reference.
    pub const NO_MEMORY: Self = Self(-12);
    /// Xenstore: not permitted.
    pub const ACCESS: Self = Self(-13);
    /// The thing is in use.
    pub const BUSY: Self = Self(-16);
    /// Xenstore: it exists already.
    pub const EXISTS: Self = Self(-17);
    /// xenpci's device is not started, or has been removed.
    pub const NO_DEVICE: Self = Self(-19);
    /// A parameter is not valid: a path's characters or length, a watched path over 256 bytes, a port out of
    /// range.
    pub const INVALID: Self = Self(-22);
    /// Every watch or port slot is taken.
    pub const NO_SPACE: Self = Self(-28);
    /// The call would wait for itself: [`Interface::store_unwatch`] from inside that watch's callback.
    pub const DEADLOCK: Self = Self(-35);
    /// The caller's buffer is too small; the out length has been set to what is needed.
    pub const NO_BUFFER: Self = Self(-105);
    /// Xenstore did not answer within half a minute. The request may have been carried out, or may be later.
    pub const TIMED_OUT: Self = Self(-110);

    /// Returns true if the operation was done.
    pub const fn is_success(self) -> bool {
        self.0 == 0
    }

    /// Returns `Ok` for success, the error otherwise.
    pub const fn ok(self) -> Result<(), Self> {
        if self.is_success() { Ok(()) } else { Err(self) }
    }
}

/// A transaction of xenstore; 0 is none. Ids come from [`Interface::transaction_begin`].
pub type Transaction = u32;

/// A watch, as [`Interface::store_watch`] made it. Never 0; never used again for another watch.
pub type Watch = u64;

/// A grant reference: an index into the guest's grant table.
pub type GrantRef = u32;

/// An event channel port of this guest.
pub type Port = u32;

/// Called at `PASSIVE_LEVEL` on xenpci's watch thread, one callback at a time over all watches: once soon
/// after the watch was set, then whenever the watched node or one below it changed. Changes may be merged.
/// `path` is the node that changed, in the form (absolute or relative) of the watch, valid during the call
/// only. The callback may use every entry of the table except [`Interface::store_unwatch`] of its own watch.
pub type WatchCallback = unsafe extern "system" fn(context: *mut c_void, path: *const u8, path_length: usize);

/// Called at `DISPATCH_LEVEL` from xenpci's DPC, after the port's pending bit was cleared: the client looks
/// at its ring until it finds nothing more. One callback may stand for many notifications, and one may come
/// with nothing to do. Callbacks of one port never run at the same time on two processors.
pub type EventCallback = unsafe extern "system" fn(context: *mut c_void);

/// Called at `PASSIVE_LEVEL` on xenpci's suspend thread: with [`SUSPENDING`] before the guest is suspended,
/// and with [`RESUMED`] when it goes on, in a new domain or, where the suspend was cancelled, in the old one.
/// Before: the client stops using its grants and ports, and answers 0, or another number where it cannot;
/// then the guest is not suspended. After: where [`Interface::suspend_epoch`] has changed they are gone, and
/// it makes new ones without ending the old; the answer means nothing. Hibernation is a suspend, too, but
/// that the guest may go on in the old domain with its disks in other hands: [`REVIVED`] stands in the place
/// of [`RESUMED`] then. Every call with [`SUSPENDING`], whatever it answered, is followed by one with one of
/// the two. The callback may use every entry of the table but [`Interface::suspend_unregister`].
pub type SuspendCallback = unsafe extern "system" fn(context: *mut c_void, phase: u32) -> u32;

/// Phase of a [`SuspendCallback`]: the guest is about to be suspended.
pub const SUSPENDING: u32 = 0;
/// Phase of a [`SuspendCallback`]: the guest goes on.
pub const RESUMED: u32 = 1;
/// Phase of a [`SuspendCallback`]: the guest goes on after hibernation, where it was. Grants and ports are
/// there as before, but the copy of the driver that wrote the hibernation file may have been connected in its
/// place: it ends them, and connects anew.
pub const REVIVED: u32 = 2;

/// The table. Get it from [`Query`], check it with [`Interface::usable`].
#[repr(C)]
pub struct Interface {
    /// [`VERSION`] of the driver that made the table.
    pub version: u32,
    /// Size of the table in bytes.
    pub size: u32,

    /// Reads a node into `buffer`. `PASSIVE_LEVEL`; waits for xenstore, at most half a minute.
    ///
    /// `length` is set on success (bytes read) and on [`Status::NO_BUFFER`] (bytes needed). A value is
    /// bytes, at most 4096, usually text without a terminator.
    pub store_read: unsafe extern "system" fn(
        transaction: Transaction,
        path: *const u8,
        path_length: usize,
        buffer: *mut u8,
        capacity: usize,
        length: *mut usize,
    ) -> Status,

    /// Writes a node, making it and its parents where they do not exist. `PASSIVE_LEVEL`; waits for
    /// xenstore.
    pub store_write: unsafe extern "system" fn(
        transaction: Transaction,
        path: *const u8,
        path_length: usize,
        value: *const u8,
        value_length: usize,
    ) -> Status,

    /// Removes a node and everything below it. `PASSIVE_LEVEL`; waits for xenstore.
    pub store_remove:
        unsafe extern "system" fn(transaction: Transaction, path: *const u8, path_length: usize) -> Status,

    /// Lists the names of a node's children into `buffer`, each followed by a zero byte. `PASSIVE_LEVEL`;
    /// waits for xenstore. `length` as in [`Interface::store_read`]; 0 for a node without children.
    pub store_directory: unsafe extern "system" fn(
        transaction: Transaction,
        path: *const u8,
        path_length: usize,
        buffer: *mut u8,
        capacity: usize,
        length: *mut usize,
    ) -> Status,

    /// Begins a transaction; `transaction` is set on success. `PASSIVE_LEVEL`; waits for xenstore.
    pub transaction_begin: unsafe extern "system" fn(transaction: *mut Transaction) -> Status,

    /// Ends a transaction: `commit` nonzero applies it, 0 discards it. [`Status::AGAIN`]: it was discarded
    /// because of a collision, begin again. The id is spent whatever the answer. `PASSIVE_LEVEL`; waits for
    /// xenstore.
    pub transaction_end: unsafe extern "system" fn(transaction: Transaction, commit: u32) -> Status,

    /// Watches a node and all below it; `watch` is set on success. `PASSIVE_LEVEL`; waits for xenstore. The
    /// first callback may run before the call returns.
    pub store_watch: unsafe extern "system" fn(
        path: *const u8,
        path_length: usize,
        callback: WatchCallback,
        context: *mut c_void,
        watch: *mut Watch,
    ) -> Status,

    /// Ends a watch. When it has returned with anything but [`Status::DEADLOCK`], the callback is not
    /// running and will not run again. `PASSIVE_LEVEL`; waits for xenstore and for a callback that is
    /// running.
    pub store_unwatch: unsafe extern "system" fn(watch: Watch) -> Status,

    /// Tells where the grant table is mapped: the address of its first entry, and the bytes there. A client makes and
    /// ends grants in the entries of the references that it has; they stay mapped until the client's device has been
    /// removed. ≤ `DISPATCH_LEVEL`.
    pub grant_entries: unsafe extern "system" fn(entries: *mut *mut u8, bytes: *mut usize) -> Status,

    /// Hands out free references, as many as `references` has places for (`count`) and there are; `taken` is set to
    /// their number. Nothing is granted by them. They are the client's until [`Interface::grant_give`].
    /// ≤ `DISPATCH_LEVEL`.
    pub grant_take:
        unsafe extern "system" fn(references: *mut GrantRef, count: usize, taken: *mut usize) -> Status,

    /// Takes `count` references back; what is granted by one is ended. A reference by which the other domain has a
    /// page mapped stays taken for good, and the page must not be used for anything else. ≤ `DISPATCH_LEVEL`.
    pub grant_give: unsafe extern "system" fn(references: *const GrantRef, count: usize) -> Status,

    /// Allocates an unbound port for domain `domid` to bind to, and gives its events to `callback`; `port`
    /// is set on success. The port is masked: no callback runs before [`Interface::event_unmask`]. The
    /// callback runs on processor `processor` (NT's number), where that has an interrupt of its own, or
    /// else where interrupts arrive. `PASSIVE_LEVEL`.
    pub event_allocate: unsafe extern "system" fn(
        domid: u16,
        callback: EventCallback,
        context: *mut c_void,
        processor: u32,
        port: *mut Port,
    ) -> Status,

    /// Lets a port's events through, and delivers one that came while it was masked. ≤ `DISPATCH_LEVEL`.
    pub event_unmask: unsafe extern "system" fn(port: Port) -> Status,

    /// Holds a port's events back until [`Interface::event_unmask`]: for one whose other end raises events
    /// without end and without reason. ≤ `DISPATCH_LEVEL`, also from the port's callback.
    pub event_mask: unsafe extern "system" fn(port: Port) -> Status,

    /// Notifies the other end of a port. ≤ `DISPATCH_LEVEL`.
    pub event_notify: unsafe extern "system" fn(port: Port) -> Status,

    /// Closes a port. When it has returned, its callback is not running and will not run again.
    /// `PASSIVE_LEVEL`; waits for a callback that is running, so never from a callback.
    pub event_close: unsafe extern "system" fn(port: Port) -> Status,

    /// Allocates one zeroed page of non-paged memory that may be granted; `page` (its address, 4096-aligned)
    /// and `frame` (its guest frame) are set on success. ≤ `DISPATCH_LEVEL`.
    pub page_allocate: unsafe extern "system" fn(page: *mut *mut u8, frame: *mut u64) -> Status,

    /// Frees a page of [`Interface::page_allocate`]. ≤ `DISPATCH_LEVEL`. Never a page with a grant that
    /// could not be ended: such a page is left allocated for good.
    pub page_free: unsafe extern "system" fn(page: *mut u8) -> Status,

    /// The guest frame behind an address of non-paged memory. Any IRQL.
    pub frame_of: unsafe extern "system" fn(address: *const c_void) -> u64,

    /// A number that changes each time the guest has been resumed from suspend, and is never 0. Any IRQL.
    ///
    /// Grants, ports and transactions made under another epoch are gone; watches have been set again. 0
    /// while xenpci's device is not started.
    pub suspend_epoch: unsafe extern "system" fn() -> u32,

    /// Has `callback` called around each suspend. `PASSIVE_LEVEL`; waits for a suspend that is under way.
    /// [`Status::EXISTS`]: there is one already; the table has one client.
    pub suspend_register:
        unsafe extern "system" fn(callback: SuspendCallback, context: *mut c_void) -> Status,

    /// Ends that: when it has returned, the callback is not running and will not run again. `PASSIVE_LEVEL`;
    /// waits for a suspend that is under way.
    pub suspend_unregister: unsafe extern "system" fn() -> Status,
}

impl Interface {
    /// Returns true if a table of this version and size has every entry that this crate describes.
    pub const fn usable(&self) -> bool {
        self.version == VERSION && self.size as usize >= size_of::<Self>()
    }
}

// Two words of header, then entries of one pointer each: the layout both drivers are built against.
#[cfg(target_pointer_width = "64")]
const _: () = {
    assert!(offset_of!(Interface, version) == 0);
    assert!(offset_of!(Interface, size) == 4);
    assert!(offset_of!(Interface, store_read) == 8);
    assert!(offset_of!(Interface, grant_entries) == 8 + 8 * 8);
    assert!(offset_of!(Interface, event_allocate) == 8 + 11 * 8);
    assert!(size_of::<Interface>() == 8 + 22 * 8);
};
