//! From the multiboot loader's 32-bit protected mode to 64-bit Rust, and back for the executive.

use core::arch::global_asm;

/// Multiboot header flags: memory information (1) and address fields (16). The address fields let a
/// loader take this 64-bit ELF as a flat image.
const HEADER_FLAGS: u32 = 1 << 16 | 1 << 1;
const HEADER_MAGIC: u32 = 0x1BAD_B002;

// The code maps the first GiB at its physical addresses, enters long mode with SSE on, and calls `load`. What that returns is
// the executive's entry, which is entered as a multiboot loader enters it: 32-bit protected mode without paging, flat
// segments, eax and ebx as they were.
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
    mov edi, eax
    mov esi, ebx
    mov esp, offset stack_top

    mov eax, offset pdpt
    or eax, 3
    mov [pml4], eax
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
    or eax, 0x100
    wrmsr
    mov eax, cr0
    and eax, 0xFFFFFFFB
    or eax, 0x80000022
    mov cr0, eax
    lgdt [gdt_pointer]
    ljmp 0x08, offset long_mode

    .code64
long_mode:
    mov ax, 0x10
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov rsp, offset stack_top
    push rdi
    push rsi
    call {load}
    pop rbx
    pop rdi
    mov rsi, rax
    push 0x18
    push offset protected_mode
    retfq

    .code32
protected_mode:
    mov eax, cr0
    and eax, 0x7FFFFFFF
    mov cr0, eax
    mov ecx, 0xC0000080
    rdmsr
    and eax, 0xFFFFFEFF
    wrmsr
    mov eax, edi
    jmp esi
    .code64

    .section .rodata.boot, "a"
    .balign 8
gdt:
    .quad 0
    .quad 0x00AF9A000000FFFF
    .quad 0x00CF92000000FFFF
    .quad 0x00CF9A000000FFFF
gdt_pointer:
    .word 31
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
