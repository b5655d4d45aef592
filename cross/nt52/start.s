# What a program needs of a C runtime to start on NT 5.2, in place of Visual C++'s, whose current ones do not run there.
# Assembled by `cargo xtask` for x86_64-pc-windows-msvc. Layouts and conventions: "PE Format" (section ".tls") and "x64
# calling convention" of Microsoft's documentation.

    .text

# The entry point. The stack is 8 off its alignment, as after any call.
    .globl mainCRTStartup
    .def mainCRTStartup; .scl 2; .type 32; .endef
    .seh_proc mainCRTStartup
mainCRTStartup:
    subq $40, %rsp
    .seh_stackalloc 40
    .seh_endprologue
    # std asks for the command line by itself.
    xorl %ecx, %ecx
    xorl %edx, %edx
    callq main
    movl %eax, %ecx
    callq *__imp_ExitProcess(%rip)
    int3
    .seh_endproc

# Touches each page between the stack pointer and the one it will be, %rax below. Changes no register but %r10 and %r11.
    .globl __chkstk
    .def __chkstk; .scl 2; .type 32; .endef
__chkstk:
    movq %rax, %r10
    leaq 8(%rsp), %r11
1:  cmpq $4096, %r10
    jb 2f
    subq $4096, %r11
    testq %r11, (%r11)
    subq $4096, %r10
    jmp 1b
2:  subq %r10, %r11
    testq %r11, (%r11)
    retq

# The handler of frames with clean-up code. This program aborts on a panic and unwinds nothing: "continue search".
    .globl __CxxFrameHandler3
    .def __CxxFrameHandler3; .scl 2; .type 32; .endef
__CxxFrameHandler3:
    movl $1, %eax
    retq

# Named by std's description of its panic as a C++ exception, which is never thrown.
    .section .rdata,"dr"
    .globl "??_7type_info@@6B@"
    .p2align 3
"??_7type_info@@6B@":
    .quad 0

# Says to the linker that floating point is used.
    .globl _fltused
_fltused:
    .long 0x9875

# IMAGE_TLS_DIRECTORY64. The linker sorts sections by what is behind the dollar sign.
    .globl _tls_used
    .p2align 3
_tls_used:
    .quad tls_start
    .quad tls_end
    .quad _tls_index
    .quad tls_callbacks
    .long 0
    .long 0

    .section .tls,"dw"
    .p2align 4
tls_start:
    .quad 0
    .section .tls$ZZZ,"dw"
tls_end:
    .quad 0

    .section .CRT$XLA,"dr"
    .p2align 3
    .quad 0
tls_callbacks:
    .section .CRT$XLZ,"dr"
    .p2align 3
    .quad 0

    .data
    .globl _tls_index
    .p2align 2
_tls_index:
    .long 0
