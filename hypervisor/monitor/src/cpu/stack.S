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
