//! Interrupts: lines, and the messages of NT 6.0 and later.
#![expect(unsafe_code, reason = "connects a service routine")]

use alloc::boxed::Box;
use core::ptr;

use wdk_sys::{
    _KINTERRUPT_MODE, BOOLEAN, IO_CONNECT_INTERRUPT_PARAMETERS, IO_DISCONNECT_INTERRUPT_PARAMETERS, NTSTATUS,
    PKINTERRUPT, PVOID,
    ntddk::{IoConnectInterrupt, IoDisconnectInterrupt, KeSynchronizeExecution},
};

use crate::{
    DeviceObject, NtStatus, Result, pool, resources::InterruptResource, routine, status::check, utf16,
};

type ConnectEx = unsafe extern "C" fn(*mut IO_CONNECT_INTERRUPT_PARAMETERS) -> NTSTATUS;
type DisconnectEx = unsafe extern "C" fn(*mut IO_DISCONNECT_INTERRUPT_PARAMETERS);

/// CONNECT_FULLY_SPECIFIED.
const FULLY_SPECIFIED: u32 = 1;

/// Returns the routines that messages are connected by, which NT 5.2 has not. PASSIVE_LEVEL.
fn extended() -> Option<(ConnectEx, DisconnectEx)> {
    let connect = routine::find(utf16!("IoConnectInterruptEx"))?;
    let disconnect = routine::find(utf16!("IoDisconnectInterruptEx"))?;
    // SAFETY: the routines' documented types.
    unsafe {
        let connect = core::mem::transmute::<PVOID, ConnectEx>(connect.as_ptr().cast());
        let disconnect = core::mem::transmute::<PVOID, DisconnectEx>(disconnect.as_ptr().cast());
        Some((connect, disconnect))
    }
}

/// Returns true if this NT knows interrupt messages. PASSIVE_LEVEL.
#[must_use]
pub fn has_messages() -> bool {
    extended().is_some()
}

struct Inner<F>(F, #[expect(dead_code, reason = "gives a routine without captures a size")] usize);

/// A connected interrupt; dropping it disconnects (PASSIVE_LEVEL) and waits for a running routine.
pub struct Interrupt<F: Fn() -> bool + Send + Sync + 'static> {
    object: PKINTERRUPT,
    /// The routine that disconnects a message.
    disconnect: Option<DisconnectEx>,
    // Dropped after `Drop::drop` has disconnected.
    _routine: Box<Inner<F>>,
}

// SAFETY: the interrupt object is the kernel's, and F is Send and Sync.
unsafe impl<F: Fn() -> bool + Send + Sync + 'static> Send for Interrupt<F> {}
// SAFETY: as above.
unsafe impl<F: Fn() -> bool + Send + Sync + 'static> Sync for Interrupt<F> {}

impl<F: Fn() -> bool + Send + Sync + 'static> Interrupt<F> {
    /// Connects `routine` to a translated interrupt resource of the device with the PDO `pdo`. It is
    /// called at the interrupt's IRQL on any of the resource's processors, one at a time, and answers
    /// whether the interrupt was its device's. It may be called before this function returns.
    /// PASSIVE_LEVEL.
    ///
    /// # Errors
    /// What IoConnectInterrupt or IoConnectInterruptEx answers; `NOT_SUPPORTED` for a message where there is
    /// no IoConnectInterruptEx.
    pub fn connect(pdo: DeviceObject, resource: InterruptResource, routine: F) -> Result<Self> {
        let routine = pool::try_box(Inner(routine, 0))?;
        if resource.message {
            return Self::connect_message(pdo, resource, routine);
        }
        let mode =
            if resource.latched { _KINTERRUPT_MODE::Latched } else { _KINTERRUPT_MODE::LevelSensitive };
        let mut object: PKINTERRUPT = ptr::null_mut();
        // SAFETY: the context is the box's content, which lives until the interrupt is disconnected;
        // the kernel makes the spin lock itself where none is given.
        check(unsafe {
            IoConnectInterrupt(
                &raw mut object,
                Some(service::<F>),
                ptr::from_ref(&*routine).cast_mut().cast(),
                ptr::null_mut(),
                resource.vector,
                resource.level as u8,
                resource.level as u8,
                mode,
                resource.shared.into(),
                resource.affinity,
                0,
            )
        })?;
        Ok(Self { object, disconnect: None, _routine: routine })
    }

    fn connect_message(
        pdo: DeviceObject,
        resource: InterruptResource,
        routine: Box<Inner<F>>,
    ) -> Result<Self> {
        let (connect, disconnect) = extended().ok_or(NtStatus::NOT_SUPPORTED)?;
        let mut object: PKINTERRUPT = ptr::null_mut();
        let mut parameters =
            IO_CONNECT_INTERRUPT_PARAMETERS { Version: FULLY_SPECIFIED, ..Default::default() };
        parameters.__bindgen_anon_1.FullySpecified =
            wdk_sys::IO_CONNECT_INTERRUPT_FULLY_SPECIFIED_PARAMETERS {
                PhysicalDeviceObject: pdo.as_ptr(),
                InterruptObject: &raw mut object,
                ServiceRoutine: Some(service::<F>),
                ServiceContext: ptr::from_ref(&*routine).cast_mut().cast(),
                SpinLock: ptr::null_mut(),
                SynchronizeIrql: resource.level as u8,
                FloatingSave: 0,
                ShareVector: 0,
                Vector: resource.vector,
                Irql: resource.level as u8,
                InterruptMode: _KINTERRUPT_MODE::Latched,
                ProcessorEnableMask: resource.affinity,
                Group: 0,
            };
        // SAFETY: the member that the version names is filled in; its context is the box's content, which
        // lives until the interrupt is disconnected.
        check(unsafe { connect(&raw mut parameters) })?;
        Ok(Self { object, disconnect: Some(disconnect), _routine: routine })
    }

    /// Runs `work` at the interrupt's IRQL, while the service routine runs nowhere. IRQL ≤ the
    /// interrupt's.
    pub fn synchronize<W: FnOnce()>(&self, work: W) {
        let mut work = Some(work);
        // SAFETY: a connected interrupt; the closure lives across the call.
        unsafe { KeSynchronizeExecution(self.object, Some(synchronized::<W>), (&raw mut work).cast()) };
    }
}

impl<F: Fn() -> bool + Send + Sync + 'static> Drop for Interrupt<F> {
    fn drop(&mut self) {
        match self.disconnect {
            Some(disconnect) => {
                let mut parameters =
                    IO_DISCONNECT_INTERRUPT_PARAMETERS { Version: FULLY_SPECIFIED, ..Default::default() };
                parameters.ConnectionContext.InterruptObject = self.object;
                // SAFETY: an interrupt that IoConnectInterruptEx connected as this version, this value's own.
                unsafe { disconnect(&raw mut parameters) };
            }
            // SAFETY: a connected interrupt, this value's own.
            None => unsafe { IoDisconnectInterrupt(self.object) },
        }
    }
}

unsafe extern "C" fn service<F: Fn() -> bool + Send + Sync + 'static>(
    _: PKINTERRUPT,
    context: PVOID,
) -> BOOLEAN {
    // SAFETY: the context is the box of `connect`, alive until the interrupt is disconnected.
    let routine = unsafe { &*context.cast::<Inner<F>>() };
    (routine.0)().into()
}

unsafe extern "C" fn synchronized<W: FnOnce()>(context: PVOID) -> BOOLEAN {
    // SAFETY: the context is the Option on `synchronize`'s stack.
    if let Some(work) = unsafe { (*context.cast::<Option<W>>()).take() } {
        work();
    }
    1
}
