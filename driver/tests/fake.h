/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Images that only pretend: their entry checks how it was called and returns.
 * Each piece of code runs at CV_BASE + FAKE_CODE.
 */
#ifndef FAKE_H
#define FAKE_H

#include "../cellvisor_abi.h"

#define FAKE_CODE 0x1000
#define FAKE_BOOT_INFO 0x2000
#define FAKE_COUNTER 0x3f00
#define FAKE_BRIDGE 0x4000
#define FAKE_MEMORY 0x8000
#define FAKE_MARK_AT CV_CHUNK_SIZE
#define FAKE_MARK 0x6b72616dU

#define FAKE_TEXT_(number) #number
#define FAKE_TEXT(number) FAKE_TEXT_(number)

/*
 * Returns CV_ENTER_INJECTED with a mask of what was wrong: 1 wrong CR3, 2 stack
 * not aligned, 4 interrupts on, 8 wrong boot info, 16 second chunk not mapped.
 */
extern const char fake_checks[], fake_checks_end[];
/* The first CPU fails, the others tell that another one did. */
extern const char fake_one_fails[], fake_one_fails_end[];
/* Claims success and leaves the CPU as it was. */
extern const char fake_success[], fake_success_end[];

asm(".pushsection .rodata\n"
    "fake_checks:\n"
    "	endbr64\n"
    "	movabs	$0x200000000000, %rcx\n"
    "	xor	%edx, %edx\n"
    "	mov	%cr3, %rax\n"
    "	cmp	%rdi, %rax\n"
    "	je	1f\n"
    "	or	$1, %edx\n"
    "1:	lea	8(%rsp), %rax\n"
    "	test	$15, %al\n"
    "	jz	2f\n"
    "	or	$2, %edx\n"
    "2:	pushfq\n"
    "	pop	%rax\n"
    "	test	$0x200, %eax\n"
    "	jz	3f\n"
    "	or	$4, %edx\n"
    "3:	cmpl	$" FAKE_TEXT(CV_ABI_VERSION) ", 0x2000(%rcx)\n"
    "	jne	4f\n"
    "	cmpl	$2, 0x2008(%rcx)\n"
    "	je	5f\n"
    "4:	or	$8, %edx\n"
    "5:	cmpl	$0x6b72616d, 0x200000(%rcx)\n"
    "	je	6f\n"
    "	or	$16, %edx\n"
    "6:	lock incl 0x3f00(%rcx)\n"
    "	mov	%edx, %eax\n"
    "	shl	$32, %rax\n"
    "	or	$14, %rax\n"
    "	ret\n"
    "fake_checks_end:\n"
    "fake_one_fails:\n"
    "	endbr64\n"
    "	movabs	$0x200000000000, %rcx\n"
    "	mov	$1, %eax\n"
    "	lock xadd %eax, 0x3f00(%rcx)\n"
    "	test	%eax, %eax\n"
    "	movabs	$0x70000000e, %rax\n"
    "	jz	1f\n"
    "	mov	$10, %eax\n"
    "1:	ret\n"
    "fake_one_fails_end:\n"
    "fake_success:\n"
    "	endbr64\n"
    "	xor	%eax, %eax\n"
    "	ret\n"
    "fake_success_end:\n"
    ".popsection\n");

#endif /* FAKE_H */
