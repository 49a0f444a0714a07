// SPDX-License-Identifier: GPL-2.0-only
/* Takes all CPUs into the monitor and out of it, and talks to it meanwhile. */
#include "cellvisor.h"

#include <linux/cc_platform.h>
#include <linux/cpu.h>
#include <linux/cpumask.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/percpu.h>
#include <linux/pgtable.h>
#include <linux/smp.h>
#include <linux/stop_machine.h>
#include <linux/timekeeping.h>
#include <asm/processor.h>
#include <asm/special_insns.h>

/* What one CPU brought back from the monitor. */
struct outcome {
	u64 result;
	u64 away_ns;
};

/* What the CPUs are told when they enter or leave; @entry is 0 on the way out. */
struct passage {
	const struct cpumask *cpus;
	u64 bridge_cr3;
	u64 entry;
};

static DEFINE_PER_CPU(struct outcome, outcomes);

/* The monitor's memory while it is on, else NULL. */
static struct cv_range *memory;
/* CPUs that the monitor runs below. */
static cpumask_t entered;
/*
 * The bridge tables for the way out. They cannot lie in the monitor's memory,
 * which Linux does not see while the monitor is on, and making them must not
 * fail then.
 */
static u64 exit_tables;

static const char * const reasons[] = {
	[CV_ENTER_OK] = "done",
	[CV_ENTER_ABI_MISMATCH] = "driver and image were built for different ABI versions: install both from one release",
	[CV_ENTER_NO_VIRTUALIZATION] = "this CPU has neither VT-x nor AMD-V",
	[CV_ENTER_LOCKED_BY_FIRMWARE] = "the firmware locked VT-x or AMD-V off: switch it on in the firmware's set-up",
	[CV_ENTER_MISSING_FEATURE] = "this CPU lacks a virtualization feature that the monitor needs; the detail is its number",
	[CV_ENTER_IN_USE] = "virtualization is in use: unload kvm_intel, kvm_amd or the other hypervisor",
	[CV_ENTER_CPUS_MISSING] = "not every CPU arrived; the detail is how many did. Bring all online in /sys/devices/system/cpu",
	[CV_ENTER_BAD_PLAN] = "the monitor cannot read the system plan",
	[CV_ENTER_UNKNOWN_CPU] = "the system plan does not name a CPU; the detail is its APIC id",
	[CV_ENTER_NO_MEMORY] = "the monitor's memory is too small; the detail is how many pages were missing",
	[CV_ENTER_OTHER_CPU_FAILED] = "another CPU failed",
	[CV_ENTER_INSTRUCTION_FAILED] = "a VT-x or AMD-V instruction failed; the detail is its error number",
	[CV_ENTER_ENTRY_FAILED] = "the first VM entry failed; the detail is the reason's number",
	[CV_ENTER_UNSUPPORTED] = "Linux uses a CPU feature that the monitor cannot carry; the detail is its number",
	[CV_ENTER_INJECTED] = "the plan asked for this failure",
	[CV_ENTER_CELLS_EXIST] = "cells exist; the detail is how many. Destroy them first",
	[CV_ENTER_BUSY] = "another call is under way: try again",
	[CV_ENTER_APIC_MODE] = "the APICs are off or in different modes",
	[CV_ENTER_CPUS_OFFLINE] = "CPUs that entered are offline; the detail is how many. Bring them online first",
	[CV_ENTER_DRIVER] = "the driver cannot do its part; the detail is an errno value",
	[CV_ENTER_TSC_RATE] = "Linux could not calibrate the TSC; the detail is what it says in kHz. Boot with tsc_early_khz=KHZ",
	[CV_ENTER_LATE] = "not all CPUs were ready in time; the detail is how many were",
	[CV_ENTER_BAD_IMAGE] = "the image is no monitor; the detail is the offset of the wrong field of its header",
};

/* Notes why nothing was done; the call itself succeeds and carries the reason. */
static int refuse(struct cv_enable *request, u32 status, u32 detail, u32 cpu)
{
	const char *reason = status < ARRAY_SIZE(reasons) ? reasons[status] : NULL;

	request->status = status;
	request->detail = detail;
	request->cpu = cpu;
	pr_err("%s (status %u, detail %u, CPU %u)\n", reason ?: "unknown reason", status, detail,
	       cpu);
	return 0;
}

/*
 * Builds the bridge tables in four pages and returns the CR3 that selects them.
 *
 * Linux's half is that of the caller's tables: its top-level entries are the
 * same in every process, so they serve all CPUs. The user half stays empty but
 * for the monitor. Nothing touches user memory on the way; what an NMI would
 * look at there belongs to another process on most CPUs, so it must not be
 * found at all.
 *
 * The top-level table comes first, at an even page: Linux with page-table
 * isolation takes bit 12 of CR3 for "user tables".
 */
static u64 build_bridge(const u64 pages[CV_BRIDGE_PAGES], const struct cv_range *mem)
{
	const u64 flags = _PAGE_PRESENT | _PAGE_RW | _PAGE_ACCESSED | _PAGE_DIRTY;
	u64 *top = __va(pages[0]), *level4 = __va(pages[1]);
	u64 *level3 = __va(pages[2]), *level2 = __va(pages[3]);
	const u64 *linux_top;
	u64 i;

	/* Or the monitor's memory would need more than one level-2 table. */
	BUILD_BUG_ON(CV_BASE % SZ_1G || CV_MAX_CHUNKS > PTRS_PER_PMD);
	memset(top, 0, PAGE_SIZE / 2);
	/* A kernel thread borrows its tables and may lose them when it sleeps. */
	preempt_disable();
	linux_top = __va(read_cr3_pa());
	memcpy(top + PTRS_PER_PGD / 2, linux_top + PTRS_PER_PGD / 2, PAGE_SIZE / 2);
	preempt_enable();
	memset(level4, 0, PAGE_SIZE);
	memset(level3, 0, PAGE_SIZE);
	memset(level2, 0, PAGE_SIZE);
	if (pgtable_l5_enabled())
		top[CV_BASE >> 48] = pages[1] | flags;
	else
		level4 = top;
	level4[CV_BRIDGE_SLOT] = pages[2] | flags;
	level3[(CV_BASE >> PUD_SHIFT) % PTRS_PER_PUD] = pages[3] | flags;
	for (i = 0; i < mem->count; i++)
		level2[i] = cv_range_phys(mem, i) | flags | _PAGE_PSE;
	return pages[0];
}

/* Host-physical address of @offset in the monitor's memory. */
static u64 phys_at(const struct cv_range *mem, u64 offset)
{
	return cv_range_phys(mem, offset / CV_CHUNK_SIZE) + offset % CV_CHUNK_SIZE;
}

/* True for @len bytes at @offset within @size that do not leave their chunk. */
static bool fits(u64 offset, u64 len, u64 align, u64 size)
{
	return IS_ALIGNED(offset, align) && offset < size && len <= size - offset &&
	       offset / CV_CHUNK_SIZE == (offset + len - 1) / CV_CHUNK_SIZE;
}

#define BAD(field) ((int)offsetof(struct cv_image_header, field))

/* Offset of the first wrong field of @header, or -1 if all are right. */
static int wrong_field(const struct cv_image_header *header, u64 size)
{
	u64 used = header->memory_size;

	if (memcmp(header->magic, CV_MAGIC, sizeof(header->magic)))
		return BAD(magic);
	if (header->header_size != sizeof(*header))
		return BAD(header_size);
	if (used > size || !IS_ALIGNED(used, CV_PAGE_SIZE))
		return BAD(memory_size);
	if (header->file_size < sizeof(*header) || header->file_size > used)
		return BAD(file_size);
	if (header->entry < CV_BASE + sizeof(*header) || header->entry >= CV_BASE + used)
		return BAD(entry);
	if (!fits(header->boot_info, sizeof(struct cv_boot_info), sizeof(u64), used))
		return BAD(boot_info);
	if (!fits(header->bridge_tables, CV_BRIDGE_PAGES * CV_PAGE_SIZE, 2 * CV_PAGE_SIZE, used))
		return BAD(bridge_tables);
	return -1;
}

static void fill_boot_info(struct cv_boot_info *info, const struct cv_enable *request,
			   const struct cv_range *mem)
{
	u64 i;

	memset(info, 0, sizeof(*info));
	info->abi_version = CV_ABI_VERSION;
	info->cpu_count = num_online_cpus();
	info->chunk_count = mem->count;
	info->la57 = pgtable_l5_enabled();
	info->plan_offset = request->plan_offset;
	info->plan_len = request->plan_len;
	for (i = 0; i < mem->count; i++)
		info->chunks[i] = cv_range_phys(mem, i);
}

/*
 * Takes this CPU in or out. Runs on all CPUs at once with interrupts off: the
 * monitor waits until all are there, and only stop_machine() sees to it that
 * none of them waits for another one elsewhere meanwhile.
 */
static int pass(void *arg)
{
	const struct passage *passage = arg;
	struct outcome *outcome = this_cpu_ptr(&outcomes);
	u64 start = ktime_get_mono_fast_ns(), cr3 = __native_read_cr3();

	if (!cpumask_test_cpu(smp_processor_id(), passage->cpus))
		return 0;
	if (passage->entry)
		outcome->result = cv_entry_enter(passage->bridge_cr3, cr3, passage->entry);
	else
		outcome->result = cv_entry_leave(passage->bridge_cr3, cr3, CV_CODE_LEAVE);
	if (outcome->result == CV_NO_MONITOR)
		outcome->result = CV_ENTER_DRIVER | (u64)ENXIO << 32;
	outcome->away_ns = ktime_get_mono_fast_ns() - start;
	return 0;
}

/*
 * Sums up what @cpus say. Returns 0 if all succeeded; else the first that knows
 * why is reported. CPUs that succeeded are added to @good.
 */
static int sum_up(struct cv_enable *request, const struct cpumask *cpus, struct cpumask *good)
{
	u32 failed = nr_cpu_ids, knows = CV_ENTER_OK, status, cpu;
	const struct outcome *outcome;

	request->pause_ns = 0;
	request->cpus = 0;
	for_each_cpu(cpu, cpus) {
		outcome = per_cpu_ptr(&outcomes, cpu);
		request->pause_ns = max(request->pause_ns, outcome->away_ns);
		status = lower_32_bits(outcome->result);
		if (status == CV_ENTER_OK) {
			cpumask_set_cpu(cpu, good);
			request->cpus++;
		} else if (failed == nr_cpu_ids ||
			   (knows == CV_ENTER_OTHER_CPU_FAILED && status != knows)) {
			failed = cpu;
			knows = status;
		}
	}
	if (failed == nr_cpu_ids)
		return 0;
	outcome = per_cpu_ptr(&outcomes, failed);
	refuse(request, lower_32_bits(outcome->result), upper_32_bits(outcome->result), failed);
	return -EIO;
}

/* Leaves on all CPUs that are in; those that do not get out stay in @entered. */
static int leave_all(struct cv_enable *request)
{
	u64 pages[CV_BRIDGE_PAGES], i;
	static cpumask_t left;
	struct passage out = { .cpus = &entered };
	int err;

	for (i = 0; i < CV_BRIDGE_PAGES; i++)
		pages[i] = exit_tables + i * PAGE_SIZE;
	out.bridge_cr3 = build_bridge(pages, memory);
	cpumask_clear(&left);
	stop_machine(pass, &out, cpu_online_mask);
	err = sum_up(request, &entered, &left);
	cpumask_andnot(&entered, &entered, &left);
	return err;
}

/* Enters on all CPUs; @memory is set if any CPU is in when this returns. */
static int enter_all(struct cv_enable *request, struct cv_range *mem)
{
	u64 size = mem->count * CV_CHUNK_SIZE, pages[CV_BRIDGE_PAGES], i;
	struct cv_enable rolled_back;
	struct cv_image_header header;
	struct passage in = { .cpus = cpu_online_mask };
	int wrong;

	/*
	 * A CPU that stays offline (a sibling under nosmt=) stays outside, and the
	 * monitor does not let Linux start it later. Which may, the caller decides.
	 */
	if (request->cpus != num_online_cpus())
		return refuse(request, CV_ENTER_CPUS_MISSING, num_online_cpus(),
			      cpumask_next_zero(-1, cpu_online_mask));
	/* A copy, as the caller can still write to the original. */
	memcpy(&header, __va(phys_at(mem, 0)), sizeof(header));
	wrong = wrong_field(&header, size);
	if (wrong != BAD(magic) && header.abi_version != CV_ABI_VERSION)
		return refuse(request, CV_ENTER_ABI_MISMATCH, header.abi_version, 0);
	if (wrong >= 0)
		return refuse(request, CV_ENTER_BAD_IMAGE, wrong, 0);
	if (request->plan_offset < header.memory_size)
		return -EINVAL;

	fill_boot_info(__va(phys_at(mem, header.boot_info)), request, mem);
	for (i = 0; i < CV_BRIDGE_PAGES; i++)
		pages[i] = phys_at(mem, header.bridge_tables + i * CV_PAGE_SIZE);
	in.bridge_cr3 = build_bridge(pages, mem);
	in.entry = header.entry;
	stop_machine(pass, &in, cpu_online_mask);
	if (sum_up(request, cpu_online_mask, &entered) && cpumask_empty(&entered))
		return 0;
	memory = mem;
	if (request->status == CV_ENTER_OK)
		return 0;
	/* The monitor enters on all CPUs or on none; this one did not. */
	if (leave_all(&rolled_back)) {
		pr_crit("some CPUs are in the monitor and do not come out: restart this machine\n");
		return 0;
	}
	memory = NULL;
	request->cpus = 0;
	return 0;
}

int cv_switch_enable(struct cv_enable *request)
{
	struct cv_range *mem;
	int err;

	if (memory)
		return -EBUSY;
	if (request->size > CV_MAX_CHUNKS * CV_CHUNK_SIZE ||
	    request->plan_offset > request->size ||
	    request->plan_len > request->size - request->plan_offset)
		return -EINVAL;
	request->status = CV_ENTER_OK;
	request->detail = 0;
	request->cpu = 0;
	/* Neither is a machine of its own: its page tables are not what they say. */
	if (cpu_feature_enabled(X86_FEATURE_XENPV) || cc_platform_has(CC_ATTR_MEM_ENCRYPT)) {
		pr_err("Linux runs in a Xen PV domain or encrypts memory: boot without (mem_encrypt=off)\n");
		return refuse(request, CV_ENTER_DRIVER, EOPNOTSUPP, 0);
	}
	mem = cv_range_pin(request->address, request->size, CV_CHUNK_SIZE);
	if (IS_ERR(mem)) {
		pr_err("cannot pin the monitor's memory: it must be huge pages, aligned to 2 MiB\n");
		return refuse(request, CV_ENTER_DRIVER, -PTR_ERR(mem), 0);
	}
	cpu_hotplug_disable();
	cv_features_note();
	err = enter_all(request, mem);
	cpu_hotplug_enable();
	if (!memory) {
		cv_range_put(mem);
		return err;
	}
	__module_get(THIS_MODULE);
	if (request->status == CV_ENTER_OK)
		pr_info("on, on %u CPUs; longest pause %llu ns\n", request->cpus,
			request->pause_ns);
	return err;
}

int cv_switch_disable(struct cv_enable *request)
{
	static cpumask_t missing;

	if (!memory)
		return -ENODEV;
	request->status = CV_ENTER_OK;
	request->detail = 0;
	request->cpu = 0;
	cpu_hotplug_disable();
	if (cpumask_andnot(&missing, &entered, cpu_online_mask))
		refuse(request, CV_ENTER_CPUS_OFFLINE, cpumask_weight(&missing),
		       cpumask_first(&missing));
	else
		leave_all(request);
	if (cpumask_empty(&entered))
		cv_features_restore();
	cpu_hotplug_enable();
	if (!cpumask_empty(&entered))
		return 0;
	cv_range_put(memory);
	memory = NULL;
	cv_pins_drop_all();
	module_put(THIS_MODULE);
	pr_info("off\n");
	return 0;
}

/* Passes one hypercall on; the low half of @result is its status. */
int cv_switch_call(u32 code, void *buffer, u32 len, u32 capacity, u64 *result)
{
	u32 cpu;

	if (!memory)
		return -ENODEV;
	*result = CV_NO_MONITOR;
	cpu = get_cpu();
	/* A CPU that was plugged in later has no monitor below it. */
	if (cpumask_test_cpu(cpu, &entered))
		*result = cv_entry_call(__pa(buffer), len, capacity, code);
	put_cpu();
	return *result == CV_NO_MONITOR ? -EIO : 0;
}

/*
 * Ends all cells and brings their CPUs back, as the monitor can only be left
 * with all of them. A cell's memory is scrubbed before Linux, or what comes after
 * it, sees it again, which takes as long as it takes; a machine that goes down
 * waits for that, but not for ever.
 */
void cv_switch_end(void *buffer)
{
	const unsigned long limit = jiffies + 300 * HZ;
	u32 status = CV_CALL_AGAIN, cpu;
	bool any = false;
	u64 result;

	while (status == CV_CALL_AGAIN || status == CV_CALL_BUSY) {
		if (time_after(jiffies, limit) ||
		    cv_switch_call(CV_CODE_CELLS_END, buffer, 0, CV_CALL_BUFFER, &result))
			break;
		status = lower_32_bits(result);
		if (!any && status == CV_CALL_AGAIN)
			pr_warn("this machine goes down: the cells end\n");
		any |= status == CV_CALL_AGAIN;
		cond_resched();
	}
	if (status != CV_CALL_OK)
		pr_err("not all cells could be ended (status %u)\n", status);
	for_each_cpu(cpu, &entered) {
		if (!cpu_online(cpu) && add_cpu(cpu))
			pr_err("CPU %u does not come back\n", cpu);
	}
}

bool cv_switch_on(void)
{
	return READ_ONCE(memory);
}

int cv_switch_init(void)
{
	unsigned long pages = __get_free_pages(GFP_KERNEL, ilog2(CV_BRIDGE_PAGES));

	if (!pages)
		return -ENOMEM;
	/* Aligned to its size, so bit 12 of its address is clear. */
	exit_tables = __pa(pages);
	return 0;
}

void cv_switch_exit(void)
{
	free_pages((unsigned long)__va(exit_tables), ilog2(CV_BRIDGE_PAGES));
}
