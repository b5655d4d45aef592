//! The executive's exports, by module, with the IRQL each routine may be called at (WDK documentation, "IRQL"
//! of each routine). Nothing outside of what an NT 5.2 x64 kernel exports is here, but for routines that
//! newer kernels have and drivers look up by name.

use crate::nt::{Pvoid, UnicodeString};
use crate::{cm, ex, io, ke, ldr, mm, ob, pci, pnp, po, ps, rtl};

/// One exported routine or variable.
pub(crate) struct Export {
    /// Its name.
    pub name: &'static str,
    address: *const (),
    /// Lowest IRQL to call it at.
    pub lowest: u8,
    /// Highest IRQL to call it at.
    pub highest: u8,
    /// A routine; else a variable.
    pub code: bool,
}

// SAFETY: addresses of functions and of statics that are Sync.
unsafe impl Sync for Export {}

impl Export {
    /// Returns a routine that may be called at a range of IRQLs.
    pub(crate) const fn routine(name: &'static str, address: *const (), lowest: u8, highest: u8) -> Self {
        Self { name, address, lowest, highest, code: true }
    }

    /// Returns a variable.
    pub(crate) const fn variable(name: &'static str, address: *const ()) -> Self {
        Self { name, address, lowest: 0, highest: 15, code: false }
    }

    /// Returns the routine's address.
    pub(crate) fn address(&self) -> usize {
        self.address as usize
    }
}

/// Makes a table of exports: groups of routines by the range of IRQLs they may be called at.
#[macro_export]
macro_rules! exports {
    ($($lowest:literal..=$highest:literal { $($module:ident::$name:ident),* $(,)? })* $(variables { $($place:ident::$variable:ident),* $(,)? })?) => {
        &[
            $($($crate::ldr::Export::routine(stringify!($name), $module::$name as *const (), $lowest, $highest),)*)*
            $($($crate::ldr::Export::variable(stringify!($variable), (&raw const $place::$variable).cast()),)*)?
        ]
    };
}

/// Returns the exports that a module of the executive's own offers to an image; `None` for any other module.
/// To an image that was loaded under a prefix, Storport is the dump port driver.
pub(crate) fn table(module: &str, prefix: &str) -> Option<&'static [Export]> {
    let is = |name: &str| module.eq_ignore_ascii_case(name);
    if is("ntoskrnl.exe") {
        Some(NTOSKRNL)
    } else if is("hal.dll") {
        Some(HAL)
    } else if is("storport.sys") && !prefix.is_empty() {
        Some(crate::diskdump::port::DISKDUMP)
    } else if is("storport.sys") {
        Some(crate::storport::STORPORT)
    } else {
        None
    }
}

/// Returns the export of that name in a table.
pub(crate) fn find(table: &'static [Export], name: &str) -> Option<&'static Export> {
    table.iter().find(|export| export.name == name)
}

/// `MmGetSystemRoutineAddress`: of the kernel or the HAL, or null. IRQL `PASSIVE_LEVEL`.
///
/// # Safety
/// `name` is valid.
pub(crate) unsafe extern "win64" fn MmGetSystemRoutineAddress(name: *mut UnicodeString) -> Pvoid {
    // SAFETY: by this function's contract, `name` is valid.
    let name = unsafe { (*name).text() };
    let nt = crate::boot::options().nt;
    let newer = [(nt.has_messages(), NT_6_1), (nt.is_nt62(), NT_6_2)];
    let newer = newer.into_iter().filter(|(has, _)| *has).find_map(|(_, table)| find(table, &name));
    let found = find(NTOSKRNL, &name).or_else(|| find(HAL, &name)).or(newer);
    found.map_or(core::ptr::null_mut(), |export| ldr::gate::make(export, 0) as Pvoid)
}

/// Exports that NT 6.1 has besides.
static NT_6_1: &[Export] = exports! {
    0..=0 { io::IoConnectInterruptEx, io::IoDisconnectInterruptEx }
};

/// Exports that NT 6.2 has besides.
static NT_6_2: &[Export] = exports! {
    0..=2 { pnp::IoRequestDeviceEjectEx }
};

static HAL: &[Export] = exports! {
    0..=2 { pci::HalGetBusDataByOffset }
    0..=31 { ke::KeQueryPerformanceCounter, ke::KeStallExecutionProcessor }
};

static NTOSKRNL: &[Export] = exports! {
    0..=0 {
        cm::ZwCreateKey, cm::ZwDeleteKey, cm::ZwDeleteValueKey, cm::ZwEnumerateKey, cm::ZwFlushKey, cm::ZwOpenKey,
        cm::ZwQueryValueKey, cm::ZwSetValueKey,
        io::IoBuildDeviceIoControlRequest, io::IoBuildSynchronousFsdRequest, io::IoConnectInterrupt,
        io::IoDisconnectInterrupt, io::IoGetDeviceInterfaces, io::IoGetDeviceObjectPointer, io::IoGetDeviceProperty,
        io::IoOpenDeviceRegistryKey, io::IoRegisterBootDriverReinitialization, io::IoRegisterDeviceInterface,
        io::IoRegisterDriverReinitialization, io::IoRegisterLastChanceShutdownNotification, io::IoRegisterPlugPlayNotification,
        io::IoRegisterShutdownNotification, io::ZwCreateFile, io::ZwQueryInformationFile,
        io::ZwReadFile, io::ZwSetInformationFile, io::ZwWriteFile,
        io::IoReleaseRemoveLockAndWaitEx, io::IoSetDeviceInterfaceState, io::IoUnregisterPlugPlayNotification,
        io::IoUnregisterShutdownNotification, io::IoCreateSymbolicLink, io::IoDeleteSymbolicLink,
        ldr::MmGetSystemRoutineAddress, ldr::PsRemoveLoadImageNotifyRoutine, ldr::PsSetLoadImageNotifyRoutine,
        ldr::ZwQuerySystemInformation,
        ob::ObOpenObjectByPointer, ob::ObReferenceObjectByHandle, ob::ZwClose, ob::ZwSetSecurityObject,
        ps::PsCreateSystemThread, ps::PsTerminateSystemThread,
        rtl::RtlGetVersion,
    }
    0..=1 {
        io::IoAttachDeviceToDeviceStack, io::IoCreateDevice, io::IoDeleteDevice, io::IoDetachDevice,
        io::IoBuildAsynchronousFsdRequest,
        ke::KeDelayExecutionThread, ke::KeFlushQueuedDpcs,
        mm::MmAllocateContiguousMemory, mm::MmAllocateContiguousMemorySpecifyCache, mm::MmFreeContiguousMemory,
        mm::MmAllocateMappingAddress, mm::MmFreeMappingAddress,
        ob::RtlAddAccessAllowedAce, ob::RtlCreateAcl, ob::RtlCreateSecurityDescriptor,
        ob::RtlSetDaclSecurityDescriptor,
    }
    0..=2 {
        ex::ExAllocatePool, ex::ExAllocatePoolWithTag, ex::ExFreePool, ex::ExFreePoolWithTag, ex::ExQueueWorkItem,
        io::IoAcquireCancelSpinLock, io::IoCancelIrp,
        io::IoAcquireRemoveLockEx, io::IoAllocateDriverObjectExtension, io::IoAllocateErrorLogEntry,
        io::IoAllocateIrp, io::IoAllocateMdl, io::IoAllocateWorkItem, io::IoEnumerateDeviceObjectList, io::IoFreeErrorLogEntry, io::IoFreeIrp,
        io::IoFreeMdl, io::IoFreeWorkItem, io::IoGetAttachedDevice, io::IoGetAttachedDeviceReference,
        io::IoGetDeviceAttachmentBaseRef, io::IoGetDriverObjectExtension, io::IoGetLowerDeviceObject,
        io::IoGetRelatedDeviceObject, io::IoInitializeIrp, io::IoInitializeRemoveLockEx,
        io::IoInvalidateDeviceRelations, io::IoInvalidateDeviceState, io::IoQueueWorkItem, io::IoReleaseRemoveLockEx, io::IoReuseIrp,
        pnp::IoRequestDeviceEject,
        io::IoWriteErrorLogEntry, io::IofCallDriver, io::IofCompleteRequest, io::IoBuildPartialMdl,
        ke::KeAcquireSpinLockRaiseToDpc, ke::KeCancelTimer, ke::KeSetTimer, ke::KeSetTimerEx,
        ke::KeResetEvent, ke::KeClearEvent, ke::KeSetEvent, ke::KeWaitForSingleObject, ke::KeSetPriorityThread,
        ke::KeRaiseIrqlToDpcLevel, ke::KeReleaseSemaphore, ke::KeGetCurrentThread,
        ke::KeRevertToUserAffinityThread, ke::KeSetSystemAffinityThread,
        mm::MmBuildMdlForNonPagedPool, mm::MmMapIoSpace, mm::MmMapLockedPagesSpecifyCache, mm::MmUnmapIoSpace,
        mm::MmProbeAndLockPages, mm::MmUnlockPages,
        mm::MmMapLockedPagesWithReservedMapping, mm::MmUnmapReservedMapping,
        ob::ObfDereferenceObject, ob::ObfReferenceObject,
        po::PoCallDriver, po::PoRequestPowerIrp, po::PoSetPowerState, po::PoStartNextPowerIrp,
    }
    2..=2 {
        io::IoReleaseCancelSpinLock,
        ke::KeAcquireSpinLockAtDpcLevel, ke::KeReleaseSpinLock, ke::KeReleaseSpinLockFromDpcLevel,
    }
    0..=31 {
        ke::KeBugCheck, ke::KeBugCheckEx, ke::KeDeregisterBugCheckCallback, ke::KeDeregisterBugCheckReasonCallback,
        ke::KeInitializeDpc, ke::KeInitializeEvent, ke::KeInitializeSemaphore, ke::KeInitializeTimer,
        ke::KeInitializeTimerEx, ke::KeInsertQueueDpc, ke::KeLowerIrql, ke::KeQueryTimeIncrement,
        ke::KeReadStateEvent, ke::KeRegisterBugCheckCallback, ke::KeRegisterBugCheckReasonCallback,
        ke::KeQueryActiveProcessors, ke::KeRemoveQueueDpc, ke::KeSetImportanceDpc, ke::KeSetTargetProcessorDpc,
        ke::KeSynchronizeExecution, ke::KfRaiseIrql,
        mm::MmGetPhysicalAddress,
        ob::RtlLengthSid,
        ps::PsGetCurrentThreadId,
        rtl::DbgPrint, rtl::RtlInitUnicodeString, rtl::memcmp, rtl::memcpy, rtl::memmove, rtl::memset,
    }
    0..=13 { ke::KeIpiGenericCall }
    variables { ke::KeNumberProcessors, ke::KiBugCheckData, ob::SeExports, rtl::InitSafeBootMode }
};
