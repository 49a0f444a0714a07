/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The steps between Linux and the monitor that no compiler may put anything
 * into: while the bridge tables are loaded, only the kernel's half of memory
 * and the monitor are there.
 */
#include <linux/linkage.h>
#include <asm/alternative.h>
#include <asm/asm.h>
#include <asm/cpufeatures.h>
#include <asm/nospec-branch.h>

/*
 * u64 cv_entry_enter(u64 bridge_cr3, u64 linux_cr3, u64 entry)
 *
 * Calls the monitor's entry under the bridge tables with its own two
 * arguments and returns what it says. The kernel keeps its stack aligned to 8
 * bytes only, the entry's calling convention asks for 16.
 */
SYM_FUNC_START(cv_entry_enter)
	pushq	%rbp
	movq	%rsp, %rbp
	pushq	%rbx
	andq	$-16, %rsp
	movq	%rsi, %rbx
	movq	%rdx, %rax
	movq	%rdi, %cr3
	CALL_NOSPEC rax
	movq	%rbx, %cr3
	leaq	-8(%rbp), %rsp
	popq	%rbx
	popq	%rbp
	RET
SYM_FUNC_END(cv_entry_enter)

/*
 * u64 cv_entry_leave(u64 bridge_cr3, u64 linux_cr3, u64 code)
 *
 * A CPU that left comes back under the bridge tables, one that did not under
 * Linux's own: loading those is right for both.
 */
SYM_FUNC_START(cv_entry_leave)
	movq	%rdx, %rax
1:	ALTERNATIVE "vmcall", "vmmcall", X86_FEATURE_VMMCALL
	movq	%rsi, %cr3
	RET
2:	movq	$-1, %rax
	RET
	_ASM_EXTABLE(1b, 2b)
SYM_FUNC_END(cv_entry_leave)

/*
 * u64 cv_entry_call(u64 buffer, u64 len, u64 capacity, u64 code)
 *
 * Returns CV_NO_MONITOR if the instruction faults, as it does on a CPU that no
 * monitor runs below.
 */
SYM_FUNC_START(cv_entry_call)
	movq	%rcx, %rax
1:	ALTERNATIVE "vmcall", "vmmcall", X86_FEATURE_VMMCALL
	RET
2:	movq	$-1, %rax
	RET
	_ASM_EXTABLE(1b, 2b)
SYM_FUNC_END(cv_entry_call)
