// SPDX-License-Identifier: GPL-2.0-only
/*
 * What Linux knows of its CPUs' virtualization. While the monitor is on, CPUID does not
 * tell of it; a CPU that comes online then is one without, and what one CPU lacks Linux
 * takes from all. KVM would not start any more until the next boot, although the monitor
 * has long left.
 */
#include "cellvisor.h"

#include <linux/bits.h>
#include <linux/cpumask.h>
#include <linux/kernel.h>
#include <asm/cpufeature.h>
#include <asm/processor.h>

#define WORD(feature) ((feature) / 32)
#define BIT_OF(feature) BIT((feature) % 32)

/* Bits of the capability words that come from what is hidden. */
static const struct {
	u32 word;
	u32 bits;
} hidden[] = {
	{ WORD(X86_FEATURE_VMX), BIT_OF(X86_FEATURE_VMX) | BIT_OF(X86_FEATURE_SMX) },
	{ WORD(X86_FEATURE_EPT), BIT_OF(X86_FEATURE_TPR_SHADOW) | BIT_OF(X86_FEATURE_FLEXPRIORITY) |
				 BIT_OF(X86_FEATURE_EPT) | BIT_OF(X86_FEATURE_VPID) },
	{ WORD(X86_FEATURE_SVM), BIT_OF(X86_FEATURE_SVM) },
	/* All of CPUID leaf 8000000AH. */
	{ WORD(X86_FEATURE_NPT), ~0u },
};

/* Which of them all CPUs had before the monitor came. */
static u32 had[ARRAY_SIZE(hidden)];

/* Before the monitor is entered. */
void cv_features_note(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(hidden); i++)
		had[i] = boot_cpu_data.x86_capability[hidden[i].word] & hidden[i].bits;
}

/* When it is left, CPUs neither coming nor going. */
void cv_features_restore(void)
{
	int i, cpu;

	for (i = 0; i < ARRAY_SIZE(hidden); i++) {
		boot_cpu_data.x86_capability[hidden[i].word] |= had[i];
		for_each_online_cpu(cpu)
			cpu_data(cpu).x86_capability[hidden[i].word] |= had[i];
	}
}
