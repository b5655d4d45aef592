//! Xenstore for many callers: one connection, waited for by event, and a thread that delivers watch events.
//!
//! A request holds the connection's lock while it waits for its reply, so the store port's handler sets two
//! events: one wakes the requester, one the watch thread, which takes what arrived unasked. Callbacks run on
//! that thread without the connection's lock, so that they can make requests.
#![expect(
    unsafe_code,
    reason = "maps the store page and calls the callbacks that clients registered by address"
)]

use alloc::vec::Vec;
use core::ffi::c_void;
use core::fmt;
use core::ops::Deref;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use core::time::Duration;
use wdm::Shared;

use wdm::event::{Event, Kind};
use wdm::mapping::{Caching, Mapping};
use wdm::mutex::{Guard, Mutex};
use wdm::pool;
use wdm::thread::{self, Thread};
use wdm::time::{self, Patience};
use xen::hvm::{self, StoreLocation};
use xen::hypercall::VmCall;
use xen::store::path::PathBuf;
use xen::store::{Client, Error, PAYLOAD_BUFFER, Ring, Transport, WatchEvent};
use xen::wire::xenstore::ABS_PATH_MAX;
use xen::{PAGE_SIZE, Port, SharedMemory, event_channel};
use xenpci_interface::{Watch, WatchCallback};

use crate::event_channels::{EventChannels, Handler};
use crate::last_word::LastWord;

/// Bytes kept for watch events that arrive while a request waits; what is beyond becomes one "lost".
const EVENT_BYTES: usize = 8192;

/// Watches at a time, over all clients.
const WATCHES: usize = 512;

/// Time that xenstored may take for a reply.
const PATIENCE: Duration = Duration::from_secs(30);

/// Time that a requester sleeps before it notifies xenstored again, and looks at the ring without having been
/// told to.
const LOOK: Duration = Duration::from_secs(1);

/// Events that the store port's handler sets.
struct Signals {
    reply: Event,
    watch: Event,
}

/// Signals, in a DPC, that something happened on the store's rings.
///
/// # Safety
/// `context` is a [`Signals`].
unsafe extern "system" fn store_event(context: *mut c_void) {
    // SAFETY: the context that `connect` registered, alive until the port is unbound.
    let signals = unsafe { &*context.cast::<Signals>() };
    signals.reply.set();
    signals.watch.set();
}

/// The client's way to reach xenstored and to wait for it.
pub(crate) struct Waiting {
    hypercall: VmCall,
    port: Port,
    signals: Shared<Signals>,
    /// Time that is left to the current wait.
    patience: Patience,
}

impl Transport for Waiting {
    fn notify(&mut self) {
        // Sending can only fail for a port that is not open: then no reply comes, and the wait says so.
        let _ = event_channel::send(&self.hypercall, self.port);
    }

    fn wait(&mut self, idle: u32) -> bool {
        if idle == 0 {
            self.patience = Patience::new(PATIENCE);
        }
        if self.patience.is_over() {
            return false;
        }
        let mut told = false;
        self.patience.spend(time::measure(LOOK, || told = self.signals.reply.wait_timeout(LOOK)));
        if !told {
            // A notification may have been lost, and one too many does no harm.
            self.notify();
        }
        true
    }
}

/// The client that requests run on.
pub(crate) type StoreClient = Client<Waiting, Vec<u8>>;

/// The open connection.
struct Connection {
    client: StoreClient,
    port: Port,
    // Dropped before the page that it names.
    last_word: Option<LastWord>,
    // Dropped after the client, which holds an address in it.
    _page: Mapping,
}

/// One watch of a client.
struct Entry {
    id: Watch,
    path: PathBuf,
    callback: WatchCallback,
    context: *mut c_void,
}

// SAFETY: the callback may be called on the watch thread by its contract, and the context is only handed to
// it.
unsafe impl Send for Entry {}

/// Data that callers, the watch thread and the port's handler share.
struct Inner {
    hypercall: VmCall,
    channels: Shared<EventChannels>,
    signals: Shared<Signals>,
    connection: Mutex<Option<Connection>>,
    watches: Mutex<Vec<Entry>>,
    next_watch: AtomicU64,
    /// Held while a callback runs.
    delivery: Mutex<()>,
    /// The watch whose callback runs, or 0.
    running: AtomicU64,
    /// The watch thread's id, once it runs.
    thread: AtomicUsize,
    stopping: AtomicBool,
}

/// The connection of a store, held so that no request begins.
pub(crate) struct Held<'a>(Guard<'a, Option<Connection>>);

/// State in which whoever connects finds the store's page.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// Between two messages.
    AtRest,
    /// The page is as somebody left it who may have been in the middle of something.
    Abandoned,
}

/// The guest's xenstore. Dropping it ends the thread and the connection (PASSIVE_LEVEL).
pub(crate) struct Store {
    shared: Shared<Inner>,
    thread: Option<Thread>,
}

/// A watch that cannot be set or ended.
#[derive(Clone, Copy)]
pub(crate) enum WatchError {
    /// Xenstore's answer, or the path is not valid or longer than [`PathBuf::CAPACITY`].
    Store(Error),
    /// The connection is not there.
    NotReady,
    /// Every place is taken.
    Full,
    /// No such watch.
    Unknown,
    /// Its own callback asked for the end.
    Deadlock,
}

/// The reason why there is no connection.
#[derive(Clone, Copy)]
pub(crate) enum ConnectError {
    /// Xen did not say where xenstore is.
    Xen(xen::hypercall::Error),
    /// The domain has no xenstore.
    NoStore,
    /// The port cannot be bound.
    Port(crate::event_channels::Error),
    /// The page cannot be mapped, or there is no memory.
    System(wdm::NtStatus),
    /// Xenstore does not answer as it must.
    Store(Error),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Xen(error) => write!(f, "{error}"),
            Self::NoStore => write!(f, "the domain has none"),
            Self::Port(error) => write!(f, "its port: {error}"),
            Self::System(status) => write!(f, "its page or buffer: status {status}"),
            Self::Store(error) => write!(f, "{error}"),
        }
    }
}

impl Store {
    /// Makes a store without a connection, but with the thread that will deliver its watch events.
    /// PASSIVE_LEVEL.
    ///
    /// # Errors
    /// `INSUFFICIENT_RESOURCES`, what making a thread answers.
    pub(crate) fn new(hypercall: VmCall, channels: &Shared<EventChannels>) -> wdm::Result<Self> {
        let signals =
            Signals { reply: Event::new(Kind::Synchronization)?, watch: Event::new(Kind::Synchronization)? };
        let mut watches = Vec::new();
        watches.try_reserve_exact(WATCHES).map_err(|_| wdm::NtStatus::INSUFFICIENT_RESOURCES)?;
        let shared = Shared::new(Inner {
            hypercall,
            channels: Shared::clone(channels),
            signals: Shared::new(signals)?,
            connection: Mutex::new(None)?,
            watches: Mutex::new(watches)?,
            next_watch: AtomicU64::new(1),
            delivery: Mutex::new(())?,
            running: AtomicU64::new(0),
            thread: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
        })?;
        let mut path = Vec::new();
        path.try_reserve_exact(ABS_PATH_MAX).map_err(|_| wdm::NtStatus::INSUFFICIENT_RESOURCES)?;
        let deliverer = Shared::clone(&shared);
        let thread = Thread::spawn(move || deliverer.deliver(path))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Waits until no request is on its way, and lets none begin as long as the value lives. PASSIVE_LEVEL.
    pub(crate) fn hold(&self) -> Held<'_> {
        Held(self.shared.connection.lock())
    }

    /// Leaves xenstore to whoever comes next, who sees by the port's mask that it may; nothing of it is
    /// touched until [`Store::connect_held`]. PASSIVE_LEVEL.
    pub(crate) fn leave_held(&self, held: &Held<'_>) {
        if let Some(connection) = &*held.0 {
            self.shared.channels.mask(connection.port);
        }
    }

    /// Connects: at START, and again after each resume, when every watch is set anew. Upcalls are enabled.
    /// PASSIVE_LEVEL; waits for xenstore.
    ///
    /// # Errors
    /// See [`ConnectError`]; there is then no connection.
    pub(crate) fn connect_held(
        &self,
        held: &mut Held<'_>,
        found: Found,
    ) -> Result<StoreLocation, ConnectError> {
        let shared = &*self.shared;
        let slot = &mut *held.0;
        if let Some(before) = slot.take() {
            // It is not bound where [`EventChannels::rebuild`] has forgotten it.
            let _ = shared.channels.unbind(before.port);
        }
        let location =
            hvm::store(&shared.hypercall).map_err(ConnectError::Xen)?.ok_or(ConnectError::NoStore)?;
        let StoreLocation { frame, port } = location;
        let physical = frame.0 * PAGE_SIZE as u64;
        // SAFETY: Xen says that this page is for the guest to reach xenstore by; it is memory, mapped cached
        // by whoever else in this guest looks at it.
        let page =
            unsafe { Mapping::new(physical, PAGE_SIZE, Caching::Cached) }.map_err(ConnectError::System)?;
        let buffer = pool::try_vec(PAYLOAD_BUFFER + EVENT_BYTES).map_err(ConnectError::System)?;
        // SAFETY: a whole mapped page, resident and aligned, that outlives the ring (the order of
        // Connection's fields); no reference into it is made.
        let memory = unsafe { SharedMemory::new(NonNull::new_unchecked(page.as_ptr()), PAGE_SIZE) };
        let waiting = Waiting {
            hypercall: shared.hypercall,
            port,
            signals: Shared::clone(&shared.signals),
            patience: Patience::new(PATIENCE),
        };
        let ring = match found {
            Found::AtRest => Some(Ring::new(memory)),
            Found::Abandoned => inherit(&shared.hypercall, port, memory),
        };
        let ring = ring.ok_or(ConnectError::Store(Error::TimedOut))?;
        let mut client = Client::new(ring, waiting, buffer).map_err(ConnectError::Store)?;

        // SAFETY: the signals live as long as `shared`, which unbinds the port before it goes
        // (`Store::drop`), and a resume forgets all bindings.
        let handler = unsafe { Handler::new(store_event, Shared::as_ptr(&shared.signals).cast_mut().cast()) };
        shared.channels.bind(port, handler).map_err(ConnectError::Port)?;
        let watched = shared.channels.unmask(port).map_err(ConnectError::Port).and_then(|()| {
            // Of whoever had the connection before; a server that does not know the request holds none.
            match client.reset_watches() {
                Ok(()) | Err(Error::Refused(_)) => {}
                Err(error) => return Err(ConnectError::Store(error)),
            }
            let watches = shared.watches.lock();
            watches
                .iter()
                .try_for_each(|entry| match client.watch(&entry.path, &Token::new(entry.id)) {
                    // What is not there for this domain any more, such as a backend of before, has no events.
                    Ok(()) | Err(Error::Refused(_)) => Ok(()),
                    error => error,
                })
                .map_err(ConnectError::Store)
        });
        if let Err(error) = watched {
            // Bound above, so this cannot fail.
            let _ = shared.channels.unbind(port);
            return Err(error);
        }
        // SAFETY: a whole page, mapped for as long as the connection is there, by the order of its fields.
        let last_word = NonNull::new(page.as_ptr())
            .and_then(|page| unsafe { LastWord::new(shared.hypercall, port, page) });
        *slot = Some(Connection { client, port, last_word, _page: page });
        Ok(location)
    }

    /// Runs `request` on the connection, alone on it; `None` without a connection. PASSIVE_LEVEL, not from
    /// inside another request.
    pub(crate) fn request<R>(&self, request: impl FnOnce(&mut StoreClient) -> R) -> Option<R> {
        self.shared.connection.lock().as_mut().map(|connection| request(&mut connection.client))
    }

    /// Watches a node and all below it. The first callback may run before this returns. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// [`WatchError::Store`], [`WatchError::NotReady`], [`WatchError::Full`].
    ///
    /// # Safety
    /// `callback` and `context` stay valid, for a call on the watch thread, until [`Store::unwatch`] has
    /// returned for the watch.
    pub(crate) unsafe fn watch(
        &self,
        path: &str,
        callback: WatchCallback,
        context: *mut c_void,
    ) -> Result<Watch, WatchError> {
        let path = PathBuf::new(path).map_err(WatchError::Store)?;
        let id = self.shared.next_watch.fetch_add(1, Ordering::Relaxed);
        {
            // In the table before xenstored knows of it, so that the first event finds it.
            let mut watches = self.shared.watches.lock();
            if watches.len() == WATCHES {
                return Err(WatchError::Full);
            }
            watches.push(Entry { id, path, callback, context });
        }
        let set = self.request(|client| client.watch(&path, &Token::new(id)));
        match set {
            Some(Ok(())) => Ok(id),
            failed => {
                self.shared.forget(id);
                self.shared.wait_for_callback();
                Err(failed.map_or(WatchError::NotReady, |failed| {
                    WatchError::Store(failed.err().unwrap_or(Error::TimedOut))
                }))
            }
        }
    }

    /// Ends a watch. Whatever it answers but [`WatchError::Deadlock`], the callback is not running and will
    /// not run again. PASSIVE_LEVEL; waits for a callback that is running, except on the watch thread.
    ///
    /// # Errors
    /// [`WatchError::Unknown`]; [`WatchError::Deadlock`] from the watch's own callback, which changes
    /// nothing; [`WatchError::Store`] where xenstored did not confirm.
    pub(crate) fn unwatch(&self, id: Watch) -> Result<(), WatchError> {
        let shared = &*self.shared;
        if shared.on_watch_thread() && shared.running.load(Ordering::Relaxed) == id {
            return Err(WatchError::Deadlock);
        }
        let path = shared.forget(id).ok_or(WatchError::Unknown)?;
        shared.wait_for_callback();
        match self.request(|client| client.unwatch(&path, &Token::new(id))) {
            // Without a connection xenstored holds no watch.
            None | Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(WatchError::Store(error)),
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        self.shared.signals.watch.set();
        if let Some(thread) = self.thread.take() {
            thread.join();
        }
        // Out of the lock, and taken apart in this order.
        let connection = self.shared.connection.lock().take();
        if let Some(Connection { client, port, last_word, _page }) = connection {
            drop(last_word);
            // Leaves the rings between two messages, for whoever comes next; a broken connection cannot be
            // left better.
            let _ = client.release();
            // Bound as long as there was a connection.
            let _ = self.shared.channels.unbind(port);
        }
        LastWord::forget();
    }
}

/// Takes over a page that was abandoned; `None` where xenstored does not come to rest. PASSIVE_LEVEL.
fn inherit(hypercall: &VmCall, port: Port, memory: SharedMemory) -> Option<Ring> {
    /// Pauses for which xenstored must have been quiet.
    const QUIET: u32 = 5;
    const PAUSE: Duration = Duration::from_millis(10);
    let mut patience = Patience::new(PATIENCE);
    Ring::inherit(memory, QUIET, || {
        // It may be waiting for room that was made, or for a notification that was never sent.
        let _ = event_channel::send(hypercall, port);
        patience.pause(PAUSE)
    })
}

/// An event that the watch thread has to deliver.
enum Delivery {
    /// To one watch, with the path that was copied out.
    One(Watch),
    /// To every watch, with its own path: events were lost.
    All,
}

impl Inner {
    /// Runs the watch thread: `path` is room for an event's path.
    fn deliver(&self, mut path: Vec<u8>) {
        self.thread.store(thread::current_id(), Ordering::Relaxed);
        loop {
            self.signals.watch.wait();
            loop {
                if self.stopping.load(Ordering::Acquire) {
                    return;
                }
                match self.next_event(&mut path) {
                    None => break,
                    Some(Delivery::One(id)) => self.call(id, Some(&path)),
                    Some(Delivery::All) => {
                        let mut last = 0;
                        while let Some(id) = self.watch_after(last) {
                            self.call(id, None);
                            last = id;
                        }
                    }
                }
            }
        }
    }

    /// Returns the next event that has arrived, its path copied to `path`.
    fn next_event(&self, path: &mut Vec<u8>) -> Option<Delivery> {
        let mut connection = self.connection.lock();
        let client = &mut connection.as_mut()?.client;
        loop {
            // A broken connection has no events; whoever makes the next request is told.
            match client.next_event().ok()?? {
                WatchEvent::Lost => return Some(Delivery::All),
                WatchEvent::Fired { path: fired, token } => {
                    let (Some(id), true) = (Token::parse(token), fired.len() <= path.capacity()) else {
                        continue;
                    };
                    path.clear();
                    path.extend_from_slice(fired.as_bytes());
                    return Some(Delivery::One(id));
                }
            }
        }
    }

    /// Calls a watch's callback, if there still is such a watch.
    fn call(&self, id: Watch, path: Option<&[u8]>) {
        let _delivery = self.delivery.lock();
        let watches = self.watches.lock();
        let Some(entry) = watches.iter().find(|entry| entry.id == id) else { return };
        let (own, callback, context) = (entry.path, entry.callback, entry.context);
        drop(watches);
        let path = path.unwrap_or(own.as_bytes());
        self.running.store(id, Ordering::Relaxed);
        // SAFETY: the watch was in the table under the delivery lock, which whoever ends it waits for, so
        // callback and context are valid by the contract of `Store::watch`.
        unsafe { callback(context, path.as_ptr(), path.len()) };
        self.running.store(0, Ordering::Relaxed);
    }

    fn watch_after(&self, last: Watch) -> Option<Watch> {
        self.watches.lock().iter().map(|entry| entry.id).filter(|&id| id > last).min()
    }

    /// Takes a watch out of the table; answers its path.
    fn forget(&self, id: Watch) -> Option<PathBuf> {
        let mut watches = self.watches.lock();
        let place = watches.iter().position(|entry| entry.id == id)?;
        Some(watches.swap_remove(place).path)
    }

    /// Waits until no callback runs, unless this is the thread they run on.
    fn wait_for_callback(&self) {
        if !self.on_watch_thread() {
            drop(self.delivery.lock());
        }
    }

    fn on_watch_thread(&self) -> bool {
        self.thread.load(Ordering::Relaxed) == thread::current_id()
    }
}

/// A watch's token on the wire: its id in 16 hexadecimal digits.
struct Token([u8; 16]);

impl Token {
    fn new(id: Watch) -> Self {
        Self(core::array::from_fn(|place| b"0123456789abcdef"[(id >> (60 - 4 * place) & 0xF) as usize]))
    }

    fn parse(token: &str) -> Option<Watch> {
        u64::from_str_radix(token, 16).ok()
    }
}

impl Deref for Token {
    type Target = str;

    fn deref(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}
