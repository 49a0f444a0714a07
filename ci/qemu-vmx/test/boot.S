/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Multiboot entry, switch to long mode, application processor trampoline */
    .set CR0_INIT, 0x80000031
    .text
    .align 4
    .long 0x1badb002, 0x00000003, -(0x1badb002 + 0x00000003)

    .code32
    .globl start32
start32:
    cli
    mov $stack_bsp_top, %esp
    call make_tables
    mov $1f, %ebx
    jmp to_long
    .code64
1:  mov $stack_bsp_top, %rsp
    xor %ebp, %ebp
    call main
    hlt

    .code32
/* identity mapping of 4 GiB with 2 MiB pages */
make_tables:
    movl $(pdpt + 7), pml4
    movl $(pd + 7), pdpt
    movl $(pd + 0x1007), pdpt + 8
    movl $(pd + 0x2007), pdpt + 16
    movl $(pd + 0x3007), pdpt + 24
    mov $0x87, %eax
    xor %ecx, %ecx
2:  mov %eax, pd(, %ecx, 8)
    movl $0, pd + 4(, %ecx, 8)
    add $0x200000, %eax
    inc %ecx
    cmp $2048, %ecx
    jne 2b
    ret

/* %ebx: where to go in long mode */
to_long:
    mov $pml4, %eax
    mov %eax, %cr3
    mov $0x20, %eax
    mov %eax, %cr4
    mov $0xc0000080, %ecx
    rdmsr
    or $0x100, %eax
    wrmsr
    mov $CR0_INIT, %eax
    mov %eax, %cr0
    lgdt gdt_ptr
    ljmp $8, $3f
    .code64
3:  mov $16, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov %eax, %fs
    mov %eax, %gs
    movl $0x8900, tss_desc + 4          /* not busy: both CPUs load it */
    mov $0x20, %eax
    ltr %ax
    mov %ebx, %ebx
    jmp *%rbx

/* copied to 0x8000 */
    .code16
    .globl ap_start, ap_end
ap_start:
    cli
    xor %ax, %ax
    mov %ax, %ds
    lgdtl 0x8000 + (ap_gdt_ptr - ap_start)
    mov $0x31, %eax
    mov %eax, %cr0
    ljmpl $0x18, $ap_32
    .align 8
ap_gdt_ptr:
    .word gdt_end - gdt - 1
    .long gdt
ap_end:
    .code32
ap_32:
    mov $16, %eax
    mov %eax, %ds
    mov %eax, %ss
    mov $1f, %ebx
    jmp to_long
    .code64
1:  mov $stack_ap_top, %rsp
    call ap_main
2:  hlt
    jmp 2b

/* copied to 0x9000: the guest that a SIPI starts in real mode */
    .code16
    .globl rm_start, rm_end
rm_start:
    mov %cs, %ax
    mov %ax, %ds
    movw $0xbeef, 0x800
1:  hlt
    jmp 1b
rm_end:

    .code64
    .globl vm_exit_entry
vm_exit_entry:
    push %rax; push %rcx; push %rdx; push %rbx; push %rbp; push %rsi
    push %rdi; push %r8; push %r9; push %r10; push %r11; push %r12
    push %r13; push %r14; push %r15
    mov %rsp, %rdi
    mov 120(%rsp), %rsi
    call vm_exit
    pop %r15; pop %r14; pop %r13; pop %r12; pop %r11; pop %r10
    pop %r9; pop %r8; pop %rdi; pop %rsi; pop %rbp; pop %rbx
    pop %rdx; pop %rcx; pop %rax
    vmresume
    ud2

/* vm_enter(): launch; returns 0 in non-root operation, else flags | 1 << 32 */
    .globl vm_enter
vm_enter:
    push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15
    mov $0x681c, %eax
    vmwrite %rsp, %rax
    lea 1f(%rip), %rcx
    mov $0x681e, %eax
    vmwrite %rcx, %rax
    vmlaunch
    pushf
    pop %rax
    bts $32, %rax
    jmp 2f
1:  xor %eax, %eax
2:  pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx
    ret

    .globl irq_entry, nmi_entry, fault_entry
irq_entry:
    push %rax
    lock incl irq_count
    mov $0xfee000b0, %eax
    movl $0, (%rax)
    pop %rax
    iretq
nmi_entry:
    lock incl nmi_count
    iretq
fault_entry:
    mov %rsp, %rdi
    call fault

    .data
    .align 16
gdt:
    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cf9b000000ffff
tss_desc:
    .long 0x00000067, 0x00008900, 0, 0
gdt_end:
    .globl gdt_ptr
gdt_ptr:
    .word gdt_end - gdt - 1
    .quad gdt

    .bss
    .align 4096
    .globl pml4
pml4: .skip 4096
pdpt: .skip 4096
pd: .skip 4 * 4096
    .skip 16384
stack_bsp_top:
    .skip 16384
stack_ap_top:
