//! The part of the loader that runs below 1 MiB: entered by the boot sector in real mode, and the way back there for
//! each call of the BIOS.
//!
//! The boot sector has put the whole image to 0x10000. This code goes to 32-bit mode, copies the image to where it is
//! linked, and goes on in `start32`. A call of the BIOS from 64-bit mode goes through the copy at 0x10000: compatibility
//! mode, no paging, 16-bit protected mode, real mode (AMD64 Architecture Programmer's Manual, volume 2, 14.6 and 14.7),
//! and back.

use core::arch::global_asm;

/// The address of the copy that the boot sector has made.
const LOW: u32 = 0x1_0000;
/// Left in eax in the place of a multiboot loader's magic.
pub(crate) const FROM_DISK: u32 = u32::from_le_bytes(*b"disk");

/// Registers of a call of the BIOS, before and behind it.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct Registers {
    pub eax: u32,
    pub ebx: u32,
    pub ecx: u32,
    pub edx: u32,
    pub esi: u32,
    pub edi: u32,
    pub ds: u16,
    pub es: u16,
    /// The flags behind the call; bit 0 is the carry.
    pub flags: u32,
}

// In AT&T's syntax, in which a difference of two labels may be an address.
global_asm!(
    r#"
    .section .low, "awx"
    .code16
low_start:
    cli
    cld
    mov %cs, %ax
    mov %ax, %ds
    mov %dl, low_drive - low_start
    # The A20 gate, where it is not open already.
    mov $0x2401, %ax
    int $0x15
    cli
    mov %cs, %ax
    mov %ax, %ds
    lgdtl low_gdt_pointer - low_start
    mov %cr0, %eax
    or $1, %al
    mov %eax, %cr0
    ljmpl $0x18, ${low} + (low_32 - low_start)
    .code32
low_32:
    mov $0x10, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %ss
    mov ${low}, %esi
    mov $image_start, %edi
    mov $data_end, %ecx
    sub %edi, %ecx
    rep movsb
    mov $data_end, %edi
    mov $image_end, %ecx
    sub %edi, %ecx
    xor %eax, %eax
    rep stosb
    movzbl {low} + (low_drive - low_start), %ebx
    mov ${from_disk}, %eax
    mov $start32, %ecx
    jmp *%ecx

    # low_call(number: dil), with the registers of low_registers. Entered at its low address.
    .code64
    .globl low_call
low_call:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    mov ${low} + (low_stack - low_start), %eax
    mov %rsp, (%rax)
    mov ${low} + (low_number - low_start) + 1, %eax
    mov %dil, (%rax)
    pushq $0x18
    pushq ${low} + (low_leave - low_start)
    lretq
    .code32
low_leave:
    mov %cr0, %eax
    and $0x7FFFFFFF, %eax
    mov %eax, %cr0
    mov $0xC0000080, %ecx
    rdmsr
    and $0xFFFFFEFF, %eax
    wrmsr
    ljmpl $0x20, $low_16 - low_start
    .code16
low_16:
    mov $0x28, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %ss
    mov %ax, %fs
    mov %ax, %gs
    mov %cr0, %eax
    and $0xFE, %al
    mov %eax, %cr0
    ljmpw ${low} / 16, $low_real - low_start
low_real:
    xor %ax, %ax
    mov %ax, %ss
    mov $0x7C00, %sp
    mov %ax, %fs
    mov %ax, %gs
    mov %cs, %ax
    mov %ax, %ds
    lidtl low_real_idt - low_start
    mov low_registers - low_start, %eax
    mov low_registers - low_start + 4, %ebx
    mov low_registers - low_start + 8, %ecx
    mov low_registers - low_start + 12, %edx
    mov low_registers - low_start + 16, %esi
    mov low_registers - low_start + 20, %edi
    mov low_registers - low_start + 26, %es
    mov low_registers - low_start + 24, %ds
    sti
low_number:
    int $0
    cli
    push %ds
    pushl %eax
    mov %cs, %ax
    mov %ax, %ds
    popl low_registers - low_start
    popw low_registers - low_start + 24
    mov %es, low_registers - low_start + 26
    mov %ebx, low_registers - low_start + 4
    mov %ecx, low_registers - low_start + 8
    mov %edx, low_registers - low_start + 12
    mov %esi, low_registers - low_start + 16
    mov %edi, low_registers - low_start + 20
    pushfl
    popl low_registers - low_start + 28
    cld
    lgdtl low_gdt_pointer - low_start
    mov %cr0, %eax
    or $1, %al
    mov %eax, %cr0
    ljmpl $0x18, ${low} + (low_return - low_start)
    .code32
low_return:
    mov $0x10, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %ss
    mov $0xC0000080, %ecx
    rdmsr
    or $0x100, %eax
    wrmsr
    mov %cr0, %eax
    or $0x80000000, %eax
    mov %eax, %cr0
    ljmpl $0x08, ${low} + (low_64 - low_start)
    .code64
low_64:
    xor %eax, %eax
    mov %ax, %fs
    mov %ax, %gs
    mov ${low} + (low_stack - low_start), %eax
    mov (%rax), %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret

    .balign 8
    .globl gdt
gdt:
    .quad 0
    # 64-bit code, data, 32-bit code, and code and data of real mode's limits at the low copy.
    .quad 0x00AF9A000000FFFF
    .quad 0x00CF92000000FFFF
    .quad 0x00CF9A000000FFFF
    .quad 0x00009A010000FFFF
    .quad 0x000092010000FFFF
low_gdt_pointer:
    .word 47
    .long {low} + (gdt - low_start)
low_real_idt:
    .word 0x3FF
    .long 0
low_drive:
    .byte 0
    .balign 8
low_stack:
    .quad 0
    .globl low_registers
low_registers:
    .skip 32
    .code64
    "#,
    low = const LOW,
    from_disk = const FROM_DISK,
    options(att_syntax),
);

unsafe extern "C" {
    static image_start: u8;
    static low_call: u8;
    static low_registers: u8;
}

/// Returns the address in the low copy of something in the image.
fn low(symbol: *const u8) -> usize {
    LOW as usize + (symbol as usize - (&raw const image_start) as usize)
}

/// Calls the BIOS by a software interrupt, with interrupts on, in real mode.
///
/// # Safety
/// The loader was started by a boot sector, and the call does not write to memory that is somebody else's.
pub(crate) unsafe fn bios(number: u8, registers: &mut Registers) {
    // SAFETY: the low copy is where the boot sector has put it, is mapped at its physical address, and nobody else uses
    // it; the entry keeps what the calling convention wants kept.
    unsafe {
        let call: extern "C" fn(u8) = core::mem::transmute(low(&raw const low_call));
        let shared = low(&raw const low_registers) as *mut Registers;
        shared.write_volatile(*registers);
        call(number);
        *registers = shared.read_volatile();
    }
}
