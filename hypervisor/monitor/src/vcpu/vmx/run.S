# Into guests and back with VT-x.
#
# Source: SDM 3C, "VMLAUNCH/VMRESUME", "VM Exits".

    .section .text.entry, "ax"

# extern "C" u64 vmx_run(regs, launched, requests): enters the guest.
# Returns 0 after a VM exit, 1 if a request or an NMI came first (nothing was
# entered), 2 if VMLAUNCH or VMRESUME failed. An NMI between vmx_window and
# vmx_window_end makes the CPU go to vmx_abort, so no request is slept over.
    .globl vmx_run
vmx_run:
    push_callee_saved
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
    load_registers
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
    pop_callee_saved
    ret

# Where VM exits arrive, with the stack as vmx_run left it.
    .globl vmx_exit
vmx_exit:
    push rdi
    mov rdi, [rsp + 8]
    mov [rdi + 0x00], rax
    save_registers
    xor eax, eax
    jmp vmx_return
