# Accesses that may fault.
#
# Source: SDM 2, "RDMSR", "WRMSR", "XSETBV".

    .section .text.entry, "ax"

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
