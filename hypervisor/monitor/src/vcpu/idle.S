# Waiting without a guest.
#
# Source: SDM 3A, "Handling Multiple NMIs"; SDM 2, "HLT".

    .section .text.entry, "ax"

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
