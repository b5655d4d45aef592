//! Failing hypercalls.
//!
//! A driver lays its hypercall page into its own code and has Xen fill it by its physical address; the file
//! has breakpoints there. The page tables are the executive's: such a page is mapped so that the first call
//! into it faults. By then Xen has filled it, and each entry is made to go through [`xenguard_nt_hypercall`],
//! which counts and either fails or makes the call; then the page is executable again.

use core::arch::global_asm;

use super::{Kind, fails, store};
use crate::boot;
use crate::mm::{PAGE_SIZE, direct, map};

/// Bytes of an entry (Xen: arch-x86/hvm, hypercall page).
const ENTRY: usize = 32;
const ENTRIES: usize = PAGE_SIZE / ENTRY;
/// The byte that fills the file at the place of the page.
const UNFILLED: u8 = 0xCC;
/// `mov eax, imm32`.
const MOV_EAX: u8 = 0xB8;
/// `vmmcall`; on Intel's processors it is another, and nothing is injected there.
const VMMCALL: [u8; 3] = [0x0F, 0x01, 0xD9];
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

/// Watches the hypercall pages of an image that was loaded: they are mapped so that the first call is
/// noticed.
///
/// # Safety
/// `page` is a page of an image, executable and read-only, and nothing runs in the image yet.
pub(crate) unsafe fn watch(page: usize) {
    if boot::options().inject.is_none() {
        return;
    }
    // SAFETY: by this function's contract, `page` is a page of an image, executable and read-only, and
    // nothing runs in the image yet.
    unsafe {
        let bytes = core::slice::from_raw_parts(page as *const u8, PAGE_SIZE);
        if bytes.iter().all(|&byte| byte == UNFILLED) {
            map::protect(page, map::READ_ONLY);
        }
    }
}

/// Handles a page fault. Returns true if it was the first call into a hypercall page, which can go on now.
pub(crate) fn entered(address: usize) -> bool {
    let page = address & !(PAGE_SIZE - 1);
    if boot::options().inject.is_none() || map::protection(page) != map::READ_ONLY {
        return false;
    }
    let Some(physical) = map::translate(page) else { return false };
    // SAFETY: the page is memory of an image, present; it is written through the direct map.
    unsafe {
        let bytes = core::slice::from_raw_parts_mut(direct(physical) as *mut u8, PAGE_SIZE);
        if bytes[0] != MOV_EAX || bytes[5..8] != VMMCALL {
            return false;
        }
        store::find(page);
        for entry in bytes.chunks_exact_mut(ENTRY).take(ENTRIES).filter(|entry| entry[0] == MOV_EAX) {
            // jmp [rip+0], to the address behind it.
            entry[5..11].copy_from_slice(&[0xFF, 0x25, 0, 0, 0, 0]);
            entry[11..19].copy_from_slice(&(&raw const xenguard_nt_hypercall as u64).to_le_bytes());
        }
        map::protect(page, map::EXECUTE);
    }
    crate::log!("inject: hypercalls of the page at {page:#x} are counted");
    true
}
