# Into guests and back with AMD-V.
#
# Source: APM 2, "VMRUN Instruction", "#VMEXIT".

    .section .text.entry, "ax"

# extern "C" fn svm_run(regs, vmcb): enters the guest and comes back with its
# exit. RAX and RSP are exchanged by the CPU. The global interrupt flag is clear
# here and set in the guest, so no NMI and no request is slept over.
    .globl svm_run
svm_run:
    push_callee_saved
    push rdi
    mov rax, rsi
    load_registers
    vmrun rax
    .globl svm_exit
svm_exit:
    push rdi
    mov rdi, [rsp + 8]
    save_registers
    pop rdi
    pop_callee_saved
    ret
