//! Power: passing power IRPs, and turning the machine off.

pub(crate) mod button;

use core::sync::atomic::{AtomicBool, Ordering};

use crate::boot;
use crate::hal::port;
use crate::io::IofCallDriver;
use crate::nt::*;

/// `PoCallDriver`: as `IoCallDriver`; one power IRP is sent at a time here. IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// As [`IofCallDriver`].
pub(crate) unsafe extern "win64" fn PoCallDriver(device: *mut DeviceObject, irp: *mut Irp) -> NtStatus {
    // SAFETY: the caller keeps the contract of [`IofCallDriver`].
    unsafe { IofCallDriver(device, irp) }
}

/// `PoStartNextPowerIrp`: required of drivers before Windows Vista; nothing waits behind an IRP here. IRQL
/// ≤ `DISPATCH_LEVEL`.
pub(crate) extern "win64" fn PoStartNextPowerIrp(_irp: *mut Irp) {}

/// `PoSetPowerState`: the state before, which is working. IRQL ≤ `DISPATCH_LEVEL`.
pub(crate) extern "win64" fn PoSetPowerState(_device: *mut DeviceObject, kind: u32, _state: u32) -> u32 {
    if kind == DEVICE_POWER_STATE { POWER_DEVICE_D0 } else { POWER_SYSTEM_WORKING }
}

static OFF: AtomicBool = AtomicBool::new(false);

/// Turns the machine off: through ACPI's PM1a control of Xen's and qemu's PIIX4, or qemu's debug exit.
pub(crate) fn power_off() -> ! {
    // SAFETY: soft-off (SLP_EN, SLP_TYP 0) at the PM base hvmloader and SeaBIOS set up; a port nobody
    // listens on ignores the write.
    unsafe {
        if !OFF.swap(true, Ordering::Relaxed) && boot::options().exit_debug {
            port::outl(0xF4, 0);
        }
        port::outw(0xB004, 0x2000);
        port::outw(0x604, 0x2000);
        loop {
            core::arch::asm!("cli", "hlt");
        }
    }
}
