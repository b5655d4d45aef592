//! The page that Xen fills with hypercall entries: it must be executable and resident, so it lies in a code
//! section of its own in this image. Nothing in the image is writable and executable; Xen writes the page by
//! its physical address.
#![allow(unsafe_code, reason = "reserves a page in a code section and gives it to Xen")]

use core::ptr::NonNull;

use wdm::memory::physical_address;
use xen::cpuid::{Native, Xen};
use xen::hypercall::{HypercallPage, InstallError};

core::arch::global_asm!(
    ".section .hcall, \"xr\"",
    ".p2align 12",
    ".globl xenguard_hypercall_page",
    "xenguard_hypercall_page:",
    // INT3 until Xen has filled it.
    ".skip 4096, 0xCC",
    ".text",
);

unsafe extern "C" {
    static xenguard_hypercall_page: u8;
}

/// Has Xen fill the page. Any IRQL.
///
/// # Errors
/// Where Xen wants something else than one page.
pub fn install(xen: &Xen) -> Result<HypercallPage, InstallError> {
    let address = (&raw const xenguard_hypercall_page).cast_mut();
    // SAFETY: the address of a symbol of this image is not null.
    let page = unsafe { NonNull::new_unchecked(address) };
    // SAFETY: `xen` was detected here. The page is 4096 bytes, aligned, in a resident code section of this
    // image, and serves nothing else; the driver never unloads.
    unsafe { HypercallPage::install(&Native, xen, page, physical_address(page.as_ptr())) }
}
