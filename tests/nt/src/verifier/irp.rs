//! The life of every IRP: allocated, sent down, completed location by location, freed.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::{Violation, violation};
use crate::ke::Lock;
use crate::ldr::{Place, driver_name};
use crate::nt::*;

/// The completion part of a location when the IRP was sent to it. The driver that it was sent to must not
/// change it.
#[derive(Clone, Copy, PartialEq)]
struct Completion {
    routine: usize,
    context: usize,
}

impl Completion {
    unsafe fn of(location: *const IoStackLocation) -> Self {
        // SAFETY: the caller keeps `location` valid for this call.
        unsafe {
            Self {
                routine: (*location).completion_routine.map_or(0, |routine| routine as usize),
                context: (*location).context as usize,
            }
        }
    }
}

/// A dispatch routine that was called with an IRP and has not been passed by the IRP's completion.
struct Call {
    id: u64,
    location: i8,
}

struct Tracked {
    /// The driver that allocated it.
    driver: usize,
    stack_count: i8,
    completed: bool,
    sent: bool,
    /// Completion routine of each location as sent, by location number.
    sent_with: BTreeMap<i8, Completion>,
    calls: Vec<Call>,
    reached_bottom: bool,
}

/// The end of a call, seen from the IRP.
#[derive(Clone, Copy)]
struct Passed {
    marked_pending: bool,
    status: NtStatus,
}

#[derive(Default)]
struct Tracker {
    live: BTreeMap<usize, Tracked>,
    passed: BTreeMap<u64, Passed>,
    next_id: u64,
}

static TRACKER: Lock<Tracker> =
    Lock::new(Tracker { live: BTreeMap::new(), passed: BTreeMap::new(), next_id: 0 });

/// A major function that no driver fills in: marks a location as not set up.
pub(crate) const UNUSED_MAJOR: u8 = 0xEB;

/// Notes that an IRP was allocated.
pub(crate) fn allocated(irp: *mut Irp, stack_count: i8, driver: usize) {
    let tracked = Tracked {
        driver,
        stack_count,
        completed: false,
        sent: false,
        sent_with: BTreeMap::new(),
        calls: Vec::new(),
        reached_bottom: false,
    };
    TRACKER.lock().live.insert(irp as usize, tracked);
}

/// Notes that a completed IRP is made ready to be sent again (`IoReuseIrp`, or a completion routine kept it).
pub(crate) fn reused(irp: *mut Irp) {
    if let Some(tracked) = TRACKER.lock().live.get_mut(&(irp as usize)) {
        tracked.completed = false;
        tracked.sent = false;
        tracked.sent_with.clear();
    }
}

/// Checks an IRP that is about to be freed.
pub(crate) fn freed(irp: *mut Irp) {
    let tracked = TRACKER.lock().live.remove(&(irp as usize));
    match tracked {
        None => violation(Violation::IrpCompletedTwice, format_args!("irp={irp:p} cause=freed-twice")),
        Some(tracked) if !tracked.calls.is_empty() => {
            violation(Violation::IrpNeverCompleted, format_args!("irp={irp:p} cause=freed-while-sent"))
        }
        Some(_) => {}
    }
}

/// A call in progress.
pub(crate) struct Sent {
    id: u64,
    irp: usize,
    location: i8,
}

/// Checks an IRP that is being sent to a device: `location` is already that device's.
///
/// # Safety
/// `irp` and `device` are valid.
pub(crate) unsafe fn sending(irp: *mut Irp, device: *mut DeviceObject) -> Sent {
    // SAFETY: by this function's contract, `irp` and `device` are valid.
    unsafe {
        let location = (*irp).current_stack_location;
        let number = (*irp).current_location;
        let driver = driver_of(device);
        let mut tracker = TRACKER.lock();
        let id = tracker.next_id;
        tracker.next_id += 1;
        let Some(tracked) = tracker.live.get_mut(&(irp as usize)) else {
            drop(tracker);
            violation(
                Violation::IrpCompletedTwice,
                format_args!("irp={irp:p} cause=sent-after-free to={driver}"),
            );
        };
        let mut broken = None;
        if tracked.completed {
            broken = Some((Violation::IrpCompletedTwice, "sent-after-completion"));
        } else if number < 1 || number > tracked.stack_count {
            broken = Some((Violation::StackLocationReused, "no-location-left"));
        } else if (*location).major_function as usize >= IRP_MJ_COUNT {
            broken = Some((Violation::StackLocationReused, "not-set-up"));
        } else {
            let now = Completion::of(location);
            match tracked.sent_with.get(&number) {
                // The sender skipped its own location: what its own caller set must stand.
                Some(&before) if before != now => {
                    broken = Some((Violation::CompletionRoutineOverwritten, "set-after-skip"));
                }
                // A location of its own: it must not hold the routine that its caller set in the one above.
                None if number < tracked.stack_count
                    && now.routine != 0
                    && tracked.sent_with.get(&(number + 1)) == Some(&now) =>
                {
                    broken = Some((Violation::CompletionRoutineOverwritten, "copied-with-location"));
                }
                _ => {}
            }
            tracked.sent_with.insert(number, now);
        }
        let first = !tracked.sent;
        let owner = tracked.driver;
        tracked.sent = true;
        tracked.reached_bottom |= (*(*device).device_object_extension).attached_to.is_null();
        tracked.calls.push(Call { id, location: number });
        drop(tracker);
        if let Some((rule, cause)) = broken {
            violation(
                rule,
                format_args!("irp={irp:p} cause={cause} major={:#x} to={driver}", (*location).major_function),
            );
        }
        // The one that begins with its answer, as a success.
        let filters = (*location).minor_function == IRP_MN_FILTER_RESOURCE_REQUIREMENTS;
        let pnp = (*location).major_function == IRP_MJ_PNP && !filters;
        if first && pnp && (*irp).io_status.status != status::NOT_SUPPORTED {
            let owner = driver_name(owner);
            violation(
                Violation::PnpStatusChanged,
                format_args!(
                    "irp={irp:p} minor={:#x} initial={:#x} from={owner}",
                    (*location).minor_function,
                    (*irp).io_status.status
                ),
            );
        }
        if first && (*location).major_function == IRP_MJ_PNP && owner != 0 && is_reserved(location) {
            let owner = driver_name(owner);
            violation(
                Violation::IrpReserved,
                format_args!("irp={irp:p} minor={:#x} from={owner}", (*location).minor_function),
            );
        }
        Sent { id, irp: irp as usize, location: number }
    }
}

/// Returns true if a PnP request is the system's alone to send.
unsafe fn is_reserved(location: *const IoStackLocation) -> bool {
    // SAFETY: the caller keeps `location` valid for this call.
    unsafe {
        match (*location).minor_function {
            IRP_MN_QUERY_ID => matches!(
                (*location).parameters.query_id.id_type,
                BUS_QUERY_HARDWARE_IDS | BUS_QUERY_COMPATIBLE_IDS
            ),
            IRP_MN_QUERY_PNP_DEVICE_STATE | IRP_MN_QUERY_BUS_INFORMATION => true,
            _ => false,
        }
    }
}

unsafe fn driver_of(device: *mut DeviceObject) -> alloc::string::String {
    // SAFETY: the caller keeps `device` valid for this call.
    unsafe { crate::io::driver::name_of((*device).driver_object) }
}

/// Checks that the dispatch routine could return `returned`.
///
/// # Safety
/// The IRP of `sent` is valid if it is still tracked.
pub(crate) unsafe fn returned(sent: Sent, device_driver: &str, routine: usize, returned: NtStatus) {
    let mut tracker = TRACKER.lock();
    let passed = tracker.passed.remove(&sent.id);
    // SAFETY: by this function's contract, the IRP of `sent` is valid if it is still tracked.
    let marked = unsafe {
        match passed {
            Some(passed) => passed.marked_pending,
            // Still under way: the IRP cannot go away while the lock is held.
            None => {
                let irp = sent.irp as *mut Irp;
                let location: *mut IoStackLocation =
                    irp.add(1).cast::<IoStackLocation>().add(sent.location as usize - 1);
                (*location).control & SL_PENDING_RETURNED != 0
            }
        }
    };
    // One that passed the IRP on in a location of its own and returns what the lower driver did need not
    // mark: the I/O manager carries the lower driver's mark up at completion.
    let passed_on = tracker
        .live
        .get(&sent.irp)
        .is_some_and(|irp| irp.calls.iter().any(|call| call.location < sent.location));
    drop(tracker);
    let place = Place(routine);
    let pending = returned == status::PENDING;
    if pending != marked && !(pending && passed_on) {
        let cause = if marked { "marked-but-not-returned" } else { "returned-but-not-marked" };
        violation(
            Violation::MissingMarkIrpPending,
            format_args!("driver={device_driver} dispatch={place} returned={returned:#x} cause={cause}"),
        );
    }
    match passed {
        None if returned != status::PENDING => violation(
            Violation::IrpNeverCompleted,
            format_args!(
                "driver={device_driver} dispatch={place} returned={returned:#x} irp={:#x}",
                sent.irp
            ),
        ),
        Some(passed) if returned != status::PENDING && returned != passed.status => violation(
            Violation::ReturnedStatusDiffers,
            format_args!(
                "driver={device_driver} dispatch={place} returned={returned:#x} completed={:#x}",
                passed.status
            ),
        ),
        _ => {}
    }
}

/// `IoCompleteRequest` begins.
///
/// # Safety
/// `irp` was an IRP once.
pub(crate) unsafe fn completing(irp: *mut Irp) {
    let state = {
        let tracker = TRACKER.lock();
        tracker.live.get(&(irp as usize)).map(|tracked| (tracked.completed, tracked.stack_count))
    };
    // SAFETY: by this function's contract, `irp` was an IRP once.
    let cause = unsafe {
        match state {
            None => "freed",
            Some((true, _)) => "completed",
            Some((false, count)) if (*irp).current_location > count + 1 => "no-location",
            Some(_) if (*irp).io_status.status == status::PENDING => violation(
                Violation::IrpNeverCompleted,
                format_args!("irp={irp:p} cause=completed-with-status-pending"),
            ),
            Some(_) if !(*irp).cancel_routine.is_null() => {
                violation(Violation::IrpNeverCompleted, format_args!("irp={irp:p} cause=cancel-routine-left"))
            }
            Some(_) => return,
        }
    };
    violation(Violation::IrpCompletedTwice, format_args!("irp={irp:p} cause={cause}"));
}

/// Notes that completion passes a location: every call that was made with it is over.
///
/// # Safety
/// `irp` is valid.
pub(crate) unsafe fn passing(irp: *mut Irp, number: i8, marked_pending: bool) {
    let mut tracker = TRACKER.lock();
    let Tracker { live, passed, .. } = &mut *tracker;
    let Some(tracked) = live.get_mut(&(irp as usize)) else { return };
    tracked.sent_with.remove(&number);
    // SAFETY: by this function's contract, `irp` is valid.
    unsafe {
        tracked.calls.retain(|call| {
            if call.location == number {
                passed.insert(call.id, Passed { marked_pending, status: (*irp).io_status.status });
            }
            call.location != number
        });
    }
}

/// Checks the location when a completion routine returned and the completion goes on: the pending mark must
/// have been carried to the location above, whose owner the routine belongs to.
///
/// # Safety
/// `irp` is valid and its current location is the one above.
pub(crate) unsafe fn carried(irp: *mut Irp, routine: usize) {
    // SAFETY: by this function's contract, `irp` is valid and its current location is the one above.
    unsafe {
        if (*irp).pending_returned != FALSE
            && (*irp).current_location <= (*irp).stack_count
            && (*(*irp).current_stack_location).control & SL_PENDING_RETURNED == 0
        {
            violation(
                Violation::PendingNotPropagated,
                format_args!("irp={irp:p} completion={}", Place(routine)),
            );
        }
    }
}

/// Notes that the completion reached the top.
pub(crate) fn completed(irp: *mut Irp) {
    if let Some(tracked) = TRACKER.lock().live.get_mut(&(irp as usize)) {
        tracked.completed = true;
    }
}

/// Notes that a completion routine stopped the completion: the IRP is its driver's again.
pub(crate) fn kept(irp: *mut Irp) {
    if let Some(tracked) = TRACKER.lock().live.get_mut(&(irp as usize)) {
        tracked.completed = false;
    }
}

/// Returns true if the IRP was passed down to a device at the bottom of its stack.
pub(crate) fn reached_bottom(irp: *mut Irp) -> bool {
    TRACKER.lock().live.get(&(irp as usize)).is_none_or(|tracked| tracked.reached_bottom)
}

/// An IRP that exists.
pub(crate) struct Outstanding {
    pub irp: usize,
    /// Id of the driver that allocated it.
    pub driver: usize,
    /// Sent to a driver that has not completed it.
    pub sent: bool,
}

/// Returns every IRP that exists.
pub(crate) fn outstanding() -> Vec<Outstanding> {
    let tracker = TRACKER.lock();
    let all = tracker.live.iter();
    all.map(|(&irp, t)| Outstanding { irp, driver: t.driver, sent: !t.calls.is_empty() }).collect()
}
