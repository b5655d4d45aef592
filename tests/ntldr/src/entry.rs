//! From 32-bit protected mode to 64-bit Rust, and on to the executive.
//!
//! The multiboot loader (qemu's option ROM) leaves a magic in eax and the information structure's address in
//! ebx (Multiboot Specification 0.6.96, 3.2).

use core::arch::global_asm;

/// Multiboot header flags: memory information (1) and address fields (16). The address fields let a
/// loader take this 64-bit ELF as a flat image.
const HEADER_FLAGS: u32 = 1 << 16 | 1 << 1;
const HEADER_MAGIC: u32 = 0x1BAD_B002;

// The code maps the first GiB twice, at its physical addresses and at the executive's direct map (entry 256
// of the root), enters long mode with NX, WP and SSE on, calls `load`, and enters what that returns in rax, the
// information structure's address, which it returns in rdx, in rdi.
global_asm!(
    r#"
    .section .multiboot, "a"
    .balign 4
multiboot_header:
    .long {magic}
    .long {flags}
    .long {checksum}
    .long multiboot_header
    .long image_start
    .long data_end
    .long image_end
    .long multiboot_entry

    .section .text.entry, "ax"
    .code32
    .globl multiboot_entry
multiboot_entry:
    cli
    cld
    # Another way here: eax and ebx tell which, and the rest is as a multiboot loader leaves it.
    .globl start32
start32:
    mov edi, eax
    mov esi, ebx
    mov esp, offset stack_top

    mov eax, offset pdpt
    or eax, 3
    mov [pml4], eax
    mov [pml4 + 256 * 8], eax
    mov eax, offset pd
    or eax, 3
    mov [pdpt], eax
    mov ecx, 0
    mov eax, 0x83
2:  mov [pd + ecx * 8], eax
    add eax, 0x200000
    inc ecx
    cmp ecx, 512
    jne 2b

    mov eax, offset pml4
    mov cr3, eax
    mov eax, cr4
    or eax, 0x620
    mov cr4, eax
    mov ecx, 0xC0000080
    rdmsr
    or eax, 0x900
    wrmsr
    mov eax, cr0
    and eax, 0xFFFFFFFB
    or eax, 0x80010022
    mov cr0, eax
    lgdt [gdt_pointer]
    ljmp 0x08, offset long_mode

    .code64
long_mode:
    mov ax, 0x10
    mov ds, ax
    mov es, ax
    mov ss, ax
    xor eax, eax
    mov fs, ax
    mov gs, ax
    mov rsp, offset stack_top
    call {load}
    mov rdi, rdx
    jmp rax

    .section .rodata.boot, "a"
gdt_pointer:
    .word 47
    .long gdt
    .long 0

    .section .bss.boot, "aw", @nobits
    .balign 4096
pml4: .skip 4096
pdpt: .skip 4096
pd: .skip 4096
stack: .skip 65536
stack_top:
    "#,
    magic = const HEADER_MAGIC,
    flags = const HEADER_FLAGS,
    checksum = const 0u32.wrapping_sub(HEADER_MAGIC).wrapping_sub(HEADER_FLAGS),
    load = sym crate::load,
);
