//! The page of this image that Xen fills with its hypercall entries.
#![expect(unsafe_code, reason = "gives a page of this image to Xen")]

use core::fmt;

use wdm::memory;
use xen::cpuid::{self, Native, Xen};
use xen::hypercall::{HypercallPage, InstallError};

/// The reason why there are no hypercalls.
#[derive(Clone, Copy)]
pub(crate) enum Error {
    /// CPUID shows no Xen.
    NoXen,
    /// Xen is there, but the page does not suit it.
    Install(InstallError),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoXen => write!(f, "CPUID shows no Xen"),
            Self::Install(error) => write!(f, "{error}"),
        }
    }
}

/// Finds Xen and has it fill the page: at START, and again after each resume. Any IRQL.
///
/// # Errors
/// See [`Error`]; nothing is changed then.
pub(crate) fn install() -> Result<(Xen, HypercallPage), Error> {
    let xen = cpuid::detect(&Native).ok_or(Error::NoXen)?;
    // SAFETY: Xen was detected, image sections are resident, and the image stays loaded as long as any code
    // of it makes hypercalls.
    let page = unsafe { HypercallPage::of_image(&xen, memory::physical_address) }.map_err(Error::Install)?;
    Ok((xen, page))
}
