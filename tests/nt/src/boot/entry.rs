//! The entry point for the loader: 64-bit mode with NX, WP and SSE on and interrupts off, the first GiB
//! mapped twice, at its physical addresses and at [`crate::mm::DIRECT_MAP`], and the multiboot information
//! structure's address in rdi.

use core::arch::global_asm;

global_asm!(
    r#"
    .section .text.entry, "ax"
    .globl entry
entry:
    mov rsp, offset boot_stack_top
    xor ebp, ebp
    call {main}
    ud2

    .section .bss.boot, "aw", @nobits
    .balign 4096
boot_stack: .skip 16384
boot_stack_top:
    "#,
    main = sym crate::start,
);
