/*
 * The smallest program that is entered by a note for PVH: it tells in which state it
 * finds the CPU and what it is told, and powers off. Its modules are texts.
 *
 * Spec: Xen, docs/misc/pvh.pandoc and public/arch-x86/hvm/start_info.h.
 */
#include <stdbool.h>
#include <stdint.h>

#define UART 0x3f8
#define THR_EMPTY 0x20
#define POWER 0x600
#define POWER_OFF 0x34

#define MAGIC 0x336ec578
#define USABLE 1

struct start_info {
	uint32_t magic, version, flags, modules;
	uint64_t module_list, command_line, rsdp, memory_map;
	uint32_t memory_entries, reserved;
};

struct module {
	uint64_t start, size, command_line, reserved;
};

struct memory {
	uint64_t start, size;
	uint32_t kind, reserved;
};

/* The note that makes it one: PHYS32_ENTRY. */
__asm__(".pushsection .note.Xen, \"a\", @note\n"
	".balign 4\n"
	".long 4, 4, 18\n"
	".asciz \"Xen\"\n"
	".long pvh_start\n"
	".popsection\n"
	".pushsection .text\n"
	".global pvh_start\n"
	"pvh_start:\n"
	"	movl $stack_end, %esp\n"
	"	pushl %ebx\n"
	"	call tell\n"
	"	ud2\n"
	/* What the ELF header names: nobody may begin here. */
	".global _start\n"
	"_start:\n"
	"	ud2\n"
	".popsection\n"
	".pushsection .bss\n"
	".balign 16\n"
	".skip 4096\n"
	"stack_end:\n"
	".popsection\n");

static void outb(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static uint8_t inb(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static void put(const char *text)
{
	for (; *text; text++) {
		while (!(inb(UART + 5) & THR_EMPTY))
			;
		outb(UART, (uint8_t)*text);
	}
}

static void put_hex(const char *name, uint32_t value)
{
	char text[9];

	for (int n = 7; n >= 0; n--, value >>= 4)
		text[n] = "0123456789abcdef"[value & 15];
	text[8] = 0;
	put(name);
	put(text);
}

static bool is_rsdp(const char *at)
{
	const char *wanted = "RSD PTR ";

	for (int n = 0; n < 8; n++)
		if (at[n] != wanted[n])
			return false;
	return true;
}

/* Usable memory above 1 MiB, in KiB. */
static uint32_t memory_kib(const struct start_info *info)
{
	const struct memory *map = (const void *)(uintptr_t)info->memory_map;
	uint32_t kib = 0;

	for (uint32_t n = 0; n < info->memory_entries; n++)
		if (map[n].kind == USABLE && map[n].start >= 0x100000)
			kib += (uint32_t)(map[n].size >> 10);
	return kib;
}

/* Prints the modules: texts that end with a line. */
static void put_modules(const struct start_info *info)
{
	const struct module *list = (const void *)(uintptr_t)info->module_list;

	for (uint32_t n = 0; n < info->modules; n++) {
		const char *text = (const void *)(uintptr_t)list[n].start;

		put_hex("cell: module at page offset ", (uint32_t)list[n].start & 0xfff);
		put(": ");
		for (uint32_t at = 0; at < list[n].size; at++) {
			const char one[] = {text[at], 0};

			put(one);
		}
	}
}

__attribute__((used, noreturn)) void tell(const struct start_info *info)
{
	uint32_t cr0, cr4, efer, high;
	uint16_t task;
	bool good;

	__asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
	__asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
	__asm__ volatile("rdmsr" : "=a"(efer), "=d"(high) : "c"(0xc0000080));
	__asm__ volatile("str %0" : "=r"(task));
	put_hex("cell: cr0=", cr0);
	put_hex(" cr4=", cr4);
	put_hex(" efer=", efer);
	put_hex(" task=", task);
	put_hex("\r\ncell: magic=", info->magic);
	put_hex(" version=", info->version);
	put_hex(" memory-kib=", memory_kib(info));
	put("\r\ncell: line ");
	put((const char *)(uintptr_t)info->command_line);
	put("\r\n");
	put_modules(info);
	good = info->magic == MAGIC && is_rsdp((const char *)(uintptr_t)info->rsdp) &&
	       !(cr0 & 0x80000000) && (cr0 & 1) && !(efer & 0x400);
	put(good ? "cell: done status=0\r\n" : "cell: done status=1\r\n");
	for (;;)
		outb(POWER, POWER_OFF);
}
