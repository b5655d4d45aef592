//! Failing hypercalls.
//!
//! A driver has the processors' instructions for hypercalls in a section of their own (`xen/src/hypercall/vm_call.rs`). When
//! its image has been loaded, the one of this processor is made to go through [`xenguard_nt_hypercall`], which counts and
//! either fails or makes the call.

use core::arch::global_asm;

use super::{Kind, fails, store};
use crate::boot;
use crate::mm::{direct, map};

/// The section: VMCALL and VMMCALL, each with a return behind it and room for a jump.
const VMCALL: [u8; 5] = [0x0F, 0x01, 0xC1, 0xC3, 0xCC];
const VMMCALL: [u8; 5] = [0x0F, 0x01, 0xD9, 0xC3, 0xCC];
/// Bytes from the one to the other.
const ENTRY: usize = 32;
/// `__HYPERVISOR_sched_op`, and its commands that only wait.
const SCHED_OP: u64 = 29;
const SCHEDOP_YIELD: u64 = 0;
/// `__HYPERVISOR_event_channel_op` and `EVTCHNOP_send`.
const EVENT_CHANNEL_OP: u64 = 32;
const EVTCHNOP_SEND: u64 = 4;

global_asm!(
    r#"
    .section .text.hypercall, "ax"
    .balign 16
xenguard_nt_hypercall:
    push rdi
    push rsi
    push rdx
    push rcx
    push r8
    push r9
    push r10
    push r11
    push rbp
    push rax
    mov rbp, rsp
    and rsp, -16
    mov rdx, rsi
    mov rsi, rdi
    mov rdi, rax
    call {called}
    mov rsp, rbp
    test al, al
    pop rax
    pop rbp
    pop r11
    pop r10
    pop r9
    pop r8
    pop rcx
    pop rdx
    pop rsi
    pop rdi
    jnz 1f
    vmmcall
    ret
1:
    mov rax, -12
    ret
    "#,
    called = sym called,
);

unsafe extern "C" {
    static xenguard_nt_hypercall: u8;
}

/// Counts a driver's hypercall. Returns true if it fails. Any IRQL.
unsafe extern "C" fn called(number: u64, first: u64, second: u64) -> bool {
    if number == SCHED_OP && first == SCHEDOP_YIELD {
        // Giving the processor up cannot fail, and how often it takes place is chance.
        return false;
    }
    // SAFETY: an event channel operation's second argument is the address of its structure.
    unsafe {
        if number == EVENT_CHANNEL_OP && first == EVTCHNOP_SEND {
            // struct evtchn_send has the port.
            store::sending((second as *const u32).read_unaligned());
        }
    }
    fails(Kind::Hypercall, format_args!("number={number} first={first:#x}"))
}

/// Has the hypercalls of an image that was loaded counted, if the page is that of its instructions. On Intel's processors,
/// where the other instruction is used, nothing is injected.
///
/// # Safety
/// `page` is a page of an image, executable and read-only, and nothing runs in the image yet.
pub(crate) unsafe fn watch(page: usize) {
    if boot::options().inject.is_none() {
        return;
    }
    let Some(physical) = map::translate(page) else { return };
    // SAFETY: by this function's contract, `page` is a page of an image in which nothing runs yet; it is written through the
    // direct map.
    unsafe {
        let bytes = core::slice::from_raw_parts_mut(direct(physical) as *mut u8, 2 * ENTRY);
        let (vmcall, vmmcall) = bytes.split_at_mut(ENTRY);
        if !vmcall.starts_with(&VMCALL) || !vmmcall.starts_with(&VMMCALL) {
            return;
        }
        store::find();
        // jmp [rip+0], to the address behind it.
        vmmcall[..6].copy_from_slice(&[0xFF, 0x25, 0, 0, 0, 0]);
        vmmcall[6..14].copy_from_slice(&(&raw const xenguard_nt_hypercall as u64).to_le_bytes());
    }
    crate::log!("inject: hypercalls of the image at {page:#x} are counted");
}
