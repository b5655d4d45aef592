//! Skeleton: loads and does nothing.
#![no_std]
#![allow(unsafe_code, reason = "an entry point has a fixed symbol name and section")]

/// Answers STATUS_SUCCESS.
#[unsafe(no_mangle)]
#[unsafe(link_section = "INIT")]
pub extern "system" fn DriverEntry(_driver: *mut (), _registry_path: *const ()) -> i32 {
    0
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(no_mangle)]
pub extern "system" fn XenguardEvent(_event: *const ()) -> u64 {
    0
}

#[unsafe(no_mangle)]
pub extern "system" fn XenguardStatus(_status: *mut ()) {}
