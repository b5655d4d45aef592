//! dom0 asks the guest to shut down or to reboot, and the system does what its power policy says.

use protocol::Ready;

use super::wait_until;
use crate::po::button;
use crate::report;

/// Runs the exercise: dom0 asks at `ready for=request`, by `control/shutdown`.
pub(super) fn run() {
    wait_until("a watched power button", button::is_watched);
    super::ask(Ready::Request);
    wait_until("the power button", button::is_pressed);
    report!("asked by=control");
}

/// Runs the exercise: the power manager lets go of the button, and dom0 asks at `ready for=unheard`. When
/// dom0 has seen that nobody follows, it presses ACPI's power button; then this one is watched again, and the
/// request followed.
pub(super) fn again() {
    wait_until("a watched power button", button::is_watched);
    button::acpi_is_pressed();
    super::ask(Ready::Unheard);
    button::reopen(|| wait_until("ACPI's power button", button::acpi_is_pressed));
    super::ask(Ready::Request);
    wait_until("the power button", button::is_pressed);
    report!("asked by=control");
}

/// Runs the exercise: dom0 asks at `ready for=request`, and the toolstack presses ACPI's power button, as no
/// driver serves `control/shutdown`.
pub(super) fn by_acpi() {
    button::acpi_is_pressed();
    super::ask(Ready::Request);
    wait_until("ACPI's power button", button::acpi_is_pressed);
    report!("asked by=acpi");
}
