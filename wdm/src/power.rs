//! Power states of devices.
#![expect(unsafe_code, reason = "calls PoSetPowerState")]

use wdk_sys::{_POWER_STATE_TYPE, POWER_STATE, ntddk::PoSetPowerState};

use crate::DeviceObject;

/// Tells the power manager that a device is in device power state `state` (a DEVICE_POWER_STATE: 1 is D0,
/// 4 is D3): before it leaves D0, after it has reached it. IRQL ≤ DISPATCH_LEVEL.
pub fn set_device_state(device: DeviceObject, state: u32) {
    // SAFETY: a valid device object; the former state, which is returned, is of no use here.
    let _ = unsafe {
        PoSetPowerState(
            device.as_ptr(),
            _POWER_STATE_TYPE::DevicePowerState,
            POWER_STATE { DeviceState: state },
        )
    };
}
