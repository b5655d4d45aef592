//! The processor's instruction for hypercalls, and the raw call convention of x86-64, `arch-x86/xen-x86_64.h`.
//!
//! The number goes in eax, arguments in rdi, rsi, rdx, r10, r8; the answer comes in rax. Nothing says that the argument
//! registers survive (a debug build of Xen destroys them), so all of them count as lost, and so do rcx, r9 and r11.
//!
//! Xen fills a page with such code for the asking, too. It is not asked for: branches into code that somebody else writes
//! pass by what the guest does against speculation (Xen, XSA-466), and the page has to be filled again after each resume.
//! Each image that links this crate has the two instructions in a code section of their own, a second copy of an image
//! too.
#![expect(unsafe_code, reason = "enters Xen")]

use core::arch::asm;
#[cfg(target_os = "windows")]
use core::arch::global_asm;
use core::ptr::NonNull;

use super::Hypercall;
#[cfg(any(target_os = "windows", test))]
use crate::cpuid::Platform;
#[cfg(target_os = "windows")]
use crate::cpuid::Xen;

#[cfg(target_os = "windows")]
global_asm!(
    ".section .hcall, \"xr\"",
    ".p2align 5",
    ".globl xen_vmcall",
    "xen_vmcall:",
    "vmcall",
    "ret",
    ".p2align 5, 0xCC",
    ".globl xen_vmmcall",
    "xen_vmmcall:",
    "vmmcall",
    "ret",
    ".p2align 5, 0xCC",
    ".text",
);

#[cfg(target_os = "windows")]
unsafe extern "C" {
    static xen_vmcall: u8;
    static xen_vmmcall: u8;
}

/// The instruction for hypercalls of the processor at hand: VMCALL or VMMCALL.
#[derive(Clone, Copy, Debug)]
pub struct VmCall {
    /// Address of the instruction, behind which a return stands.
    instruction: NonNull<u8>,
}

// SAFETY: the instruction is only executed; any thread may do so.
unsafe impl Send for VmCall {}
// SAFETY: as above.
unsafe impl Sync for VmCall {}

#[cfg(target_os = "windows")]
impl VmCall {
    /// Returns the instruction of this processor, which runs on the Xen that was detected. Any level.
    ///
    /// # Safety
    /// The image stays loaded as long as any copy of the value makes calls.
    #[must_use]
    pub unsafe fn new(_: &Xen, platform: &impl Platform) -> Self {
        let instruction = if has_vmmcall(platform) { &raw const xen_vmmcall } else { &raw const xen_vmcall };
        // SAFETY: the address of a symbol of this image is not null.
        Self { instruction: unsafe { NonNull::new_unchecked(instruction.cast_mut()) } }
    }
}

/// Returns true for a processor of AMD's or Hygon's, which has VMMCALL; the others have VMCALL.
#[cfg(any(target_os = "windows", test))]
fn has_vmmcall(platform: &impl Platform) -> bool {
    let vendor = platform.cpuid(0);
    let name = [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes);
    matches!(name.as_flattened(), b"AuthenticAMD" | b"HygonGenuine")
}

// SAFETY: the instruction enters Xen; arguments and answer are passed as they are.
unsafe impl Hypercall for VmCall {
    unsafe fn call(&self, number: u32, arguments: [u64; 5]) -> i64 {
        let [a, b, c, d, e] = arguments;
        let answer: i64;
        // SAFETY: whoever made the value runs on Xen; every register that the call may change is an output, flags and
        // memory count as changed, and the stack may be used, since no option says otherwise.
        unsafe {
            asm!("call r11",
                inlateout("r11") self.instruction.as_ptr() => _,
                inlateout("rax") u64::from(number) => answer,
                inlateout("rdi") a => _, inlateout("rsi") b => _, inlateout("rdx") c => _,
                inlateout("r10") d => _, inlateout("r8") e => _, lateout("r9") _, lateout("rcx") _);
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpuid::Registers;
    use crate::fake;

    // Stands for Xen: the answer is n · 2³² plus a digest of the arguments, each weighted by its place, and every register
    // that a hypercall may destroy is destroyed.
    core::arch::global_asm!(
        ".pushsection .text",
        "xen_test_call:",
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
        static xen_test_call: u8;
    }

    #[test]
    fn arguments_and_answer_keep_to_the_convention() {
        // SAFETY: defined above; only its address is used.
        let call = VmCall { instruction: NonNull::from(unsafe { &xen_test_call }) };
        for number in [0, 12, 34, 127] {
            for round in 0..100u64 {
                let arguments = [round, round + 100, round + 1000, round + 10_000, round + 100_000];
                let digest: u64 = (0..5).map(|place| arguments[place] << place).sum();
                // SAFETY: the code above touches no memory.
                let answer = unsafe { call.call(number, core::hint::black_box(arguments)) };
                assert_eq!(answer, ((u64::from(number) << 32) + digest) as i64);
            }
        }
    }

    #[test]
    fn each_vendor_has_its_instruction() {
        let vendors = [
            (*b"GenuineIntel", false),
            (*b"AuthenticAMD", true),
            (*b"HygonGenuine", true),
            (*b"CentaurHauls", false),
            (*b"  Shanghai  ", false),
        ];
        for (name, expected) in vendors {
            let mut platform = fake::Platform::xen(0x4000_0000);
            let (words, _) = name.as_chunks::<4>();
            let [ebx, edx, ecx] = [0, 1, 2].map(|at| u32::from_le_bytes(words[at]));
            platform.leaves.insert(0, Registers { eax: 13, ebx, ecx, edx });
            assert_eq!(has_vmmcall(&platform), expected, "{name:?}");
        }
    }
}
