//! The rules a driver can break, by name.

/// A rule of the driver documentation that was broken. Each is reported as
/// `@xg violation name=<name> …` and stops the system with bugcheck 0xC4, as Driver Verifier does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Violation {
    /// A routine was called above (or below) the IRQL its documentation allows.
    WrongIrql,
    /// A dispatch, completion, DPC, work-item or notification routine returned at another IRQL than it was
    /// called at.
    IrqlNotRestored,
    /// `IoCompleteRequest` of an IRP that was already completed or freed.
    IrpCompletedTwice,
    /// An IRP was still outstanding at the end of the run, or its dispatch routine returned something else
    /// than `STATUS_PENDING` without completing or forwarding it.
    IrpNeverCompleted,
    /// `IoCallDriver` with no stack location left, or with a location that was neither copied, skipped nor
    /// filled in (it still holds what the previous use left, or nothing).
    StackLocationReused,
    /// A stack location was forwarded with the caller's own completion routine in it.
    CompletionRoutineOverwritten,
    /// A dispatch routine returned `STATUS_PENDING` for an IRP it did not mark pending, or marked it and
    /// returned another status.
    MissingMarkIrpPending,
    /// A dispatch routine returned another status than it completed the IRP with.
    ReturnedStatusDiffers,
    /// A completion routine did not carry `PendingReturned` over with `IoMarkIrpPending`.
    PendingNotPropagated,
    /// `DO_DEVICE_INITIALIZING` is still set in a device object that `AddDevice` made or attached.
    DeviceInitializingLeftSet,
    /// A bus driver set `DO_BUS_ENUMERATED_DEVICE` itself.
    FlagOfTheSystem,
    /// A device object was still attached when its stack was removed.
    NoDetachAtRemoval,
    /// A device object was deleted while another was attached to it.
    DeletedWhileAttached,
    /// A remove lock was still held when its device was deleted, or released more often than acquired.
    RemoveLockLeaked,
    /// Pool was still allocated when its driver was unloaded or the run ended after its devices' removal.
    PoolLeaked,
    /// Bytes before or behind a pool block were changed.
    PoolOverrun,
    /// A pool block was freed twice, or the pointer never was one.
    PoolFreedTwice,
    /// Pool was allocated or freed with a tag that does not match.
    PoolBadTag,
    /// A freed pool block was written to.
    PoolUsedAfterFree,
    /// A reference or handle to an object was still held when its driver was unloaded or the run ended, or
    /// a reference count went below zero.
    ReferenceLeaked,
    /// A wait with a timeout other than zero at `DISPATCH_LEVEL` or above.
    WaitAtDispatchLevel,
    /// Pageable code or data was touched at `DISPATCH_LEVEL` or above.
    PagedCodeAtRaisedIrql,
    /// Code or data of a discarded INIT section was touched after initialization.
    InitCodeAfterInit,
    /// A spin lock was acquired by the processor that already holds it.
    SpinLockRecursive,
    /// A spin lock was released that is not held, or at an IRQL at which it cannot be held.
    SpinLockReleasedWrongly,
    /// A spin lock was still held when a driver routine returned.
    SpinLockLeaked,
    /// A DPC, timer or work item was still queued when the memory holding it was freed or its driver
    /// unloaded.
    QueuedObjectFreed,
    /// A PnP IRP that the driver does not handle was completed with a changed status, or a new IRP was sent
    /// down with a status other than `STATUS_NOT_SUPPORTED`.
    PnpStatusChanged,
    /// A driver sent a PnP IRP that is the system's to send: QUERY_ID of hardware or compatible ids,
    /// QUERY_PNP_DEVICE_STATE, QUERY_BUS_INFORMATION (Driver Verifier, bugcheck 0xC9, parameter 0x237).
    IrpReserved,
    /// A required PnP or power IRP was not passed down to the lower driver.
    IrpNotForwarded,
    /// The function driver, which owns its device's power policy, did not ask for the device power IRP that
    /// belongs to a system power IRP, or completed the system's before the device slept.
    DevicePowerNotRequested,
    /// The device power state that a driver told with `PoSetPowerState` is not the one that its device was set to.
    PowerStateNotTold,
    /// A driver did not call `PoStartNextPowerIrp` for a power IRP, so that before NT 6.0 its device gets no other.
    NextPowerIrpNotStarted,
    /// A notification callback does not return: the system has one thread for them ("Guidelines for Writing PnP
    /// Notification Callback Routines").
    NotificationBlocked,
    /// A miniport completed an SRB twice, or one that it does not have.
    SrbCompletedTwice,
    /// A miniport did not complete an SRB, a bus reset included.
    SrbNeverCompleted,
    /// A miniport completed an SRB with a status that is not final.
    SrbInvalidStatus,
    /// A request has ended, and another domain can still reach its memory.
    MemoryLeftGranted,
    /// A driver let the other processors go on in a domain in which their interrupts find no shared info.
    SharedInfoMissing,
    /// An exception (fault, invalid opcode, …) in a driver, not covered by a more exact rule.
    DriverFault,
}

impl Violation {
    /// Returns its name in reports.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::WrongIrql => "wrong-irql",
            Self::IrqlNotRestored => "irql-not-restored",
            Self::IrpCompletedTwice => "irp-completed-twice",
            Self::IrpNeverCompleted => "irp-never-completed",
            Self::StackLocationReused => "stack-location-reused",
            Self::CompletionRoutineOverwritten => "completion-routine-overwritten",
            Self::MissingMarkIrpPending => "missing-mark-irp-pending",
            Self::ReturnedStatusDiffers => "returned-status-differs",
            Self::PendingNotPropagated => "pending-not-propagated",
            Self::DeviceInitializingLeftSet => "device-initializing-left-set",
            Self::FlagOfTheSystem => "flag-of-the-system",
            Self::NoDetachAtRemoval => "no-detach-at-removal",
            Self::DeletedWhileAttached => "deleted-while-attached",
            Self::RemoveLockLeaked => "remove-lock-leaked",
            Self::PoolLeaked => "pool-leaked",
            Self::PoolOverrun => "pool-overrun",
            Self::PoolFreedTwice => "pool-freed-twice",
            Self::PoolBadTag => "pool-bad-tag",
            Self::PoolUsedAfterFree => "pool-used-after-free",
            Self::ReferenceLeaked => "reference-leaked",
            Self::WaitAtDispatchLevel => "wait-at-dispatch-level",
            Self::PagedCodeAtRaisedIrql => "paged-code-at-raised-irql",
            Self::InitCodeAfterInit => "init-code-after-init",
            Self::SpinLockRecursive => "spin-lock-recursive",
            Self::SpinLockReleasedWrongly => "spin-lock-released-wrongly",
            Self::SpinLockLeaked => "spin-lock-leaked",
            Self::QueuedObjectFreed => "queued-object-freed",
            Self::PnpStatusChanged => "pnp-status-changed",
            Self::IrpReserved => "irp-reserved",
            Self::IrpNotForwarded => "irp-not-forwarded",
            Self::DevicePowerNotRequested => "device-power-not-requested",
            Self::PowerStateNotTold => "power-state-not-told",
            Self::NextPowerIrpNotStarted => "next-power-irp-not-started",
            Self::NotificationBlocked => "notification-blocked",
            Self::SrbCompletedTwice => "srb-completed-twice",
            Self::SrbNeverCompleted => "srb-never-completed",
            Self::SrbInvalidStatus => "srb-invalid-status",
            Self::MemoryLeftGranted => "memory-left-granted",
            Self::SharedInfoMissing => "shared-info-missing",
            Self::DriverFault => "driver-fault",
        }
    }
}
