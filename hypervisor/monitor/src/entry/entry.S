# Ways into the monitor from Linux and from guests, and the way back to Linux.
# Operands in braces are filled in by entry.rs.

    .section .header, "a"
    .ascii "CELLVISR"
    .long {abi_version}
    .long 56
    .quad monitor_entry
    .quad __file_end - {image_base}
    .quad __image_end - {image_base}
    .quad {boot_info} - {image_base}
    .quad {bridge_tables} - {image_base}

    .section .text.entry, "ax"

# extern "C" u64 monitor_entry(bridge_cr3, linux_cr3): the driver calls this on
# every CPU (abi: image::ImageHeader::entry). What is pushed here is
# switch::frame::EntryFrame. CR4.CET is off from here on, so that indirect branches of
# the monitor need no ENDBR64; the guest gets it back with its CR4.
    .globl monitor_entry
monitor_entry:
    endbr64
    push rbp
    push rbx
    push r12
    push r13
    push r14
    push r15
    pushfq
    cld
    mov rax, cr4
    push rax
    btr rax, 23
    jnc 1f
    mov cr4, rax
1:  mov rbx, rdi
    mov r13, rsi
    mov r12, rsp
    and rsp, -16
    call {claim_area}
    test rax, rax
    jz 2f
    lea rsp, [rax + {stack_size}]
    mov rdi, rax
    mov rsi, r12
    mov rdx, r13
    call {enter}
    jmp 3f
2:  mov eax, {no_memory}
3:  mov rsp, r12
    pop rcx
    mov cr4, rcx
    popfq
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbx
    pop rbp
    ret

# extern "C" fn leave_to_linux(frame: &LeaveFrame, bridge_cr3, distance) -> !
# From the monitor's tables to Linux's code under the bridge tables. Those have
# the stack at its place in the area only, `distance` bytes below. Linux's
# interrupt table is loaded last, when all that its NMI handler needs is there.
    .globl leave_to_linux
leave_to_linux:
    sub rdi, rdx
    sub rsp, rdx
    mov cr3, rsi
    lgdt [rdi + {leave_bridge_gdt}]
    mov ax, {tss_selector}
    ltr ax
    lgdt [rdi + {leave_gdt}]
    lldt word ptr [rdi + {leave_ldtr}]
    mov ds, word ptr [rdi + {leave_ds}]
    mov es, word ptr [rdi + {leave_es}]
    mov ss, word ptr [rdi + {leave_ss}]
    mov fs, word ptr [rdi + {leave_fs}]
    mov gs, word ptr [rdi + {leave_gs}]
    mov rax, [rdi + {leave_fs_base}]
    mov rdx, rax
    shr rdx, 32
    mov ecx, 0xc0000100
    wrmsr
    mov rax, [rdi + {leave_gs_base}]
    mov rdx, rax
    shr rdx, 32
    mov ecx, 0xc0000101
    wrmsr
    mov rax, [rdi + {leave_cr0}]
    mov cr0, rax
    lidt [rdi + {leave_idt}]
    movzx eax, word ptr [rdi + {leave_ss}]
    push rax
    push qword ptr [rdi + {leave_rsp}]
    push qword ptr [rdi + {leave_rflags}]
    movzx eax, word ptr [rdi + {leave_cs}]
    push rax
    push qword ptr [rdi + {leave_rip}]
    mov rax, [rdi + {leave_cr4}]
    mov cr4, rax
    mov rax, [rdi + {leave_regs} + 0x00]
    mov rcx, [rdi + {leave_regs} + 0x08]
    mov rdx, [rdi + {leave_regs} + 0x10]
    mov rbx, [rdi + {leave_regs} + 0x18]
    mov rbp, [rdi + {leave_regs} + 0x28]
    mov rsi, [rdi + {leave_regs} + 0x30]
    mov r8,  [rdi + {leave_regs} + 0x40]
    mov r9,  [rdi + {leave_regs} + 0x48]
    mov r10, [rdi + {leave_regs} + 0x50]
    mov r11, [rdi + {leave_regs} + 0x58]
    mov r12, [rdi + {leave_regs} + 0x60]
    mov r13, [rdi + {leave_regs} + 0x68]
    mov r14, [rdi + {leave_regs} + 0x70]
    mov r15, [rdi + {leave_regs} + 0x78]
    mov rdi, [rdi + {leave_regs} + 0x38]
    iretq

# extern "C" u64 vmx_run(regs, launched, requests): enters the guest.
# Returns 0 after a VM exit, 1 if a request or an NMI came first (nothing was
# entered), 2 if VMLAUNCH or VMRESUME failed. An NMI between vmx_window and
# vmx_window_end makes the CPU go to vmx_abort, so no request is slept over.
    .globl vmx_run
vmx_run:
    push rbp
    push rbx
    push r12
    push r13
    push r14
    push r15
    push rdi
    mov eax, 0x6c14
    vmwrite rax, rsp
vmx_window:
    cmp dword ptr [rdx], 0
    jne vmx_abort
    cmp dword ptr [rdx + 4], 0
    jne vmx_abort
    test rsi, rsi
    mov rax, [rdi + 0x00]
    mov rcx, [rdi + 0x08]
    mov rdx, [rdi + 0x10]
    mov rbx, [rdi + 0x18]
    mov rbp, [rdi + 0x28]
    mov rsi, [rdi + 0x30]
    mov r8,  [rdi + 0x40]
    mov r9,  [rdi + 0x48]
    mov r10, [rdi + 0x50]
    mov r11, [rdi + 0x58]
    mov r12, [rdi + 0x60]
    mov r13, [rdi + 0x68]
    mov r14, [rdi + 0x70]
    mov r15, [rdi + 0x78]
    mov rdi, [rdi + 0x38]
    jz 1f
    vmresume
    jmp vmx_fail
1:  vmlaunch
vmx_window_end:
vmx_fail:
    mov eax, 2
    jmp vmx_return
vmx_abort:
    mov eax, 1
vmx_return:
    pop rdi
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbx
    pop rbp
    ret

# Where VM exits arrive, with the stack as vmx_run left it.
    .globl vmx_exit
vmx_exit:
    push rdi
    mov rdi, [rsp + 8]
    mov [rdi + 0x00], rax
    mov [rdi + 0x08], rcx
    mov [rdi + 0x10], rdx
    mov [rdi + 0x18], rbx
    mov [rdi + 0x28], rbp
    mov [rdi + 0x30], rsi
    pop qword ptr [rdi + 0x38]
    mov [rdi + 0x40], r8
    mov [rdi + 0x48], r9
    mov [rdi + 0x50], r10
    mov [rdi + 0x58], r11
    mov [rdi + 0x60], r12
    mov [rdi + 0x68], r13
    mov [rdi + 0x70], r14
    mov [rdi + 0x78], r15
    xor eax, eax
    jmp vmx_return

# extern "C" fn svm_run(regs, vmcb): enters the guest and comes back with its
# exit. RAX and RSP are exchanged by the CPU. The global interrupt flag is clear
# here and set in the guest, so no NMI and no request is slept over.
    .globl svm_run
svm_run:
    push rbp
    push rbx
    push r12
    push r13
    push r14
    push r15
    push rdi
    mov rax, rsi
    mov rcx, [rdi + 0x08]
    mov rdx, [rdi + 0x10]
    mov rbx, [rdi + 0x18]
    mov rbp, [rdi + 0x28]
    mov rsi, [rdi + 0x30]
    mov r8,  [rdi + 0x40]
    mov r9,  [rdi + 0x48]
    mov r10, [rdi + 0x50]
    mov r11, [rdi + 0x58]
    mov r12, [rdi + 0x60]
    mov r13, [rdi + 0x68]
    mov r14, [rdi + 0x70]
    mov r15, [rdi + 0x78]
    mov rdi, [rdi + 0x38]
    vmrun rax
    .globl svm_exit
svm_exit:
    push rdi
    mov rdi, [rsp + 8]
    mov [rdi + 0x08], rcx
    mov [rdi + 0x10], rdx
    mov [rdi + 0x18], rbx
    mov [rdi + 0x28], rbp
    mov [rdi + 0x30], rsi
    pop qword ptr [rdi + 0x38]
    mov [rdi + 0x40], r8
    mov [rdi + 0x48], r9
    mov [rdi + 0x50], r10
    mov [rdi + 0x58], r11
    mov [rdi + 0x60], r12
    mov [rdi + 0x68], r13
    mov [rdi + 0x70], r14
    mov [rdi + 0x78], r15
    pop rdi
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbx
    pop rbp
    ret

# extern "C" fn idle_wait(requests): sleeps until an NMI comes, unless a request
# or an NMI is there already. The IRETQ ends the blocking of NMIs that an NMI
# exit leaves behind.
    .globl idle_wait
idle_wait:
    mov rax, rsp
    push {data_selector}
    push rax
    pushfq
    push {code_selector}
    lea rax, [rip + idle_window]
    push rax
    iretq
idle_window:
    cmp dword ptr [rdi], 0
    jne idle_end
    cmp dword ptr [rdi + 4], 0
    jne idle_end
    hlt
idle_end:
    ret

# extern "C" u64 call_on_stack(argument, function, stack_top): calls function on
# another stack.
    .globl call_on_stack
call_on_stack:
    push rbp
    mov rbp, rsp
    mov rsp, rdx
    call rsi
    mov rsp, rbp
    pop rbp
    ret

# extern "C" u64 call_on_alias(argument, function, distance): calls function on
# the same stack, mapped `distance` bytes further on.
    .globl call_on_alias
call_on_alias:
    push rbp
    mov rbp, rsp
    add rsp, rdx
    call rsi
    mov rsp, rbp
    pop rbp
    ret

# extern "C" u64 rdmsr_checked(index, &mut u64): 0, or 1 after #GP.
    .globl rdmsr_checked
rdmsr_checked:
    mov ecx, edi
rdmsr_may_fault:
    rdmsr
    shl rdx, 32
    or rax, rdx
    mov [rsi], rax
    xor eax, eax
    ret

# extern "C" u64 wrmsr_checked(index, value): 0, or 1 after #GP.
    .globl wrmsr_checked
wrmsr_checked:
    mov ecx, edi
    mov eax, esi
    mov rdx, rsi
    shr rdx, 32
wrmsr_may_fault:
    wrmsr
    xor eax, eax
    ret

# extern "C" u64 xsetbv_checked(index, value): 0, or 1 after #GP.
    .globl xsetbv_checked
xsetbv_checked:
    mov ecx, edi
    mov eax, esi
    mov rdx, rsi
    shr rdx, 32
xsetbv_may_fault:
    xsetbv
    xor eax, eax
    ret
access_faulted:
    mov eax, 1
    ret

# NMIs while the monitor runs: note it (second word behind GS, beside the
# requests) and leave the two windows in which a CPU could fall asleep over it.
    .globl host_nmi
host_nmi:
    push rax
    mov dword ptr gs:[4], 1
    lea rax, [rip + vmx_window]
    cmp [rsp + 8], rax
    jb 1f
    lea rax, [rip + vmx_window_end]
    cmp [rsp + 8], rax
    jae 1f
    lea rax, [rip + vmx_abort]
    jmp 2f
1:  lea rax, [rip + idle_window]
    cmp [rsp + 8], rax
    jb 3f
    lea rax, [rip + idle_end]
    cmp [rsp + 8], rax
    jae 3f
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
    .align 16
    test spl, 8
    jz 1f
    push 0
1:  push \vector
    jmp exception_common
    .endm

    .align 16
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
    cmp dword ptr [rsp], 13
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
    lea rax, [rip + drain_open]
    cmp [rsp + 24], rax
    jb 3f
    lea rax, [rip + drain_closed]
    cmp [rsp + 24], rax
    ja 3f
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
4:  mov rdi, [rsp]
    mov rsi, [rsp + 8]
    mov rdx, [rsp + 16]
    mov rcx, cr2
    and rsp, -16
    call {fatal}
    ud2

# The compiler calls these four. Whole words first: emulators do one at a time.
    .section .text.memcpy, "ax"
    .globl memcpy
memcpy:
    mov rax, rdi
    mov rcx, rdx
    shr rcx, 3
    rep movsq
    mov ecx, edx
    and ecx, 7
    rep movsb
    ret

    .section .text.memmove, "ax"
    .globl memmove
memmove:
    mov rax, rdi
    mov rcx, rdx
    mov r8, rdi
    sub r8, rsi
    cmp r8, rdx
    jb 1f
    rep movsb
    ret
1:  lea rdi, [rdi + rcx - 1]
    lea rsi, [rsi + rcx - 1]
    std
    rep movsb
    cld
    ret

    .section .text.memset, "ax"
    .globl memset
memset:
    mov r8, rdi
    movzx eax, sil
    mov rcx, 0x0101010101010101
    imul rax, rcx
    mov rcx, rdx
    shr rcx, 3
    rep stosq
    mov ecx, edx
    and ecx, 7
    rep stosb
    mov rax, r8
    ret

    .section .text.memcmp, "ax"
    .globl memcmp
    .globl bcmp
memcmp:
bcmp:
    xor eax, eax
    xor ecx, ecx
1:  cmp rcx, rdx
    je 2f
    movzx eax, byte ptr [rdi + rcx]
    movzx r8d, byte ptr [rsi + rcx]
    inc rcx
    sub eax, r8d
    je 1b
2:  ret
