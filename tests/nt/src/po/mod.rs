//! Power: requests that set and query states, the states that drivers tell, and turning the machine off.

pub(crate) mod button;
mod device_power;
mod sleep;
mod state;

use core::sync::atomic::{AtomicBool, Ordering};

pub(crate) use device_power::{PoRequestPowerIrp, action, requests, set_action};
pub(crate) use sleep::sleep;
pub(crate) use state::{
    PoCallDriver, PoSetPowerState, PoStartNextPowerIrp, beginning, check_started, state, tell,
};

use crate::boot;
use crate::hal::port;

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
