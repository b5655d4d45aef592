//! The faults that the driver commits.

/// A rule to break.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Case {
    /// None.
    None,
    /// Calls a routine above the IRQL it allows.
    WrongIrql,
    /// Returns from a dispatch routine at a higher IRQL than it was called at.
    IrqlNotRestored,
    /// Completes an IRP twice.
    IrpCompletedTwice,
    /// Returns from a dispatch routine without having completed, forwarded or pended its IRP.
    IrpNeverCompleted,
    /// Completes IRP_MN_REMOVE_DEVICE itself.
    IrpNotForwarded,
    /// Passes an IRP down with the next stack location not set up.
    StackLocationReused,
    /// Returns STATUS_PENDING for an IRP that is not marked pending.
    MissingMarkPending,
    /// Does not carry the pending mark on in a completion routine.
    PendingNotPropagated,
    /// Passes an IRP down with its sender's completion routine.
    CompletionRoutineOverwritten,
    /// Skips its stack location and then sets a completion routine.
    SkippedWithCompletion,
    /// Returns another status than it completed the IRP with.
    ReturnedStatusDiffers,
    /// Sends a PnP IRP that does not start out as STATUS_NOT_SUPPORTED.
    PnpStatusChanged,
    /// Sends a PnP IRP that is the system's to send.
    IrpReserved,
    /// Leaves DO_DEVICE_INITIALIZING set.
    InitializingLeftSet,
    /// Deletes a device that is still attached.
    NoDetach,
    /// Deletes a device to which another is attached.
    DeletedWhileAttached,
    /// Deletes a device whose remove lock is held.
    RemoveLockLeaked,
    /// Unloads with pool allocated.
    PoolLeaked,
    /// Writes behind a pool block.
    PoolOverrun,
    /// Frees a pool block twice.
    PoolDoubleFree,
    /// Frees a pool block with another tag.
    PoolBadTag,
    /// Writes to a freed pool block.
    PoolUsedAfterFree,
    /// Unloads with a reference to an object.
    ReferenceLeaked,
    /// Waits at DISPATCH_LEVEL.
    WaitAtDispatch,
    /// Calls pageable code at DISPATCH_LEVEL.
    PagedCodeAtRaisedIrql,
    /// Calls code of the discarded INIT section.
    InitCodeAfterInit,
    /// Acquires a spin lock it holds.
    SpinLockRecursive,
    /// Releases a spin lock it does not hold.
    SpinLockReleasedWrongly,
    /// Returns from a dispatch routine with a spin lock held.
    SpinLockLeaked,
    /// Frees pool with a timer in it that is set.
    QueuedObjectFreed,
    /// Reads address 0.
    DriverFault,
    /// None, as a Storport miniport.
    Miniport,
    /// Completes an SRB twice.
    SrbCompletedTwice,
    /// Keeps an SRB, also when its bus is reset.
    SrbNeverCompleted,
    /// Completes an SRB as pending.
    SrbInvalidStatus,
}

impl Case {
    /// Every case with its name.
    pub(crate) const ALL: &[(Self, &str)] = &[
        (Self::None, "none"),
        (Self::WrongIrql, "wrong-irql"),
        (Self::IrqlNotRestored, "irql-not-restored"),
        (Self::IrpCompletedTwice, "irp-completed-twice"),
        (Self::IrpNeverCompleted, "irp-never-completed"),
        (Self::IrpNotForwarded, "irp-not-forwarded"),
        (Self::StackLocationReused, "stack-location-reused"),
        (Self::MissingMarkPending, "missing-mark-pending"),
        (Self::PendingNotPropagated, "pending-not-propagated"),
        (Self::CompletionRoutineOverwritten, "completion-routine-overwritten"),
        (Self::SkippedWithCompletion, "skipped-with-completion"),
        (Self::ReturnedStatusDiffers, "returned-status-differs"),
        (Self::PnpStatusChanged, "pnp-status-changed"),
        (Self::IrpReserved, "irp-reserved"),
        (Self::InitializingLeftSet, "initializing-left-set"),
        (Self::NoDetach, "no-detach"),
        (Self::DeletedWhileAttached, "deleted-while-attached"),
        (Self::RemoveLockLeaked, "remove-lock-leaked"),
        (Self::PoolLeaked, "pool-leaked"),
        (Self::PoolOverrun, "pool-overrun"),
        (Self::PoolDoubleFree, "pool-double-free"),
        (Self::PoolBadTag, "pool-bad-tag"),
        (Self::PoolUsedAfterFree, "pool-used-after-free"),
        (Self::ReferenceLeaked, "reference-leaked"),
        (Self::WaitAtDispatch, "wait-at-dispatch"),
        (Self::PagedCodeAtRaisedIrql, "paged-code-at-raised-irql"),
        (Self::InitCodeAfterInit, "init-code-after-init"),
        (Self::SpinLockRecursive, "spin-lock-recursive"),
        (Self::SpinLockReleasedWrongly, "spin-lock-released-wrongly"),
        (Self::SpinLockLeaked, "spin-lock-leaked"),
        (Self::QueuedObjectFreed, "queued-object-freed"),
        (Self::DriverFault, "driver-fault"),
        (Self::Miniport, "miniport"),
        (Self::SrbCompletedTwice, "srb-completed-twice"),
        (Self::SrbNeverCompleted, "srb-never-completed"),
        (Self::SrbInvalidStatus, "srb-invalid-status"),
    ];

    /// Returns true if the driver is a Storport miniport in this case.
    pub(crate) const fn is_miniport(self) -> bool {
        matches!(
            self,
            Self::Miniport | Self::SrbCompletedTwice | Self::SrbNeverCompleted | Self::SrbInvalidStatus
        )
    }
}
