# Other stacks.

    .section .text.entry, "ax"

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

# extern "C" u64 call_on_alias(argument, function, distance, refuge): calls function,
# which does not return, on the same stack, mapped `distance` bytes further on; notes at
# refuge how to come back all the same. Returns what take_refuge was given.
    .globl call_on_alias
call_on_alias:
    push_callee_saved
    push rdx
    add rsp, rdx
    mov [rcx], rsp
    call rsi
    ud2

# extern "C" fn take_refuge(refuge, result) -> !
    .globl take_refuge
take_refuge:
    mov rsp, rdi
    mov rax, rsi
    sub rsp, [rsp]
    pop rdx
    pop_callee_saved
    ret
