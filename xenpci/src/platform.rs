//! The Xen platform as its device's driver has it set up.
//!
//! A platform is built in two parts. [`Platform::start`] takes what belongs to this kernel: the window in the BAR, the
//! interrupt, the store's thread. `rebuild` then makes what Xen keeps for the guest, and forgets when the guest is
//! suspended: the frames behind the window, the grant table, ports, the callback, watches. It runs at START and again at
//! each resume; clients see by the epoch that theirs is gone. Whatever was acquired before a failure is released in
//! reverse order, by the same code as at removal.
#![expect(unsafe_code, reason = "takes over the device's memory BAR")]

use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use wdm::Shared;

use wdm::resources::Resources;
use wdm::{DeviceObject, NtStatus, debug_print, ipi, pci, processor, property, time};
use xen::cpuid::{self, Native, Xen};
use xen::event_channel::Vcpu;
use xen::hypercall::{self, VmCall};
use xen::sched::{self, Resumed, Shutdown};
use xen::{grant, hvm};

use crate::DRIVER;
use crate::clients::Clients;
use crate::event_channels::EventChannels;
use crate::grant::Grants;
use crate::interrupt::Upcall;
use crate::store::{ConnectError, Found, Held, Store};
use crate::window::Window;

/// The running platform. Dropping it undoes everything (PASSIVE_LEVEL); no client may be left.
pub(crate) struct Platform {
    hypercall: VmCall,
    // The order of the fields is the order of dropping: each is done with before what it stands on.
    store: Store,
    upcall: Upcall,
    channels: Shared<EventChannels>,
    grants: Grants,
    window: Window,
    clients: Clients,
    epoch: AtomicU32,
    /// Number of processors with an interrupt of their own.
    processors_with_own_vector: AtomicU32,
}

/// The reason why the platform cannot be set up.
#[derive(Clone, Copy)]
pub(crate) enum Failure {
    /// A resource that the device must have is not in its list.
    Missing(&'static str),
    /// CPUID shows no Xen.
    NoXen,
    /// Xen refused.
    Xen(hypercall::Error),
    /// Xenstore cannot be reached.
    Store(ConnectError),
    /// Xenstore answered, but Xen's interrupt did not arrive: disks would not answer at all.
    NoUpcall,
    /// The kernel refused.
    System(&'static str, NtStatus),
}

impl Failure {
    /// Returns the status for START_DEVICE.
    pub(crate) const fn status(&self) -> NtStatus {
        match self {
            Self::Missing(_) => NtStatus::DEVICE_CONFIGURATION_ERROR,
            Self::NoXen | Self::Xen(_) | Self::Store(_) | Self::NoUpcall => NtStatus::IO_DEVICE_ERROR,
            Self::System(_, status) => *status,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(what) => write!(f, "the device has no {what}"),
            Self::NoXen => write!(f, "CPUID shows no Xen"),
            Self::Xen(error) => write!(f, "{error}"),
            Self::Store(error) => write!(f, "no xenstore: {error}"),
            Self::NoUpcall => write!(f, "Xen's events raise no interrupt"),
            Self::System(what, status) => write!(f, "{what}: status {status}"),
        }
    }
}

impl From<hypercall::Error> for Failure {
    fn from(error: hypercall::Error) -> Self {
        Self::Xen(error)
    }
}

/// The reason why the guest does not go on as it was before a suspend.
#[derive(Clone, Copy)]
pub(crate) enum SuspendError {
    /// Xen did not suspend it: it goes on as it was.
    Refused(hypercall::Error),
    /// It was suspended and has come back, and the platform cannot be built anew: no client will be served
    /// any more.
    Lost(Failure),
}

/// Pages that the drivers' copy has granted and a backend has not let go of.
#[derive(Clone, Copy)]
pub(crate) enum StillGranted {
    /// The number of pages that a backend has mapped.
    Mapped(usize),
    /// The copy's part of the grant table cannot be seen.
    Unknown(hypercall::Error),
}

impl StillGranted {
    /// Returns the number of pages that are known to be mapped.
    pub(crate) const fn mapped(&self) -> usize {
        match self {
            Self::Mapped(mapped) => *mapped,
            Self::Unknown(_) => 0,
        }
    }
}

impl fmt::Display for StillGranted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mapped(mapped) => write!(f, "a backend has {mapped} pages mapped"),
            Self::Unknown(error) => write!(f, "{error}"),
        }
    }
}

/// Names the step that a status came from.
fn at(step: &'static str) -> impl FnOnce(NtStatus) -> Failure {
    move |status| Failure::System(step, status)
}

impl Platform {
    /// Sets the platform up with the translated resources of START_DEVICE; `pdo` is the device's PDO.
    /// PASSIVE_LEVEL.
    ///
    /// # Errors
    /// See [`Failure`]; nothing is left set up then.
    pub(crate) fn start(pdo: DeviceObject, resources: Resources<'_>) -> Result<Shared<Self>, Failure> {
        let (memory, length) = resources.memory(0).ok_or(Failure::Missing("memory range"))?;
        let interrupt = resources.interrupt().ok_or(Failure::Missing("interrupt"))?;
        let location = location(pdo).map_err(at("the device's place on its bus"))?;

        let xen = cpuid::detect(&Native).ok_or(Failure::NoXen)?;
        // SAFETY: the image stays loaded as long as any code of it makes hypercalls.
        let hypercall = unsafe { VmCall::new(&xen, &Native) };
        // SAFETY: the device's first memory range is its BAR1, which was assigned to it and is for this use.
        let window = unsafe { Window::new(hypercall, memory, length) }.map_err(at("mapping the window"))?;
        let grants = Grants::new();
        let vcpus = vcpus(&xen, resources.messages().count()).map_err(at("the list of processors"))?;
        let channels = EventChannels::new(hypercall, &vcpus).map_err(at("the list of ports"))?;
        let channels = Shared::new(channels).map_err(at("the list of ports"))?;
        let messages = resources.messages();
        let upcall = Upcall::connect(hypercall, pdo, location, interrupt, messages, &channels)
            .map_err(at("connecting the interrupt"))?;
        let store = Store::new(hypercall, &channels).map_err(at("starting the store's thread"))?;
        let clients = Clients::new().map_err(at("the list of clients"))?;
        let platform = Self {
            hypercall,
            store,
            upcall,
            channels,
            grants,
            window,
            clients,
            epoch: AtomicU32::new(0),
            processors_with_own_vector: AtomicU32::new(0),
        };
        let frames = platform.populate()?;
        platform.rebuild(&mut platform.store.hold(), frames)?;

        let (major, minor) = xen.version;
        let (vector, level) = (interrupt.vector, interrupt.level);
        let (grants, own) = (platform.grants.available(), platform.processors_with_own_vector());
        debug_print!(
            DRIVER,
            "Xen {major}.{minor}, {grants} grants, upcalls by the line (vector {vector:#x} at level {level}) and {own} \
             processors' own vectors"
        );
        Shared::new(platform).map_err(at("the platform"))
    }

    /// Has Xen put its pages behind the window, as [`Window::populate`]. Any IRQL, and no kernel is called: in a new domain
    /// no processor goes on before this.
    fn populate(&self) -> Result<u32, hypercall::Error> {
        hvm::lay_out(&self.hypercall)?;
        self.window.populate()
    }

    /// Builds what Xen keeps for the guest, with `frames` frames of grant table behind the window; the store is held.
    /// PASSIVE_LEVEL.
    fn rebuild(&self, held: &mut Held<'_>, frames: u32) -> Result<(), Failure> {
        self.channels.rebuild(self.window.shared_info());
        self.grants.rebuild(self.window.grant_table(frames), frames).map_err(at("the grant table's list"))?;
        let before = self.upcall.taken();
        self.upcall.enable()?;
        // Xenstore answers by event: with its first reply the whole way from Xen to a callback has been gone.
        self.store.connect_held(held, Found::AtRest).map_err(Failure::Store)?;
        if !self.upcall.more_than(before) {
            return Err(Failure::NoUpcall);
        }
        self.processors_with_own_vector.store(self.upcall.prove() as u32, Ordering::Relaxed);
        self.epoch.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// Suspends the guest, and rebuilds what Xen has forgotten when it goes on. PASSIVE_LEVEL; every client
    /// has ended its grants and ports.
    ///
    /// # Errors
    /// See [`SuspendError`].
    pub(crate) fn suspend(&self) -> Result<Resumed, SuspendError> {
        let mut held = self.store.hold();
        let (resumed, frames) = ipi::alone(|| {
            let resumed = sched::suspend(&self.hypercall)?;
            // An interrupt's handler looks into the window. Where a page comes to be there while a processor is about to
            // have an access to it emulated, Xen ends the domain (hvmemul_do_io).
            Ok((resumed, (resumed == Resumed::Anew).then(|| self.populate())))
        })
        .map_err(SuspendError::Refused)?;
        if let Some(frames) = frames {
            let frames = frames.map_err(|error| SuspendError::Lost(error.into()))?;
            self.rebuild(&mut held, frames).map_err(SuspendError::Lost)?;
        }
        Ok(resumed)
    }

    /// Leaves xenstore to the copy of the drivers that writes the hibernation file, until [`Platform::wake`].
    /// PASSIVE_LEVEL.
    pub(crate) fn sleep(&self) -> Held<'_> {
        let held = self.store.hold();
        self.store.leave_held(&held);
        self.channels.be_deaf();
        self.channels.ignore();
        held
    }

    /// Goes on after hibernation: in a new domain as after a suspend; where the machine was never off, with
    /// what Xen keeps for the guest as it was, but xenstore as the copy left it. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// See [`Failure`]; no client will be served any more.
    pub(crate) fn wake(&self, mut held: Held<'_>) -> Result<Resumed, Failure> {
        if self.window.is_populated() {
            self.channels.attend();
            self.listen();
            self.store.connect_held(&mut held, Found::Abandoned).map_err(Failure::Store)?;
            return Ok(Resumed::Cancelled);
        }
        let frames = self.populate()?;
        self.channels.attend();
        self.rebuild(&mut held, frames)?;
        Ok(Resumed::Anew)
    }

    /// Ends what the copy of the drivers that wrote the hibernation file has granted, whose pages are NT's again. Waits
    /// for a backend to let go of them. PASSIVE_LEVEL, in the domain that fell asleep, when the client has ended the copy's
    /// sessions.
    ///
    /// # Errors
    /// See [`StillGranted`]: a backend may write into pages that NT uses for something else.
    pub(crate) fn end_grants_of_the_copy(&self) -> Result<(), StillGranted> {
        /// Time that a backend has for the end of a session.
        const PATIENCE: Duration = Duration::from_secs(30);
        let mut kept = Err(StillGranted::Mapped(0));
        let ended = time::within(PATIENCE, || {
            kept = match self.window.table_of_the_copy().map(|table| table.map_or(0, grant::end_all)) {
                Ok(0) => Ok(()),
                Ok(mapped) => Err(StillGranted::Mapped(mapped)),
                Err(error) => Err(StillGranted::Unknown(error)),
            };
            kept.is_ok()
        });
        if ended { Ok(()) } else { kept }
    }

    /// Has Xen tell the toolstack, when the guest powers off, that it is to be started again. Any IRQL.
    ///
    /// # Errors
    /// Xen's answer.
    pub(crate) fn end_as_reboot(&self) -> Result<(), hypercall::Error> {
        sched::latch(&self.hypercall, Shutdown::Reboot)
    }

    /// Has Xen raise no interrupt until [`Platform::listen`], nor again one that it has raised. ≤ DISPATCH_LEVEL.
    pub(crate) fn be_deaf(&self) {
        self.channels.be_deaf();
    }

    /// Takes interrupts again, with the events that came meanwhile. An upcall that was raised and whose interrupt is
    /// lost is acknowledged, since Xen raises no other before. ≤ DISPATCH_LEVEL.
    pub(crate) fn listen(&self) {
        self.upcall.look();
        if let Err(error) = self.channels.listen() {
            debug_print!(DRIVER, "a port stays masked: {error}");
        }
    }

    /// Returns the clients that are called around a suspend.
    pub(crate) const fn clients(&self) -> &Clients {
        &self.clients
    }

    /// Returns xenstore.
    pub(crate) const fn store(&self) -> &Store {
        &self.store
    }

    /// Returns the event channels.
    pub(crate) fn channels(&self) -> &EventChannels {
        &self.channels
    }

    /// Returns the grant table.
    pub(crate) const fn grants(&self) -> &Grants {
        &self.grants
    }

    /// Returns the number of processors with an interrupt of their own. Any IRQL.
    pub(crate) fn processors_with_own_vector(&self) -> u32 {
        self.processors_with_own_vector.load(Ordering::Relaxed)
    }

    /// Changes with each resume; never 0. Any IRQL.
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::Acquire)
    }
}

/// Returns Xen's numbers of the processors that may have interrupts of their own, by NT's numbers: as many as
/// there are messages. The first one alone where Xen does not tell the numbers, which it does from 4.6 on.
/// PASSIVE_LEVEL.
///
/// `XEN_HVM_CPUID_UPCALL_VECTOR` is not asked for: Xen shows it from 4.17 on and says by it that such interrupts work
/// together with physical interrupts bound to event channels. This driver binds none, and each vector is proved by an
/// event before its processor gets ports.
fn vcpus(xen: &Xen, messages: usize) -> wdm::Result<Vec<usize>> {
    let count = messages.min(processor::count());
    let mut vcpus = Vec::new();
    vcpus.try_reserve_exact(count.max(1)).map_err(|_| NtStatus::INSUFFICIENT_RESOURCES)?;
    // The first processor is the one that the machine started with, and vCPU 0.
    vcpus.push(0);
    for number in 1..count {
        match processor::on(number, || xen.vcpu(&cpuid::Native)) {
            Some(vcpu) if (vcpu as usize) < Vcpu::LIMIT => vcpus.push(vcpu as usize),
            _ => break,
        }
    }
    Ok(vcpus)
}

/// Returns the location of the device, for the interrupt's routing in Xen.
fn location(pdo: DeviceObject) -> wdm::Result<pci::Location> {
    let bus = property::bus_number(pdo)?;
    // PCI: device << 16 | function.
    let address = property::address(pdo)?;
    let number = |value: u32| u8::try_from(value).map_err(|_| NtStatus::DEVICE_CONFIGURATION_ERROR);
    Ok(pci::Location {
        bus: number(bus)?,
        device: number(address >> 16)?,
        function: number(address & 0xFFFF)?,
    })
}
