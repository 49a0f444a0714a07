/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bare-metal VMX test in the style of a partitioning hypervisor: every CPU
 * moves itself into VMX non-root operation with identity-mapped memory, keeps
 * direct delivery of external interrupts and is only interrupted by NMIs, the
 * preemption timer, INIT and SIPI.
 */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;

#define MSR_VMX(n) (0x480 + (n))

struct regs { u64 r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax; };

struct cpu {
    volatile u32 exits[70];
    volatile u32 last_reason, last_intr, halted_activity;
    volatile u64 last_qual, last_gpa;
    volatile u32 in_guest;
    u64 handler_stack[1024] __attribute__((aligned(16)));
    u8 vmxon[4096] __attribute__((aligned(4096)));
    u8 vmcs[4096] __attribute__((aligned(4096)));
};
static struct cpu cpus[2];

static u64 ept_pml4[512] __attribute__((aligned(4096)));
static u64 ept_pdpt[512] __attribute__((aligned(4096)));
static u64 ept_pd[4][512] __attribute__((aligned(4096)));
static u64 ept_pt_hole[512] __attribute__((aligned(4096)));
static u8 msr_bitmap[4096] __attribute__((aligned(4096)));
static u8 io_bitmap[8192] __attribute__((aligned(4096)));
static u8 apic_access[4096] __attribute__((aligned(4096)));
static u64 ept_pt_apic[512] __attribute__((aligned(4096)));
static struct { u16 off0, sel; u8 ist, type; u16 off1; u32 off2, rsvd; } idt[256];
volatile u32 irq_count, nmi_count;
static volatile u32 ap_state, ap_cmd, kick_ap;
static u32 passed, failed;

extern char ap_start[], ap_end[], rm_start[], rm_end[], vm_exit_entry[], irq_entry[], nmi_entry[], fault_entry[];
extern u16 gdt_ptr[];
u64 vm_enter(void);

static inline void outb(u16 p, u8 v) { asm volatile("outb %0,%1" :: "a"(v), "d"(p)); }
static inline u8 inb(u16 p) { u8 v; asm volatile("inb %1,%0" : "=a"(v) : "d"(p)); return v; }
static inline u64 rdmsr(u32 i) { u32 a, d; asm volatile("rdmsr" : "=a"(a), "=d"(d) : "c"(i)); return a | (u64)d << 32; }
static inline void wrmsr(u32 i, u64 v) { asm volatile("wrmsr" :: "c"(i), "a"((u32)v), "d"((u32)(v >> 32))); }
static inline u64 vmread(u64 f) { u64 v = 0; asm volatile("vmread %1,%0" : "=r"(v) : "r"(f) : "cc"); return v; }
static inline u64 vmwrite(u64 f, u64 v) { u8 err; asm volatile("vmwrite %2,%1; setna %0" : "=r"(err) : "r"(f), "r"(v) : "cc"); return err; }
static inline u32 apic_rd(u32 r) { return *(volatile u32 *)(0xfee00000ul + r); }
static inline void apic_wr(u32 r, u32 v) { *(volatile u32 *)(0xfee00000ul + r) = v; }
static inline u64 rdtsc(void) { u32 a, d; asm volatile("rdtsc" : "=a"(a), "=d"(d)); return a | (u64)d << 32; }

static void putc(char c) { while (!(inb(0x3fd) & 0x20)) {} outb(0x3f8, c); }
static void puts(const char *s) { for (; *s; s++) { putc(*s); } }
static void hex(u64 v) { int i; for (i = 60; i >= 0; i -= 4) if (v >> i || !i) putc("0123456789abcdef"[(v >> i) & 15]); }
static void check(int ok, const char *what, u64 val)
{
    puts(ok ? "ok    " : "FAIL  "); puts(what);
    if (!ok) { puts(" got "); hex(val); }
    puts("\n");
    ok ? passed++ : failed++;
}
static void finish(void)
{
    puts(failed ? "RESULT FAIL\n" : "RESULT PASS\n");
    outb(0xf4, failed != 0);
    for (;;) asm volatile("cli; hlt");
}
void fault(u64 *sp) { puts("FAULT err/rip "); hex(sp[0]); puts(" "); hex(sp[1]); puts("\n"); failed++; finish(); }

static void gate(int n, void *p)
{
    u64 a = (u64)p;
    idt[n].off0 = a; idt[n].sel = 8; idt[n].type = 0x8e; idt[n].off1 = a >> 16; idt[n].off2 = a >> 32;
}
static void load_idt(void)
{
    struct { u16 l; u64 b; } __attribute__((packed)) d = { sizeof(idt) - 1, (u64)idt };
    asm volatile("lidt %0" :: "m"(d));
}
static void delay(u64 n) { u64 t = rdtsc(); while (rdtsc() - t < n) asm volatile("" ::: "memory"); }
static int wait_for(volatile u32 *p, u32 val)
{
    long i;
    for (i = 0; i < 20000; i++) { if (*p == val) return 1; delay(200000); }
    return 0;
}

/* ---- the "hypervisor" ---- */
static u32 ctl(u32 msr, u32 want) { u64 c = rdmsr(msr); return (want | (u32)c) & (u32)(c >> 32); }
static int hv_id(void) { return (u64)__builtin_frame_address(0) >= (u64)&cpus[1]; }

void vm_exit(struct regs *r, struct cpu *c)
{
    u32 reason = vmread(0x4402), len = vmread(0x440c);
    c->last_reason = reason;
    c->last_qual = vmread(0x6400);
    c->last_intr = vmread(0x4404);
    c->exits[reason & 63]++;
    switch (reason) {
    case 0: /* NMI: the physical one is still blocked, IRET unblocks */
        c->halted_activity = vmread(0x4826);
        asm volatile("mov %%rsp,%%rax; push $0x10; push %%rax; pushf; push $8; lea 1f(%%rip),%%rax; push %%rax; iretq; 1:" ::: "rax", "memory", "cc");
        return;
    case 3: /* INIT: enter wait-for-SIPI */
        vmwrite(0x4826, 3);
        return;
    case 4: { /* SIPI: start the guest in real mode */
        static const u32 seg[6] = { 0, 2, 4, 6, 8, 10 };
        int i;
        for (i = 0; i < 6; i++) {
            vmwrite(0x800 + seg[i], 0); vmwrite(0x6806 + seg[i], 0);
            vmwrite(0x4800 + seg[i], 0xffff); vmwrite(0x4814 + seg[i], i == 1 ? 0x9b : 0x93);
        }
        vmwrite(0x802, (c->last_qual & 0xff) << 8); vmwrite(0x6808, (c->last_qual & 0xff) << 12);
        vmwrite(0x6800, 0x30); vmwrite(0x6802, 0); vmwrite(0x6804, 0x2000);
        vmwrite(0x4012, vmread(0x4012) & ~0x200u); vmwrite(0x2806, 0);
        vmwrite(0x681e, 0); vmwrite(0x6820, 2); vmwrite(0x4826, 0); vmwrite(0x4824, 0);
        return; }
    case 10: /* CPUID */
        if ((u32)r->rax == 0x40000000) { r->rax = 0x12345678; }
        else { u32 a = r->rax, b, cc = r->rcx, d; asm volatile("cpuid" : "+a"(a), "=b"(b), "+c"(cc), "=d"(d)); r->rax = a; r->rbx = b; r->rcx = cc; r->rdx = d; }
        break;
    case 18: /* VMCALL: rax 1 kick AP by NMI, 2 arm preemption timer */
        if (r->rax == 1) { apic_wr(0x310, 1 << 24); apic_wr(0x300, 0x400); }
        if (r->rax == 2) { vmwrite(0x482e, r->rbx); vmwrite(0x4000, vmread(0x4000) | 0x40); }
        if (r->rax == 3) { /* leave VMX operation at the end */
            u64 rip = vmread(0x681e) + len, rsp = vmread(0x681c);
            asm volatile("vmxoff; mov %1,%%rsp; xor %%eax,%%eax; jmp *%0" :: "c"(rip), "d"(rsp) : "memory");
        }
        break;
    case 30: r->rax = (r->rax & ~0xffull) | 0x5a; break;
    case 44: /* APIC access: assume mov (%rax),%eax */
        r->rax = 0xa91c0000 | (c->last_qual & 0xffff);
        break;
    case 48: c->last_gpa = vmread(0x2400); break;
    case 52: vmwrite(0x4000, vmread(0x4000) & ~0x40u); return;
    default:
        puts("unexpected exit "); hex(reason); puts(" qual "); hex(c->last_qual); puts(" rip "); hex(vmread(0x681e)); puts("\n");
        failed++; finish();
    }
    vmwrite(0x681e, vmread(0x681e) + len);
}

static u64 rd_cr(int n) { u64 v; if (n == 0) asm volatile("mov %%cr0,%0" : "=r"(v)); else if (n == 3) asm volatile("mov %%cr3,%0" : "=r"(v)); else asm volatile("mov %%cr4,%0" : "=r"(v)); return v; }

static int vmx_on(struct cpu *c)
{
    u64 p = (u64)c->vmxon, q = (u64)c->vmcs, fc = rdmsr(0x3a);
    u8 err;
    if (!(fc & 1)) wrmsr(0x3a, fc | 5);
    *(u32 *)c->vmxon = *(u32 *)c->vmcs = rdmsr(MSR_VMX(0));
    asm volatile("mov %0,%%cr4" :: "r"(rd_cr(4) | 0x2000));
    asm volatile("mov %0,%%cr0" :: "r"(rd_cr(0) | 0x20));
    asm volatile("vmxon %1; setna %0" : "=r"(err) : "m"(p) : "cc", "memory");
    if (err) return 1;
    asm volatile("vmclear %1; setna %0" : "=r"(err) : "m"(q) : "cc", "memory");
    if (err) return 2;
    asm volatile("vmptrld %1; setna %0" : "=r"(err) : "m"(q) : "cc", "memory");
    return err ? 3 : 0;
}

static void vmx_setup(struct cpu *c)
{
    static const u16 sel[8] = { 0x10, 0x08, 0x10, 0x10, 0x10, 0x10, 0, 0x20 };
    static const u32 ar[8] = { 0xc093, 0xa09b, 0xc093, 0xc093, 0xc093, 0xc093, 0x10000, 0x8b };
    int i;
    vmwrite(0x4000, ctl(MSR_VMX(0xd), 0x08));                       /* NMI exiting */
    vmwrite(0x4002, ctl(MSR_VMX(0xe), 0x80000000 | 1 << 25 | 1 << 28));
    vmwrite(0x401e, ctl(MSR_VMX(0xb), 1 | 2 | 8 | 0x20 | 0x80));    /* APIC, EPT, RDTSCP, VPID, UG */
    vmwrite(0x400c, ctl(MSR_VMX(0xf), 1 << 9 | 1 << 20 | 1 << 21));
    vmwrite(0x4012, ctl(MSR_VMX(0x10), 1 << 9 | 1 << 15));
    vmwrite(0x0000, 1);
    vmwrite(0x2000, (u64)io_bitmap); vmwrite(0x2002, (u64)io_bitmap + 4096);
    vmwrite(0x2004, (u64)msr_bitmap); vmwrite(0x2014, (u64)apic_access);
    vmwrite(0x201a, (u64)ept_pml4 | 0x1e);
    vmwrite(0x2800, ~0ull);
    vmwrite(0x4004, 0); vmwrite(0x400a, 0); vmwrite(0x400e, 0); vmwrite(0x4010, 0); vmwrite(0x4014, 0); vmwrite(0x4016, 0);
    for (i = 0; i < 8; i++) {
        vmwrite(0x800 + 2 * i, sel[i]); vmwrite(0x4800 + 2 * i, i == 7 ? 0x67 : i == 6 ? 0 : 0xffffffff);
        vmwrite(0x4814 + 2 * i, ar[i]); vmwrite(0x6806 + 2 * i, 0);
    }
    for (i = 0; i < 6; i++) vmwrite(0xc00 + 2 * i, sel[i]);
    vmwrite(0xc0c, 0x20);
    vmwrite(0x4810, gdt_ptr[0]); vmwrite(0x4812, sizeof(idt) - 1);
    vmwrite(0x6816, *(u64 *)(gdt_ptr + 1)); vmwrite(0x6818, (u64)idt);
    vmwrite(0x6c0c, *(u64 *)(gdt_ptr + 1)); vmwrite(0x6c0e, (u64)idt);
    vmwrite(0x4824, 0); vmwrite(0x4826, 0); vmwrite(0x482a, 0); vmwrite(0x4c00, 0);
    vmwrite(0x2802, 0); vmwrite(0x681a, 0x400); vmwrite(0x6820, 2); vmwrite(0x6822, 0); vmwrite(0x6824, 0); vmwrite(0x6826, 0);
    vmwrite(0x6c06, 0); vmwrite(0x6c08, 0); vmwrite(0x6c0a, 0); vmwrite(0x6c10, 0); vmwrite(0x6c12, 0);
    vmwrite(0x6800, rd_cr(0)); vmwrite(0x6802, rd_cr(3)); vmwrite(0x6804, rd_cr(4));
    vmwrite(0x6c00, rd_cr(0)); vmwrite(0x6c02, rd_cr(3)); vmwrite(0x6c04, rd_cr(4));
    vmwrite(0x2806, rdmsr(0xc0000080)); vmwrite(0x2c02, rdmsr(0xc0000080));
    vmwrite(0x6000, 0x20); vmwrite(0x6004, 0x20); vmwrite(0x6002, 0x2000); vmwrite(0x6006, 0);
    c->handler_stack[1022] = (u64)c;
    vmwrite(0x6c14, (u64)&c->handler_stack[1022]); vmwrite(0x6c16, (u64)vm_exit_entry);
}

static void ept_setup(void)
{
    u64 i;
    ept_pml4[0] = (u64)ept_pdpt | 7;
    for (i = 0; i < 2048; i++) {
        if (!(i & 511)) ept_pdpt[i >> 9] = (u64)ept_pd[i >> 9] | 7;
        ept_pd[i >> 9][i & 511] = i << 21 | 0xb7;
    }
    /* 16 MiB: one page missing, one read-only; 0xfed00000: APIC-access page */
    for (i = 0; i < 512; i++) { ept_pt_hole[i] = (16ul << 20) + (i << 12) + 0x37; ept_pt_apic[i] = 0xfec00000ul + (i << 12) + 0x37; }
    ept_pt_hole[1] = 0; ept_pt_hole[2] &= ~2ul;
    ept_pd[0][8] = (u64)ept_pt_hole | 7;
    ept_pt_apic[0x100] = (u64)apic_access | 0x37;
    ept_pd[3][0x1f6] = (u64)ept_pt_apic | 7;
}

static u64 vmcall(u64 a, u64 b) { asm volatile("vmcall" : "+a"(a) : "b"(b) : "memory"); return a; }

void ap_main(void)
{
    struct cpu *c = &cpus[1];
    load_idt();
    apic_wr(0xf0, 0x1ff);
    if (vmx_on(c)) { ap_state = 99; for (;;) asm volatile("hlt"); }
    vmx_setup(c);
    if (vm_enter()) { ap_state = 98; for (;;) asm volatile("hlt"); }
    c->in_guest = 1;
    ap_state = 1;
    while (ap_cmd == 0) asm volatile("pause");
    ap_state = 2;
    for (;;) { asm volatile("cli; hlt"); ap_state = 77; }
}

int main(void)
{
    struct cpu *b = &cpus[0], *a = &cpus[1];
    u64 r, i;
    u32 x;

    outb(0x3fb, 0x83); outb(0x3f8, 1); outb(0x3f9, 0); outb(0x3fb, 3);
    for (i = 0; i < 32; i++) gate(i, fault_entry);
    gate(2, nmi_entry); gate(0x40, irq_entry);
    load_idt();
    outb(0x21, 0xff); outb(0xa1, 0xff);
    ept_setup();
    io_bitmap[0x80 / 8] |= 1;
    for (i = 0; i < (u64)(ap_end - ap_start); i++) ((u8 *)0x8000)[i] = ap_start[i];
    for (i = 0; i < (u64)(rm_end - rm_start); i++) ((u8 *)0x9000)[i] = rm_start[i];
    apic_wr(0xf0, 0x1ff);
    puts("partition-style VMX test\n");

    /* the entry checks */
    r = vmx_on(b);
    check(r == 0, "VMXON, VMCLEAR, VMPTRLD", r);
    vmx_setup(b);
    r = vmwrite(0x7777, 1);
    check(r == 1 && vmread(0x4400) == 12, "VMWRITE of an unknown field: error 12", vmread(0x4400));
    asm volatile("vmresume" ::: "cc");
    check(vmread(0x4400) == 5, "VMRESUME without VMLAUNCH: error 5", vmread(0x4400));
    x = vmread(0x4000); vmwrite(0x4000, x | 0x80000000);
    r = vm_enter(); check((r & 0x40) && vmread(0x4400) == 7, "reserved control: error 7", vmread(0x4400));
    vmwrite(0x4000, x);
    vmwrite(0xc02, 9);
    r = vm_enter(); check((r & 0x40) && vmread(0x4400) == 8, "host CS with RPL: error 8", vmread(0x4400));
    vmwrite(0xc02, 8);

    /* into non-root operation */
    vmwrite(0x6820, 2);
    r = vm_enter();
    check(r == 0, "VMLAUNCH continues in place", r);
    if (r) finish();
    { u32 eax = 0x40000000, ebx, ecx = 0, edx; asm volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx)); check(eax == 0x12345678, "CPUID exits", eax); }
    check(!(rd_cr(4) & 0x2000), "CR4.VMXE hidden by the read shadow", rd_cr(4));

    /* direct interrupts */
    x = b->exits[1];
    apic_wr(0x320, 0x40); apic_wr(0x3e0, 0xb); apic_wr(0x380, 100000);
    asm volatile("sti"); r = wait_for(&irq_count, 1); asm volatile("cli");
    check(r && b->exits[1] == x, "APIC timer interrupt through the guest IDT, no exit", irq_count);

    /* EPT */
    *(volatile u32 *)(16ul << 20) = 1;
    asm volatile("mov (%0),%%eax" :: "r"((16ul << 20) + 0x1234) : "eax");
    check(b->exits[48] == 1 && b->last_gpa == (16ul << 20) + 0x1234 && (b->last_qual & 0x1bf) == 0x181, "EPT violation, read of a missing page", b->last_qual);
    asm volatile("mov %%eax,(%0)" :: "r"((16ul << 20) + 0x2008));
    check(b->exits[48] == 2 && (b->last_qual & 0x1bf) == 0x1aa, "EPT violation, write to a read-only page", b->last_qual);
    { u32 v; asm volatile("mov (%1),%0" : "=a"(v) : "a"(0xfed00020ul)); check(v == 0xa91c0020 && b->exits[44] == 1, "APIC-access exit, offset and type", v); }
    asm volatile("mov %%eax,(%0)" :: "r"(0xfed000b0ul) : "memory");
    check(b->exits[44] == 2 && (b->last_qual & 0xffff) == 0x10b0, "APIC-access exit for a write", b->last_qual);

    /* I/O */
    r = inb(0x80); check(r == 0x5a && b->exits[30] == 1 && b->last_qual == 0x00800008, "I/O bitmap exit", b->last_qual);
    inb(0x3fd); check(b->exits[30] == 1, "no exit for other ports", b->exits[30]);

    /* preemption timer */
    { u64 t = rdtsc(), n = 3000000; u32 sh = rdmsr(MSR_VMX(5)) & 31;
      vmcall(2, n >> sh); for (i = 0; i < 100000 && b->exits[52] == 0; i++) delay(10000);
      t = rdtsc() - t;
      check(b->exits[52] == 1 && t >= n - 64, "preemption timer exit, not early", t); }
    vmcall(2, 0); check(b->exits[52] == 2, "preemption timer of 0 exits at once", b->exits[52]);

    /* second CPU */
    apic_wr(0x310, 1 << 24); apic_wr(0x300, 0x4500); delay(30000000);
    apic_wr(0x310, 1 << 24); apic_wr(0x300, 0x4608);
    r = wait_for(&ap_state, 1); check(r, "second CPU in non-root operation", ap_state);
    if (!r) finish();
    vmcall(1, 0); r = wait_for(&a->exits[0], 1);
    check(r && (a->last_intr & 0x800007ff) == 0x80000202 && a->halted_activity == 0, "NMI kick: exit reason 0 in active state", a->last_intr);
    check(nmi_count == 0, "the NMI did not reach the guest IDT", nmi_count);
    ap_cmd = 1; wait_for(&ap_state, 2); delay(20000000);
    vmcall(1, 0); r = wait_for(&a->exits[0], 2);
    check(r && a->halted_activity == 1, "NMI kick in HLT: activity state HLT is saved", a->halted_activity);
    vmcall(1, 0); r = wait_for(&a->exits[0], 3); delay(20000000);
    check(r && ap_state == 2, "resume in HLT state stays halted", ap_state);

    /* a SIPI without INIT is lost */
    apic_wr(0x310, 1 << 24); apic_wr(0x300, 0x4609); delay(20000000);
    check(a->exits[4] == 0 && ap_state == 2, "SIPI outside wait-for-SIPI is lost", a->exits[4]);
    *(volatile u16 *)0x9800 = 0;
    apic_wr(0x310, 1 << 24); apic_wr(0x300, 0x4500);
    r = wait_for(&a->exits[3], 1); check(r, "INIT causes exit reason 3", a->last_reason);
    delay(20000000);
    apic_wr(0x310, 1 << 24); apic_wr(0x300, 0x4609);
    r = wait_for(&a->exits[4], 1); check(r && a->last_qual == 9, "SIPI causes exit reason 4 with its vector", a->last_qual);
    for (i = 0; i < 2000 && *(volatile u16 *)0x9800 != 0xbeef; i++) delay(100000);
    check(*(volatile u16 *)0x9800 == 0xbeef, "unrestricted guest runs in real mode", *(volatile u16 *)0x9800);
    vmcall(1, 0); r = wait_for(&a->exits[0], 4);
    check(r && a->halted_activity == 1, "NMI kick of the real-mode guest in HLT", a->halted_activity);

    /* leave VMX operation */
    r = vmcall(3, 0);
    check(rd_cr(4) & 0x2000, "VMXOFF, back in the host", rd_cr(4));
    finish();
    return 0;
}
