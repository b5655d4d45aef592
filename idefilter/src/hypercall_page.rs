//! Hypercalls before xenpci is there.
#![expect(unsafe_code, reason = "gives a page of this image to Xen")]

use wdm::memory::physical_address;
use xen::cpuid::Xen;
use xen::hypercall::{HypercallPage, InstallError};

/// Has Xen fill this image's page. Any IRQL.
///
/// # Errors
/// Where Xen wants something else than one page.
pub(crate) fn install(xen: &Xen) -> Result<HypercallPage, InstallError> {
    // SAFETY: `xen` was detected here, image sections are resident, and the driver never unloads.
    unsafe { HypercallPage::of_image(xen, physical_address) }
}
