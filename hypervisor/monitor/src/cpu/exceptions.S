# NMIs, interrupts and exceptions while the monitor runs.
#
# Source: SDM 3A, "Interrupt and Exception Handling"; APM 2, "#SX".

    .section .text.entry, "ax"

# Goes to \to unless the instruction pointer that was pushed, at \at on the stack, is
# from \first on and not \past \end. Changes RAX.
    .macro outside at, first, end, past, to
    lea rax, [rip + \first]
    cmp [rsp + \at], rax
    jb \to
    lea rax, [rip + \end]
    cmp [rsp + \at], rax
    \past \to
    .endm

# NMIs while the monitor runs: note it (second word behind GS, beside the
# requests) and leave the two windows in which a CPU could fall asleep over it.
    .globl host_nmi
host_nmi:
    push rax
    mov dword ptr gs:[4], 1
    outside 8, vmx_window, vmx_window_end, jae, 1f
    lea rax, [rip + vmx_abort]
    jmp 2f
1:  outside 8, idle_window, idle_end, jae, 3f
2:  mov [rsp + 8], rax
3:  pop rax
    iretq

# extern "C" fn drain_window(): takes the interrupts that are pending. They are
# acknowledged by the caller.
    .globl drain_window
drain_window:
    sti
drain_open:
    nop
    nop
    cli
drain_closed:
    ret

# Interrupts that a CPU's last owner left behind: forgotten here, acknowledged
# behind drain_window. Nowhere else are interrupts open.
    .globl host_interrupt
host_interrupt:
    iretq

# Exceptions of the monitor itself. The stack is aligned before the CPU pushes
# five words, or six with an error code: the alignment tells which. Those of the
# three checked accesses become their result 1; all others end in `fatal`, which
# does not return.
    .macro exception vector
    .align 8
    push \vector
    jmp exception_common
    .endm

    .align 8
    .globl exception_stubs
exception_stubs:
    exception 0
    exception 1
    exception 2
    exception 3
    exception 4
    exception 5
    exception 6
    exception 7
    exception 8
    exception 9
    exception 10
    exception 11
    exception 12
    exception 13
    exception 14
    exception 15
    exception 16
    exception 17
    exception 18
    exception 19
    exception 20
    exception 21
    exception 22
    exception 23
    exception 24
    exception 25
    exception 26
    exception 27
    exception 28
    exception 29
    exception 30
    exception 31

exception_common:
    test spl, 8
    jnz 1f
    push qword ptr [rsp]    # the vector, and an error code of 0 behind it
    mov qword ptr [rsp + 8], 0
1:  cmp dword ptr [rsp], 13
    jne 2f
    push rax
    lea rax, [rip + rdmsr_may_fault]
    cmp [rsp + 24], rax
    je 1f
    lea rax, [rip + wrmsr_may_fault]
    cmp [rsp + 24], rax
    je 1f
    lea rax, [rip + xsetbv_may_fault]
    cmp [rsp + 24], rax
    je 1f
    pop rax
    jmp 2f
1:  lea rax, [rip + access_faulted]
    mov [rsp + 24], rax
    pop rax
    add rsp, 16
    iretq
# Interrupts may have such vectors, too (some APICs take even those below 16).
# They come in drain_window only, whose instructions have no exceptions.
2:  push rax
    outside 24, drain_open, drain_closed, ja, 3f
    pop rax
    add rsp, 16
    iretq
3:  pop rax
# #SX: an INIT that AMD-V turned into an exception with an error code (VM_CR).
# Nothing but another CPU's interrupt command, which is emulated, may reset a CPU.
    cmp dword ptr [rsp], 30
    jne 4f
    add rsp, 16
    iretq
# #MC while the monitor runs or waits: the CPU goes on if it can (RIPV). The banks keep
# the error for whoever has the CPU next; MCIP is cleared, or another #MC would shut
# the machine down.
4:  cmp dword ptr [rsp], 18
    jne 6f
    push rax
    push rcx
    push rdx
    mov ecx, {mcg_status}
    rdmsr
    test al, 1
    jz 5f
    mov eax, 0          # keeps the flags
    mov edx, 0
    wrmsr
5:  pop rdx
    pop rcx
    pop rax
    jz 6f
    add rsp, 16
    iretq
6:  mov rdi, [rsp]
    mov rsi, [rsp + 8]
    mov rdx, [rsp + 16]
    mov rcx, cr2
    mov r8, [rsp + 40]
# What comes now may ask for locks and takes its time: not on the one stack that all CPUs
# share for such faults, and not on one that has run over.
    push rdi
    push rsi
    push rdx
    push rcx
    push r8
    mov rdi, r8
    mov rbx, rsp
    and rsp, -16
    call {refuge}
    mov rsp, rbx
    pop r8
    pop rcx
    pop rdx
    pop rsi
    pop rdi
    test rax, rax
    jz 7f
    mov rsp, rax
7:  and rsp, -16
    call {fatal}

# extern "C" fn give_up_work() -> !: comes to `fatal` in the same way.
    .globl give_up_work
give_up_work:
    ud2
