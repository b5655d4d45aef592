//! A page of the driver's own image that Xen fills with its hypercall entries.
//!
//! It must be executable and resident, so it lies in a code section of its own, whole and with nothing else
//! in it. Nothing in the image is writable and executable: Xen writes the page by its guest-physical address.
//! Each image that links this crate has a page of its own, a second copy of an image too.

use core::ptr::NonNull;

use super::page::{HypercallPage, InstallError};
use crate::cpuid::{Native, Xen};

core::arch::global_asm!(
    ".section .hcall, \"xr\"",
    ".p2align 12",
    ".globl xen_hypercall_page",
    "xen_hypercall_page:",
    // INT3 until Xen has filled it.
    ".skip 4096, 0xCC",
    ".text",
);

unsafe extern "C" {
    #[link_name = "xen_hypercall_page"]
    static PAGE: u8;
}

impl HypercallPage {
    /// Has Xen fill the image's page. Again after resume from suspend. Any level.
    ///
    /// # Errors
    /// See [`InstallError`]; nothing is changed then.
    ///
    /// # Safety
    /// `xen` was detected on this machine. `physical` answers the guest-physical address behind a resident
    /// address. The image stays loaded as long as any copy of the value lives.
    pub unsafe fn of_image(xen: &Xen, physical: impl FnOnce(*const u8) -> u64) -> Result<Self, InstallError> {
        let page = &raw const PAGE;
        // SAFETY: the address of a symbol of this image is not null.
        let address = unsafe { NonNull::new_unchecked(page.cast_mut()) };
        // SAFETY: the caller's promises; the page is 4096 bytes, aligned, in a resident code section of this
        // image, and serves nothing else.
        unsafe { Self::install(&Native, xen, address, physical(page)) }
    }
}
