# What several ways in and out have in common. Offsets are those of
# cellvisor_core::vcpu::Regs; RSP's place in it is not used.

# Registers that a C function keeps for its caller.
    .macro push_callee_saved
    push rbp
    push rbx
    push r12
    push r13
    push r14
    push r15
    .endm

    .macro pop_callee_saved
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbx
    pop rbp
    .endm

# Loads all registers but RAX and RSP from the place at RDI + at, and no flags.
    .macro load_registers at=0
    mov rcx, [rdi + \at + 0x08]
    mov rdx, [rdi + \at + 0x10]
    mov rbx, [rdi + \at + 0x18]
    mov rbp, [rdi + \at + 0x28]
    mov rsi, [rdi + \at + 0x30]
    mov r8, [rdi + \at + 0x40]
    mov r9, [rdi + \at + 0x48]
    mov r10, [rdi + \at + 0x50]
    mov r11, [rdi + \at + 0x58]
    mov r12, [rdi + \at + 0x60]
    mov r13, [rdi + \at + 0x68]
    mov r14, [rdi + \at + 0x70]
    mov r15, [rdi + \at + 0x78]
    mov rdi, [rdi + \at + 0x38]
    .endm

# Saves all registers but RAX and RSP at RDI. RDI itself is on the stack.
    .macro save_registers
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
    .endm
