//! The boot sectors: that of the disk, which starts the active partition's, and that of the FAT volume, which loads the
//! file `ntldr` of its root folder to 0x10000 and enters it.
//!
//! Both are entered in real mode with the BIOS's number of the disk in dl, and read by INT 13h, function 42h (Enhanced
//! Disk Drive Specification 3.0). The loader's file must lie in clusters that follow each other.

use core::arch::global_asm;

// At 0x7C00 at first, and from its copy at 0x600 on, where it is linked. It leaves the address of the partition's entry
// in si, as every such sector does.
global_asm!(
    r#"
    .section .mbr, "ax"
    .code16
    cli
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov sp, 0x7C00
    cld
    mov si, 0x7C00
    mov di, 0x600
    mov cx, 256
    rep movsw
    .byte 0xEA
    .word mbr_moved
    .word 0
mbr_moved:
    sti
    mov si, 0x600 + 446
    mov cx, 4
2:  cmp byte ptr [si], 0x80
    je 3f
    add si, 16
    loop 2b
    jmp 4f
3:  mov eax, dword ptr [si + 8]
    mov dword ptr [mbr_packet + 8], eax
    push si
    mov si, offset mbr_packet
    mov ah, 0x42
    int 0x13
    pop si
    jc 4f
    .byte 0xEA
    .word 0x7C00
    .word 0
4:  mov al, '!'
    out 0xE9, al
    hlt
    jmp 4b
mbr_packet:
    .byte 16, 0
    .word 1
    .word 0x7C00
    .word 0
    .long 0, 0
    .code64
"#
);

// The fields of the volume are those that formatting has written (FAT specification, 3.1): bytes 3 to 61.
global_asm!(
    r#"
    .section .boot_sector, "ax"
    .code16
    .byte 0xEB, 60, 0x90
    .fill 59, 1, 0
    cli
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov sp, 0x7C00
    sti
    cld
    mov byte ptr [vbr_drive], dl
    # ebx: the root folder; ecx: its sectors; vbr_data: the first cluster
    mov ebx, dword ptr [si + 8]
    movzx eax, word ptr [0x7C00 + 14]
    add ebx, eax
    movzx eax, byte ptr [0x7C00 + 16]
    movzx ecx, word ptr [0x7C00 + 22]
    imul eax, ecx
    add ebx, eax
    movzx ecx, word ptr [0x7C00 + 17]
    shr ecx, 4
    lea eax, [ebx + ecx]
    mov dword ptr [vbr_data], eax
2:  mov word ptr [vbr_packet + 6], 0x800
    call vbr_read
    mov di, 0x8000
3:  push cx
    push di
    mov si, offset vbr_name
    mov cx, 11
    repe cmpsb
    pop di
    pop cx
    je 4f
    add di, 32
    cmp di, 0x8200
    jb 3b
    inc ebx
    loop 2b
    jmp vbr_failed
4:  movzx ebx, word ptr [di + 26]
    sub ebx, 2
    movzx eax, byte ptr [0x7C00 + 13]
    imul ebx, eax
    add ebx, dword ptr [vbr_data]
    mov ecx, dword ptr [di + 28]
    add ecx, 511
    shr ecx, 9
    mov word ptr [vbr_packet + 6], 0x1000
5:  call vbr_read
    inc ebx
    add word ptr [vbr_packet + 6], 0x20
    loop 5b
    mov dl, byte ptr [vbr_drive]
    .byte 0xEA
    .word 0
    .word 0x1000
vbr_read:
    mov dword ptr [vbr_packet + 8], ebx
    mov dl, byte ptr [vbr_drive]
    mov si, offset vbr_packet
    mov ah, 0x42
    push cx
    int 0x13
    pop cx
    jc vbr_failed
    ret
vbr_failed:
    mov al, '?'
    out 0xE9, al
    hlt
    jmp vbr_failed
vbr_name:
    .ascii "NTLDR      "
vbr_drive:
    .byte 0
vbr_data:
    .long 0
vbr_packet:
    .byte 16, 0
    .word 1
    .word 0
    .word 0
    .long 0, 0
    .code64
"#
);
