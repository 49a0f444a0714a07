# A payload for a cell: a bzImage without a real-mode part, entered by the 64-bit
# boot protocol, and the start of further CPUs.
#
# Spec: Linux, "The Linux/x86 Boot Protocol".

    .set PAYLOAD, 0x200000
    .set TRAMPOLINE, 0x10000

    .section .header, "a"
header:
    .org 0x1f1
    .byte 1                     # setup_sects: this header and one sector more
    .org 0x1fe
    .word 0xaa55
    .byte 0xeb, end_of_header - 0x202
    .ascii "HdrS"
    .word 0x20f
    .org 0x211
    .byte 1                     # loadflags: loaded high
    .org 0x214
    .long PAYLOAD
    .org 0x230
    .long 0x200000              # kernel_alignment
    .org 0x236
    .word 1                     # xloadflags: has a 64-bit entry
    .long 2047                  # cmdline_size
    .org 0x258
    .quad PAYLOAD               # pref_address
    .long 0x200000              # init_size
    .org 0x268
    .set end_of_header, . - header
    .org 0x400

    .section .start, "ax"
    .code64
    .org 0x200
    .globl start64
start64:
    cli
    lgdt gdt_pointer(%rip)
    lea stack_tops(%rip), %rsp
    mov (%rsp), %rsp
    mov %rsi, %rdi
    call boot
1:  cli
    hlt
    jmp 1b

# What a start-up IPI runs, after it was copied to TRAMPOLINE: first a test in
# real mode if one is asked for, then long mode and ap_main.
    .globl trampoline, trampoline_end, real_mode_test, real_mode_result
    .set here, TRAMPOLINE - 0
    .code16
trampoline:
    cli
    xor %ax, %ax
    mov %ax, %ds
    mov %ax, %ss
    mov $0x7000 - 16, %sp
    cmpl $0, %cs:real_mode_test - trampoline
    je 1f
    # #GP in real mode pushes IP, CS and FLAGS, and no error code.
    movl $TRAMPOLINE << 12 & 0xffff0000 | (real_mode_gp - trampoline), 13 * 4
    mov $0x480, %ecx
    rdmsr
    movl $1, %cs:real_mode_result - trampoline
    jmp 1f
real_mode_gp:
    mov $0x7000 - 16, %ax
    sub %sp, %ax
    movzwl %ax, %eax
    shl $8, %eax
    or $2, %eax
    mov %eax, %cs:real_mode_result - trampoline
    mov $0x7000 - 16, %sp
1:  lgdtl %cs:gdt_pointer_low - trampoline
    mov %cr4, %eax
    or $0x620, %eax
    mov %eax, %cr4
    mov $0x9000, %eax
    mov %eax, %cr3
    mov $0xc0000080, %ecx
    rdmsr
    or $0x100, %eax
    wrmsr
    mov $0x80010033, %eax
    mov %eax, %cr0
    ljmpl $0x10, $ap_start64
    .balign 8
real_mode_test:
    .long 0
real_mode_result:
    .long 0
gdt_pointer_low:
    .word gdt_end - gdt - 1
    .long gdt
trampoline_end:

    .code64
ap_start64:
    lgdt gdt_pointer(%rip)
    mov $0x18, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov $0x802, %ecx
    rdmsr
    mov %eax, %edi
    lea stack_tops(%rip), %rsp
    mov (%rsp, %rdi, 8), %rsp
    call ap_main
1:  cli
    hlt
    jmp 1b

# Interrupts and exceptions: struct frame of bare.h, then trap(). The stack was
# aligned before the CPU pushed five words, or six with an error code.
    .altmacro
    .macro stub vector
    .balign 32
    testb $8, %spl
    jz 1f
    push $0
1:  pushq $\vector
    jmp common
    .endm

    .balign 32
    .globl stubs
stubs:
    .set vector, 0
    .rept 256
    stub %vector
    .set vector, vector + 1
    .endr

common:
    push %rax
    push %rcx
    push %rdx
    push %rbx
    push %rbp
    push %rsi
    push %rdi
    push %r8
    push %r9
    push %r10
    push %r11
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, %rdi
    mov %rsp, %rbp
    and $-16, %rsp
    cld
    call trap
    mov %rbp, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %r11
    pop %r10
    pop %r9
    pop %r8
    pop %rdi
    pop %rsi
    pop %rbp
    pop %rbx
    pop %rdx
    pop %rcx
    pop %rax
    add $16, %rsp
    iretq

    .data
    .balign 16
    .globl gdt, gdt_end
gdt:
    .quad 0
    .quad 0
    .quad 0x00af9b000000ffff    # 0x10: 64-bit code
    .quad 0x00cf93000000ffff    # 0x18: data
    .quad 0x00cf9b000000ffff    # 0x20: 32-bit code
    .quad 0x00cff3000000ffff    # 0x28: data of ring 3
    .quad 0x00affb000000ffff    # 0x30: 64-bit code of ring 3
    .quad 0x00cffb000000ffff    # 0x38: 32-bit code of ring 3
    .globl gdt_tss
gdt_tss:
    .quad 0, 0, 0, 0, 0, 0, 0, 0 # 0x40: task state segments of four CPUs
gdt_end:
gdt_pointer:
    .word gdt_end - gdt - 1
    .quad gdt
