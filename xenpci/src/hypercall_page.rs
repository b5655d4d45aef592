//! The page of this image that Xen fills with its hypercall entries.
//!
//! It is code that the hypervisor writes, so it is executable and not writable for the kernel; Xen writes to it by
//! its guest-physical address.
#![allow(unsafe_code, reason = "names a page of the image and has Xen fill it")]

use core::fmt;
use core::ptr::NonNull;

use wdm::memory;
use xen::cpuid::{self, Native, Xen};
use xen::hypercall::{HypercallPage, InstallError};

// A section of its own, so that the page is whole and no other code shares it; filled with breakpoints until Xen
// has written it. The section is neither paged nor discarded.
core::arch::global_asm!(
    ".section .xen, \"xr\"",
    ".p2align 12",
    ".globl xenpci_hypercall_page",
    "xenpci_hypercall_page:",
    ".fill 4096, 1, 0xCC",
    ".text",
);

unsafe extern "C" {
    #[link_name = "xenpci_hypercall_page"]
    static PAGE: u8;
}

/// Why there are no hypercalls.
#[derive(Clone, Copy)]
pub enum Error {
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
pub fn install() -> Result<(Xen, HypercallPage), Error> {
    let xen = cpuid::detect(&Native).ok_or(Error::NoXen)?;
    let page = &raw const PAGE;
    // SAFETY: an image's section is mapped and non-null.
    let address = unsafe { NonNull::new_unchecked(page.cast_mut()) };
    let physical = memory::physical_address(page);
    // SAFETY: Xen was detected; the page is 4096 bytes of a resident, executable section of this image that nothing
    // else uses, and the image stays loaded as long as any code of it makes hypercalls.
    let page = unsafe { HypercallPage::install(&Native, &xen, address, physical) }.map_err(Error::Install)?;
    Ok((xen, page))
}
