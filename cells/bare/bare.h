/*
 * What payloads without a kernel are made of: console, exceptions that can be
 * expected, MSRs, interrupt commands, a second CPU.
 */
#ifndef BARE_H
#define BARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CPUS 4

/* As start.S pushes it. */
struct frame {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
	uint64_t vector, error, rip, cs, rflags, rsp, ss;
};

/* What a CPU keeps at its GS base. */
struct cpu {
	uint64_t fixup; /* where an expected exception goes on; 0: none is expected */
	uint64_t vector; /* the exception that came, or NONE */
	uint64_t id;
	volatile uint64_t interrupts[256];
	void (*volatile work)(void); /* what an idle CPU does next */
	volatile uint64_t beats;
};

#define NONE (~0ULL)

extern struct cpu cpus[CPUS];

/* Called for exceptions that nobody expected; true if the frame was mended. */
extern bool (*on_trap)(struct frame *frame);

/* The payload's own part, on the first CPU. */
void payload(const char *cmdline);

/* Console. */
void put(const char *format, ...) __attribute__((format(printf, 1, 2)));
bool get_line(char *line, size_t size);

/* Starts CPU 1, which runs what `on_other` is given; `real_mode` lets it make a
 * #GP in real mode before. False if it does not come. */
bool start_other(bool real_mode);
bool on_other(void (*work)(void));

/* Bytes that the real-mode #GP pushed, shifted by 8, and 2; 1: there was none. */
uint32_t real_mode_outcome(void);

/* Lets accesses of ring 3 reach all memory. */
void open_to_ring_3(void);
/* Maps the last page below 4 GiB to the page at `physical`. */
void map_top(uint64_t physical);
/* Maps the GiB around `at`, which is above 4 GiB, to itself. */
void map_high(uint64_t at);
/* Puts `target` behind `vector`, on an interrupt stack of its own if `own`. */
void set_gate(unsigned int vector, void *target, bool own);

/* Top of this CPU's interrupt stack. */
uint64_t own_stack(void);

static inline struct cpu *this_cpu(void)
{
	uint64_t id;

	__asm__ volatile("mov %%gs:16, %0" : "=r"(id));
	return &cpus[id];
}

/* Runs an instruction that may fault; the vector, or NONE. */
#define TRY(instruction, outputs, ...)                                                     \
	({                                                                                 \
		uint64_t vector_;                                                          \
		__asm__ volatile("lea 9f(%%rip), %%r11\n\t"                                \
				 "movq $-1, %%gs:8\n\t"                                    \
				 "mov %%r11, %%gs:0\n\t" instruction                       \
				 "\n9:\tmovq $0, %%gs:0\n\t"                               \
				 "mov %%gs:8, %0"                                          \
				 : "=&r"(vector_) outputs                                  \
				 : __VA_ARGS__                                             \
				 : "r11", "memory", "cc");                                 \
		vector_;                                                                   \
	})
#define OUT(...) , __VA_ARGS__

static inline bool read_msr(uint32_t index, uint64_t *value)
{
	uint32_t low = 0, high = 0;
	uint64_t vector = TRY("rdmsr", OUT("+a"(low), "+d"(high)), "c"(index));

	*value = (uint64_t)high << 32 | low;
	return vector == NONE;
}

static inline bool write_msr(uint32_t index, uint64_t value)
{
	return TRY("wrmsr", , "c"(index), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))) ==
	       NONE;
}

static inline void outb(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint8_t inb(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline uint64_t tsc(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return (uint64_t)high << 32 | low;
}

/* Waits about so many milliseconds, interrupts as they are. */
void wait_ms(unsigned int ms);

/* Sleeps so long, or until an interrupt comes; interrupts are off afterwards. */
void sleep_ms(unsigned int ms);
/* The vector that ends the sleep. */
#define WAKE 0xef

/* Numbers that look random, the same in each run. */
uint64_t random_number(void);

bool equal(const char *a, const char *b);
uint64_t number(const char *text);

#endif
