# The image's header, and the way into the monitor from Linux. Operands in braces
# are filled in by entry/mod.rs, which joins the files *.S: macros and labels are
# known in all of them.
#
# Source: SDM 3A, "Control Registers"; SDM 1, "Control-Flow Enforcement Technology
# (CET)".

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
    push_callee_saved
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
    pop_callee_saved
    ret
