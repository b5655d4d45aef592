//! A stand-in for xenpci's channel on the bus's own device: Wine's processor has no Xen under it, so that xenpci itself
//! never has an event there. What it keeps and answers is the crate `guard`'s, as in xenpci.
#![expect(unsafe_code, reason = "pends IRPs in a queue that the device keeps at its place")]

use core::time::Duration;

use guard::channel::{Event, Events, Follower, GET_EVENT, GET_VERSION, HEARTBEAT, INTERFACE, Kind, Version};
use wdm::interface::Registered;
use wdm::irp::major;
use wdm::irp_queue::{FileId, IrpQueue};
use wdm::registry::{self, Key};
use wdm::spin_lock::SpinLock;
use wdm::{DeviceObject, Disposition, Irp, NtStatus, time, utf16};

use crate::log;

/// Time that the service has to come.
const COMING: u32 = 40;
/// Time that the service has for the request.
const CARRYING: u32 = 15;

/// The stand-in. It lies in a box of the bus's extension.
pub(crate) struct StandIn {
    events: SpinLock<Events>,
    readers: IrpQueue,
    follower: SpinLock<Follower<FileId>>,
}

/// Returns true if the service is tried: `Parameters\Service` of the bus's driver is 1. PASSIVE_LEVEL.
pub(crate) fn is_wanted() -> bool {
    let parameters =
        Key::open(registry::SERVICES).and_then(|services| services.open_below(utf16!("testbus\\Parameters")));
    parameters.and_then(|key| key.dword(utf16!("Service"))) == Ok(1)
}

impl StandIn {
    /// Returns one that nobody can open yet.
    pub(crate) const fn new() -> Self {
        Self {
            events: SpinLock::new(Events::new()),
            readers: IrpQueue::new(),
            follower: SpinLock::new(Follower::none()),
        }
    }

    /// Offers the channel on the bus, whose PDO this is, and asks whoever comes for a reboot; then the channel goes.
    /// PASSIVE_LEVEL.
    pub(crate) fn play(&self, pdo: DeviceObject) {
        // Before the service has come: not its own to carry out.
        self.add(Kind::PowerOff, 0);
        let offered = Registered::new(pdo, &wdm::raw::guid(INTERFACE)).and_then(|interface| {
            interface.enable(true)?;
            Ok(interface)
        });
        let interface = match offered {
            Ok(interface) => interface,
            Err(status) => {
                log!("the stand-in cannot be offered: status {status}");
                return;
            }
        };
        log!("the stand-in is there");
        let came = within(COMING, || self.follower.lock().lives());
        log!("the stand-in is followed: {came}");
        self.add(Kind::Resumed, 1);
        let asked = self.add(Kind::Reboot, 0);
        let carried = within(CARRYING, || self.follower.lock().has_carried(asked));
        log!("the stand-in's request is carried out: {carried}");
        // It is going all the same.
        let _ = interface.enable(false);
        self.readers.drain(NtStatus::DELETE_PENDING);
        let left = within(CARRYING, || !self.follower.lock().lives());
        log!("the stand-in is left: {left}");
    }

    /// Handles a request to the bus; gives back what is none of the channel's. PASSIVE_LEVEL.
    pub(crate) fn other(&self, irp: Irp) -> core::result::Result<Disposition, Irp> {
        match irp.major() {
            major::CREATE => Ok(irp.complete(NtStatus::SUCCESS)),
            // Wine sends no CLEANUP.
            major::CLEANUP | major::CLOSE => {
                if let Some(file) = irp.location().file() {
                    self.follower.lock().closed(file);
                    while let Some(irp) = self.readers.take_of(file) {
                        let _ = irp.complete(NtStatus::CANCELLED);
                    }
                }
                Ok(irp.complete(NtStatus::SUCCESS))
            }
            major::DEVICE_CONTROL => self.control(irp),
            _ => Err(irp),
        }
    }

    fn control(&self, mut irp: Irp) -> core::result::Result<Disposition, Irp> {
        let Some(control) = irp.location().device_control() else { return Err(irp) };
        match control.code {
            GET_VERSION => Ok(irp.answer(&Version::bytes())),
            GET_EVENT => {
                let from = irp.input_number();
                match self.events.lock().from(from) {
                    Some(event) => Ok(irp.answer(&event.to_bytes())),
                    // SAFETY: the queue lies in a box of the device's extension, which stays until the system ends.
                    None => Ok(unsafe { self.readers.pend(irp) }),
                }
            }
            HEARTBEAT => match irp.location().file() {
                Some(file) => {
                    let carried = irp.input_number();
                    let next = self.events.lock().next();
                    self.follower.lock().beats(file, carried, next, time::system_time());
                    log!("the stand-in has a heartbeat: carried={carried}");
                    Ok(irp.answer(&next.to_le_bytes()))
                }
                None => Ok(irp.complete(NtStatus::INVALID_PARAMETER)),
            },
            _ => Err(irp),
        }
    }

    /// Adds an event, and answers whoever waits for one. PASSIVE_LEVEL.
    fn add(&self, kind: Kind, value: u32) -> u64 {
        let sequence = self.events.lock().add(kind, value, time::system_time());
        while let Some(irp) = self.readers.take() {
            let event = Event { sequence, lost: 0, time: time::system_time(), kind: kind as u32, value };
            let _ = irp.answer(&event.to_bytes());
        }
        sequence
    }
}

/// Waits until `seen`, for so many seconds at most; whether it was seen. PASSIVE_LEVEL.
fn within(seconds: u32, seen: impl Fn() -> bool) -> bool {
    (0..seconds * 10).any(|_| {
        time::sleep(Duration::from_millis(100));
        seen()
    })
}
