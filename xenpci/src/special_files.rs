//! Paging, hibernation and dump files that depend on a device (IRP_MN_DEVICE_USAGE_NOTIFICATION). While there is
//! one, the device may not be stopped, removed or disabled.

use core::sync::atomic::{AtomicU32, Ordering};

use wdm::{DeviceObject, Disposition, Irp, pnp};

/// Number of special files, of all kinds.
pub(crate) struct SpecialFiles(AtomicU32);

impl SpecialFiles {
    /// Makes a count of no files.
    pub(crate) const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Returns true while there is one. Any IRQL.
    pub(crate) fn any(&self) -> bool {
        self.0.load(Ordering::Acquire) != 0
    }

    /// Counts one that comes or goes. Where the first one has come or the last one has gone, PnP asks for the state of
    /// `pdo`, the device's PDO, again. ≤ DISPATCH_LEVEL.
    pub(crate) fn count(&self, comes: bool, pdo: DeviceObject) {
        let changed = if comes {
            self.0.fetch_add(1, Ordering::AcqRel) == 0
        } else {
            // One that never came is not counted.
            let less = |count: u32| count.checked_sub(1);
            self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, less) == Ok(1)
        };
        if changed {
            pdo.invalidate_state();
        }
    }

    /// Puts this device's part into the answer to IRP_MN_QUERY_PNP_DEVICE_STATE.
    pub(crate) fn add_state(&self, irp: &mut Irp) {
        if self.any() {
            irp.set_information(irp.information() | pnp::NOT_DISABLEABLE);
        }
    }

    /// Completes IRP_MN_QUERY_PNP_DEVICE_STATE for a PDO.
    pub(crate) fn answer_state(&self, mut irp: Irp) -> Disposition {
        self.add_state(&mut irp);
        irp.complete(wdm::NtStatus::SUCCESS)
    }
}
