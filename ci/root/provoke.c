// SPDX-License-Identifier: GPL-2.0-only
/*
 * provoke: tries from the root's ring 0 what the monitor must refuse. Commands are
 * written to /proc/provoke, what came of the last one is read there:
 *
 *   fill HEX              puts a request into the buffer
 *   call CODE [AT]        hypercall; the buffer is the module's unless AT says
 *   leave CODE            the hypercall, with interrupts off
 *   rdmsr INDEX, wrmsr INDEX VALUE
 *   peek ADDRESS, poke ADDRESS VALUE   eight bytes of physical memory
 *   config ADDRESS VALUE  writes four bytes of registers, that should stay as they are
 *   base                  notes which chunks of 2 MiB of RAM are out of reach
 *   sweep                 counts those that are now and were not then
 *   zeros                 counts chunks of the last sweep that have a byte set
 *   watch ADDRESS CPU     reads there on that CPU, without a pause as long as it can
 *   watched               ends that, and tells whether it could at any time, and last
 */
#include <linux/delay.h>
#include <linux/kernel.h>
#include <linux/io.h>
#include <linux/ioport.h>
#include <linux/mm.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <asm/asm.h>
#include <asm/msr.h>
#include <asm/processor.h>

#define CHUNK (2UL << 20)
#define CHUNKS 4096
#define BUFFER 65536

static DECLARE_BITMAP(base, CHUNKS);
static DECLARE_BITMAP(hidden, CHUNKS);
static char result[128] = "nothing yet";
static void *buffer;
static size_t filled;
static struct task_struct *watcher;
static bool watch_sees, watch_saw;

/* False if the access faults. */
static bool peek(const void *at, u64 *value)
{
	bool good = false;

	asm volatile("1: mov %2, %0\n"
		     "   movb $1, %1\n"
		     "2:\n" _ASM_EXTABLE(1b, 2b)
		     : "=&r"(*value), "+m"(good)
		     : "m"(*(const u64 *)at));
	return good;
}

static bool poke(void *at, u64 value)
{
	bool good = false;

	asm volatile("1: mov %2, %0\n"
		     "   movb $1, %1\n"
		     "2:\n" _ASM_EXTABLE(1b, 2b)
		     : "=m"(*(u64 *)at), "+m"(good)
		     : "r"(value));
	return good;
}

static bool in_ram(unsigned long chunk)
{
	return region_intersects(chunk * CHUNK, CHUNK, IORESOURCE_SYSTEM_RAM, IORES_DESC_NONE) ==
	       REGION_INTERSECTS;
}

static void sweep(unsigned long *map)
{
	unsigned long chunk;
	u64 value;

	bitmap_zero(map, CHUNKS);
	for (chunk = 1; chunk < CHUNKS; chunk++) {
		if (in_ram(chunk) && !peek(__va(chunk * CHUNK), &value))
			set_bit(chunk, map);
	}
}

static void tell_sweep(void)
{
	unsigned long chunk, count = 0, first = 0;

	sweep(hidden);
	bitmap_andnot(hidden, hidden, base, CHUNKS);
	for_each_set_bit(chunk, hidden, CHUNKS) {
		first = first ?: chunk * CHUNK;
		count++;
	}
	snprintf(result, sizeof(result), "hidden %lu first %#lx", count, first);
}

/* Memory that was scrubbed has nothing in it, but for what Linux puts there. */
static void tell_zeros(void)
{
	unsigned long chunk, dirty = 0, denied = 0;

	for_each_set_bit(chunk, hidden, CHUNKS) {
		u64 value;

		if (!peek(__va(chunk * CHUNK), &value))
			denied++;
		else if (memchr_inv(__va(chunk * CHUNK), 0, CHUNK))
			dirty++;
	}
	snprintf(result, sizeof(result), "dirty %lu denied %lu", dirty, denied);
}

static u64 hypercall(u64 code, u64 at, u64 len, u64 capacity)
{
	if (boot_cpu_data.x86_vendor == X86_VENDOR_AMD)
		asm volatile("vmmcall" : "+a"(code) : "D"(at), "S"(len), "d"(capacity) : "memory");
	else
		asm volatile("vmcall" : "+a"(code) : "D"(at), "S"(len), "d"(capacity) : "memory");
	return code;
}

static void config(u64 address, u32 value)
{
	void __iomem *at = ioremap(address, 4);
	u32 before, after;

	if (!at) {
		strscpy(result, "no registers", sizeof(result));
		return;
	}
	before = readl(at);
	writel(value, at);
	after = readl(at);
	iounmap(at);
	if (before == after)
		strscpy(result, "kept", sizeof(result));
	else
		snprintf(result, sizeof(result), "%#x, then %#x", before, after);
}

static int watch(void *at)
{
	u64 value;

	while (!kthread_should_stop()) {
		watch_sees = peek(at, &value);
		watch_saw |= watch_sees;
		if (!watch_sees)
			usleep_range(1000, 2000);
		cond_resched();
	}
	return 0;
}

static void start_watch(u64 address, u64 cpu)
{
	watch_sees = false;
	watch_saw = false;
	watcher = kthread_create(watch, __va(address), "watch");
	if (IS_ERR(watcher)) {
		watcher = NULL;
		return;
	}
	kthread_bind(watcher, cpu);
	wake_up_process(watcher);
}

static void end_watch(void)
{
	if (watcher)
		kthread_stop(watcher);
	watcher = NULL;
}

static void obey(char *line)
{
	unsigned long flags;
	u64 a = 0, b = 0, value = 0;
	char word[16];
	int words = sscanf(line, "%15s %lli %lli", word, (long long *)&a, (long long *)&b);

	strscpy(result, "done", sizeof(result));
	if (!strcmp(word, "fill")) {
		char *hex = strim(line + strlen("fill "));

		memset(buffer, 0, BUFFER);
		filled = strlen(hex) / 2;
		if (filled > BUFFER || hex2bin(buffer, hex, filled))
			strscpy(result, "no hex", sizeof(result));
	} else if (!strcmp(word, "call")) {
		u64 at = words > 2 ? b : virt_to_phys(buffer);

		value = hypercall(a, at, filled, BUFFER);
		snprintf(result, sizeof(result), "status %u length %u", (u32)value,
			 (u32)(value >> 32));
	} else if (!strcmp(word, "leave")) {
		local_irq_save(flags);
		value = hypercall(a, 0, 0, 0);
		local_irq_restore(flags);
		snprintf(result, sizeof(result), "status %u detail %u", (u32)value & 0xffff,
			 (u32)(value >> 32));
	} else if (!strcmp(word, "rdmsr")) {
		if (rdmsrl_safe(a, &value))
			strscpy(result, "#GP", sizeof(result));
		else
			snprintf(result, sizeof(result), "%#llx", value);
	} else if (!strcmp(word, "wrmsr")) {
		if (wrmsrl_safe(a, b))
			strscpy(result, "#GP", sizeof(result));
	} else if (!strcmp(word, "peek")) {
		if (peek(__va(a), &value))
			snprintf(result, sizeof(result), "%#llx", value);
		else
			strscpy(result, "#GP", sizeof(result));
	} else if (!strcmp(word, "poke")) {
		if (!poke(__va(a), b))
			strscpy(result, "#GP", sizeof(result));
	} else if (!strcmp(word, "config")) {
		config(a, b);
	} else if (!strcmp(word, "base")) {
		sweep(base);
		snprintf(result, sizeof(result), "hidden %u", bitmap_weight(base, CHUNKS));
	} else if (!strcmp(word, "sweep")) {
		tell_sweep();
	} else if (!strcmp(word, "zeros")) {
		tell_zeros();
	} else if (!strcmp(word, "watch")) {
		start_watch(a, b);
	} else if (!strcmp(word, "watched")) {
		end_watch();
		snprintf(result, sizeof(result), "%s, then %s", watch_saw ? "seen" : "never seen",
			 watch_sees ? "seen" : "out of sight");
	} else {
		strscpy(result, "unknown command", sizeof(result));
	}
}

static ssize_t take(struct file *file, const char __user *from, size_t size, loff_t *at)
{
	char *line = memdup_user_nul(from, size);

	if (IS_ERR(line))
		return PTR_ERR(line);
	obey(line);
	kfree(line);
	return size;
}

static int show(struct seq_file *out, void *data)
{
	seq_printf(out, "%s\n", result);
	return 0;
}

static int provoke_open(struct inode *inode, struct file *file)
{
	return single_open(file, show, NULL);
}

static const struct proc_ops operations = {
	.proc_open = provoke_open,
	.proc_read = seq_read,
	.proc_write = take,
	.proc_release = single_release,
};

static int __init provoke_init(void)
{
	buffer = (void *)__get_free_pages(GFP_KERNEL | __GFP_ZERO, get_order(BUFFER));
	if (!buffer)
		return -ENOMEM;
	if (!proc_create("provoke", 0600, NULL, &operations)) {
		free_pages((unsigned long)buffer, get_order(BUFFER));
		return -ENOMEM;
	}
	return 0;
}

static void __exit provoke_exit(void)
{
	end_watch();
	remove_proc_entry("provoke", NULL);
	free_pages((unsigned long)buffer, get_order(BUFFER));
}

module_init(provoke_init);
module_exit(provoke_exit);
MODULE_DESCRIPTION("tries what the cellvisor monitor must refuse");
MODULE_LICENSE("GPL");
