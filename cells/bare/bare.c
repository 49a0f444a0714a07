/* See bare.h. */
#include "bare.h"
#include <stdarg.h>

#define UART 0x3f8
#define LSR (UART + 5)
#define HAS_DATA 1
#define TRAMPOLINE 0x10000UL
#define LEVEL_3 0xa000UL
#define LEVEL_2 0xb000UL
#define ICR 0x830
#define EOI 0x80b
#define SVR 0x80f
#define IN_SERVICE 0x810
#define LVT_TIMER 0x832
#define TIMER_COUNT 0x838
#define TIMER_DIVIDE 0x83e
#define GS_BASE 0xc0000101

struct tss {
	uint32_t reserved;
	uint64_t rsp[3];
	uint64_t reserved_2;
	uint64_t ist[7];
	uint8_t rest[12];
} __attribute__((packed));

struct gate {
	uint64_t low, high;
};

extern uint8_t stubs[], trampoline[], trampoline_end[], real_mode_test[], real_mode_result[];
extern uint64_t gdt_tss[];

struct cpu cpus[CPUS];
bool (*on_trap)(struct frame *frame);

static uint8_t stacks[CPUS][16384] __attribute__((aligned(16)));
static uint8_t own_stacks[CPUS][4096] __attribute__((aligned(16)));
uint64_t stack_tops[CPUS] = {
	(uint64_t)(stacks + 1),
	(uint64_t)(stacks + 2),
	(uint64_t)(stacks + 3),
	(uint64_t)(stacks + 4),
};
static struct tss tss[CPUS] __attribute__((aligned(16)));
static struct gate idt[256] __attribute__((aligned(16)));
static uint64_t top_table[512] __attribute__((aligned(4096)));
static uint64_t high_table[512] __attribute__((aligned(4096)));
static volatile bool other_is_up;

void *memset(void *at, int value, size_t size)
{
	void *start = at;

	__asm__ volatile("rep stosb" : "+D"(at), "+c"(size) : "a"(value) : "memory");
	return start;
}

void *memcpy(void *to, const void *from, size_t size)
{
	void *start = to;

	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
	return start;
}

static void put_char(char c)
{
	outb(UART, (uint8_t)c);
}

static void put_number(uint64_t value, unsigned int base)
{
	char digits[20];
	unsigned int count = 0;

	do {
		digits[count++] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value);
	while (count)
		put_char(digits[--count]);
}

/* %s, %u, %x, and %lu and %lx for 64 bits are all there is. */
void put(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	for (; *format; format++) {
		bool wide = false;

		if (*format != '%') {
			put_char(*format);
			continue;
		}
		for (format++; *format == 'l'; format++)
			wide = true;
		switch (*format) {
		case 's':
			for (const char *text = va_arg(arguments, const char *); *text; text++)
				put_char(*text);
			break;
		case 'u':
		case 'x':
			put_number(wide ? va_arg(arguments, unsigned long)
					: va_arg(arguments, unsigned int),
				   *format == 'u' ? 10 : 16);
			break;
		}
	}
	va_end(arguments);
}

bool get_line(char *line, size_t size)
{
	size_t length = 0;

	for (;;) {
		char c;

		while (!(inb(LSR) & HAS_DATA)) {
			this_cpu()->beats++;
			sleep_ms(5);
		}
		c = (char)inb(UART);
		if (c == '\n' || c == '\r')
			break;
		if (length + 1 < size)
			line[length++] = c;
	}
	line[length] = 0;
	return length != 0;
}

/* True if the vector, one of the first 32, came from the APIC. */
static bool in_service(uint64_t vector)
{
	uint32_t low, high;

	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(IN_SERVICE));
	return low >> vector & 1;
}

void trap(struct frame *frame)
{
	struct cpu *cpu = this_cpu();

	cpu->interrupts[frame->vector]++;
	if (frame->vector >= 32 || in_service(frame->vector)) {
		__asm__ volatile("wrmsr" : : "c"(EOI), "a"(0), "d"(0));
		return;
	}
	if (cpu->fixup) {
		cpu->vector = frame->vector;
		frame->rip = cpu->fixup;
		return;
	}
	if (on_trap && on_trap(frame))
		return;
	if (frame->vector == 2)
		return;
	put("cell: exception %lu error=%lx rip=%lx cs=%lx\n", frame->vector, frame->error,
	    frame->rip, frame->cs);
	for (;;)
		__asm__ volatile("cli; hlt");
}

void set_gate(unsigned int vector, void *target, bool own)
{
	uint64_t at = (uint64_t)target;

	idt[vector].low = (at & 0xffff) | 0x10 << 16 | (uint64_t)own << 32 | 0xeeULL << 40 |
			  (at >> 16 & 0xffff) << 48;
	idt[vector].high = at >> 32;
}

uint64_t own_stack(void)
{
	return (uint64_t)(own_stacks + this_cpu()->id + 1);
}

static void own_tables(unsigned int id)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) pointer = { sizeof(idt) - 1, (uint64_t)idt };
	uint64_t base = (uint64_t)&tss[id], gs = (uint64_t)&cpus[id];
	uint64_t *descriptor = gdt_tss + 2 * id;

	cpus[id].id = id;
	tss[id].rsp[0] = (uint64_t)(stacks[id] + sizeof(stacks[id]) / 2);
	tss[id].ist[0] = (uint64_t)(own_stacks + id + 1);
	descriptor[0] = (sizeof(struct tss) - 1) | (base & 0xffffff) << 16 | 0x89ULL << 40 |
			(base >> 24 & 0xff) << 56;
	descriptor[1] = base >> 32;
	__asm__ volatile("lidt %0" : : "m"(pointer));
	__asm__ volatile("ltr %w0" : : "r"(0x40 + 16 * id));
	__asm__ volatile("wrmsr" : : "c"(GS_BASE), "a"((uint32_t)gs), "d"((uint32_t)(gs >> 32)));
	__asm__ volatile("wrmsr" : : "c"(SVR), "a"(0x1ff), "d"(0));
	__asm__ volatile("mov %%cr4, %%rax; or $0x600, %%rax; mov %%rax, %%cr4" : : : "rax");
}

void boot(uint64_t params)
{
	const uint32_t *cmdline = (const uint32_t *)(params + 0x228);

	for (unsigned int vector = 0; vector < 256; vector++)
		set_gate(vector, stubs + 32 * vector, false);
	own_tables(0);
	payload((const char *)(uint64_t)*cmdline);
}

void ap_main(unsigned int id)
{
	own_tables(id % CPUS);
	other_is_up = true;
	for (;;) {
		struct cpu *cpu = this_cpu();

		if (cpu->work) {
			cpu->work();
			cpu->work = NULL;
		}
		cpu->beats++;
		sleep_ms(5);
	}
}

static void command(uint64_t value)
{
	__asm__ volatile("wrmsr" : : "c"(ICR), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)));
}

bool start_other(bool real_mode)
{
	other_is_up = false;
	memcpy((void *)TRAMPOLINE, trampoline, (size_t)(trampoline_end - trampoline));
	*(uint32_t *)(TRAMPOLINE + (uint64_t)(real_mode_test - trampoline)) = real_mode;
	cpus[1].work = NULL;
	command(1ULL << 32 | 0x4500);
	wait_ms(20);
	command(1ULL << 32 | 0x4600 | TRAMPOLINE >> 12);
	for (unsigned int ms = 0; ms < 3000 && !other_is_up; ms++)
		wait_ms(1);
	return other_is_up;
}

uint32_t real_mode_outcome(void)
{
	return *(volatile uint32_t *)(TRAMPOLINE + (uint64_t)(real_mode_result - trampoline));
}

bool on_other(void (*work)(void))
{
	if (!other_is_up && !start_other(false))
		return false;
	cpus[1].work = work;
	return true;
}

void open_to_ring_3(void)
{
	uint64_t *tables = (uint64_t *)0x9000;

	for (unsigned int entry = 0; entry < 6 * 512; entry++)
		if (tables[entry] & 1)
			tables[entry] |= 4;
	__asm__ volatile("mov %%cr3, %%rax; mov %%rax, %%cr3" : : : "rax", "memory");
}

void map_top(uint64_t physical)
{
	uint64_t *level_2 = (uint64_t *)LEVEL_2;

	for (unsigned int page = 0; page < 512; page++)
		top_table[page] = (0xffe00000ULL + page * 4096) | 7;
	top_table[511] = physical | 7;
	level_2[2047] = (uint64_t)top_table | 7;
	__asm__ volatile("mov %%cr3, %%rax; mov %%rax, %%cr3" : : : "rax", "memory");
}

void map_high(uint64_t at)
{
	uint64_t *level_3 = (uint64_t *)LEVEL_3;
	uint64_t start = at & ~0x3fffffffUL;

	for (unsigned int page = 0; page < 512; page++)
		high_table[page] = (start + page * 0x200000UL) | 0x83;
	level_3[at >> 30 & 511] = (uint64_t)high_table | 3;
	__asm__ volatile("mov %%cr3, %%rax; mov %%rax, %%cr3" : : : "rax", "memory");
}

/* The frequency is not asked for: a TSC of 1 to 4 GHz is near enough. */
void wait_ms(unsigned int ms)
{
	uint64_t end = tsc() + ms * 2000000ULL;

	while (tsc() < end)
		__asm__ volatile("pause");
}

/* An emulated APIC's timer counts nanoseconds; others are not much slower. */
void sleep_ms(unsigned int ms)
{
	write_msr(LVT_TIMER, WAKE);
	write_msr(TIMER_DIVIDE, 0xb);
	write_msr(TIMER_COUNT, ms * 1000000ULL);
	__asm__ volatile("sti; hlt; cli");
}

uint64_t random_number(void)
{
	static uint64_t state = 0x9e3779b97f4a7c15ULL;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

bool equal(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

uint64_t number(const char *text)
{
	uint64_t value = 0;
	unsigned int base = 10;

	if (text[0] == '0' && text[1] == 'x') {
		base = 16;
		text += 2;
	}
	for (; *text; text++) {
		unsigned int digit = *text >= 'a' ? (unsigned int)(*text - 'a' + 10)
						  : (unsigned int)(*text - '0');

		if (digit >= base)
			break;
		value = value * base + digit;
	}
	return value;
}
