//! The platform device's function driver, and its children.
#![expect(unsafe_code, reason = "deletes device objects")]

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use wdm::Shared;

use guard::channel::HEARTBEAT;
use guard::machine::BUGCHECK_CODE;
use guard::pci_id::Parts;
use guard::{Action, Reason, message};
use wdm::device::Options;
use wdm::event_log::{self, Source};
use wdm::irp::major;
use wdm::pnp::{DeviceStates, Minor, RelationsType};
use wdm::power::{self, Kept};
use wdm::registry::{self, Key};
use wdm::spin_lock::SpinLock;
use wdm::stack_location::PowerState;
use wdm::thread::Thread;
use wdm::{
    Device, DeviceObject, Disposition, DriverObject, Irp, NtStatus, Result, bugcheck, debug_print, interrupt,
    processor, property, relations, requirements, shutdown, unicode, utf16,
};
use xen::event_channel::Vcpu;

use crate::button::Button;
use crate::channel::Channel;
use crate::platform::Platform;
use crate::special_files::SpecialFiles;
use crate::suspend::Suspend;
use crate::{DRIVER, Extension, emulated, interface, last_word, pdo, proof};

/// FILE_DEVICE_BUS_EXTENDER.
const BUS_EXTENDER: u32 = 0x2A;

/// DO_POWER_PAGABLE.
const POWER_PAGABLE: u32 = 0x2000;

/// A reason that is never one of the guard's.
const NOT_SAID: u32 = u32::MAX;

/// Data of the function device.
pub(crate) struct Fdo {
    driver: DriverObject,
    /// The platform, from START to removal, in a PV boot only.
    platform: SpinLock<Option<Shared<Platform>>>,
    /// Asks again when the guard's proof becomes whole, from START to removal, in a PV boot only.
    again: SpinLock<Option<proof::AskAgain>>,
    /// The thread that suspends the guest, as long as there is the platform.
    suspend: SpinLock<Option<Suspend>>,
    /// Tells the host of an emulated boot.
    telling: SpinLock<Option<Thread>>,
    /// The channel that programs read.
    channel: Channel,
    /// The power button that the toolstack presses.
    button: Button,
    /// The storage adapter, once it has been reported.
    adapter: SpinLock<Option<Device<Extension>>>,
    /// The code of the reason for withholding that was last printed.
    said: AtomicU32,
    /// Files of the system's that depend on this device.
    files: SpecialFiles,
    /// The device power state for each system power state, as the bus driver has them.
    device_states: SpinLock<DeviceStates>,
    /// The system was set to S4, and the device has not come to D0 since.
    hibernates: AtomicBool,
}

impl Fdo {
    fn platform(&self) -> Option<Shared<Platform>> {
        self.platform.lock().clone()
    }

    /// Returns the power button.
    pub(crate) const fn button(&self) -> &Button {
        &self.button
    }

    /// Returns the channel to programs.
    pub(crate) const fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Returns the device power state that belongs to a system power state. ≤ DISPATCH_LEVEL.
    pub(crate) fn device_state(&self, system: u32) -> u32 {
        self.device_states.lock().of(system)
    }

    /// Has Xen raise no interrupt while the device sleeps: a local APIC forgets in S3 what has been raised, and Xen raises
    /// nothing again before it is acknowledged; or the firmware takes it, on the way back, and acknowledges nothing.
    /// For hibernation the thread has let go of everything already. Where there is none nothing may be masked: the copy of
    /// the drivers would take that for leave. ≤ DISPATCH_LEVEL.
    pub(crate) fn rest(&self) {
        if let (false, Some(platform)) = (self.hibernates.load(Ordering::Acquire), &*self.platform.lock()) {
            platform.be_deaf();
        }
    }

    /// Goes on when the device is in D0 again; after hibernation the thread does so. ≤ DISPATCH_LEVEL.
    pub(crate) fn work(&self) {
        if self.hibernates.swap(false, Ordering::AcqRel) {
            if let Some(suspend) = &*self.suspend.lock() {
                suspend.wake();
            }
        } else if let Some(platform) = &*self.platform.lock() {
            platform.listen();
        }
    }

    /// Has the thread that serves the toolstack look again.
    fn look(&self) {
        if let Some(suspend) = &*self.suspend.lock() {
            suspend.look();
        }
    }
}

/// Carries out AddDevice. PASSIVE_LEVEL. A device that is not Xen's platform device is left alone: older
/// suites have a driver of this name, and may have left it among the filters of a class.
pub(crate) fn add(driver: DriverObject, pdo: DeviceObject) -> Result {
    if !is_platform_device(pdo) {
        debug_print!(DRIVER, "not attached: the device is not Xen's platform device");
        return Ok(());
    }
    let options = Options { name: None, device_type: BUS_EXTENDER, characteristics: 0, auto_name: false };
    let fdo = Fdo {
        driver,
        platform: SpinLock::new(None),
        again: SpinLock::new(None),
        suspend: SpinLock::new(None),
        telling: SpinLock::new(None),
        channel: Channel::new(),
        button: Button::new(),
        adapter: SpinLock::new(None),
        said: AtomicU32::new(NOT_SAID),
        files: SpecialFiles::new(),
        device_states: SpinLock::new(DeviceStates::WORKING_OR_OFF),
        hibernates: AtomicBool::new(false),
    };
    Device::add(driver, options, Extension::Fdo(fdo), pdo).map(|_device| ())
}

/// Returns true if a device is Xen's platform device, by its hardware ids. A device whose ids cannot be read
/// counts as it, and shows by its resources what it is. PASSIVE_LEVEL.
fn is_platform_device(pdo: DeviceObject) -> bool {
    let Ok(ids) = property::hardware_ids(pdo) else { return true };
    unicode::strings(&ids).any(|id| {
        let mut parts = Parts::default();
        parts.read(id);
        parts.is_platform_device()
    })
}

/// Handles IRP_MJ_PNP. PASSIVE_LEVEL.
pub(crate) fn pnp(device: Device<Extension>, fdo: &Fdo, mut irp: Irp) -> Disposition {
    let Ok(held) = device.acquire() else { return irp.complete(NtStatus::DELETE_PENDING) };
    let Some(lower) = device.attached_to() else { return irp.complete(NtStatus::DELETE_PENDING) };
    match irp.location().pnp() {
        Some(Minor::StartDevice) => {
            // The device has no MSI capability: the messages are those that this driver asked for.
            let (irp, status) = irp.forward_start_and_wait(lower);
            let status = status.to_result().and_then(|()| start(device, fdo, &irp));
            if status.is_ok() {
                power::set_device_state(device.object(), power::D0);
            }
            irp.complete(status.into())
        }
        Some(Minor::QueryDeviceRelations) if irp.location().relations_type() == Some(RelationsType::BUS) => {
            match adapter(device, fdo) {
                Some(adapter) => match relations::append(&mut irp, &[adapter.object()]) {
                    Ok(()) => {
                        irp.set_status(NtStatus::SUCCESS);
                        irp.forward(lower)
                    }
                    Err(status) => irp.complete(status),
                },
                None => irp.forward(lower),
            }
        }
        Some(Minor::QueryCapabilities) => {
            let (irp, status) = irp.forward_and_wait(lower);
            if let (true, Some(capabilities)) = (status.is_success(), irp.location().capabilities()) {
                *fdo.device_states.lock() = capabilities.device_states();
            }
            irp.complete_as_is()
        }
        Some(Minor::FilterResourceRequirements) => {
            let (mut irp, status) = irp.forward_and_wait(lower);
            // A bus driver leaves the request's status as it is.
            if status == NtStatus::NOT_SUPPORTED || status.is_success() {
                ask_for_vectors(&mut irp);
            }
            irp.complete_as_is()
        }
        // The BAR cannot move while Xen's pages are in it.
        Some(Minor::QueryStopDevice) if fdo.platform().is_some() => irp.complete(NtStatus::DEVICE_BUSY),
        Some(Minor::QueryStopDevice | Minor::QueryRemoveDevice) if fdo.files.any() => {
            irp.complete(NtStatus::DEVICE_BUSY)
        }
        Some(Minor::QueryPnpDeviceState) => {
            fdo.files.add_state(&mut irp);
            pass(irp, lower)
        }
        Some(Minor::StopDevice) => {
            stop(device, fdo);
            pass(irp, lower)
        }
        Some(
            Minor::QueryStopDevice
            | Minor::CancelStopDevice
            | Minor::QueryRemoveDevice
            | Minor::CancelRemoveDevice,
        ) => pass(irp, lower),
        Some(Minor::SurpriseRemoval) => {
            // Whoever has it open waits for its requests before it closes.
            fdo.button.withdraw();
            fdo.channel.withdraw();
            pass(irp, lower)
        }
        Some(Minor::DeviceUsageNotification) => usage(device, fdo, irp, lower),
        Some(Minor::RemoveDevice) => {
            held.release_and_wait();
            // The children have been removed by now, so the platform has no client.
            stop(device, fdo);
            // Taken out of the lock first: a device is deleted at PASSIVE_LEVEL.
            let adapter = fdo.adapter.lock().take();
            if let Some(adapter) = adapter {
                pdo::release(adapter);
            }
            let disposition = pass(irp, lower);
            device.detach();
            // SAFETY: detached, and its remove lock was released with wait above; `fdo` is not used any more.
            unsafe { device.delete() };
            disposition
        }
        _ => irp.forward(lower),
    }
}

/// Handles IRP_MJ_POWER, as the owner of the device's power policy. The request for S4 is kept until nothing of Xen's
/// is in use any more. ≤ DISPATCH_LEVEL.
pub(crate) fn power(device: Device<Extension>, fdo: &Fdo, irp: Irp) -> Disposition {
    /// `PowerSystemHibernate`.
    const S4: u32 = 5;
    /// `PowerSystemShutdown`.
    const S5: u32 = 6;
    let sets = irp.location().sets_power();
    // Where nobody serves S4, the disks cannot be let go of, and a new domain would not be set up.
    let serves = || fdo.suspend.lock().is_some() || fdo.platform.lock().is_none();
    match irp.location().power_state() {
        Some(PowerState::System(S4)) if !sets && !serves() => irp.complete_power(NtStatus::UNSUCCESSFUL),
        Some(PowerState::System(state)) => {
            let (kept, disposition) = match Kept::new(device, irp) {
                Ok(kept) => kept,
                Err(disposition) => return disposition,
            };
            if sets && state == S4 {
                fdo.hibernates.store(true, Ordering::Release);
            }
            let kept = match (&*fdo.suspend.lock(), state) {
                (Some(suspend), S4) if sets => {
                    suspend.fall_asleep(kept);
                    None
                }
                (Some(suspend), S5) if sets => {
                    suspend.power_off();
                    Some(kept)
                }
                _ => Some(kept),
            };
            // Out of the lock, since the lower drivers may be done with it at once.
            if let Some(kept) = kept {
                kept.answer_system();
            }
            disposition
        }
        Some(PowerState::Device(state)) if sets => match Kept::new(device, irp) {
            Ok((kept, disposition)) => {
                kept.set_device(state);
                disposition
            }
            Err(disposition) => disposition,
        },
        _ => match (device.acquire(), device.attached_to()) {
            (Ok(_held), Some(lower)) => irp.forward_power(lower),
            _ => irp.complete_power(NtStatus::DELETE_PENDING),
        },
    }
}

/// Handles every other request. The device is opened for its power button and for the channel to programs.
/// PASSIVE_LEVEL.
pub(crate) fn other(device: Device<Extension>, fdo: &Fdo, irp: Irp) -> Disposition {
    match irp.major() {
        major::CREATE => match device.acquire() {
            Ok(_held) => irp.complete(NtStatus::SUCCESS),
            Err(status) => irp.complete(status),
        },
        // Also of a device that is going: a file ends in order.
        major::CLEANUP => {
            if let Some(file) = irp.location().file() {
                fdo.button.cleanup(file);
                fdo.channel.cleanup(file);
            }
            irp.complete(NtStatus::SUCCESS)
        }
        major::CLOSE => {
            fdo.button.closed();
            fdo.look();
            irp.complete(NtStatus::SUCCESS)
        }
        shutdown::MAJOR => {
            // Out of the lock first.
            let farewell = fdo.suspend.lock().as_ref().map(Suspend::farewell);
            match farewell {
                Some(farewell) => farewell.say(),
                None => emulated::at_shutdown(),
            }
            irp.complete(NtStatus::SUCCESS)
        }
        major::DEVICE_CONTROL => {
            let Ok(_held) = device.acquire() else { return irp.complete(NtStatus::DELETE_PENDING) };
            match fdo.button.control(irp) {
                Ok(disposition) => {
                    fdo.look();
                    disposition
                }
                Err(irp) => {
                    let beats = irp.location().device_control().is_some_and(|it| it.code == HEARTBEAT);
                    let answered = fdo.channel.control(irp);
                    if beats {
                        fdo.look();
                    }
                    answered.unwrap_or_else(|irp| irp.complete(NtStatus::INVALID_DEVICE_REQUEST))
                }
            }
        }
        _ => irp.complete(NtStatus::INVALID_DEVICE_REQUEST),
    }
}

/// Passes a request that this driver has no part in. IRQL: the request's.
pub(crate) fn forward(device: Device<Extension>, irp: Irp) -> Disposition {
    let held = device.acquire();
    match (held, device.attached_to()) {
        (Ok(_held), Some(lower)) => irp.forward(lower),
        _ => irp.complete(NtStatus::DELETE_PENDING),
    }
}

/// Agrees to a request and passes it down.
fn pass(mut irp: Irp, lower: DeviceObject) -> Disposition {
    irp.set_status(NtStatus::SUCCESS);
    irp.forward(lower)
}

/// Handles FILTER_RESOURCE_REQUIREMENTS: asks for an interrupt message for each processor, in a PV boot, on
/// an NT that knows messages, unless `Parameters\UpcallVectors` is 0.
fn ask_for_vectors(irp: &mut Irp) {
    let wanted = || {
        let parameters = Key::open(registry::SERVICES)
            .and_then(|services| services.open_below(utf16!("xenpci\\Parameters")));
        // It counts as 1 where it is missing.
        parameters.and_then(|key| key.dword(utf16!("UpcallVectors"))) != Ok(0)
    };
    if !guard_client::may_expose() || !interrupt::has_messages() || !wanted() {
        return;
    }
    let processors = processor::count().min(Vcpu::LIMIT);
    if let Err(status) = requirements::prefer_messages(irp, processors) {
        debug_print!(DRIVER, "no interrupt vectors are asked for: status {status}");
    }
}

/// Handles START_DEVICE, when the bus has started the device: sets the platform up, in a PV boot only.
fn start(device: Device<Extension>, fdo: &Fdo, irp: &Irp) -> Result {
    if let Err(status) = fdo.channel.offer(device) {
        debug_print!(DRIVER, "programs cannot read the guard's state: status {status}");
    }
    if !guard_client::may_expose() {
        match emulated::tell(device) {
            Ok(thread) => {
                // The one before has ended: `stop` waits for it.
                let before = fdo.telling.lock().replace(thread);
                drop(before);
            }
            Err(status) => debug_print!(DRIVER, "the host is not told of this boot: status {status}"),
        }
        return Ok(());
    }
    let resources = irp.location().translated_resources().ok_or(NtStatus::INVALID_PARAMETER)?;
    let platform = Platform::start(device.pdo(), resources).map_err(|failure| {
        debug_print!(DRIVER, "not started: {failure}");
        failure.status()
    })?;
    interface::publish(&platform)?;
    match Suspend::start(&platform, device) {
        Ok(suspend) => {
            *fdo.suspend.lock() = Some(suspend);
            last_word::hear_of_last_chance(device);
            if let Err(status) = fdo.button.offer(device.pdo()) {
                debug_print!(DRIVER, "there is no power button for the toolstack: status {status}");
            }
        }
        Err(status) => debug_print!(DRIVER, "the toolstack's requests are not served: status {status}"),
    }
    *fdo.platform.lock() = Some(platform);
    let again = proof::AskAgain::new(device.pdo());
    if again.is_none() {
        debug_print!(DRIVER, "the guard has no room for another watcher");
    }
    *fdo.again.lock() = again;
    Ok(())
}

/// Takes the platform down, if it is up. PASSIVE_LEVEL.
fn stop(device: Device<Extension>, fdo: &Fdo) {
    let telling = fdo.telling.lock().take();
    if let Some(telling) = telling {
        telling.join();
    }
    device.unhear_last_chance();
    let again = fdo.again.lock().take();
    drop(again);
    // Taken out of the lock first: its thread is waited for.
    let suspend = fdo.suspend.lock().take();
    drop(suspend);
    fdo.button.withdraw();
    fdo.channel.withdraw();
    let platform = fdo.platform.lock().take();
    if let Some(platform) = platform {
        interface::withdraw(&platform);
    }
}

/// Returns the storage adapter for the bus relations, the same in every boot and at every query. Asks the
/// guard first, so that the adapter's driver finds the services open if they may be. PASSIVE_LEVEL.
fn adapter(device: Device<Extension>, fdo: &Fdo) -> Option<Device<Extension>> {
    open_services(fdo);
    let reported = *fdo.adapter.lock();
    if reported.is_some() {
        return reported;
    }
    match pdo::create(fdo.driver, device.object()) {
        Ok(adapter) => {
            *fdo.adapter.lock() = Some(adapter);
            Some(adapter)
        }
        Err(status) => {
            debug_print!(DRIVER, "storage adapter cannot be created: status {status}");
            None
        }
    }
}

/// Gives what a vbd needs (grants, event channels, xenstore) to the adapter's driver, if the guard says so now.
/// PASSIVE_LEVEL.
fn open_services(fdo: &Fdo) {
    if interface::is_open() {
        return;
    }
    match proof::request_exposure() {
        Action::Expose if fdo.platform().is_some() => {
            debug_print!(DRIVER, "block services opened");
            interface::open();
        }
        Action::Stop(stop) => bugcheck::stop(BUGCHECK_CODE, stop.parameters(0)),
        Action::Withhold(reason) | Action::Note(reason) => withhold(fdo, reason),
        _ => withhold(fdo, Reason::EventRefused),
    }
}

/// Says why the block services are not opened, once for each reason.
fn withhold(fdo: &Fdo, reason: Reason) {
    if fdo.said.swap(reason.code(), Ordering::Relaxed) != reason.code() {
        let (code, text) = (reason.code(), reason.text());
        debug_print!(DRIVER, "block services withheld reason={code:#x} {text}");
        // The guard has no event to record where it could not read one.
        if matches!(reason, Reason::InterfaceVersion | Reason::EventRefused) {
            // The log may be full; the debug output has it anyway.
            let _ = event_log::write(
                Source::Driver(fdo.driver),
                message::code(reason),
                NtStatus::SUCCESS,
                &[code],
                "",
            );
        }
    }
}

/// Handles a file of the system's that comes or goes on a disk below the adapter: what is in its path must
/// not be paged out or removed.
fn usage(device: Device<Extension>, fdo: &Fdo, irp: Irp, lower: DeviceObject) -> Disposition {
    let comes = irp.location().usage().map(|(_, comes)| comes);
    if comes == Some(true) {
        device.clear_power_pagable();
    }
    let (irp, status) = irp.forward_and_wait(lower);
    if let (Some(comes), true) = (comes, status.is_success()) {
        fdo.files.count(comes, device.pdo());
    }
    if !fdo.files.any() && lower.flags() & POWER_PAGABLE != 0 {
        device.set_power_pagable();
    }
    irp.complete_as_is()
}
