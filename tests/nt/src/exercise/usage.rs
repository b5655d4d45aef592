//! A paging file, a hibernation file and a dump file come to the adapter's disks and go again.

use super::wait_until;
use crate::nt::*;
use crate::pnp::{self, device_state};
use crate::{ke, report};

/// `DeviceUsageTypePaging`, `DeviceUsageTypeHibernation`, `DeviceUsageTypeDumpFile`.
const KINDS: [u32; 3] = [1, 2, 3];
const QUERIES: [u8; 2] = [IRP_MN_QUERY_STOP_DEVICE, IRP_MN_QUERY_REMOVE_DEVICE];

/// Runs the exercise: while one of them is there, neither the adapter nor the platform device may be stopped,
/// removed or disabled; afterwards the adapter may.
pub(super) fn run() {
    let one = |service: &str| match pnp::devices_of(service)[..] {
        [device] => device,
        ref devices => ke::panicked(format_args!("{} devices of {service}", devices.len())),
    };
    let (adapter, platform) = (one("xenvbd"), one("xenpci"));
    for kind in KINDS {
        tell(adapter, kind, true);
        wait_until("a state that says that it may not be disabled", || {
            [adapter, platform].iter().all(|&device| !device_state::may_be_disabled(device))
        });
        for device in [adapter, platform] {
            for query in QUERIES {
                // SAFETY: a started device; nothing changes the tree meanwhile.
                if unsafe { pnp::serialized(|| device_state::agree(device, query)) } {
                    ke::panicked(format_args!("usage {kind}: minor {query:#x} is agreed to"));
                }
            }
        }
        tell(adapter, kind, false);
        wait_until("a state that says that it may be disabled", || {
            [adapter, platform].iter().all(|&device| device_state::may_be_disabled(device))
        });
        // SAFETY: as above.
        if !unsafe { pnp::serialized(|| device_state::agree(adapter, IRP_MN_QUERY_STOP_DEVICE)) } {
            ke::panicked(format_args!("usage {kind}: the adapter may not be stopped when it is over"));
        }
        report!("usage kind={kind} held=1");
    }
}

fn tell(adapter: *mut DeviceObject, kind: u32, comes: bool) {
    // SAFETY: a started device; nothing changes the tree meanwhile.
    let answer = unsafe { pnp::serialized(|| device_state::use_for(adapter, kind, comes)) };
    if !status::success(answer) {
        ke::panicked(format_args!("usage {kind}: refused, status {answer:#x}"));
    }
}
