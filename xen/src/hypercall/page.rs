//! The hypercall page and the raw call convention of x86-64, `arch-x86/xen-x86_64.h`.
//!
//! Xen fills a page of the guest's with one entry of 32 bytes for each hypercall, written for the processor
//! at hand (`vmcall` or `vmmcall`). Arguments go in rdi, rsi, rdx, r10, r8; the answer comes in rax. Nothing
//! says that the argument registers survive (a debug build of Xen destroys them), so all of them count as
//! lost, and so do rcx, r9 and r11.
#![expect(unsafe_code, reason = "calls into the hypercall page")]

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
        /// Number of pages that CPUID gives.
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
    /// Has Xen fill the page mapped at `page`, whose guest-physical address is `physical`. Again after resume
    /// from suspend. Any level.
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
        // SAFETY: `install` had Xen fill the page with code of this convention; every register that it may
        // change is an output, flags and memory count as changed, and the stack may be used, since no option
        // says otherwise.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpuid::detect;
    use crate::fake;

    // Stands for the page that Xen fills: entry n answers n · 2³² plus a digest of its arguments, each
    // weighted by its place, and destroys every register that a hypercall may destroy.
    core::arch::global_asm!(
        ".pushsection .text",
        ".p2align 12",
        "xen_test_page:",
        ".set n, 0",
        ".rept 128",
        ".p2align 5",
        "mov eax, n",
        "jmp 2f",
        ".set n, n + 1",
        ".endr",
        "2:",
        "shl rax, 32",
        "add rax, rdi",
        "lea rax, [rax + rsi * 2]",
        "lea rax, [rax + rdx * 4]",
        "lea rax, [rax + r10 * 8]",
        "imul r8, r8, 16",
        "add rax, r8",
        "mov rdi, -1",
        "mov rsi, -1",
        "mov rdx, -1",
        "mov r10, -1",
        "mov r8, -1",
        "mov r9, -1",
        "mov rcx, -1",
        "mov r11, -1",
        "ret",
        ".popsection",
    );

    unsafe extern "C" {
        static xen_test_page: u8;
    }

    fn entries() -> NonNull<u8> {
        NonNull::from(
            // SAFETY: defined above; only its address is used.
            unsafe { &xen_test_page },
        )
    }

    #[test]
    fn arguments_and_answer_keep_to_the_convention() {
        let page = HypercallPage { entries: entries() };
        for number in [0, 12, 34, 127] {
            for round in 0..100u64 {
                let arguments = [round, round + 100, round + 1000, round + 10_000, round + 100_000];
                let digest: u64 = (0..5).map(|place| arguments[place] << place).sum();
                // SAFETY: the test page touches no memory.
                let answer = unsafe { page.call(number, core::hint::black_box(arguments)) };
                assert_eq!(answer, ((u64::from(number) << 32) + digest) as i64);
            }
        }
    }

    #[test]
    #[should_panic(expected = "number < PAGE_SIZE / ENTRY")]
    fn a_number_beyond_the_page_is_not_called() {
        // SAFETY: nothing is called.
        unsafe { HypercallPage { entries: entries() }.call(128, [0; 5]) };
    }

    #[test]
    fn installing_writes_the_address_to_the_register() {
        let platform = fake::Platform::xen(0x4000_0000);
        let xen = detect(&platform).unwrap();
        // SAFETY: the platform only records the write.
        let page = unsafe { HypercallPage::install(&platform, &xen, entries(), 0x1234_5000) }.unwrap();
        assert_eq!(*platform.written.borrow(), [(0x4000_0000, 0x1234_5000)]);
        assert_eq!(page.entries, entries());
    }

    #[test]
    fn what_cannot_be_installed_is_not_written() {
        let platform = fake::Platform::xen(0x4000_0000);
        let xen = detect(&platform).unwrap();
        let install = |xen: &Xen, physical| {
            // SAFETY: the platform only records the write.
            unsafe { HypercallPage::install(&platform, xen, entries(), physical) }.err()
        };
        assert_eq!(install(&xen, 0x1008), Some(InstallError::Unaligned { physical: 0x1008 }));
        let two = Xen { hypercall_pages: 2, ..xen };
        assert_eq!(install(&two, 0x1000), Some(InstallError::Pages { found: 2 }));
        assert!(platform.written.borrow().is_empty());
    }
}
