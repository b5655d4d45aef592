//! The checks at the end of a run: nothing that drivers asked for is still under way, and pool is whole.

use super::{Violation, irp, violation};
use crate::ldr::driver_name;
use crate::mm::pool;

/// Checks what must hold once the system has come to rest.
pub(crate) fn check() {
    if let Some(left) = irp::outstanding().into_iter().find(|irp| irp.sent && irp.driver != 0) {
        let driver = driver_name(left.driver);
        violation(
            Violation::IrpNeverCompleted,
            format_args!("irp={:#x} from={driver} cause=left-at-end", left.irp),
        );
    }
    pool::check_all();
}
