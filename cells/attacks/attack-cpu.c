/*
 * A payload without a kernel that obeys lines of its console: each tries by the
 * CPU alone what would harm others. It says what it did; whether others noticed
 * is theirs to say.
 */
#include "../bare/bare.h"

#define SELF_IPI 0x83f
#define ICR 0x830
#define TPR 0x808

#define TOP_CODE 0xfffffffeUL
#define RFLAGS_TF 0x100

static unsigned int debug_exceptions;
static uint64_t top_page[512] __attribute__((aligned(4096)));

static void halt_deaf(void)
{
	for (;;)
		__asm__ volatile("cli; hlt");
}

/* Vectors 16 to 31 wait in the APIC when the CPU goes to its next owner. */
static void raise_low_vectors(void)
{
	__asm__ volatile("cli");
	for (uint64_t vector = 16; vector < 32; vector++)
		write_msr(SELF_IPI, vector);
	for (uint64_t vector = 0xe0; vector < 0xf0; vector++)
		write_msr(SELF_IPI, vector);
	while (this_cpu()->id)
		__asm__ volatile("cli; hlt");
}

static void pending_low(void)
{
	bool other = on_other(raise_low_vectors);

	raise_low_vectors();
	wait_ms(20);
	put("cell: vectors 16 to 31 wait on %u CPUs\ncell: done status=0\n", other ? 2 : 1);
	halt_deaf();
}

/* CPUID in the last two bytes below 4 GiB, of 32-bit code of `ring`: the next
 * instruction is at 0. */
static void rip_wrap(bool user)
{
	volatile uint8_t *code = (uint8_t *)top_page, *after;
	uint64_t back;

	/* The compiler takes address 0 for nobody's. */
	__asm__("" : "=r"(after) : "0"(0UL));
	map_top((uint64_t)top_page);
	open_to_ring_3();
	code[4094] = 0x0f;
	code[4095] = 0xa2;
	/* A far jump to 64-bit code; from ring 3 by a software interrupt. */
	__asm__ volatile("lea wrapped(%%rip), %0" : "=r"(back));
	if (user) {
		after[0] = 0xcd;
		after[1] = 0xf0;
		set_gate(0xf0, (void *)back, false);
	} else {
		after[0] = 0xea;
		*(volatile uint32_t *)(after + 1) = (uint32_t)back;
		*(volatile uint16_t *)(after + 5) = 0x10;
	}
	__asm__ volatile("mov %%rsp, %%r12\n\t"
			 "push %2\n\t"
			 "push %%r12\n\t"
			 "push $2\n\t"
			 "push %1\n\t"
			 "push %0\n\t"
			 "iretq\n"
			 "wrapped:\n\t"
			 "mov %%r12, %%rsp\n\t"
			 "mov $0x18, %%eax\n\t"
			 "mov %%eax, %%ss\n\t"
			 :
			 : "r"(TOP_CODE), "r"(user ? 0x3bUL : 0x20UL), "r"(user ? 0x2bUL : 0x18UL)
			 : "rax", "rbx", "rcx", "rdx", "r12", "memory");
	put("cell: CPUID at the end of 4 GiB, ring %u\n", user ? 3 : 0);
}

static bool count_debug(struct frame *frame)
{
	if (frame->vector != 1)
		return false;
	debug_exceptions++;
	frame->rflags &= ~(uint64_t)RFLAGS_TF;
	return true;
}

/* A single step, held back by MOV SS, meets INT1. */
static void mov_ss_int1(void)
{
	debug_exceptions = 0;
	on_trap = count_debug;
	__asm__ volatile("mov %%ss, %%eax\n\t"
			 "pushfq\n\t"
			 "orq $0x100, (%%rsp)\n\t"
			 "popfq\n\t"
			 "mov %%eax, %%ss\n\t"
			 ".byte 0xf1\n\t"
			 "nop"
			 :
			 :
			 : "rax", "memory", "cc");
	on_trap = NULL;
	put("cell: INT1 after MOV SS with TF: %u debug exceptions\n", debug_exceptions);
}

/* The same with instructions that exit, or that are answered with an exception. */
static void mov_ss_exits(void)
{
	uint32_t low, high;

	debug_exceptions = 0;
	on_trap = count_debug;
	__asm__ volatile("mov %%ss, %%r8d\n\t"
			 "pushfq\n\torq $0x100, (%%rsp)\n\tpopfq\n\t"
			 "mov %%r8d, %%ss\n\t"
			 "cpuid\n\tnop"
			 :
			 :
			 : "rax", "rbx", "rcx", "rdx", "r8", "memory", "cc");
	TRY("mov %%ss, %%r11d\n\t"
	    "pushfq\n\torq $0x100, (%%rsp)\n\tpopfq\n\t"
	    "mov %%r11d, %%ss\n\t"
	    "rdmsr",
	    OUT("=a"(low), "=d"(high)), "c"(0x480));
	on_trap = NULL;
	__asm__ volatile("pushfq\n\tandq $~0x100, (%%rsp)\n\tpopfq" : : : "memory", "cc");
	put("cell: exits after MOV SS with TF: %u debug exceptions\n", debug_exceptions);
}

/* An instruction that is refused in real mode. */
static void real_mode_gp(void)
{
	bool up = start_other(true);
	uint32_t outcome = real_mode_outcome();

	put("cell: real mode: up=%u #GP=%u pushed=%u\n", up, outcome & 0xff ? 1 : 0, outcome >> 8);
}

/* Every MSR of the ranges that there are, read, and written with what was read,
 * 0, ones, and a random number. What the CPU needs for itself is left out. */
static void msr_sweep(void)
{
	static const uint32_t ranges[][2] = {
		{ 0, 0x2000 },		    { 0x40000000, 0x40000200 }, { 0x4b564d00, 0x4b564d10 },
		{ 0xc0000000, 0xc0000500 }, { 0xc0002000, 0xc0002400 }, { 0xc0010000, 0xc0011400 },
	};
	unsigned int reads = 0, writes = 0, tried = 0;

	for (unsigned int range = 0; range < sizeof(ranges) / sizeof(ranges[0]); range++) {
		for (uint32_t msr = ranges[range][0]; msr < ranges[range][1]; msr++) {
			uint64_t old;
			bool readable = read_msr(msr, &old);

			tried++;
			reads += readable;
			/* GS, FS, APIC registers, KVM's clock, EFER, SYSCALL targets. */
			if ((msr >= 0x800 && msr < 0x840) || (msr >= 0xc0000100 && msr <= 0xc0000102) ||
			    msr == 0xc0000080 || msr == 0x6e0)
				continue;
			writes += write_msr(msr, 0);
			writes += write_msr(msr, ~0ULL);
			writes += write_msr(msr, random_number());
			if (readable)
				write_msr(msr, old);
		}
	}
	put("cell: %u MSRs: %u can be read, %u writes went through\n", tried, reads, writes);
}

/* All ports that are not this cell's own, in three sizes and by strings. */
static void port_sweep(void)
{
	static uint8_t bytes[4];
	unsigned int seen = 0, refused = 0;

	for (uint32_t port = 0; port < 0x10000; port++) {
		uint32_t value = 0;

		/* Console, power and reset, configuration address. */
		if ((port >= 0x3f8 && port < 0x400) || (port >= 0x600 && port < 0x610) || port == 0x64)
			continue;
		__asm__ volatile("inb %w1, %b0" : "=a"(value) : "d"(port));
		/* Of an NMI, that nothing was its reason. */
		seen += (value & 0xff) != (port == 0x61 ? 0x3f : 0xff);
		__asm__ volatile("outb %b0, %w1" : : "a"(0), "d"(port));
		if (port % 16)
			continue;
		__asm__ volatile("inw %w1, %w0" : "=a"(value) : "d"(port));
		__asm__ volatile("outw %w0, %w1" : : "a"(0x2000), "d"(port));
		__asm__ volatile("inl %w1, %0" : "=a"(value) : "d"(port));
		__asm__ volatile("outl %0, %w1" : : "a"(~0), "d"(port));
		refused += TRY("rep insb", , "d"(port), "D"(bytes), "c"(4UL)) == 13;
		refused += TRY("rep outsb", , "d"(port), "S"(bytes), "c"(4UL)) == 13;
	}
	put("cell: all ports: %u gave something, %u strings refused\n", seen, refused);
}

/* Start-up vectors of the sweep: pages below 1 MiB that nobody here uses. */
#define START_UP_STEP 17

/* This cell's other CPU is started by the sweep as well. What it ran there without
 * this would be whatever lies in memory, page tables among it, until it has written
 * over them or shut down, and with it the cell. */
static void park_start_ups(void)
{
	static const uint8_t cli_hlt_jmp[] = { 0xfa, 0xf4, 0xeb, 0xfc };

	for (uint64_t vector = 0; vector < 40; vector += START_UP_STEP) {
		volatile uint8_t *page;

		/* The compiler takes address 0 for nobody's. */
		__asm__("" : "=r"(page) : "0"(vector << 12));
		for (unsigned int byte = 0; byte < sizeof(cli_hlt_jmp); byte++)
			page[byte] = cli_hlt_jmp[byte];
	}
}

/* Interrupt commands of every delivery mode, level and destination, vectors 0 to
 * 31 and some above. Destinations are physical ids 0 to 7, all, and clusters. */
static void ipi_sweep(void)
{
	static const uint64_t destinations[] = { 0, 1, 2, 3, 4, 5, 6, 7, 0xff, 0xffffffff, 0x1000f };
	unsigned int sent = 0, refused = 0;

	park_start_ups();
	__asm__ volatile("cli");
	for (uint64_t mode = 0; mode < 8; mode++) {
		for (uint64_t form = 0; form < 16; form++) {
			for (unsigned int to = 0; to < 11; to++) {
				uint64_t low = mode << 8 | (form & 3) << 18 | (form & 4) << 9 |
					       (form & 8) << 11;

				/* INIT and start-up to oneself would end this. */
				if ((mode == 5 || mode == 6) &&
				    ((form & 3) == 1 || (form & 3) == 2 || (form & 4) ||
				     destinations[to] == 0 || destinations[to] >= 0xff))
					continue;
				for (uint64_t vector = 0; vector < 40; vector += mode == 0 ? 1 : START_UP_STEP) {
					if (write_msr(ICR, destinations[to] << 32 | low | vector))
						sent++;
					else
						refused++;
				}
			}
		}
	}
	__asm__ volatile("sti; nop; nop; cli");
	put("cell: %u interrupt commands, %u refused\n", sent, refused);
}

/* Hypercalls with random numbers, the monitor's own among them, and pointers. What
 * is not for cells is answered as a KVM answers what it does not know. */
#define CALLS 0x43560000
#define UNKNOWN_CALL (-1000UL)

static void hypercalls(void)
{
	unsigned int faults = 0, answers = 0;

	for (unsigned int count = 0; count < 2000; count++) {
		uint64_t a = count < 64 ? count : random_number(), b = random_number();
		uint64_t c = random_number() % 65536, d = random_number() % 65536;
		uint64_t vector;

		if (count % 3 == 0)
			a = CALLS + count % 32;
		vector = TRY("vmcall", OUT("+a"(a)), "D"(b), "S"(c), "d"(d));
		if (vector != NONE)
			vector = TRY("vmmcall", OUT("+a"(a)), "D"(b), "S"(c), "d"(d));
		faults += vector != NONE;
		answers += a != UNKNOWN_CALL;
	}
	put("cell: 2000 hypercalls, %u faulted, %u answered\n", faults, answers);
}

/* An instruction on memory. QEMU takes some of these for RDRAND where there is no VT-x,
 * which changes the register. */
#define TRY_AT(instruction, memory)                                                        \
	({                                                                                 \
		uint64_t at_ = (uint64_t)(memory);                                         \
		TRY(instruction " (%%rcx)", OUT("+c"(at_)), "a"(0));                       \
	})

/* Instructions of virtualization, trusted execution, enclaves, SMM. */
static void instructions(void)
{
	static uint64_t memory[512] __attribute__((aligned(4096)));
	unsigned int faults = 0;

	faults += TRY("vmxoff", , "a"(0)) != NONE;
	faults += TRY_AT("vmxon", memory) != NONE;
	faults += TRY_AT("vmptrld", memory) != NONE;
	faults += TRY_AT("vmclear", memory) != NONE;
	faults += TRY("vmlaunch", , "a"(0)) != NONE;
	faults += TRY("vmread %%rax, %%rcx", , "a"(0), "c"(0)) != NONE;
	faults += TRY("invept (%%rcx), %%rax", , "a"(2UL), "c"(memory)) != NONE;
	faults += TRY("invvpid (%%rcx), %%rax", , "a"(2UL), "c"(memory)) != NONE;
	faults += TRY("vmrun %%rax", , "a"(memory)) != NONE;
	faults += TRY("vmload %%rax", , "a"(memory)) != NONE;
	faults += TRY("vmsave %%rax", , "a"(memory)) != NONE;
	faults += TRY("stgi", , "a"(0)) != NONE;
	faults += TRY("clgi", , "a"(0)) != NONE;
	faults += TRY("skinit", , "a"(0)) != NONE;
	faults += TRY("invlpga %%rax, %%ecx", , "a"(memory), "c"(0)) != NONE;
	faults += TRY(".byte 0x0f, 0x37", , "a"(0), "b"(0)) != NONE; /* GETSEC */
	faults += TRY(".byte 0x0f, 0x01, 0xcf", , "a"(0), "b"(memory)) != NONE; /* ENCLS */
	faults += TRY(".byte 0x0f, 0x01, 0xc5", , "a"(0)) != NONE; /* PCONFIG */
	faults += TRY("rsm", , "a"(0)) != NONE;
	faults += TRY(".byte 0x0f, 0x01, 0xfe", , "a"(memory), "c"(0), "d"(0)) != NONE; /* INVLPGB */
	put("cell: 20 instructions that are not for cells, %u faulted\n", faults);
}

/* Instructions that exit, of two and of three bytes, at one address: there is now this
 * one, now that, now another page with another one. Each is followed by code that says
 * which turn it is, and the last alone reads the I/O APIC's index into R8. */
static void moved_code(void)
{
	enum { INDEX = 0x12, READS_R8 = 3 };
	static const uint8_t heads[4][3] = {
		{ 0x0f, 0xa2 }, /* CPUID */
		{ 0x48, 0x0f, 0xa2 }, /* the same with a prefix */
		{ 0x8b, 0x01 }, /* MOV EAX, [RCX] */
		{ 0x44, 0x8b, 0x01 }, /* MOV R8D, [RCX] */
	};
	static uint8_t other_page[4096] __attribute__((aligned(4096)));
	uint8_t *pages[2] = { (uint8_t *)top_page, other_page };
	unsigned int turns = 1000, wrong = 0;

	*(volatile uint32_t *)0xfec00000UL = INDEX;
	for (uint32_t turn = 0; turn < turns; turn++) {
		unsigned int kind = turn * 7 / 4 & 3;
		const uint8_t *head = heads[kind];
		volatile uint8_t *code = pages[turn / 3 & 1];
		uint64_t at = 0xfffff000UL, said, io_apic = 0xfec00000UL;

		for (unsigned int byte = 0; byte < (head[2] ? 3 : 2); byte++)
			*code++ = head[byte];
		*code++ = 0xb8; /* MOV EAX, turn; RET */
		for (unsigned int byte = 0; byte < 4; byte++)
			*code++ = turn >> 8 * byte;
		*code = 0xc3;
		map_top((uint64_t)pages[turn / 3 & 1]);
		/* Calls may change it: not before here. */
		register uint64_t r8 __asm__("r8") = ~0UL;
		__asm__ volatile("call *%2"
				 : "=a"(said), "+c"(io_apic), "+r"(at), "+r"(r8)
				 :
				 : "rbx", "rdx", "memory");
		wrong += said != turn || r8 != (kind == READS_R8 ? INDEX : ~0UL);
	}
	put("cell: code that moves: %u turns, %u wrong\n", turns, wrong);
}

/* Control registers with what must not be. */
static void registers(void)
{
	unsigned int faults = 0;

	for (unsigned int bit = 0; bit < 64; bit++) {
		uint64_t old, value;

		__asm__ volatile("mov %%cr0, %0" : "=r"(old));
		value = old ^ 1UL << bit;
		/* PE, PG and the FPU's bits are this program's own. */
		if (bit != 0 && bit != 31 && bit != 3 && bit != 2) {
			faults += TRY("mov %%rax, %%cr0", , "a"(value)) != NONE;
			TRY("mov %%rax, %%cr0", , "a"(old));
		}
		__asm__ volatile("mov %%cr4, %0" : "=r"(old));
		value = old ^ 1UL << bit;
		if (bit != 5 && bit != 12) {
			faults += TRY("mov %%rax, %%cr4", , "a"(value)) != NONE;
			TRY("mov %%rax, %%cr4", , "a"(old));
		}
		faults += TRY("xsetbv", , "a"((uint32_t)(1UL << bit)),
			      "d"((uint32_t)(1UL << bit >> 32)), "c"(0)) != NONE;
		/* Long mode is this program's own, too. */
		if (bit != 8 && bit != 10 && read_msr(0xc0000080, &old)) {
			faults += !write_msr(0xc0000080, old ^ 1UL << bit);
			write_msr(0xc0000080, old);
		}
	}
	faults += TRY("mov %%rax, %%cr8", , "a"(16UL)) != NONE;
	faults += TRY("mov %%rax, %%dr7", , "a"(1UL << 32)) != NONE;
	put("cell: control registers: %u values refused\n", faults);
}

static void monitor_deaf(void)
{
	static uint64_t line;

	for (;;) {
		__asm__ volatile("cli");
		if (TRY("monitor", , "a"(&line), "c"(0), "d"(0)) != NONE)
			halt_deaf();
		TRY("mwait", , "a"(0), "c"(0));
	}
}

static void caches(void)
{
	for (;;)
		__asm__ volatile("wbinvd" : : : "memory");
}

/* LOCK over the border of two cache lines. */
static void split_locks(void)
{
	static uint8_t lines[128] __attribute__((aligned(64)));

	for (;;)
		__asm__ volatile("lock incl %0" : "+m"(*(uint32_t *)(lines + 62)));
}

/* A breakpoint on the stack on which #DB is delivered, by an interrupt stack that
 * begins anew each time (CVE-2015-8104). */
static void debug_loop(void)
{
	extern uint8_t stubs[];
	uint64_t stack;

	set_gate(1, stubs + 32, true);
	on_trap = NULL;
	for (unsigned int slot = 0; slot < 4; slot++) {
		stack = own_stack() - 8 * (slot + 1);
		if (slot == 0)
			__asm__ volatile("mov %0, %%dr0" : : "r"(stack));
		if (slot == 1)
			__asm__ volatile("mov %0, %%dr1" : : "r"(stack));
		if (slot == 2)
			__asm__ volatile("mov %0, %%dr2" : : "r"(stack));
		if (slot == 3)
			__asm__ volatile("mov %0, %%dr3" : : "r"(stack));
	}
	__asm__ volatile("mov %0, %%dr7" : : "r"(0x9999079fUL));
	/* A single step is one on all CPUs; AMD-V tells INT1 from it. */
	__asm__ volatile("pushfq\n\torq $0x100, (%%rsp)\n\tpopfq\n\tnop" : : : "memory", "cc");
	for (;;)
		;
}

static bool misalign(struct frame *frame)
{
	return frame->vector == 17;
}

/* #AC without end: its handler goes back to the access (CVE-2015-5307). */
static void alignment_loop(void)
{
	open_to_ring_3();
	on_trap = misalign;
	__asm__ volatile("mov %%cr0, %%rax\n\t"
			 "or $0x40000, %%rax\n\t"
			 "mov %%rax, %%cr0\n\t"
			 "lea 1f(%%rip), %%rax\n\t"
			 "mov %%rsp, %%rcx\n\t"
			 "push $0x2b\n\t"
			 "push %%rcx\n\t"
			 "push $0x40002\n\t"
			 "push $0x33\n\t"
			 "push %%rax\n\t"
			 "iretq\n"
			 "1: mov -63(%%rsp), %%rax\n\t"
			 "jmp 1b"
			 :
			 :
			 : "rax", "rcx", "memory");
}

/* Lets the second CPU do what does not end by itself. */
static void other_does(const char *what, void (*work)(void))
{
	bool up = on_other(work);

	wait_ms(50);
	put("cell: CPU 1 does %s: %s\n", what, up ? "yes" : "it is not there");
}

/* No way out of an exception. */
static void triple_fault(void)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) none = { 0, 0 };

	__asm__ volatile("lidt %0; int3" : : "m"(none));
}

/* Accesses outside: these end the cell. */
static void memory(const char *how, uint64_t at)
{
	put("cell: %s of %lx\n", how, at);
	if (at >= 1UL << 32)
		map_high(at);
	if (equal(how, "read"))
		(void)*(volatile uint64_t *)at;
	if (equal(how, "write"))
		*(volatile uint64_t *)at = 0x6261646261646261;
	if (equal(how, "straddle"))
		*(volatile uint64_t *)(at - 4) = 0x6261646261646261;
	if (equal(how, "fetch"))
		((void (*)(void))at)();
	if (equal(how, "walk"))
		__asm__ volatile("mov %0, %%cr3" : : "r"(at) : "memory");
	put("cell: %s of %lx came back\n", how, at);
}

/* Leaves a pattern wherever a CPU keeps something. */
#define PATTERN 0x5ec2e75ec2e75ec2ULL
static const uint32_t kept[] = { 0x174,	     0x175,	 0x176,	     0x277,	 0x6a0,
				 0x6a2,	     0x6a4,	 0x6a5,	     0x6a6,	 0x6a7,
				 0x6e1,	     0xe1,	 0x48,	     0x122,	 0x123,
				 0x1c4,	     0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084,
				 0xc0000102, 0xc0000103, 0x80f,	     0x832,	 0x834,
				 0x835,	     0x836,	 0x837,	     0x838,	 0x83e,
				 0x82f };
#define KEPT (sizeof(kept) / sizeof(kept[0]))

/* PAT takes memory types only; an emulator that takes anything else enters no guest
 * with it. */
static uint64_t pattern_of(uint32_t msr)
{
	return msr == 0x277 ? 0x0001040600010406 : PATTERN & 0x7fffffffffff;
}

static void leave_pattern(void)
{
	unsigned int written = 0;

	for (unsigned int i = 0; i < KEPT; i++) {
		bool done = write_msr(kept[i], pattern_of(kept[i])) ||
			    write_msr(kept[i], PATTERN & 0xff) || write_msr(kept[i], 1);

		written += done;
	}
	__asm__ volatile("mov %0, %%dr0; mov %0, %%dr1; mov %0, %%dr2; mov %0, %%dr3"
			 :
			 : "r"(PATTERN & 0xffffffff));
	__asm__ volatile("movq %0, %%xmm0; movq %0, %%xmm15; mov %0, %%cr2" : : "r"(PATTERN));
	for (uint64_t *at = (uint64_t *)0x400000; at < (uint64_t *)0x800000; at += 8)
		*at = PATTERN;
	put("cell: pattern left in %u MSRs and 4 MiB\n", written);
}

/* Says what of it a fresh CPU shows. */
static void find_pattern(void)
{
	unsigned int found = 0;
	uint64_t value;

	for (unsigned int i = 0; i < KEPT; i++) {
		if (!read_msr(kept[i], &value))
			continue;
		/* SVR, PAT and LVT have other resting values than 0. */
		if (value == pattern_of(kept[i]) || value == (PATTERN & 0xff)) {
			put("cell: residue in MSR %x: %lx\n", kept[i], value);
			found++;
		}
	}
#define LOOK(read, name)                                                                   \
	do {                                                                               \
		__asm__ volatile(read : "=r"(value));                                      \
		if (value && (value & 0xffffffff) == (PATTERN & 0xffffffff)) {             \
			put("cell: residue in %s\n", name);                                \
			found++;                                                           \
		}                                                                          \
	} while (0)
	LOOK("mov %%dr0, %0", "DR0");
	LOOK("mov %%dr3, %0", "DR3");
	LOOK("movq %%xmm0, %0", "XMM0");
	LOOK("movq %%xmm15, %0", "XMM15");
	LOOK("mov %%cr2, %0", "CR2");
	for (uint64_t *at = (uint64_t *)0x400000; at < (uint64_t *)0x800000; at += 8)
		if (*at == PATTERN) {
			put("cell: residue in RAM at %lx\n", (uint64_t)at);
			found++;
			break;
		}
	put("cell: residue=%u\n", found);
}

static bool run(char *line)
{
	char *argument = line;

	while (*argument && *argument != ' ')
		argument++;
	if (*argument)
		*argument++ = 0;
	if (equal(line, "pending-low"))
		pending_low();
	else if (equal(line, "rip-wrap"))
		rip_wrap(equal(argument, "user"));
	else if (equal(line, "mov-ss-int1"))
		mov_ss_int1();
	else if (equal(line, "mov-ss-exits"))
		mov_ss_exits();
	else if (equal(line, "real-gp"))
		real_mode_gp();
	else if (equal(line, "msrs"))
		msr_sweep();
	else if (equal(line, "ports"))
		port_sweep();
	else if (equal(line, "ipis"))
		ipi_sweep();
	else if (equal(line, "hypercalls"))
		hypercalls();
	else if (equal(line, "instructions"))
		instructions();
	else if (equal(line, "moved-code"))
		moved_code();
	else if (equal(line, "registers"))
		registers();
	else if (equal(line, "halt"))
		other_does("HLT", halt_deaf);
	else if (equal(line, "mwait"))
		other_does("MWAIT", monitor_deaf);
	else if (equal(line, "wbinvd"))
		other_does("WBINVD", caches);
	else if (equal(line, "split-locks"))
		other_does("split locks", split_locks);
	else if (equal(line, "debug-loop"))
		other_does("#DB", debug_loop);
	else if (equal(line, "alignment-loop"))
		other_does("#AC", alignment_loop);
	else if (equal(line, "pattern"))
		leave_pattern();
	else if (equal(line, "residue"))
		find_pattern();
	else if (equal(line, "triple"))
		triple_fault();
	else if (equal(line, "read") || equal(line, "write") || equal(line, "fetch") ||
		 equal(line, "walk") || equal(line, "straddle"))
		memory(line, number(argument));
	else
		return false;
	return true;
}

void payload(const char *cmdline)
{
	char line[80];

	(void)cmdline;
	put("cell: ready\n");
	for (;;) {
		if (!get_line(line, sizeof(line)))
			continue;
		put("cell: done status=%u\n", run(line) ? 0 : 127);
	}
}
