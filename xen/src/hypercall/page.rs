//! The hypercall page and the raw call convention of x86-64, `arch-x86/xen-x86_64.h`.
//!
//! Xen fills a page of the guest's with one entry of 32 bytes for each hypercall, written for the processor at hand
//! (`vmcall` or `vmmcall`). Arguments go in rdi, rsi, rdx, r10, r8; the answer comes in rax. Nothing says that the
//! argument registers survive (a debug build of Xen destroys them), so all of them count as lost, and so do rcx, r9
//! and r11.
#![allow(unsafe_code, reason = "calls into the hypercall page")]

use core::arch::asm;
use core::fmt;
use core::ptr::NonNull;

use super::Hypercall;
use crate::PAGE_SIZE;
use crate::cpuid::{Platform, Xen};

/// Bytes of one entry.
const ENTRY: usize = 32;

/// An installed hypercall page.
#[derive(Clone, Copy, Debug)]
pub struct HypercallPage {
    entries: NonNull<u8>,
}

// SAFETY: the page is only executed; any thread may do so.
unsafe impl Send for HypercallPage {}
// SAFETY: as above.
unsafe impl Sync for HypercallPage {}

/// A hypercall page that cannot be installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstallError {
    /// Xen wants another number of pages than one.
    Pages {
        /// What CPUID says.
        found: u32,
    },
    /// The page is not aligned to 4096.
    Unaligned {
        /// The guest-physical address given.
        physical: u64,
    },
}

impl fmt::Display for InstallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pages { found } => write!(f, "Xen wants {found} hypercall pages, expected 1"),
            Self::Unaligned { physical } => write!(f, "hypercall page at {physical:#x} is not page-aligned"),
        }
    }
}

impl core::error::Error for InstallError {}

impl HypercallPage {
    /// Has Xen fill the page mapped at `page`, whose guest-physical address is `physical`. Again after resume from
    /// suspend. Any level.
    ///
    /// # Errors
    /// See [`InstallError`]; nothing is changed then.
    ///
    /// # Safety
    /// `xen` was detected on this machine. The page is one non-paged, executable page of 4096 bytes, at that
    /// guest-physical address, used for nothing else for as long as any copy of the value lives.
    pub unsafe fn install(
        platform: &impl Platform,
        xen: &Xen,
        page: NonNull<u8>,
        physical: u64,
    ) -> Result<Self, InstallError> {
        if xen.hypercall_pages != 1 {
            return Err(InstallError::Pages { found: xen.hypercall_pages });
        }
        if !physical.is_multiple_of(PAGE_SIZE as u64) {
            return Err(InstallError::Unaligned { physical });
        }
        // SAFETY: the register is the one that Xen names for this, and the page is given to it.
        unsafe { platform.write_msr(xen.hypercall_msr, physical) };
        Ok(Self { entries: page })
    }
}

// SAFETY: the entries are Xen's own; arguments and answer are passed as they are.
unsafe impl Hypercall for HypercallPage {
    unsafe fn call(&self, number: u32, arguments: [u64; 5]) -> i64 {
        let number = number as usize;
        assert!(number < PAGE_SIZE / ENTRY);
        // SAFETY: the entry is inside the page.
        let entry = unsafe { self.entries.add(number * ENTRY) };
        let [a, b, c, d, e] = arguments;
        let answer: i64;
        // SAFETY: `install` had Xen fill the page with code of this convention; every register that it may change is an
        // output, flags and memory count as changed, and the stack may be used, since no option says otherwise.
        unsafe {
            asm!("call r11",
                inlateout("r11") entry.as_ptr() => _,
                lateout("rax") answer,
                inlateout("rdi") a => _, inlateout("rsi") b => _, inlateout("rdx") c => _,
                inlateout("r10") d => _, inlateout("r8") e => _, lateout("r9") _, lateout("rcx") _);
        }
        answer
    }
}
