//! The IDT, exceptions and the entry of interrupts.

use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;
use core::mem::size_of;

use super::{bugcheck, descriptor, interrupt, irql};
use crate::ldr;
use crate::mm::paged;
use crate::nt::DISPATCH_LEVEL;
use crate::verifier::{Violation, report_fault};

/// Registers at an exception or interrupt, as the entry code pushes them.
#[repr(C)]
pub(crate) struct Frame {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rbp: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rdx: u64,
    pub rcx: u64,
    pub rbx: u64,
    pub rax: u64,
    pub vector: u64,
    pub error: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

// One 16-byte stub per vector pushes an error code where the processor does not (Intel SDM volume 3, 6.15)
// and the vector. SSE state is saved because driver code runs below: the executive itself does not use it.
global_asm!(
    r#"
    .section .text.trap, "ax"
    .balign 16
trap_stubs:
    .set vector, 0
    .rept 256
    .balign 16
    .if (vector == 8) || ((vector >= 10) && (vector <= 14)) || (vector == 17) || (vector == 21) || (vector == 29) || (vector == 30)
    .else
    .byte 0x6a, 0
    .endif
    .byte 0x68
    .long vector
    jmp trap_common
    .set vector, vector + 1
    .endr

trap_common:
    push rax
    push rbx
    push rcx
    push rdx
    push rsi
    push rdi
    push rbp
    push r8
    push r9
    push r10
    push r11
    push r12
    push r13
    push r14
    push r15
    cld
    mov rdi, rsp
    mov rbp, rsp
    sub rsp, 512
    and rsp, -16
    fxsave64 [rsp]
    call {trap}
    fxrstor64 [rsp]
    mov rsp, rbp
    pop r15
    pop r14
    pop r13
    pop r12
    pop r11
    pop r10
    pop r9
    pop r8
    pop rbp
    pop rdi
    pop rsi
    pop rdx
    pop rcx
    pop rbx
    pop rax
    add rsp, 16
    iretq
    "#,
    trap = sym trap,
);

unsafe extern "C" {
    static trap_stubs: [[u8; 16]; 256];
}

struct Idt(UnsafeCell<[[u64; 2]; 256]>);

// SAFETY: written once at boot, read by the processor only.
unsafe impl Sync for Idt {}

static IDT: Idt = Idt(UnsafeCell::new([[0; 2]; 256]));

#[repr(C, packed)]
struct Pointer {
    limit: u16,
    base: u64,
}

const DOUBLE_FAULT: usize = 8;

/// Fills in and loads the IDT.
///
/// # Safety
/// Called once with interrupts disabled, after [`descriptor::init`].
pub(crate) unsafe fn init() {
    // SAFETY: by this function's contract, it is called once with interrupts disabled, after
    // [`descriptor::init`].
    unsafe {
        let idt = &mut *IDT.0.get();
        for (vector, gate) in idt.iter_mut().enumerate() {
            let stub = (&raw const trap_stubs[vector]) as u64;
            let stack = u64::from(vector == DOUBLE_FAULT);
            // A present 64-bit interrupt gate (Intel SDM volume 3, 6.14.1).
            gate[0] = stub & 0xFFFF
                | u64::from(descriptor::CODE) << 16
                | stack << 32
                | 0x8E << 40
                | (stub >> 16 & 0xFFFF) << 48;
            gate[1] = stub >> 32;
        }
        load();
    }
}

/// Loads the IDT on this processor.
///
/// # Safety
/// Called once on each processor with interrupts disabled, after [`descriptor::init`].
pub(crate) unsafe fn load() {
    // SAFETY: by this function's contract, it is called once on each processor with interrupts disabled, after
    // [`descriptor::init`].
    unsafe {
        let idt = &*IDT.0.get();
        let pointer = Pointer { limit: size_of::<[[u64; 2]; 256]>() as u16 - 1, base: idt.as_ptr() as u64 };
        asm!("lidt [{}]", in(reg) &pointer, options(nostack, preserves_flags));
    }
}

fn fault_address() -> usize {
    let address: usize;
    // SAFETY: reading CR2 has no effects.
    unsafe { asm!("mov {}, cr2", out(reg) address, options(nomem, nostack, preserves_flags)) };
    address
}

const BREAKPOINT: u64 = 3;
const PAGE_FAULT: u64 = 14;
const FAST_FAIL: u64 = 0x29;

unsafe extern "C" fn trap(frame: &mut Frame) {
    match frame.vector {
        PAGE_FAULT => page_fault(frame),
        0x30.. => interrupt::arrived(frame.vector as u8),
        FAST_FAIL => {
            // KERNEL_SECURITY_CHECK_FAILURE.
            describe(frame);
            bugcheck::bugcheck(0x139, frame.rcx as usize, frame.rip as usize, 0, 0)
        }
        BREAKPOINT => {
            describe(frame);
            bugcheck::bugcheck(0x8E, 0x8000_0003, frame.rip as usize, frame.rsp as usize, 0)
        }
        // UNEXPECTED_KERNEL_MODE_TRAP.
        _ => fail(frame, 0x7F, frame.vector as usize, frame.error as usize, 0),
    }
}

fn page_fault(frame: &mut Frame) {
    let address = fault_address();
    let level = irql::current();
    let raised = level >= DISPATCH_LEVEL;
    match paged::fault(address, raised, frame.error & 1 != 0) {
        paged::Fault::BroughtIn => return,
        paged::Fault::RaisedIrql => {
            report_fault(
                Violation::PagedCodeAtRaisedIrql,
                frame,
                format_args!("irql={level} address={}", ldr::Place(address)),
            );
        }
        paged::Fault::NotPaged => {}
    }
    if ldr::discarded(address) {
        report_fault(Violation::InitCodeAfterInit, frame, format_args!("address={}", ldr::Place(address)));
    }
    // DRIVER_IRQL_NOT_LESS_OR_EQUAL, or PAGE_FAULT_IN_NONPAGED_AREA.
    let code = if raised { 0xD1 } else { 0x50 };
    fail(frame, code, address, usize::from(level), frame.error as usize)
}

/// Stops for an exception nothing handles. One in a driver's code is the driver's.
fn fail(frame: &Frame, code: u32, p1: usize, p2: usize, p3: usize) -> ! {
    if ldr::with_image_at(frame.rip as usize, |_| ()).is_some() {
        report_fault(Violation::DriverFault, frame, format_args!("code={code:#x} p1={p1:#x} p2={p2:#x}"));
    }
    describe(frame);
    bugcheck::bugcheck(code, p1, p2, p3, frame.rip as usize)
}

/// Prints the registers and where the instruction lies.
pub(crate) fn describe(frame: &Frame) {
    crate::log!(
        "trap vector={:#x} error={:#x} rip={} rsp={:#x} cr2={:#x} irql={} rflags={:#x}",
        frame.vector,
        frame.error,
        ldr::Place(frame.rip as usize),
        frame.rsp,
        fault_address(),
        irql::current(),
        frame.rflags
    );
    crate::log!(
        "rax={:#x} rbx={:#x} rcx={:#x} rdx={:#x} rsi={:#x} rdi={:#x} rbp={:#x}",
        frame.rax,
        frame.rbx,
        frame.rcx,
        frame.rdx,
        frame.rsi,
        frame.rdi,
        frame.rbp
    );
    crate::log!(
        "r8={:#x} r9={:#x} r10={:#x} r11={:#x} r12={:#x} r13={:#x} r14={:#x} r15={:#x}",
        frame.r8,
        frame.r9,
        frame.r10,
        frame.r11,
        frame.r12,
        frame.r13,
        frame.r14,
        frame.r15
    );
    ldr::print_stack(frame.rsp as usize);
}
