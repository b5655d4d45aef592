//! Xen's services, as xenpci gives them to its clients: the interface table behind xen's traits.
#![expect(unsafe_code, reason = "calls through xenpci's interface table; implements an unsafe trait")]

use alloc::vec::Vec;
use core::ffi::c_void;
use core::fmt;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use wdm::Shared;

use vbd::memory::WINDOW_PAGES;
use wdm::event::Event;
use wdm::mapping::Reserved;
use wdm::{NtStatus, debug_print};
use xen::blkif::{self, VirtualDevice};
use xen::store::{self, Errno, Names, Store};
use xen::{DomainId, Frame, GrantRef, Hal, Port, SharedMemory, SharedPage, grant};
use xenpci_interface::suspend::Phase;
use xenpci_interface::{self as interface, EventCallback, Interface, OpenedCallback, Status, VERSION};

use crate::DRIVER;
use crate::suspend::SuspendGate;

// The export of xenpci.sys. Importing it also makes the loader keep xenpci's image as long as this one.
#[link(name = "xenpci", kind = "static", modifiers = "-bundle")]
unsafe extern "system" {
    fn XenpciInterface(version: u32) -> *const Interface;
    fn XenpciAwait(callback: Option<OpenedCallback>, context: *mut c_void) -> Status;
}

/// Folder of the guest's block devices in xenstore.
pub(crate) const VBDS: &str = "device/vbd";

/// Bytes of names of vbds beyond which they are not read.
const MOST_NAMES: usize = 64 << 10;

/// An error from xenpci, xenstore, a backend or NT: there is no disk, or one less.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Error {
    /// xenpci has not opened its services, or speaks another version of the interface.
    NoInterface,
    /// Xenstore failed.
    Store(store::Error),
    /// The block frontend failed.
    Blkif(blkif::Error),
    /// The backend did not come to the state that the handshake needs within this time.
    Backend(Duration),
    /// Event channel, and the table's status.
    EventChannel(Status),
    /// The vbd is no disk of the kind this driver serves.
    Unsuitable(&'static str),
    /// It stands for the same storage as the vbd of this number.
    Shared(u32),
    /// Suspends, and the table's status.
    Suspend(Status),
    /// A watch, and the table's status.
    Watch(Status),
    /// A routine of NT's failed.
    Nt(NtStatus),
}

impl Error {
    /// Memory has run out.
    pub(crate) const NO_MEMORY: Self = Self::Nt(NtStatus::INSUFFICIENT_RESOURCES);

    /// Returns true if xenstore failed in a way that says nothing of the node.
    pub(crate) const fn is_passing(&self) -> bool {
        match self {
            Self::Store(error) | Self::Blkif(blkif::Error::Store { error, .. }) => error.is_passing(),
            _ => false,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoInterface => write!(f, "xenpci offers no interface of version {VERSION}"),
            Self::Store(error) => write!(f, "{error}"),
            Self::Blkif(error) => write!(f, "{error}"),
            Self::Backend(time) => write!(f, "the backend is not ready after {time:?}"),
            Self::EventChannel(status) => write!(f, "no event channel, xenpci answered {}", status.0),
            Self::Shared(other) => write!(f, "it stands for the same storage as vbd {other}"),
            Self::Suspend(status) => write!(f, "xenpci answered {}", status.0),
            Self::Watch(status) => write!(f, "no watch, xenpci answered {}", status.0),
            Self::Unsuitable(why) => write!(f, "{why}"),
            Self::Nt(status) => write!(f, "status {status}"),
        }
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

impl From<blkif::Error> for Error {
    fn from(error: blkif::Error) -> Self {
        Self::Blkif(error)
    }
}

impl From<NtStatus> for Error {
    fn from(status: NtStatus) -> Self {
        Self::Nt(status)
    }
}

/// The guest's UUID as text.
pub(crate) struct Uuid {
    text: [u8; Self::LONGEST],
    length: usize,
}

impl Uuid {
    /// Most bytes: 32 digits in five groups.
    const LONGEST: usize = 36;

    /// Keeps a UUID's text; `None` for a longer text.
    fn new(uuid: &str) -> Option<Self> {
        let mut text = [0; Self::LONGEST];
        text.get_mut(..uuid.len())?.copy_from_slice(uuid.as_bytes());
        Some(Self { text, length: uuid.len() })
    }
}

impl core::ops::Deref for Uuid {
    type Target = str;

    fn deref(&self) -> &str {
        core::str::from_utf8(&self.text[..self.length]).unwrap_or_default()
    }
}

/// xenpci's services. The table stays valid as long as this driver's device stack exists, and its entries
/// answer an error afterwards ([`interface`]).
#[derive(Clone, Copy)]
pub(crate) struct Platform(&'static Interface);

impl fmt::Debug for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Platform(version {})", self.0.version)
    }
}

impl Platform {
    /// Asks xenpci for its table. Any IRQL.
    ///
    /// # Errors
    /// [`Error::NoInterface`].
    pub(crate) fn get() -> Result<Self, Error> {
        // SAFETY: the export has no conditions; it answers null or its table, which is static in xenpci's
        // image, and this driver's import keeps that image loaded.
        let table = unsafe { XenpciInterface(VERSION).as_ref() };
        table.filter(|table| table.usable()).map(Self).ok_or(Error::NoInterface)
    }

    /// Has `opened` called, once, when xenpci opens its services. Answers an error where it will not be:
    /// [`Status::EXISTS`] where they are open, [`Status::NO_DEVICE`] where this boot does without them.
    /// PASSIVE_LEVEL.
    ///
    /// # Errors
    /// xenpci's answer.
    pub(crate) fn wait(opened: OpenedCallback) -> Result<(), Status> {
        // SAFETY: the callback takes no context, and the image stays until `wait_no_more` has returned.
        unsafe { XenpciAwait(Some(opened), ptr::null_mut()) }.ok()
    }

    /// Ends that: when it returns the callback is not running. PASSIVE_LEVEL.
    pub(crate) fn wait_no_more() {
        // SAFETY: no conditions.
        let _ = unsafe { XenpciAwait(None, ptr::null_mut()) };
    }

    /// Returns the guest's vbds, by number. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// What xenstore answers; no folder at all is no error but an empty list.
    pub(crate) fn vbds(self) -> Result<Vec<VirtualDevice>, Error> {
        let mut store = self;
        let mut capacity = 4096;
        loop {
            let mut buffer = wdm::pool::try_vec(capacity)?;
            match store.directory(VBDS, &mut buffer) {
                Ok(names) => {
                    let mut devices = Vec::new();
                    for device in names.filter_map(|name| name.parse().ok()).map(VirtualDevice) {
                        devices.try_reserve(1).map_err(|_| Error::NO_MEMORY)?;
                        devices.push(device);
                    }
                    return Ok(devices);
                }
                Err(error) if error.is_missing() => return Ok(Vec::new()),
                Err(store::Error::NoSpace { needed, .. }) if capacity < MOST_NAMES => {
                    capacity = needed.max(capacity * 2).min(MOST_NAMES);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Returns the guest's UUID as text, from the node `vm` (`/vm/<uuid>`). PASSIVE_LEVEL.
    pub(crate) fn machine_uuid(self) -> Option<Uuid> {
        let mut buffer = [0; 128];
        let mut store = self;
        let value = store.read("vm", &mut buffer).ok()?;
        let uuid = core::str::from_utf8(value).ok()?.strip_prefix("/vm/")?;
        Uuid::new(uuid)
    }

    /// Returns the path of a vbd's own folder.
    pub(crate) fn folder(device: VirtualDevice) -> Folder {
        let mut folder = Folder { text: [0; Folder::CAPACITY], length: 0 };
        // Ten digits at most, so the text fits.
        let _ = fmt::Write::write_fmt(&mut folder, format_args!("{VBDS}/{}", device.0));
        folder
    }

    /// Changes each time the guest has been resumed. Any IRQL.
    pub(crate) fn epoch(self) -> u32 {
        // SAFETY: no pointers.
        unsafe { (self.0.suspend_epoch)() }
    }

    /// Has `gate` called around each suspend, as long as the answer lives. PASSIVE_LEVEL; waits for a suspend that is
    /// under way.
    ///
    /// # Errors
    /// [`Error::Suspend`].
    pub(crate) fn on_suspend(self, gate: &Shared<SuspendGate>) -> Result<OnSuspend, Error> {
        let gate = Shared::clone(gate);
        let context = Shared::as_ptr(&gate).cast_mut().cast();
        // SAFETY: the answer owns the gate, too, and ends the registration before it lets go of it.
        let status = unsafe { (self.0.suspend_register)(on_suspend, context) };
        status.ok().map(|()| OnSuspend { platform: self, _gate: gate }).map_err(Error::Suspend)
    }

    /// Allocates a port for domain `domain` to bind to, masked; its events are taken on `processor` where
    /// that can be had. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// [`Error::EventChannel`].
    ///
    /// # Safety
    /// `callback` may be called with `context` at DISPATCH_LEVEL until [`Platform::close`] has returned.
    pub(crate) unsafe fn allocate_port(
        self,
        domain: DomainId,
        callback: EventCallback,
        context: *mut c_void,
        processor: usize,
    ) -> Result<Port, Error> {
        let (mut port, processor) = (0, processor as u32);
        // SAFETY: the caller's promise for the callback; `port` is a place for the answer.
        let status =
            unsafe { (self.0.event_allocate)(domain.0, callback, context, processor, &raw mut port) };
        status.ok().map(|()| Port(port)).map_err(Error::EventChannel)
    }

    /// Lets the port's events through. ≤ DISPATCH_LEVEL.
    ///
    /// # Errors
    /// [`Error::EventChannel`].
    pub(crate) fn unmask(self, port: Port) -> Result<(), Error> {
        // SAFETY: no pointers.
        unsafe { (self.0.event_unmask)(port.0) }.ok().map_err(Error::EventChannel)
    }

    /// Holds the port's events back until [`Platform::unmask`]. ≤ DISPATCH_LEVEL, also from its callback.
    pub(crate) fn mask(self, port: Port) {
        // SAFETY: no pointers. A port that is gone has no events.
        let _ = unsafe { (self.0.event_mask)(port.0) };
    }

    /// Closes the port; its callback is not running and will not run again. PASSIVE_LEVEL.
    pub(crate) fn close(self, port: Port) {
        // SAFETY: no pointers.
        if let Err(status) = unsafe { (self.0.event_close)(port.0) }.ok() {
            debug_print!(DRIVER, "port {} could not be closed: {}", port.0, status.0);
        }
    }
}

/// A registration for suspends. Dropping it ends it (PASSIVE_LEVEL).
pub(crate) struct OnSuspend {
    platform: Platform,
    _gate: Shared<SuspendGate>,
}

impl Drop for OnSuspend {
    fn drop(&mut self) {
        // SAFETY: no pointers. A platform that is gone calls nobody.
        let _ = unsafe { (self.platform.0.suspend_unregister)() };
    }
}

/// Handles a suspend that is about to come, or the end of one. PASSIVE_LEVEL, on xenpci's suspend thread.
unsafe extern "system" fn on_suspend(context: *mut c_void, phase: u32) -> u32 {
    // SAFETY: the context is the gate of `Platform::on_suspend`, which outlives the registration.
    let gate = unsafe { &*context.cast::<SuspendGate>() };
    let Some(phase) = Phase::from_number(phase) else { return 1 };
    // The table that called is there.
    let epoch = Platform::get().map_or(0, Platform::epoch);
    u32::from(!gate.call(phase, epoch))
}

/// The context of a watch's callback.
struct Signal {
    raised: AtomicBool,
    event: Shared<Event>,
}

/// A watch on a node of xenstore and all below it. Dropping it ends it (PASSIVE_LEVEL, not on the watch
/// thread).
pub(crate) struct Watch {
    platform: Platform,
    id: interface::Watch,
    /// At an address of its own, which the callback has.
    signal: Shared<Signal>,
}

impl Watch {
    /// Watches `path`: `event` is set soon, and whenever something changes. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// [`Error::Watch`].
    pub(crate) fn new(platform: Platform, path: &str, event: &Shared<Event>) -> Result<Self, Error> {
        let signal = Shared::new(Signal { raised: AtomicBool::new(false), event: Shared::clone(event) })?;
        let context = Shared::as_ptr(&signal).cast_mut().cast();
        let mut id = 0;
        // SAFETY: the path with its length; the signal lives until `drop` has ended the watch.
        let status =
            unsafe { (platform.0.store_watch)(path.as_ptr(), path.len(), on_change, context, &raw mut id) };
        status.ok().map(|()| Self { platform, id, signal }).map_err(Error::Watch)
    }

    /// Returns true if something has changed since the last call. Any IRQL.
    pub(crate) fn raised(&self) -> bool {
        self.signal.raised.swap(false, Ordering::AcqRel)
    }

    /// Has the next [`Watch::raised`] answer with true: what has changed could not be looked at. Wakes nobody. Any IRQL.
    pub(crate) fn raise_again(&self) {
        self.signal.raised.store(true, Ordering::Release);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // SAFETY: no pointers. Whatever it answers, the callback does not run any more: this is not the watch
        // thread.
        let _ = unsafe { (self.platform.0.store_unwatch)(self.id) };
    }
}

/// Notes that something below a watched node has changed. PASSIVE_LEVEL, on xenpci's watch thread.
unsafe extern "system" fn on_change(context: *mut c_void, _path: *const u8, _length: usize) {
    // SAFETY: the context is a watch's signal, which outlives the watch.
    let signal = unsafe { &*context.cast::<Signal>() };
    signal.raised.store(true, Ordering::Release);
    signal.event.set();
}

/// Path of one vbd's folder.
pub(crate) struct Folder {
    text: [u8; Self::CAPACITY],
    length: usize,
}

impl Folder {
    const CAPACITY: usize = VBDS.len() + 1 + 10;

    /// Returns the path.
    pub(crate) fn as_str(&self) -> &str {
        core::str::from_utf8(&self.text[..self.length]).unwrap_or_default()
    }
}

impl fmt::Write for Folder {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.text.get_mut(self.length..self.length + text.len()).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.length += text.len();
        Ok(())
    }
}

/// Address space through which data is copied.
pub(crate) struct Window(Reserved<WINDOW_PAGES>);

impl Window {
    /// Reserves it. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// No memory.
    pub(crate) fn new() -> Result<Self, Error> {
        Ok(Self(Reserved::new()?))
    }
}

// SAFETY: NT maps the frames at the reservation, cached as the rest of the system's memory is.
unsafe impl vbd::Window for Window {
    fn map(&mut self, frames: &[Frame]) -> NonNull<u8> {
        // SAFETY: the frames are of the buffer of an SRB that is pending, whose pages are locked; the queue
        // unmaps them before the SRB ends.
        unsafe { self.0.map(frames.iter().map(|frame| frame.0)) }
    }

    fn unmap(&mut self) {
        self.0.unmap();
    }
}

// SAFETY: grants and ends go to xenpci's table, which hands a reference out once and keeps one that could not
// be ended; its pages are whole, non-paged and the caller's until freed, with the frame it names behind them.
unsafe impl Hal for Platform {
    fn grant_entries(&self) -> Option<grant::Entries> {
        let (mut entries, mut bytes) = (ptr::null_mut(), 0);
        // SAFETY: both are places for the answer.
        unsafe { (self.0.grant_entries)(&raw mut entries, &raw mut bytes) }.ok().ok()?;
        let entries = NonNull::new(entries)?;
        // SAFETY: xenpci's mapping of Xen's table, page-aligned, which lasts as long as its clients.
        Some(grant::Entries::new(unsafe { SharedMemory::new(entries, bytes) }, 0))
    }

    fn take_references(&self, into: &mut [GrantRef]) -> usize {
        let mut taken = 0;
        // SAFETY: so many places for references, which are numbers, and one for the answer.
        let status = unsafe { (self.0.grant_take)(into.as_mut_ptr().cast(), into.len(), &raw mut taken) };
        status.ok().map_or(0, |()| taken)
    }

    fn give_references(&self, references: &[GrantRef]) {
        // SAFETY: so many references, which are numbers. A table that is gone has nothing granted.
        let _ = unsafe { (self.0.grant_give)(references.as_ptr().cast(), references.len()) };
    }

    fn notify(&self, port: Port) {
        // SAFETY: no pointers. A port that is gone has nobody to notify.
        let _ = unsafe { (self.0.event_notify)(port.0) };
    }

    fn alloc_shared_page(&self) -> Option<SharedPage> {
        let (mut page, mut frame) = (ptr::null_mut(), 0);
        // SAFETY: both are places for the answer.
        unsafe { (self.0.page_allocate)(&raw mut page, &raw mut frame) }.ok().ok()?;
        let page = NonNull::new(page)?;
        // SAFETY: xenpci's page is 4096 bytes of non-paged memory, this caller's alone, with this frame
        // behind it.
        Some(unsafe { SharedPage::new(page, Frame(frame)) })
    }

    unsafe fn free_shared_page(&self, page: SharedPage) {
        // SAFETY: the caller's promise: the page came from `alloc_shared_page`, and no grant of it is left.
        let _ = unsafe { (self.0.page_free)(page.memory().base().as_ptr()) };
    }

    fn log(&self, message: fmt::Arguments<'_>) {
        wdm::debug::print(DRIVER, message);
    }
}

/// Xenstore, outside any transaction. PASSIVE_LEVEL.
impl Store for Platform {
    fn read<'b>(&mut self, path: &str, into: &'b mut [u8]) -> Result<&'b [u8], store::Error> {
        let mut length = 0;
        // SAFETY: path and buffer with their lengths, and a place for the answer's length.
        let status = unsafe {
            (self.0.store_read)(0, path.as_ptr(), path.len(), into.as_mut_ptr(), into.len(), &raw mut length)
        };
        filled(status, length, into)
    }

    fn write(&mut self, path: &str, value: &[u8]) -> Result<(), store::Error> {
        // SAFETY: path and value with their lengths.
        let status =
            unsafe { (self.0.store_write)(0, path.as_ptr(), path.len(), value.as_ptr(), value.len()) };
        status.ok().map_err(|status| store_error(status, 0, 0))
    }

    fn remove(&mut self, path: &str) -> Result<(), store::Error> {
        // SAFETY: path with its length.
        let status = unsafe { (self.0.store_remove)(0, path.as_ptr(), path.len()) };
        status.ok().map_err(|status| store_error(status, 0, 0))
    }

    fn directory<'b>(&mut self, path: &str, into: &'b mut [u8]) -> Result<Names<'b>, store::Error> {
        let mut length = 0;
        // SAFETY: path and buffer with their lengths, and a place for the answer's length.
        let status = unsafe {
            (self.0.store_directory)(
                0,
                path.as_ptr(),
                path.len(),
                into.as_mut_ptr(),
                into.len(),
                &raw mut length,
            )
        };
        Names::parse(filled(status, length, into)?)
    }
}

fn filled(status: Status, length: usize, into: &mut [u8]) -> Result<&[u8], store::Error> {
    match status.ok() {
        Ok(()) => Ok(&into[..length.min(into.len())]),
        Err(status) => Err(store_error(status, length, into.len())),
    }
}

/// Returns the table's status as xen's error. What has no counterpart is a refusal by the server.
fn store_error(status: Status, needed: usize, given: usize) -> store::Error {
    match status {
        Status::NOT_FOUND => store::Error::Refused(Errno::NoEntry),
        Status::NO_BUFFER => store::Error::NoSpace { needed, given },
        Status::TIMED_OUT => store::Error::TimedOut,
        Status::ACCESS => store::Error::Refused(Errno::Access),
        Status::AGAIN => store::Error::Refused(Errno::Again),
        Status::INVALID => store::Error::Refused(Errno::Invalid),
        _ => store::Error::Refused(Errno::Io),
    }
}
