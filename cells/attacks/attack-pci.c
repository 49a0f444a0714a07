/*
 * attack-pci NAME [ARGUMENT...]: tries from within a Linux cell what only the
 * owner of a PCI function, of memory or of a CPU may do. Where it can see by itself
 * whether that had an effect it says so; where only the victim can, it says what
 * it did. Counters are the monitor's to show.
 *
 * The cell's first function is a virtual function with MSI-X at device 1, its
 * second is QEMU's edu at device 2: a device whose DMA engine copies between a
 * buffer of its own and any address. /dev/mem needs iomem=relaxed. In a root,
 * ATTACK_EDU tells the folder in /sys of that device.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/mman.h>
#include <unistd.h>

#define ABSENT 0xffffffffU
#define PAGE 4096UL

#define VF 1
#define EDU 2
#define VF_SYSFS "/sys/bus/pci/devices/0000:00:01.0"

/* edu: interrupts, and a DMA engine with a buffer of one page. */
#define EDU_RAISE 0x60
#define EDU_SOURCE 0x80
#define EDU_TARGET 0x88
#define EDU_COUNT 0x90
#define EDU_COMMAND 0x98
#define EDU_BUFFER 0x40000UL
#define EDU_START 1
#define EDU_TO_MEMORY 2

static const char *name;
static const char *edu_sysfs = "/sys/bus/pci/devices/0000:00:02.0";

/* In every word of a page that must not be read (ci/root/canary.c), low half. */
#define CANARY 0x72792121U

/* Ends with the verdict of an attack whose effect would be seen here. */
__attribute__((format(printf, 2, 3), noreturn)) static void verdict(bool contained,
								    const char *format, ...)
{
	va_list arguments;

	printf("attack: %s %s: ", name, contained ? "contained" : "BROKE OUT");
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	printf("\n");
	exit(contained ? 0 : 1);
}

/* Ends an attack whose effect only others could see. */
__attribute__((format(printf, 1, 2), noreturn)) static void sent(const char *format, ...)
{
	va_list arguments;

	printf("attack: %s sent: ", name);
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	printf("\n");
	exit(0);
}

__attribute__((noreturn)) static void give_up(const char *what)
{
	printf("attack: %s not tried: %s: %s\n", name, what, strerror(errno));
	exit(2);
}

static uint32_t conf1(unsigned int bus, unsigned int slot, unsigned int offset)
{
	return 0x80000000U | bus << 16 | slot << 11 | (offset & 0xfc);
}

static uint32_t config_read(unsigned int bus, unsigned int slot, unsigned int offset)
{
	outl(conf1(bus, slot, offset), 0xcf8);
	return inl(0xcfc);
}

static void config_write(unsigned int bus, unsigned int slot, unsigned int offset, uint32_t value)
{
	outl(conf1(bus, slot, offset), 0xcf8);
	outl(value, 0xcfc);
}

static void *map(const char *path, off_t offset, size_t size)
{
	int file = open(path, O_RDWR | O_SYNC);
	void *at;

	if (file < 0)
		give_up(path);
	at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, offset);
	if (at == MAP_FAILED)
		give_up(path);
	close(file);
	return at;
}

/* Guest-physical address and size of the cell's ECAM, from its first bus on. */
static uint64_t ecam(uint64_t *size)
{
	uint8_t table[64];
	uint64_t base;
	int file = open("/sys/firmware/acpi/tables/MCFG", O_RDONLY);

	if (file < 0 || read(file, table, sizeof(table)) < 60)
		give_up("MCFG");
	close(file);
	memcpy(&base, table + 44, sizeof(base));
	*size = (uint64_t)(table[55] - table[54] + 1) << 20;
	return base + ((uint64_t)table[54] << 20);
}

/* Guest-physical address of a page of this process. */
static uint64_t physical(void *page)
{
	uint64_t entry;
	int file = open("/proc/self/pagemap", O_RDONLY);

	if (file < 0 ||
	    pread(file, &entry, sizeof(entry), (off_t)((uintptr_t)page / PAGE * sizeof(entry))) !=
		    sizeof(entry))
		give_up("/proc/self/pagemap");
	close(file);
	return (entry & ((1ULL << 55) - 1)) * PAGE;
}

static void *own_page(void)
{
	void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE | MAP_LOCKED, -1, 0);

	if (page == MAP_FAILED)
		give_up("memory");
	return page;
}

/* edu's registers, with memory decoding and bus mastering on. */
static volatile uint8_t *edu(void)
{
	char file[80];
	uint16_t command;
	int config;

	/* Not by ports: QEMU's AMD-V takes a busy TSS for none when ring 3 uses one. */
	snprintf(file, sizeof(file), "%s/config", edu_sysfs);
	config = open(file, O_RDWR);
	if (pread(config, &command, sizeof(command), 4) != sizeof(command))
		give_up(file);
	command |= 6;
	if (pwrite(config, &command, sizeof(command), 4) != sizeof(command))
		give_up(file);
	close(config);
	snprintf(file, sizeof(file), "%s/resource0", edu_sysfs);
	return map(file, 0, 0x100000);
}

static void copy(volatile uint8_t *registers, uint64_t from, uint64_t to, uint64_t count,
		 uint64_t direction)
{
	*(volatile uint64_t *)(registers + EDU_SOURCE) = from;
	*(volatile uint64_t *)(registers + EDU_TARGET) = to;
	*(volatile uint64_t *)(registers + EDU_COUNT) = count;
	*(volatile uint64_t *)(registers + EDU_COMMAND) = direction | EDU_START;
	while (*(volatile uint64_t *)(registers + EDU_COMMAND) & EDU_START)
		usleep(1000);
}

static void to_memory(volatile uint8_t *registers, uint64_t address, uint64_t count)
{
	copy(registers, EDU_BUFFER, address, count, EDU_TO_MEMORY);
}

static void from_memory(volatile uint8_t *registers, uint64_t address, uint64_t count)
{
	copy(registers, address, EDU_BUFFER, count, 0);
}

/* Every function of the first 16 buses, by ports. */
static void ports(void)
{
	unsigned int tried = 0, seen = 0;

	for (unsigned int bus = 0; bus < 16; bus++) {
		for (unsigned int slot = 0; slot < 32; slot++) {
			if (bus == 0 && (slot == VF || slot == EDU))
				continue;
			tried++;
			if (config_read(bus, slot, 0) != ABSENT)
				seen++;
			config_write(bus, slot, 4, 0);
		}
	}
	verdict(seen == 0, "%u of %u foreign functions seen by ports", seen, tried);
}

/* The same by ECAM, as far as that goes. */
static void memory(void)
{
	uint64_t size, base = ecam(&size);
	volatile uint32_t *at = map("/dev/mem", (off_t)base, size);
	unsigned int tried = 0, seen = 0;

	for (uint64_t offset = 0; offset < size && tried < 512; offset += 8 * PAGE) {
		if (offset == VF * 8 * PAGE || offset == EDU * 8 * PAGE)
			continue;
		tried++;
		if (at[offset / 4] != ABSENT)
			seen++;
		at[offset / 4 + 1] = 0;
	}
	verdict(seen == 0, "%u of %u foreign functions seen by ECAM", seen, tried);
}

/* The page after the cell's ECAM: this ends the cell. */
static void outside(void)
{
	uint64_t size, base = ecam(&size);
	volatile uint32_t *at = map("/dev/mem", (off_t)(base + size), PAGE);

	printf("attack: %s reads %#llx\n", name, (unsigned long long)(base + size));
	fflush(stdout);
	usleep(300000);
	verdict(at[0] == ABSENT, "read %#x", at[0]);
}

/* Puts edu's BAR over another function's. */
static void bar(uint32_t victim)
{
	uint32_t before = config_read(0, EDU, 0x10), after;

	config_write(0, EDU, 0x10, victim);
	after = config_read(0, EDU, 0x10);
	verdict(after == before, "BAR was %#x, is %#x after a write of %#x", before, after, victim);
}

/* Writes behind the last entry of the MSI-X table, and a foreign CPU into it. */
static void msix(void)
{
	volatile uint32_t *table = map(VF_SYSFS "/resource3", 0, PAGE);
	unsigned int entries = 3, kept = 0;

	for (unsigned int at = entries * 4; at < entries * 4 + 64; at++) {
		uint32_t before = table[at];

		table[at] = 0xfee0dead;
		kept += table[at] != before;
	}
	verdict(kept == 0, "%u of 64 words behind the MSI-X table were kept", kept);
}

/* Offset of the capability `id` of a function on the first bus. */
static unsigned int capability(unsigned int slot, uint8_t id)
{
	unsigned int at = config_read(0, slot, 0x34) & 0xfc;

	while (at && (config_read(0, slot, at) & 0xff) != id)
		at = config_read(0, slot, at) >> 8 & 0xfc;
	if (!at)
		give_up("no such capability");
	return at;
}

/*
 * What a message to somebody else's CPU may ask for: an NMI, which no cell may send
 * anywhere, and a plain vector, which only its destination forbids.
 */
static const uint32_t TO_OTHERS[] = { 0x0400, 0x0091 };
#define TO_OTHERS_COUNT (sizeof(TO_OTHERS) / sizeof(TO_OTHERS[0]))

/* Entries of the MSI-X table that name a CPU of somebody else. */
static void msix_cpu(void)
{
	volatile uint32_t *table = map(VF_SYSFS "/resource3", 0, PAGE);
	unsigned int at = capability(VF, 0x11);

	config_write(0, VF, at, config_read(0, VF, at) | 0x80000000U);
	for (unsigned int i = 0; i < TO_OTHERS_COUNT; i++) {
		table[4 * i] = 0xfee03000;
		table[4 * i + 1] = 0;
		table[4 * i + 2] = TO_OTHERS[i];
		table[4 * i + 3] = 0;
	}
	sent("entries were told to send an NMI and a vector to APIC 3");
}

/* edu's MSI, told to interrupt a CPU of somebody else. */
static void msi_cpu(uint32_t apic)
{
	volatile uint8_t *registers = edu();
	unsigned int at = capability(EDU, 5);
	uint32_t header = config_read(0, EDU, at);
	bool wide = header & 0x800000;

	config_write(0, EDU, at + 4, 0xfee00000 | apic << 12);
	if (wide)
		config_write(0, EDU, at + 8, 0);
	for (unsigned int i = 0; i < TO_OTHERS_COUNT; i++) {
		config_write(0, EDU, at + (wide ? 12 : 8), TO_OTHERS[i]);
		config_write(0, EDU, at, header | 0x10000);
		for (int n = 0; n < 8; n++) {
			*(volatile uint32_t *)(registers + EDU_RAISE) = 1;
			*(volatile uint32_t *)(registers + 0x64) = 1;
		}
		config_write(0, EDU, at, header & ~0x10000U);
	}
	sent("8 NMIs and 8 vectors for APIC %u", apic);
}

/* Shows that the engine works: a page goes there and comes back. */
static void try_engine(volatile uint8_t *registers, uint8_t *page, uint64_t own)
{
	memset(page, 0x5a, PAGE);
	from_memory(registers, own, PAGE);
	memset(page, 0, PAGE);
	to_memory(registers, own, PAGE);
	if (page[0] != 0x5a || page[PAGE - 1] != 0x5a) {
		printf("attack: %s not tried: DMA to own memory does not work\n", name);
		exit(2);
	}
}

/* Reads pages of others, at the addresses in `foreign`, into edu. */
static void dma_read(unsigned int count, char **foreign)
{
	volatile uint8_t *registers = edu();
	uint8_t *page = own_page();
	uint64_t own = physical(page);
	unsigned int leaked = 0;

	try_engine(registers, page, own);
	for (unsigned int i = 0; i < count; i++) {
		unsigned int words = 0;

		from_memory(registers, strtoull(foreign[i], NULL, 0), PAGE);
		memset(page, 0, PAGE);
		to_memory(registers, own, PAGE);
		for (unsigned int at = 0; at < PAGE; at += 8) {
			uint32_t low;

			memcpy(&low, page + at, sizeof(low));
			words += low == CANARY;
		}
		leaked += words != 0;
	}
	verdict(count && !leaked, "%u of %u foreign pages read", leaked, count);
}

/* Writes to pages of others, at the addresses in `foreign`. */
static void dma_write(unsigned int count, char **foreign)
{
	volatile uint8_t *registers = edu();
	uint8_t *page = own_page();
	uint64_t own = physical(page);

	try_engine(registers, page, own);
	for (unsigned int i = 0; i < count; i++)
		to_memory(registers, strtoull(foreign[i], NULL, 0), PAGE);
	sent("%u foreign pages written to", count);
}

/* A DMA write that is an interrupt in the format without remapping. */
static void forged(uint32_t data)
{
	volatile uint8_t *registers = edu();
	uint8_t *page = own_page();
	uint64_t own = physical(page);

	memcpy(page, &data, sizeof(data));
	from_memory(registers, own, sizeof(data));
	for (uint64_t apic = 0; apic < 4; apic++)
		to_memory(registers, 0xfee00000 | apic << 12, sizeof(data));
	sent("messages to APICs 0-3 with data %#x", data);
}

/*
 * DMA writes that are interrupts with handles of others. The root's come first, those of
 * cells in the second half of the table, which has 4,096 entries on small machines
 * (hypervisor/monitor/src/dev/iommu/mod.rs).
 */
#define CELLS 2048UL

static void handles(void)
{
	volatile uint8_t *registers = edu();
	uint8_t *page = own_page();
	uint64_t own = physical(page);

	memset(page, 0, PAGE);
	from_memory(registers, own, 4);
	for (uint64_t handle = 0; handle < 48; handle++) {
		to_memory(registers, 0xfee00010 | handle << 5, 4);
		to_memory(registers, 0xfee00010 | (CELLS + handle) << 5, 4);
	}
	sent("messages with handles 0-47 and %lu-%lu", CELLS, CELLS + 47);
}

int main(int argc, char **argv)
{
	uint32_t argument = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 0) : 0;

	name = argc > 1 ? argv[1] : "";
	if (iopl(3) < 0)
		give_up("iopl");
	if (getenv("ATTACK_EDU"))
		edu_sysfs = getenv("ATTACK_EDU");
	if (!strcmp(name, "config-ports"))
		ports();
	if (!strcmp(name, "config-ecam"))
		memory();
	if (!strcmp(name, "ecam-outside"))
		outside();
	if (!strcmp(name, "bar-move"))
		bar(argument);
	if (!strcmp(name, "msix-beyond"))
		msix();
	if (!strcmp(name, "msix-foreign-cpu"))
		msix_cpu();
	if (!strcmp(name, "msi-foreign-cpu"))
		msi_cpu(argument);
	if (!strcmp(name, "dma-read"))
		dma_read((unsigned int)argc - 2, argv + 2);
	if (!strcmp(name, "dma-write"))
		dma_write((unsigned int)argc - 2, argv + 2);
	if (!strcmp(name, "msi-forged"))
		forged(0x41);
	if (!strcmp(name, "nmi-forged"))
		forged(0x400);
	if (!strcmp(name, "msi-foreign-handle"))
		handles();
	fprintf(stderr, "attack-pci: no attack is named %s\n", name);
	return 2;
}
