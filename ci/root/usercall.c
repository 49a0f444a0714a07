/*
 * usercall CODE: a hypercall from ring 3, which must be an unknown instruction there.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void unknown(int signal)
{
	static const char said[] = "usercall: unknown instruction\n";

	(void)signal;
	if (write(1, said, sizeof(said) - 1) < 0)
		_exit(2);
	_exit(0);
}

/* True on AMD's CPUs, whose instruction is another one. */
static int is_amd(void)
{
	unsigned int a = 0, b, c, d;

	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "=c"(c), "=d"(d));
	return !memcmp(&b, "Auth", 4);
}

int main(int argc, char **argv)
{
	unsigned long code = argc > 1 ? strtoul(argv[1], NULL, 0) : 0;

	signal(SIGILL, unknown);
	if (is_amd())
		__asm__ volatile("vmmcall" : "+a"(code) : "D"(0), "S"(0), "d"(0) : "memory");
	else
		__asm__ volatile("vmcall" : "+a"(code) : "D"(0), "S"(0), "d"(0) : "memory");
	printf("usercall: answered with %#lx\n", code);
	return 1;
}
