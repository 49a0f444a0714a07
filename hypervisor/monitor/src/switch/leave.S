# The way back to Linux.
#
# Source: SDM 3A, "Memory-Management Registers"; SDM 2, "IRET/IRETD/IRETQ".

    .section .text.entry, "ax"

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
    load_registers {leave_regs}
    iretq
