/*
 *  x86 VMX helpers (system only)
 *
 * Emulation of Intel VT-x.  It sits beside the SVM emulation and shares its
 * intercept hooks: HF_GUEST_MASK marks VMX non-root operation just like an SVM
 * guest, HF2_VMX_MASK tells the two apart, and nested paging becomes EPT.
 * Section numbers refer to the Intel SDM, Vol. 3C.
 *
 * The VMCS data of a processor is not cached: every VMREAD, VMWRITE, VM entry
 * and VM exit works on the VMCS region in guest memory.
 *
 * This library is free software; you can redistribute it and/or
 * modify it under the terms of the GNU Lesser General Public
 * License as published by the Free Software Foundation; either
 * version 2.1 of the License, or (at your option) any later version.
 *
 * This library is distributed in the hope that it will be useful,
 * but WITHOUT ANY WARRANTY; without even the implied warranty of
 * MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the GNU
 * Lesser General Public License for more details.
 *
 * You should have received a copy of the GNU Lesser General Public
 * License along with this library; if not, see <http://www.gnu.org/licenses/>.
 */

#include "qemu/osdep.h"
#include "qemu/log.h"
#include "qemu/main-loop.h"
#include "qemu/error-report.h"
#include "qemu/timer.h"
#include "cpu.h"
#include "exec/helper-proto.h"
#include "exec/cputlb.h"
#include "exec/cpu_ldst.h"
#include "exec/address-spaces.h"
#include "system/runstate.h"
#include "hw/i386/apic_internal.h"
#include "tcg/helper-tcg.h"
#include "tcg/seg_helper.h"
#include "tcg/vmx.h"

/* ------------------------------------------------------------------------
 * VMCS regions and capability MSRs
 */

#define VMCS_REVISION           0x56515451u     /* bit 31 has to be clear */

/* Header of a VMCS region */
#define VMCS_OFS_ABORT          4
#define VMCS_OFS_LAUNCHED       8
#define VMCS_OFS_FIELDS         16

#define VMX_TIMER_SHIFT         5   /* preemption timer: TSC / 32 */
#define VMX_CR3_TARGETS         4
#define VMX_MAX_MSR_LIST        512

/*
 * Fields are 8 bytes each, grouped by width and type (bits 14:13 and 11:10 of
 * the encoding) and indexed by bits 9:1.
 */
static const struct {
    uint8_t start, size;
} vmcs_group[16] = {
    { 0, 4 },    { 4, 0 },    { 4, 11 },   { 15, 7 },   /* 16 bits */
    { 22, 42 },  { 64, 1 },   { 65, 14 },  { 79, 4 },   /* 64 bits */
    { 83, 18 },  { 101, 8 },  { 109, 24 }, { 133, 1 },  /* 32 bits */
    { 134, 8 },  { 142, 6 },  { 148, 20 }, { 168, 12 }, /* natural width */
};

static inline int vmcs_offset(uint32_t enc)
{
    int group = ((enc >> 11) & 0xc) | ((enc >> 10) & 3);
    int index = (enc >> 1) & 0x1ff;

    assert(index < vmcs_group[group].size);
    return VMCS_OFS_FIELDS + (vmcs_group[group].start + index) * 8;
}

static uint64_t vmcs_get(CPUX86State *env, uint32_t enc)
{
    return ldq_le_p(env->vmx.vmcs + vmcs_offset(enc));
}

static void vmcs_set(CPUX86State *env, uint32_t enc, uint64_t val)
{
    stq_le_p(env->vmx.vmcs + vmcs_offset(enc), val);
}

/* Does the CPU have this field?  ENC is the encoding for full access.  */
static bool vmcs_field_exists(CPUX86State *env, uint32_t enc)
{
    uint64_t *f = env->features;

    switch (enc) {
    case VMCS_VPID:
        return f[FEAT_VMX_SECONDARY_CTLS] & VMX_SECONDARY_EXEC_ENABLE_VPID;
    case VMCS_IO_BITMAP_A:
    case VMCS_IO_BITMAP_B:
        return f[FEAT_VMX_PROCBASED_CTLS] & VMX_CPU_BASED_USE_IO_BITMAPS;
    case VMCS_MSR_BITMAP:
        return f[FEAT_VMX_PROCBASED_CTLS] & VMX_CPU_BASED_USE_MSR_BITMAPS;
    case VMCS_APIC_ACCESS_ADDR:
        return f[FEAT_VMX_SECONDARY_CTLS] &
            VMX_SECONDARY_EXEC_VIRTUALIZE_APIC_ACCESSES;
    case VMCS_EPTP:
    case VMCS_GUEST_PHYS_ADDR:
    case VMCS_GUEST_PDPTE0:
    case VMCS_GUEST_PDPTE0 + 2:
    case VMCS_GUEST_PDPTE0 + 4:
    case VMCS_GUEST_PDPTE0 + 6:
        return f[FEAT_VMX_SECONDARY_CTLS] & VMX_SECONDARY_EXEC_ENABLE_EPT;
    case VMCS_GUEST_PAT:
        return f[FEAT_VMX_ENTRY_CTLS] & VMX_VM_ENTRY_LOAD_IA32_PAT;
    case VMCS_HOST_PAT:
        return f[FEAT_VMX_EXIT_CTLS] & VMX_VM_EXIT_LOAD_IA32_PAT;
    case VMCS_GUEST_EFER:
        return f[FEAT_VMX_ENTRY_CTLS] & VMX_VM_ENTRY_LOAD_IA32_EFER;
    case VMCS_HOST_EFER:
        return f[FEAT_VMX_EXIT_CTLS] & VMX_VM_EXIT_LOAD_IA32_EFER;
    case VMCS_PROC_CTLS2:
        return f[FEAT_VMX_PROCBASED_CTLS] &
            VMX_CPU_BASED_ACTIVATE_SECONDARY_CONTROLS;
    case VMCS_PREEMPTION_TIMER:
        return f[FEAT_VMX_PINBASED_CTLS] & VMX_PIN_BASED_VMX_PREEMPTION_TIMER;
    case VMCS_GUEST_ES_SEL ... VMCS_GUEST_TR_SEL:
    case VMCS_HOST_ES_SEL ... VMCS_HOST_TR_SEL:
    case VMCS_EXIT_MSR_STORE_ADDR:
    case VMCS_EXIT_MSR_LOAD_ADDR:
    case VMCS_ENTRY_MSR_LOAD_ADDR:
    case VMCS_EXECUTIVE_VMCS:
    case VMCS_TSC_OFFSET:
    case VMCS_LINK_POINTER:
    case VMCS_GUEST_DEBUGCTL:
    case VMCS_PIN_CTLS ... VMCS_ENTRY_INSN_LEN:
    case VMCS_INSN_ERROR ... VMCS_EXIT_INSN_INFO:
    case VMCS_GUEST_ES_LIMIT ... VMCS_GUEST_SYSENTER_CS:
    case VMCS_HOST_SYSENTER_CS:
    case VMCS_CR0_MASK ... VMCS_CR3_TARGET0 + 6:
    case VMCS_EXIT_QUAL ... VMCS_GUEST_LINEAR_ADDR:
    case VMCS_GUEST_CR0 ... VMCS_GUEST_SYSENTER_EIP:
    case VMCS_HOST_CR0 ... VMCS_HOST_RIP:
        return true;
    default:
        return false;
    }
}

/* Find the page of a VMCS in host memory; NULL if it is not in RAM.  */
static void *vmcs_map(CPUX86State *env, hwaddr addr)
{
    MemTxAttrs attrs = cpu_get_mem_attrs(env);
    AddressSpace *as = cpu_addressspace(env_cpu(env), attrs);
    hwaddr xlat, len = TARGET_PAGE_SIZE;
    MemoryRegion *mr;

    RCU_READ_LOCK_GUARD();
    mr = address_space_translate(as, addr, &xlat, &len, true, attrs);
    if (!memory_region_is_ram(mr) || len < TARGET_PAGE_SIZE) {
        return NULL;
    }
    return (uint8_t *)memory_region_get_ram_ptr(mr) + xlat;
}

static uint64_t vmx_ctls_msr(uint32_t features, uint32_t default1, bool true_ctls)
{
    uint32_t can_be_one = features | default1;
    uint32_t must_be_one = true_ctls ? default1 & ~features : default1;

    return must_be_one | ((uint64_t)can_be_one << 32);
}

static uint64_t vmx_basic_msr(CPUX86State *env)
{
    return VMCS_REVISION | ((uint64_t)TARGET_PAGE_SIZE << 32) | (6ULL << 50) |
        env->features[FEAT_VMX_BASIC];
}

static uint64_t vmx_misc_msr(CPUX86State *env)
{
    return VMX_TIMER_SHIFT | (VMX_CR3_TARGETS << 16) |
        env->features[FEAT_VMX_MISC];
}

static uint64_t vmx_ept_vpid_msr(CPUX86State *env)
{
    uint64_t *f = env->features;

    return f[FEAT_VMX_EPT_VPID_CAPS] |
        (f[FEAT_VMX_SECONDARY_CTLS] & VMX_SECONDARY_EXEC_ENABLE_EPT ?
         MSR_VMX_EPT_UC | MSR_VMX_EPT_WB : 0);
}

static uint64_t vmx_exit_features(CPUX86State *env)
{
    return env->features[FEAT_VMX_EXIT_CTLS] |
        (env->features[FEAT_8000_0001_EDX] & CPUID_EXT2_LM ?
         VMX_VM_EXIT_HOST_ADDR_SPACE_SIZE : 0);
}

bool cpu_vmx_rdmsr(CPUX86State *env, uint32_t index, uint64_t *val)
{
    uint64_t *f = env->features;
    bool true_ctls = false;

    if (!cpu_has_vmx(env)) {
        return false;
    }

    switch (index) {
    case MSR_IA32_FEATURE_CONTROL:
        *val = env->msr_ia32_feature_control;
        return true;
    case MSR_IA32_VMX_BASIC:
        *val = vmx_basic_msr(env);
        return true;
    case MSR_IA32_VMX_TRUE_PINBASED_CTLS:
        true_ctls = true;
        /* fall through */
    case MSR_IA32_VMX_PINBASED_CTLS:
        *val = vmx_ctls_msr(f[FEAT_VMX_PINBASED_CTLS], 0x16, true_ctls);
        break;
    case MSR_IA32_VMX_TRUE_PROCBASED_CTLS:
        true_ctls = true;
        /* fall through */
    case MSR_IA32_VMX_PROCBASED_CTLS:
        *val = vmx_ctls_msr(f[FEAT_VMX_PROCBASED_CTLS], 0x0401e172, true_ctls);
        break;
    case MSR_IA32_VMX_TRUE_EXIT_CTLS:
        true_ctls = true;
        /* fall through */
    case MSR_IA32_VMX_EXIT_CTLS:
        *val = vmx_ctls_msr(vmx_exit_features(env), 0x00036dff, true_ctls);
        break;
    case MSR_IA32_VMX_TRUE_ENTRY_CTLS:
        true_ctls = true;
        /* fall through */
    case MSR_IA32_VMX_ENTRY_CTLS:
        *val = vmx_ctls_msr(f[FEAT_VMX_ENTRY_CTLS], 0x000011ff, true_ctls);
        break;
    case MSR_IA32_VMX_MISC:
        *val = vmx_misc_msr(env);
        return true;
    case MSR_IA32_VMX_CR0_FIXED0:
        *val = CR0_PG_MASK | CR0_NE_MASK | CR0_PE_MASK;
        return true;
    case MSR_IA32_VMX_CR0_FIXED1:
        *val = 0xffffffff;
        return true;
    case MSR_IA32_VMX_CR4_FIXED0:
        *val = CR4_VMXE_MASK;
        return true;
    case MSR_IA32_VMX_CR4_FIXED1:
        *val = ~cr4_reserved_bits(env);
        return true;
    case MSR_IA32_VMX_VMCS_ENUM:
        *val = VMCS_MAX_INDEX << 1;
        return true;
    case MSR_IA32_VMX_PROCBASED_CTLS2:
        *val = vmx_ctls_msr(f[FEAT_VMX_SECONDARY_CTLS], 0, false);
        return f[FEAT_VMX_PROCBASED_CTLS] &
            VMX_CPU_BASED_ACTIVATE_SECONDARY_CONTROLS;
    case MSR_IA32_VMX_EPT_VPID_CAP:
        *val = vmx_ept_vpid_msr(env);
        return f[FEAT_VMX_SECONDARY_CTLS] & (VMX_SECONDARY_EXEC_ENABLE_EPT |
                                             VMX_SECONDARY_EXEC_ENABLE_VPID);
    default:
        return false;
    }
    return !true_ctls || (f[FEAT_VMX_BASIC] & MSR_VMX_BASIC_TRUE_CTLS);
}

/* Are the settings of a group of controls allowed by its capability MSR?  */
static bool vmx_ctls_ok(CPUX86State *env, uint32_t msr, uint32_t val)
{
    uint64_t cap = 0;

    if (env->features[FEAT_VMX_BASIC] & MSR_VMX_BASIC_TRUE_CTLS) {
        switch (msr) {
        case MSR_IA32_VMX_PINBASED_CTLS:
            msr = MSR_IA32_VMX_TRUE_PINBASED_CTLS;
            break;
        case MSR_IA32_VMX_PROCBASED_CTLS:
            msr = MSR_IA32_VMX_TRUE_PROCBASED_CTLS;
            break;
        case MSR_IA32_VMX_EXIT_CTLS:
            msr = MSR_IA32_VMX_TRUE_EXIT_CTLS;
            break;
        case MSR_IA32_VMX_ENTRY_CTLS:
            msr = MSR_IA32_VMX_TRUE_ENTRY_CTLS;
            break;
        }
    }
    cpu_vmx_rdmsr(env, msr, &cap);
    return !((uint32_t)cap & ~val) && !(val & ~(uint32_t)(cap >> 32));
}

static bool vmx_cr0_fixed_ok(uint64_t val, bool unrestricted)
{
    uint64_t fixed0 = CR0_NE_MASK |
        (unrestricted ? 0 : CR0_PG_MASK | CR0_PE_MASK);

    return (val & fixed0) == fixed0 && !(val >> 32);
}

static bool vmx_cr4_fixed_ok(CPUX86State *env, uint64_t val)
{
    return (val & CR4_VMXE_MASK) && !(val & cr4_reserved_bits(env));
}

bool cpu_vmx_cr0_ok(CPUX86State *env, uint64_t val)
{
    bool unrestricted = cpu_vmx_non_root(env) &&
        (env->vmx.proc2 & VMX_SECONDARY_EXEC_UNRESTRICTED_GUEST);

    if (!env->vmx.on) {
        return true;
    }
    if ((val & CR0_PG_MASK) && !(val & CR0_PE_MASK)) {
        return false;
    }
    return vmx_cr0_fixed_ok(val, unrestricted);
}

bool cpu_vmx_cr4_ok(CPUX86State *env, uint64_t val)
{
    return !env->vmx.on || (val & CR4_VMXE_MASK);
}

static bool vmx_phys_ok(CPUX86State *env, uint64_t addr)
{
    return !(addr >> env_archcpu(env)->phys_bits);
}

static bool vmx_page_ok(CPUX86State *env, uint64_t addr)
{
    return !(addr & ~TARGET_PAGE_MASK) && vmx_phys_ok(env, addr);
}

static bool vmx_canonical(CPUX86State *env, uint64_t addr)
{
    int shift = 64 - cpu_x86_virtual_addr_width(env);

    return ((int64_t)(addr << shift) >> shift) == addr;
}

static bool vmx_pat_ok(uint64_t pat)
{
    int i;

    for (i = 0; i < 64; i += 8) {
        uint8_t type = pat >> i;

        if (type > 7 || type == 2 || type == 3) {
            return false;
        }
    }
    return true;
}

/* ------------------------------------------------------------------------
 * Decoding of the instruction that caused a VM exit
 */

typedef struct VMXInsn {
    uint8_t opcode;             /* last byte of the opcode */
    bool has_modrm;
    bool has_0f;
    uint8_t mod, reg, rm;
    uint8_t aflag;              /* address size: 0, 1, 2 for 16, 32, 64 bits */
    uint8_t dflag;              /* operand size, likewise */
    uint8_t seg;
    int8_t base, index;         /* -1 if there is none */
    uint8_t scale;
    uint64_t disp;
} VMXInsn;

static bool vmx_decode_insn(CPUX86State *env, VMXInsn *insn)
{
    int mmu_idx = cpu_mmu_index(env_cpu(env), true);
    bool code64 = env->hflags & HF_CS64_MASK;
    bool code32 = env->hflags & HF_CS32_MASK;
    int len = env->vmx.insn_len;
    uint8_t buf[16] = { 0 };
    bool pfx66 = false, pfx67 = false, rip_rel = false;
    int i, rex = 0, seg = -1, disp_size = 0;
    uint8_t modrm;

    *insn = (VMXInsn) { .base = -1, .index = -1, .seg = R_DS };
    if (len == 0 || len > 15) {
        return false;
    }
    for (i = 0; i < len; i++) {
        target_ulong pc = env->segs[R_CS].base + env->eip + i;
        void *host;

        if (!code64) {
            pc = (uint32_t)pc;
        }
        if (probe_access_flags(env, pc, 1, MMU_INST_FETCH, mmu_idx,
                               true, &host, 0) || !host) {
            return false;
        }
        buf[i] = *(uint8_t *)host;
    }

    for (i = 0; i < len; i++) {
        switch (buf[i]) {
        case 0x26:
            seg = code64 ? seg : R_ES;
            continue;
        case 0x2e:
            seg = code64 ? seg : R_CS;
            continue;
        case 0x36:
            seg = code64 ? seg : R_SS;
            continue;
        case 0x3e:
            seg = code64 ? seg : R_DS;
            continue;
        case 0x64:
            seg = R_FS;
            continue;
        case 0x65:
            seg = R_GS;
            continue;
        case 0x66:
            pfx66 = true;
            continue;
        case 0x67:
            pfx67 = true;
            continue;
        case 0xf0:
        case 0xf2:
        case 0xf3:
            continue;
        case 0x40 ... 0x4f:
            if (code64) {
                rex = buf[i];
                continue;
            }
            break;
        }
        break;
    }
    if (code64) {
        insn->aflag = pfx67 ? 1 : 2;
        insn->dflag = rex & 8 ? 2 : pfx66 ? 0 : 1;
    } else {
        insn->aflag = code32 ^ pfx67;
        insn->dflag = code32 ^ pfx66;
    }

    insn->opcode = buf[i++];
    if (insn->opcode == 0x0f) {
        insn->has_0f = true;
        insn->opcode = buf[i++];
        if (insn->opcode == 0x38) {
            insn->opcode = buf[i++];
        }
        insn->has_modrm = true;
    }
    if (!insn->has_modrm) {
        if (seg >= 0) {
            insn->seg = seg;
        }
        return true;
    }

    modrm = buf[i++];
    insn->mod = modrm >> 6;
    insn->reg = ((modrm >> 3) & 7) | ((rex & 4) << 1);
    insn->rm = (modrm & 7) | ((rex & 1) << 3);
    if (insn->mod == 3) {
        return true;
    }

    if (insn->aflag == 0) {
        static const int8_t base16[8] = {
            R_EBX, R_EBX, R_EBP, R_EBP, R_ESI, R_EDI, R_EBP, R_EBX
        };
        static const int8_t index16[8] = {
            R_ESI, R_EDI, R_ESI, R_EDI, -1, -1, -1, -1
        };

        if (insn->mod == 0 && (modrm & 7) == 6) {
            disp_size = 2;
        } else {
            insn->base = base16[modrm & 7];
            insn->index = index16[modrm & 7];
            disp_size = insn->mod;
        }
    } else {
        disp_size = insn->mod == 2 ? 4 : insn->mod;
        if ((modrm & 7) == 4) {
            uint8_t sib = buf[i++];

            insn->scale = sib >> 6;
            insn->index = ((sib >> 3) & 7) | ((rex & 2) << 2);
            if (insn->index == 4) {
                insn->index = -1;
            }
            insn->base = (sib & 7) | ((rex & 1) << 3);
            if ((sib & 7) == 5 && insn->mod == 0) {
                insn->base = -1;
                disp_size = 4;
            }
        } else if ((modrm & 7) == 5 && insn->mod == 0) {
            rip_rel = code64;
            disp_size = 4;
        } else {
            insn->base = insn->rm;
        }
    }
    if (i + disp_size <= 16) {
        switch (disp_size) {
        case 1:
            insn->disp = (int8_t)buf[i];
            break;
        case 2:
            insn->disp = (int16_t)lduw_le_p(buf + i);
            break;
        case 4:
            insn->disp = (int32_t)ldl_le_p(buf + i);
            break;
        }
    }
    if (rip_rel) {
        insn->disp += env->eip + len;
    }
    if (insn->base == R_ESP || insn->base == R_EBP) {
        insn->seg = R_SS;
    }
    if (seg >= 0) {
        insn->seg = seg;
    }
    return true;
}

/* VM-exit instruction-information field: the parts about a memory operand */
static uint32_t vmx_insn_info_mem(VMXInsn *insn)
{
    uint32_t info = insn->aflag << 7;

    if (insn->mod == 3) {
        return 1 << 10;
    }
    info |= insn->scale | (insn->seg << 15);
    info |= insn->index < 0 ? 1 << 22 : insn->index << 18;
    info |= insn->base < 0 ? 1 << 27 : insn->base << 23;
    return info;
}

/* ------------------------------------------------------------------------
 * VM exits
 */

/*
 * First part of a VM exit: find out the exact state of the guest.  The rest
 * happens in vmx_do_exit(), called from the main loop.
 */
static void vmx_exit_begin(CPUX86State *env, uintptr_t retaddr)
{
    X86VMXState *vmx = &env->vmx;

    assert(cpu_vmx_non_root(env));
    if (retaddr) {
        cpu_restore_state(env_cpu(env), retaddr);
        if (!vmx->idtv_info) {
            vmx->x_insn_len = vmx->insn_len;
        }
    } else if (!vmx->idtv_info) {
        vmx->x_insn_len = 0;
    }
    vmx->x_intr_info = 0;
    vmx->x_intr_error = 0;
    vmx->x_insn_info = 0;
    vmx->x_gla = 0;
    vmx->x_gpa = 0;
}

static G_NORETURN void vmx_exit_finish(CPUX86State *env, uint32_t reason,
                                       uint64_t qual)
{
    CPUState *cs = env_cpu(env);

    env->vmx.x_reason = reason;
    env->vmx.x_qual = qual;
    qemu_log_mask(CPU_LOG_INT, "VM exit: reason %u qual %" PRIx64
                  " intr %x idtv %x gpa %" PRIx64 " rip " TARGET_FMT_lx "\n",
                  reason, qual, env->vmx.x_intr_info, env->vmx.idtv_info,
                  env->vmx.x_gpa, env->eip);

    /* remove any pending exception */
    env->old_exception = -1;
    cs->exception_index = EXCP_VMEXIT;
    cpu_loop_exit(cs);
}

void cpu_vmx_exit(CPUX86State *env, uint32_t reason, uint64_t qual,
                  uintptr_t retaddr)
{
    vmx_exit_begin(env, retaddr);
    vmx_exit_finish(env, reason, qual);
}

void cpu_vmx_exit_ept(CPUX86State *env, uint64_t gla, uint64_t gpa,
                      bool final, uintptr_t retaddr)
{
    X86VMXState *vmx = &env->vmx;
    uint64_t qual = vmx->ept_qual | (1 << 7);

    vmx_exit_begin(env, retaddr);
    vmx->x_gla = gla;
    vmx->x_gpa = gpa;
    if (vmx->ept_misconfig) {
        vmx_exit_finish(env, VMX_EXIT_EPT_MISCONFIG, 0);
    }
    if (final) {
        qual |= 1 << 8;
    } else {
        /* accesses to paging structures are reads, at least */
        qual |= 1;
    }
    vmx_exit_finish(env, VMX_EXIT_EPT_VIOLATION, qual);
}

void cpu_vmx_exit_apic(CPUX86State *env, uint64_t gla, MMUAccessType access,
                       uintptr_t retaddr)
{
    uint64_t qual = gla & 0xfff;

    vmx_exit_begin(env, retaddr);
    env->vmx.x_gla = gla;
    if (env->vmx.idtv_info) {
        qual |= 3 << 12;
    } else if (access == MMU_DATA_STORE) {
        qual |= 1 << 12;
    } else if (access == MMU_INST_FETCH) {
        qual |= 2 << 12;
    }
    vmx_exit_finish(env, VMX_EXIT_APIC_ACCESS, qual);
}

static bool vmx_intercepts_exception(CPUX86State *env, int intno,
                                     int error_code)
{
    X86VMXState *vmx = &env->vmx;
    bool intercept = vmx->exception_bitmap & (1u << intno);

    if (intno == EXCP0E_PAGE &&
        (error_code & vmx->pf_mask) != vmx->pf_match) {
        intercept = !intercept;
    }
    return intercept;
}

bool cpu_vmx_intercepts_pf(CPUX86State *env, int error_code)
{
    return vmx_intercepts_exception(env, EXCP0E_PAGE, error_code);
}

static G_NORETURN
void vmx_exit_exception(CPUX86State *env, int intno, uint32_t type,
                        int error_code, uint64_t qual, uintptr_t retaddr)
{
    X86VMXState *vmx = &env->vmx;

    vmx_exit_begin(env, retaddr);
    vmx->x_intr_info = intno | type | VMX_INTR_VALID;
    if (type == VMX_INTR_TYPE_HW_EXC && exception_has_error_code(intno) &&
        (env->cr[0] & CR0_PE_MASK)) {
        vmx->x_intr_info |= VMX_INTR_ERROR_CODE;
        vmx->x_intr_error = error_code;
    }
    if (intno == EXCP01_DB && type == VMX_INTR_TYPE_HW_EXC) {
        /* #DB that causes a VM exit does not modify DR6.  */
        qual = env->dr[6] & (DR6_BS | DR6_BD | 0xf);
        env->dr[6] = vmx->dr6;
    }
    vmx_exit_finish(env, VMX_EXIT_EXCEPTION_NMI, qual);
}

/* QUAL is the faulting linear address in case of a page fault.  */
void cpu_vmx_check_exception(CPUX86State *env, int intno, int error_code,
                             uint64_t qual, uintptr_t retaddr)
{
    if (intno < 32 && vmx_intercepts_exception(env, intno, error_code)) {
        vmx_exit_exception(env, intno, VMX_INTR_TYPE_HW_EXC, error_code,
                           qual, retaddr);
    }
}

/* INT1, INT3 and INTO, with env->eip pointing at the instruction */
void cpu_vmx_check_soft_exception(CPUX86State *env, int intno, int insn_len,
                                  uintptr_t retaddr)
{
    X86VMXState *vmx = &env->vmx;
    VMXInsn insn;

    if (!(vmx->exception_bitmap & (1u << intno))) {
        return;
    }
    vmx_exit_begin(env, retaddr);
    if (insn_len) {
        vmx->insn_len = insn_len;
    }
    if (vmx_decode_insn(env, &insn) && insn.opcode == 0xcd) {
        return;     /* INT n is not an exception */
    }
    vmx->x_insn_len = vmx->insn_len;
    vmx->x_intr_info = intno | VMX_INTR_VALID |
        (intno == EXCP01_DB ? VMX_INTR_TYPE_PRIV_EXC : VMX_INTR_TYPE_SW_EXC);
    vmx_exit_finish(env, VMX_EXIT_EXCEPTION_NMI, 0);
}

void cpu_vmx_check_task_switch(CPUX86State *env, uint16_t selector, int source,
                               uintptr_t retaddr)
{
    uint64_t qual = selector;

    if (env->vmx.idtv_info) {
        qual |= 3u << 30;
    } else if (source == SWITCH_TSS_IRET) {
        qual |= 1u << 30;
    } else if (source == SWITCH_TSS_JMP) {
        qual |= 2u << 30;
    }
    cpu_vmx_exit(env, VMX_EXIT_TASK_SWITCH, qual, retaddr);
}

/*
 * Delivery of an event through the IDT begins.  If it leads to a VM exit, the
 * IDT-vectoring information describes the event.
 */
void cpu_vmx_begin_event(CPUX86State *env, int intno, int is_int,
                         int error_code, target_ulong next_eip, int is_hw)
{
    X86VMXState *vmx = &env->vmx;
    uint32_t type;

    vmx->activity = VMX_ACTIVITY_ACTIVE;
    vmx->dr6 = env->dr[6];
    if (vmx->launch_pending) {
        /* Event injection has set idtv_info.  */
        vmx->launch_pending = false;
        return;
    }
    if (is_int) {
        VMXInsn insn;

        type = VMX_INTR_TYPE_SW_INT;
        vmx->insn_len = next_eip - env->eip;
        vmx->x_insn_len = vmx->insn_len;
        if ((intno == EXCP03_INT3 || intno == EXCP04_INTO) &&
            !(vmx_decode_insn(env, &insn) && insn.opcode == 0xcd)) {
            type = VMX_INTR_TYPE_SW_EXC;
        }
    } else if (is_hw) {
        type = intno == EXCP02_NMI ? VMX_INTR_TYPE_NMI : VMX_INTR_TYPE_EXT;
    } else {
        type = VMX_INTR_TYPE_HW_EXC;
    }
    vmx->idtv_info = intno | type | VMX_INTR_VALID;
    vmx->idtv_error = 0;
    if (type == VMX_INTR_TYPE_HW_EXC && exception_has_error_code(intno) &&
        (env->cr[0] & CR0_PE_MASK)) {
        vmx->idtv_info |= VMX_INTR_ERROR_CODE;
        vmx->idtv_error = error_code;
    }
}

void cpu_vmx_end_event(CPUX86State *env)
{
    env->vmx.idtv_info = 0;
}

/* IRET in non-root operation removes blocking of (virtual) NMIs.  */
void cpu_vmx_iret(CPUX86State *env)
{
    if (env->vmx.pin & VMX_PIN_BASED_VIRTUAL_NMIS) {
        env->vmx.vnmi_blocked = false;
    } else if (!(env->vmx.pin & VMX_PIN_BASED_NMI_EXITING)) {
        env->hflags2 &= ~HF2_NMI_MASK;
    }
}

/*
 * An event found by x86_vmx_pending_interrupt() that has no meaning outside of
 * VMX: preemption timer, NMI window or interrupt window.  BQL is held.
 */
void cpu_vmx_exec_event(CPUX86State *env)
{
    X86VMXState *vmx = &env->vmx;

    if (vmx->timer_expired) {
        cpu_vmx_exit(env, VMX_EXIT_PREEMPTION_TIMER, 0, 0);
    }
    if ((vmx->proc & VMX_CPU_BASED_VIRTUAL_NMI_PENDING) &&
        !vmx->vnmi_blocked) {
        cpu_vmx_exit(env, VMX_EXIT_NMI_WINDOW, 0, 0);
    }
    cpu_vmx_exit(env, VMX_EXIT_INTR_WINDOW, 0, 0);
}

/*
 * The preemption timer depends on a timer of the host and may be late.  But at
 * least, RDTSC does not return a value for which it has expired.
 */
void cpu_vmx_check_timer(CPUX86State *env, uint64_t tsc, uintptr_t retaddr)
{
    X86VMXState *vmx = &env->vmx;

    if ((vmx->pin & VMX_PIN_BASED_VMX_PREEMPTION_TIMER) &&
        tsc >= vmx->timer_deadline) {
        vmx->timer_expired = true;
        cpu_vmx_exit(env, VMX_EXIT_PREEMPTION_TIMER, 0, retaddr);
    }
}

/* ------------------------------------------------------------------------
 * Intercepts
 */

static bool vmx_msr_intercepted(CPUX86State *env, bool write)
{
    uint32_t index = env->regs[R_ECX];
    uint64_t bitmap;

    if (!(env->vmx.proc & VMX_CPU_BASED_USE_MSR_BITMAPS)) {
        return true;
    }
    bitmap = vmcs_get(env, VMCS_MSR_BITMAP) + (write ? 2048 : 0);
    if (index >= 0xc0000000) {
        index -= 0xc0000000;
        bitmap += 1024;
    }
    if (index > 0x1fff) {
        return true;
    }
    return x86_ldub_phys(env_cpu(env), bitmap + index / 8) & (1 << (index & 7));
}

static G_NORETURN void vmx_exit_dr(CPUX86State *env, int dr, bool read,
                                   uintptr_t retaddr)
{
    VMXInsn insn;

    vmx_exit_begin(env, retaddr);
    vmx_decode_insn(env, &insn);
    vmx_exit_finish(env, VMX_EXIT_DR_ACCESS,
                    dr | (read << 4) | (insn.rm << 8));
}

static G_NORETURN void vmx_exit_desc(CPUX86State *env, uint32_t reason,
                                     int identity, uintptr_t retaddr)
{
    VMXInsn insn;
    uint32_t info;

    vmx_exit_begin(env, retaddr);
    vmx_decode_insn(env, &insn);
    info = vmx_insn_info_mem(&insn) | (identity << 28);
    if (reason == VMX_EXIT_GDTR_IDTR) {
        if (insn.dflag != 0) {
            info |= 1 << 11;
        }
    } else if (insn.mod == 3) {
        info |= insn.rm << 3;
    }
    env->vmx.x_insn_info = info;
    vmx_exit_finish(env, reason, insn.disp);
}

static G_NORETURN void vmx_exit_rdrand(CPUX86State *env, uint32_t reason,
                                       uintptr_t retaddr)
{
    VMXInsn insn;

    vmx_exit_begin(env, retaddr);
    vmx_decode_insn(env, &insn);
    env->vmx.x_insn_info = (insn.rm << 3) | (insn.dflag << 11);
    vmx_exit_finish(env, reason, 0);
}

void cpu_vmx_check_intercept(CPUX86State *env, uint32_t type,
                             uint64_t param, uintptr_t retaddr)
{
    CPUState *cs = env_cpu(env);
    X86VMXState *vmx = &env->vmx;
    int cpl = env->hflags & HF_CPL_MASK;

    switch (type) {
    case SVM_EXIT_CPUID:
        cpu_vmx_exit(env, VMX_EXIT_CPUID, 0, retaddr);
    case SVM_EXIT_INVD:
        cpu_vmx_exit(env, VMX_EXIT_INVD, 0, retaddr);
    case SVM_EXIT_XSETBV:
        if (cpl != 0) {
            return;     /* #GP comes first */
        }
        cpu_vmx_exit(env, VMX_EXIT_XSETBV, 0, retaddr);
    case SVM_EXIT_SHUTDOWN:
        cpu_vmx_exit(env, VMX_EXIT_TRIPLE_FAULT, 0, retaddr);

    case SVM_EXIT_HLT:
        if (vmx->proc & VMX_CPU_BASED_HLT_EXITING) {
            cpu_vmx_exit(env, VMX_EXIT_HLT, 0, retaddr);
        }
        break;
    case SVM_EXIT_INVLPG:
        if (vmx->proc & VMX_CPU_BASED_INVLPG_EXITING) {
            cpu_vmx_exit(env, VMX_EXIT_INVLPG, param, retaddr);
        }
        break;
    case SVM_EXIT_RDTSC:
        if (vmx->proc & VMX_CPU_BASED_RDTSC_EXITING) {
            cpu_vmx_exit(env, VMX_EXIT_RDTSC, 0, retaddr);
        }
        break;
    case VMX_CHECK_RDTSCP:
        if (!(vmx->proc2 & VMX_SECONDARY_EXEC_RDTSCP)) {
            raise_exception_ra(env, EXCP06_ILLOP, retaddr);
        }
        if (vmx->proc & VMX_CPU_BASED_RDTSC_EXITING) {
            if ((env->cr[4] & CR4_TSD_MASK) && cpl != 0) {
                return;
            }
            cpu_vmx_exit(env, VMX_EXIT_RDTSCP, 0, retaddr);
        }
        break;
    case SVM_EXIT_RDPMC:
        if (vmx->proc & VMX_CPU_BASED_RDPMC_EXITING) {
            cpu_vmx_exit(env, VMX_EXIT_RDPMC, 0, retaddr);
        }
        break;
    case SVM_EXIT_MONITOR:
        if (vmx->proc & VMX_CPU_BASED_MONITOR_EXITING) {
            cpu_vmx_exit(env, VMX_EXIT_MONITOR, 0, retaddr);
        }
        break;
    case SVM_EXIT_MWAIT:
        if (vmx->proc & VMX_CPU_BASED_MWAIT_EXITING) {
            cpu_vmx_exit(env, VMX_EXIT_MWAIT, 0, retaddr);
        }
        break;
    case SVM_EXIT_PAUSE:
        if (vmx->proc & VMX_CPU_BASED_PAUSE_EXITING) {
            cpu_vmx_exit(env, VMX_EXIT_PAUSE, 0, retaddr);
        }
        break;
    case SVM_EXIT_WBINVD:
        if (vmx->proc2 & VMX_SECONDARY_EXEC_WBINVD_EXITING) {
            cpu_vmx_exit(env, VMX_EXIT_WBINVD, 0, retaddr);
        }
        break;
    case SVM_EXIT_MSR:
        if (vmx_msr_intercepted(env, param)) {
            cpu_vmx_exit(env, param ? VMX_EXIT_WRMSR : VMX_EXIT_RDMSR,
                         0, retaddr);
        }
        break;
    case SVM_EXIT_READ_DR0 ... SVM_EXIT_READ_DR7:
        if (vmx->proc & VMX_CPU_BASED_MOV_DR_EXITING) {
            vmx_exit_dr(env, type - SVM_EXIT_READ_DR0, true, retaddr);
        }
        break;
    case SVM_EXIT_WRITE_DR0 ... SVM_EXIT_WRITE_DR7:
        if (vmx->proc & VMX_CPU_BASED_MOV_DR_EXITING) {
            vmx_exit_dr(env, type - SVM_EXIT_WRITE_DR0, false, retaddr);
        }
        break;

    case SVM_EXIT_GDTR_READ:
    case SVM_EXIT_IDTR_READ:
    case SVM_EXIT_GDTR_WRITE:
    case SVM_EXIT_IDTR_WRITE:
        if (vmx->proc2 & VMX_SECONDARY_EXEC_DESC) {
            vmx_exit_desc(env, VMX_EXIT_GDTR_IDTR,
                          type == SVM_EXIT_GDTR_READ ? 0 :
                          type == SVM_EXIT_IDTR_READ ? 1 :
                          type == SVM_EXIT_GDTR_WRITE ? 2 : 3, retaddr);
        }
        break;
    case SVM_EXIT_LDTR_READ:
    case SVM_EXIT_TR_READ:
    case SVM_EXIT_LDTR_WRITE:
    case SVM_EXIT_TR_WRITE:
        if (vmx->proc2 & VMX_SECONDARY_EXEC_DESC) {
            vmx_exit_desc(env, VMX_EXIT_LDTR_TR,
                          type == SVM_EXIT_LDTR_READ ? 0 :
                          type == SVM_EXIT_TR_READ ? 1 :
                          type == SVM_EXIT_LDTR_WRITE ? 2 : 3, retaddr);
        }
        break;

    case VMX_CHECK_RDRAND:
        if (vmx->proc2 & VMX_SECONDARY_EXEC_RDRAND_EXITING) {
            vmx_exit_rdrand(env, VMX_EXIT_RDRAND, retaddr);
        }
        break;
    case VMX_CHECK_RDSEED:
        if (vmx->proc2 & VMX_SECONDARY_EXEC_RDSEED_EXITING) {
            vmx_exit_rdrand(env, VMX_EXIT_RDSEED, retaddr);
        }
        break;

    /* Events, all with BQL held and no instruction in progress */
    case SVM_EXIT_INIT:
        cs->interrupt_request &= ~CPU_INTERRUPT_INIT;
        cpu_vmx_exit(env, VMX_EXIT_INIT, 0, 0);
    case SVM_EXIT_NMI:
        if (vmx->pin & VMX_PIN_BASED_NMI_EXITING) {
            cs->interrupt_request &= ~CPU_INTERRUPT_NMI;
            vmx_exit_begin(env, 0);
            vmx->x_intr_info = EXCP02_NMI | VMX_INTR_TYPE_NMI | VMX_INTR_VALID;
            vmx_exit_finish(env, VMX_EXIT_EXCEPTION_NMI, 0);
        }
        break;
    case SVM_EXIT_INTR:
        if (vmx->pin & VMX_PIN_BASED_EXT_INTR_MASK) {
            vmx_exit_begin(env, 0);
            if (vmx->exit & VMX_VM_EXIT_ACK_INTR_ON_EXIT) {
                int vector;

                cs->interrupt_request &= ~CPU_INTERRUPT_HARD;
                vector = cpu_get_pic_interrupt(env);
                if (vector < 0) {
                    cpu_loop_exit_noexc(cs);
                }
                vmx->x_intr_info = vector | VMX_INTR_TYPE_EXT | VMX_INTR_VALID;
            }
            vmx_exit_finish(env, VMX_EXIT_EXTERNAL_INTR, 0);
        }
        break;

    default:
        /* CR accesses and exceptions are handled elsewhere.  */
        break;
    }
}

void cpu_vmx_check_io(CPUX86State *env, uint32_t port, uint32_t param,
                      uintptr_t retaddr)
{
    CPUState *cs = env_cpu(env);
    X86VMXState *vmx = &env->vmx;
    int size = (param >> SVM_IOIO_SIZE_SHIFT) & 7;
    bool intercept;
    uint64_t qual;
    VMXInsn insn;
    int i;

    if (vmx->proc & VMX_CPU_BASED_USE_IO_BITMAPS) {
        intercept = port + size > 0x10000;
        for (i = port; i < port + size && !intercept; i++) {
            uint64_t addr = vmcs_get(env, i & 0x8000 ? VMCS_IO_BITMAP_B
                                                     : VMCS_IO_BITMAP_A);

            addr += (i & 0x7fff) / 8;
            intercept = x86_ldub_phys(cs, addr) & (1 << (i & 7));
        }
    } else {
        intercept = vmx->proc & VMX_CPU_BASED_UNCOND_IO_EXITING;
    }
    if (!intercept) {
        return;
    }

    vmx_exit_begin(env, retaddr);
    vmx_decode_insn(env, &insn);
    qual = (size - 1) | (port << 16);
    if (param & SVM_IOIO_TYPE_MASK) {
        qual |= 1 << 3;
    }
    if (param & SVM_IOIO_STR_MASK) {
        uint64_t mask = insn.aflag == 0 ? 0xffff :
            insn.aflag == 1 ? 0xffffffff : -1ULL;
        X86Seg seg = param & SVM_IOIO_TYPE_MASK ? R_ES : insn.seg;
        uint64_t addr = env->regs[seg == R_ES && (param & SVM_IOIO_TYPE_MASK) ?
                                  R_EDI : R_ESI] & mask;

        qual |= 1 << 4;
        if (param & SVM_IOIO_REP_MASK) {
            if (!(env->regs[R_ECX] & mask)) {
                return;     /* nothing to do */
            }
            qual |= 1 << 5;
        }
        if (!(env->hflags & HF_CS64_MASK)) {
            addr = (uint32_t)(addr + env->segs[seg].base);
        } else if (seg == R_FS || seg == R_GS) {
            addr += env->segs[seg].base;
        }
        vmx->x_gla = addr;
        vmx->x_insn_info = (insn.aflag << 7) | (seg << 15);
    } else if ((insn.opcode & 0xf8) == 0xe0) {
        qual |= 1 << 6;         /* immediate operand */
    }
    vmx_exit_finish(env, VMX_EXIT_IO, qual);
}

/* ------------------------------------------------------------------------
 * Control register accesses.  The helpers for MOV are also used for SVM
 * guests, which have had their intercepts checked before.
 */

static uint64_t vmx_shadowed(uint64_t val, uint64_t mask, uint64_t shadow)
{
    return (val & ~mask) | (shadow & mask);
}

static G_NORETURN void vmx_exit_mov_cr(CPUX86State *env, int cr, bool read,
                                       uintptr_t retaddr)
{
    VMXInsn insn;

    vmx_exit_begin(env, retaddr);
    vmx_decode_insn(env, &insn);
    vmx_exit_finish(env, VMX_EXIT_CR_ACCESS,
                    cr | (read << 4) | (insn.rm << 8));
}

target_ulong helper_guest_read_cr(CPUX86State *env, int cr)
{
    X86VMXState *vmx = &env->vmx;

    if (!cpu_vmx_non_root(env)) {
        return cr == 8 ? helper_read_cr8(env) : env->cr[cr];
    }
    switch (cr) {
    case 0:
        return vmx_shadowed(env->cr[0], vmx->cr0_mask, vmx->cr0_shadow);
    case 3:
        if (vmx->proc & VMX_CPU_BASED_CR3_STORE_EXITING) {
            vmx_exit_mov_cr(env, 3, true, GETPC());
        }
        return env->cr[3];
    case 4:
        return vmx_shadowed(env->cr[4], vmx->cr4_mask, vmx->cr4_shadow);
    case 8:
        if (vmx->proc & VMX_CPU_BASED_CR8_STORE_EXITING) {
            vmx_exit_mov_cr(env, 8, true, GETPC());
        }
        return helper_read_cr8(env);
    default:
        return env->cr[cr];
    }
}

/* PAE paging with EPT: PDPTEs are kept in registers and the VMCS.  */
static bool vmx_guest_pae(CPUX86State *env)
{
    return (env->vmx.proc2 & VMX_SECONDARY_EXEC_ENABLE_EPT) &&
        (env->cr[0] & CR0_PG_MASK) && (env->cr[4] & CR4_PAE_MASK) &&
        !(env->efer & MSR_EFER_LMA);
}

static bool vmx_pdpte_ok(CPUX86State *env, uint64_t pdpte)
{
    uint64_t rsvd = ~MAKE_64BIT_MASK(0, env_archcpu(env)->phys_bits) | 0x1e6;

    return !(pdpte & PG_PRESENT_MASK) || !(pdpte & rsvd);
}

/* Read the PDPTEs for a new value of CR3; EPT violations are possible.  */
static void vmx_load_pdptes(CPUX86State *env, uint64_t cr3, uintptr_t retaddr)
{
    hwaddr addr = cr3 & 0xffffffe0;
    uint64_t pdpte[4];
    void *host;
    int i, flags;

    flags = probe_access_full_mmu(env, addr, 0, MMU_DATA_LOAD, MMU_NESTED_IDX,
                                  &host, NULL);
    if (flags & TLB_INVALID_MASK) {
        uint64_t qual = env->vmx.ept_qual;

        vmx_exit_begin(env, retaddr);
        env->vmx.x_gpa = addr;
        vmx_exit_finish(env, env->vmx.ept_misconfig ? VMX_EXIT_EPT_MISCONFIG
                                                    : VMX_EXIT_EPT_VIOLATION,
                        qual);
    }
    for (i = 0; i < 4; i++) {
        pdpte[i] = host ? ldq_le_p(host + 8 * i)
            : cpu_ldq_mmuidx_ra(env, addr + 8 * i, MMU_NESTED_IDX, retaddr);
        if (!vmx_pdpte_ok(env, pdpte[i])) {
            raise_exception_err_ra(env, EXCP0D_GPF, 0, retaddr);
        }
    }
    memcpy(env->pdptrs, pdpte, sizeof(pdpte));
}

static void vmx_write_cr(CPUX86State *env, int cr, uint64_t val,
                         uintptr_t retaddr)
{
    X86VMXState *vmx = &env->vmx;
    bool was_pae = vmx_guest_pae(env);
    int i, n;

    switch (cr) {
    case 0:
        if ((val ^ vmx->cr0_shadow) & vmx->cr0_mask) {
            vmx_exit_mov_cr(env, 0, false, retaddr);
        }
        val = vmx_shadowed(val, vmx->cr0_mask, env->cr[0]);
        break;
    case 3:
        if (!(vmx->proc & VMX_CPU_BASED_CR3_LOAD_EXITING)) {
            break;
        }
        n = vmcs_get(env, VMCS_CR3_TARGET_COUNT);
        for (i = 0; i < n; i++) {
            if (val == vmcs_get(env, VMCS_CR3_TARGET0 + 2 * i)) {
                break;
            }
        }
        if (i == n) {
            vmx_exit_mov_cr(env, 3, false, retaddr);
        }
        break;
    case 4:
        if ((val ^ vmx->cr4_shadow) & vmx->cr4_mask) {
            vmx_exit_mov_cr(env, 4, false, retaddr);
        }
        val = vmx_shadowed(val, vmx->cr4_mask, env->cr[4]);
        break;
    case 8:
        if (vmx->proc & VMX_CPU_BASED_CR8_LOAD_EXITING) {
            vmx_exit_mov_cr(env, 8, false, retaddr);
        }
        break;
    }
    if (cr == 3 && was_pae) {
        vmx_load_pdptes(env, val, retaddr);
    }
    x86_write_crN(env, cr, val, retaddr);
    if (cr != 3 && !was_pae && vmx_guest_pae(env)) {
        vmx_load_pdptes(env, env->cr[3], retaddr);
    }
}

void helper_guest_write_cr(CPUX86State *env, int cr, target_ulong val)
{
    if (cpu_vmx_non_root(env)) {
        vmx_write_cr(env, cr, val, GETPC());
    } else {
        x86_write_crN(env, cr, val, GETPC());
    }
}

/* ADDR is the linear address of the operand if it is in memory.  */
void helper_guest_lmsw(CPUX86State *env, target_ulong val, target_ulong addr,
                       int is_mem)
{
    X86VMXState *vmx = &env->vmx;

    val &= 0xf;
    if (cpu_vmx_non_root(env)) {
        uint64_t diff = (val ^ vmx->cr0_shadow) & vmx->cr0_mask;

        if ((diff & 0xe) || (diff & val & CR0_PE_MASK)) {
            vmx_exit_begin(env, GETPC());
            vmx->x_gla = is_mem ? addr : 0;
            vmx_exit_finish(env, VMX_EXIT_CR_ACCESS,
                            (3 << 4) | (is_mem << 6) | (val << 16));
        }
        val = vmx_shadowed(val, vmx->cr0_mask, env->cr[0]);
    }
    /* LMSW cannot clear PE.  */
    val = (env->cr[0] & ~0xeULL) | (val & 0xf);
    x86_write_crN(env, 0, val, GETPC());
}

void helper_guest_clts(CPUX86State *env)
{
    X86VMXState *vmx = &env->vmx;

    if (cpu_vmx_non_root(env) && (vmx->cr0_mask & CR0_TS_MASK)) {
        if (vmx->cr0_shadow & CR0_TS_MASK) {
            cpu_vmx_exit(env, VMX_EXIT_CR_ACCESS, 2 << 4, GETPC());
        }
        return;
    }
    helper_clts(env);
}

/* ------------------------------------------------------------------------
 * Saving and loading of state
 */

#define VMX_SEG_GUEST_FIELDS    8       /* 6 segments, LDTR, TR */

static SegmentCache *vmx_seg(CPUX86State *env, int i)
{
    return i < 6 ? &env->segs[i] : i == 6 ? &env->ldt : &env->tr;
}

static void vmx_save_seg(CPUX86State *env, int i)
{
    SegmentCache *sc = vmx_seg(env, i);
    uint32_t flags = sc->flags;
    uint32_t limit = sc->limit;
    uint64_t base = sc->base;
    uint32_t ar;

    if (i < 6 && (env->eflags & VM_MASK)) {
        ar = 0xf3;
        limit = 0xffff;
        base = sc->selector << 4;
    } else {
        if (i < 6 && !(env->cr[0] & CR0_PE_MASK) && !(flags & DESC_P_MASK)) {
            /* Loading a segment in real mode does not update flags.  */
            flags = DESC_P_MASK | DESC_S_MASK | DESC_W_MASK | DESC_A_MASK;
            limit = 0xffff;
        }
        ar = (flags >> 8) & 0xf0ff;
        if (!(flags & DESC_P_MASK)) {
            ar |= VMX_AR_UNUSABLE;
        } else if (i < 6) {
            ar |= 1;            /* accessed */
        } else if (i == 7) {
            ar |= 2;            /* busy, which QEMU does not keep track of */
        }
    }
    vmcs_set(env, VMCS_GUEST_ES_SEL + 2 * i, sc->selector);
    vmcs_set(env, VMCS_GUEST_ES_LIMIT + 2 * i, limit);
    vmcs_set(env, VMCS_GUEST_ES_AR + 2 * i, ar);
    vmcs_set(env, VMCS_GUEST_ES_BASE + 2 * i, base);
}

static void vmx_load_seg(CPUX86State *env, int i)
{
    SegmentCache sc;
    uint32_t ar = vmcs_get(env, VMCS_GUEST_ES_AR + 2 * i);

    sc.selector = vmcs_get(env, VMCS_GUEST_ES_SEL + 2 * i);
    sc.limit = vmcs_get(env, VMCS_GUEST_ES_LIMIT + 2 * i);
    sc.base = vmcs_get(env, VMCS_GUEST_ES_BASE + 2 * i);
    sc.flags = (ar & 0xf0ff) << 8;
    if (ar & VMX_AR_UNUSABLE) {
        sc.flags &= ~DESC_P_MASK;
        if (i == 6) {
            sc.base = 0;
            sc.limit = 0;
        }
    } else if (i == 7) {
        sc.flags &= ~DESC_TSS_BUSY_MASK;    /* see vmx_save_seg() */
    }
    if (i < 6) {
        cpu_x86_load_seg_cache(env, i, sc.selector, sc.base, sc.limit,
                               sc.flags);
    } else {
        *vmx_seg(env, i) = sc;
    }
}

static void vmx_load_host_seg(CPUX86State *env, int i, uint64_t base,
                              uint32_t flags)
{
    uint16_t selector = vmcs_get(env, VMCS_HOST_ES_SEL + 2 * i);

    if (selector == 0 && i != R_CS) {
        flags &= ~DESC_P_MASK;
    }
    cpu_x86_load_seg_cache(env, i, selector, base, 0xffffffff, flags);
}

static void vmx_load_eflags(CPUX86State *env, uint32_t eflags)
{
    env->eflags = 0;
    cpu_load_eflags(env, eflags, ~(CC_O | CC_S | CC_Z | CC_A | CC_P | CC_C |
                                   DF_MASK));
}

/* Paging context for which the TLB entries of a mode have been made */
static void vmx_paging_key(CPUX86State *env, uint64_t *key)
{
    key[0] = env->cr[3];
    key[1] = env->cr[0] & (CR0_PG_MASK | CR0_WP_MASK | CR0_PE_MASK);
    key[2] = env->cr[4] & (CR4_PAE_MASK | CR4_PSE_MASK | CR4_PGE_MASK |
                           CR4_SMEP_MASK | CR4_SMAP_MASK | CR4_LA57_MASK |
                           CR4_PKE_MASK | CR4_PKS_MASK);
    key[3] = env->efer & (MSR_EFER_LMA | MSR_EFER_NXE);
}

static void vmx_flush_guest(CPUX86State *env, bool nested)
{
    tlb_flush_by_mmuidx(env_cpu(env), MMU_VMX_GUEST_MAP |
                        (nested ? 1 << MMU_NESTED_IDX : 0));
}

static int64_t vmx_ticks_to_ns(CPUX86State *env, uint64_t ticks)
{
    /* Both clocks start at zero and stop together.  */
    int64_t ns = qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL);
    uint64_t tsc = cpu_get_tsc(env);
    double ret;

    if (ns <= 0 || tsc == 0) {
        return MIN(ticks, INT64_MAX / 2);
    }
    ret = (double)ticks * ns / tsc;
    return ret > 1e17 ? 100000000000000000LL : (int64_t)ret;
}

static void vmx_timer_cb(void *opaque)
{
    CPUX86State *env = opaque;
    X86VMXState *vmx = &env->vmx;
    uint64_t now = cpu_get_tsc(env);

    if (!cpu_vmx_non_root(env) ||
        !(vmx->pin & VMX_PIN_BASED_VMX_PREEMPTION_TIMER)) {
        return;
    }
    if (now < vmx->timer_deadline) {
        timer_mod_ns(env->vmx_timer, qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL) +
                     vmx_ticks_to_ns(env, vmx->timer_deadline - now) + 1);
        return;
    }
    vmx->timer_expired = true;
    cpu_interrupt(env_cpu(env), CPU_INTERRUPT_VMX);
}

static G_NORETURN void vmx_abort(CPUX86State *env, int indicator)
{
    CPUState *cs = env_cpu(env);

    error_report("CPU %d: VMX abort %d, rip " TARGET_FMT_lx, cs->cpu_index,
                 indicator, env->eip);
    stl_le_p(env->vmx.vmcs + VMCS_OFS_ABORT, indicator);
    qemu_system_reset_request(SHUTDOWN_CAUSE_GUEST_RESET);
    cs->halted = 1;
    cs->exception_index = EXCP_HLT;
    cpu_loop_exit(cs);
}

/* Load a list of MSRs; return the 1-based index of the one that fails or 0.  */
static int vmx_load_msrs(CPUX86State *env, uint64_t addr, uint32_t count)
{
    MemTxAttrs attrs = cpu_get_mem_attrs(env);
    AddressSpace *as = cpu_addressspace(env_cpu(env), attrs);
    uint32_t i;

    for (i = 0; i < count; i++, addr += 16) {
        uint8_t entry[16];
        uint32_t index;
        uint64_t val;

        /* Unassigned memory reads as an index that does not exist.  */
        if (address_space_read(as, addr, attrs, entry, 16) != MEMTX_OK) {
            return i + 1;
        }
        index = ldl_le_p(entry);
        val = ldq_le_p(entry + 8);
        if (i >= VMX_MAX_MSR_LIST || ldl_le_p(entry + 4) != 0 ||
            index == MSR_FSBASE || index == MSR_GSBASE ||
            index == MSR_IA32_SMBASE || (index >> 8) == 8) {
            return i + 1;
        }
        if ((index & 0x1fff) != index && (index & 0xc0011fff) != index) {
            /* TCG accepts unknown MSRs, but this cannot be one.  */
            return i + 1;
        }
        if (index == MSR_EFER) {
            /* LMA is ignored; LME cannot change while paging is on */
            if ((val & ~(uint64_t)(MSR_EFER_SCE | MSR_EFER_LME | MSR_EFER_LMA |
                                   MSR_EFER_NXE)) ||
                ((env->cr[0] & CR0_PG_MASK) &&
                 ((val ^ env->efer) & MSR_EFER_LME))) {
                return i + 1;
            }
        }
        if (!x86_tcg_wrmsr(env, index, val)) {
            return i + 1;
        }
    }
    return 0;
}

static void vmx_store_msrs(CPUX86State *env, uint64_t addr, uint32_t count)
{
    CPUState *cs = env_cpu(env);
    uint32_t i;

    for (i = 0; i < count; i++, addr += 16) {
        uint32_t index = x86_ldl_phys(cs, addr);
        uint64_t val;

        if (i >= VMX_MAX_MSR_LIST || x86_ldl_phys(cs, addr + 4) != 0 ||
            (index >> 8) == 8 || !x86_tcg_rdmsr(env, index, &val)) {
            vmx_abort(env, 1);
        }
        x86_stq_phys(cs, addr + 8, val);
    }
}

/* SDM 28.3: save the state of the guest.  */
static void vmx_save_guest_state(CPUX86State *env)
{
    X86VMXState *vmx = &env->vmx;
    uint32_t interruptibility = 0;
    int i;

    vmcs_set(env, VMCS_GUEST_CR0, env->cr[0]);
    vmcs_set(env, VMCS_GUEST_CR3, env->cr[3]);
    vmcs_set(env, VMCS_GUEST_CR4, env->cr[4]);
    if (vmx->exit & VMX_VM_EXIT_SAVE_DEBUG_CONTROLS) {
        vmcs_set(env, VMCS_GUEST_DR7, env->dr[7]);
        vmcs_set(env, VMCS_GUEST_DEBUGCTL, env->debugctl);
    }
    vmcs_set(env, VMCS_GUEST_SYSENTER_CS, env->sysenter_cs);
    vmcs_set(env, VMCS_GUEST_SYSENTER_ESP, env->sysenter_esp);
    vmcs_set(env, VMCS_GUEST_SYSENTER_EIP, env->sysenter_eip);
    if (vmx->exit & VMX_VM_EXIT_SAVE_IA32_PAT) {
        vmcs_set(env, VMCS_GUEST_PAT, env->pat);
    }
    if (vmx->exit & VMX_VM_EXIT_SAVE_IA32_EFER) {
        vmcs_set(env, VMCS_GUEST_EFER, env->efer);
    }

    for (i = 0; i < VMX_SEG_GUEST_FIELDS; i++) {
        vmx_save_seg(env, i);
    }
    vmcs_set(env, VMCS_GUEST_GDTR_BASE, env->gdt.base);
    vmcs_set(env, VMCS_GUEST_GDTR_LIMIT, env->gdt.limit);
    vmcs_set(env, VMCS_GUEST_IDTR_BASE, env->idt.base);
    vmcs_set(env, VMCS_GUEST_IDTR_LIMIT, env->idt.limit);

    vmcs_set(env, VMCS_GUEST_RIP, env->eip);
    vmcs_set(env, VMCS_GUEST_RSP, env->regs[R_ESP]);
    vmcs_set(env, VMCS_GUEST_RFLAGS, cpu_compute_eflags(env));

    vmcs_set(env, VMCS_GUEST_ACTIVITY,
             vmx->x_reason == VMX_EXIT_TRIPLE_FAULT ? VMX_ACTIVITY_ACTIVE
                                                    : vmx->activity);
    if (env->hflags & HF_INHIBIT_IRQ_MASK) {
        /* QEMU does not distinguish the two, but STI sets IF.  */
        interruptibility |= env->eflags & IF_MASK ? VMX_BLOCK_STI
                                                  : VMX_BLOCK_MOV_SS;
    }
    if (vmx->pin & VMX_PIN_BASED_VIRTUAL_NMIS ? vmx->vnmi_blocked
        : (env->hflags2 & HF2_NMI_MASK)) {
        interruptibility |= VMX_BLOCK_NMI;
    }
    vmcs_set(env, VMCS_GUEST_INTERRUPTIBILITY, interruptibility);
    vmcs_set(env, VMCS_GUEST_PENDING_DBG, 0);

    if (vmx->exit & VMX_VM_EXIT_SAVE_VMX_PREEMPTION_TIMER) {
        uint64_t now = cpu_get_tsc(env);
        uint64_t left = 0;

        if (!vmx->timer_expired && now < vmx->timer_deadline) {
            left = (vmx->timer_deadline - now) >> VMX_TIMER_SHIFT;
        }
        vmcs_set(env, VMCS_PREEMPTION_TIMER, left);
    }

    if (vmx->entry & VMX_VM_ENTRY_IA32E_MODE ||
        (env->features[FEAT_VMX_MISC] & MSR_VMX_MISC_STORE_LMA)) {
        vmx->entry &= ~VMX_VM_ENTRY_IA32E_MODE;
        if (env->efer & MSR_EFER_LMA) {
            vmx->entry |= VMX_VM_ENTRY_IA32E_MODE;
        }
        vmcs_set(env, VMCS_ENTRY_CTLS, vmx->entry);
    }
    if (vmx_guest_pae(env)) {
        for (i = 0; i < 4; i++) {
            vmcs_set(env, VMCS_GUEST_PDPTE0 + 2 * i, env->pdptrs[i]);
        }
    }
}

/* SDM 28.5: load the state of the host.  */
static void vmx_load_host_state(CPUX86State *env, uint32_t exit_ctls)
{
    CPUState *cs = env_cpu(env);
    X86VMXState *vmx = &env->vmx;
    bool host64 = exit_ctls & VMX_VM_EXIT_HOST_ADDR_SPACE_SIZE;
    const uint32_t data = DESC_P_MASK | DESC_S_MASK | DESC_W_MASK |
        DESC_A_MASK | DESC_G_MASK | DESC_B_MASK;
    const uint32_t keep_cr0 = 0x7ffaffd0;   /* not loaded from the VMCS */
    uint64_t cr0, cr4, efer, key[4];
    bool vpid = vmx->proc2 & VMX_SECONDARY_EXEC_ENABLE_VPID;

    env->hflags &= ~(HF_GUEST_MASK | HF_INHIBIT_IRQ_MASK);
    env->hflags2 &= ~(HF2_NPT_MASK | HF2_VMX_MASK);
    env->tsc_offset = 0;
    cs->halted = 0;
    vmx->activity = VMX_ACTIVITY_ACTIVE;
    vmx->idtv_info = 0;
    vmx->launch_pending = false;

    cr0 = vmcs_get(env, VMCS_HOST_CR0);
    cr0 = (cr0 & ~(uint64_t)keep_cr0) | (env->cr[0] & keep_cr0);
    cr4 = vmcs_get(env, VMCS_HOST_CR4);
    if (host64) {
        cr4 |= CR4_PAE_MASK;
    } else {
        cr4 &= ~CR4_PCIDE_MASK;
    }
    if (exit_ctls & VMX_VM_EXIT_LOAD_IA32_EFER) {
        efer = vmcs_get(env, VMCS_HOST_EFER);
    } else {
        efer = env->efer & ~(uint64_t)(MSR_EFER_LMA | MSR_EFER_LME);
        efer |= host64 ? MSR_EFER_LMA | MSR_EFER_LME : 0;
    }
    cpu_load_efer(env, efer);
    cpu_x86_load_cr0_cr4(env, cr0, cr4);
    env->cr[3] = vmcs_get(env, VMCS_HOST_CR3) &
        MAKE_64BIT_MASK(0, env_archcpu(env)->phys_bits);

    cpu_x86_update_dr7(env, DR7_FIXED_1);
    env->debugctl = 0;
    env->sysenter_cs = vmcs_get(env, VMCS_HOST_SYSENTER_CS);
    env->sysenter_esp = vmcs_get(env, VMCS_HOST_SYSENTER_ESP);
    env->sysenter_eip = vmcs_get(env, VMCS_HOST_SYSENTER_EIP);
    if (exit_ctls & VMX_VM_EXIT_LOAD_IA32_PAT) {
        env->pat = vmcs_get(env, VMCS_HOST_PAT);
    }

    vmx_load_eflags(env, 2);
    vmx_load_host_seg(env, R_CS, 0, DESC_P_MASK | DESC_S_MASK | DESC_CS_MASK |
                      DESC_R_MASK | DESC_A_MASK | DESC_G_MASK |
                      (host64 ? DESC_L_MASK : DESC_B_MASK));
    vmx_load_host_seg(env, R_SS, 0, data);
    vmx_load_host_seg(env, R_DS, 0, data);
    vmx_load_host_seg(env, R_ES, 0, data);
    vmx_load_host_seg(env, R_FS, vmcs_get(env, VMCS_HOST_FS_BASE), data);
    vmx_load_host_seg(env, R_GS, vmcs_get(env, VMCS_HOST_GS_BASE), data);
    env->tr.selector = vmcs_get(env, VMCS_HOST_TR_SEL);
    env->tr.base = vmcs_get(env, VMCS_HOST_TR_BASE);
    env->tr.limit = 0x67;
    env->tr.flags = DESC_P_MASK | (9 << DESC_TYPE_SHIFT);
    env->ldt.selector = 0;
    env->ldt.base = 0;
    env->ldt.limit = 0;
    env->ldt.flags = 0;
    env->gdt.base = vmcs_get(env, VMCS_HOST_GDTR_BASE);
    env->gdt.limit = 0xffff;
    env->idt.base = vmcs_get(env, VMCS_HOST_IDTR_BASE);
    env->idt.limit = 0xffff;

    env->eip = vmcs_get(env, VMCS_HOST_RIP);
    env->regs[R_ESP] = vmcs_get(env, VMCS_HOST_RSP);

    /*
     * With VPIDs, translations of the host survive.  As TCG does not have
     * PCIDs, they have to belong to the paging context that is now loaded.
     */
    vmx_paging_key(env, key);
    if (!vpid) {
        tlb_flush_by_mmuidx(cs, MMU_HOST_MAP | MMU_VMX_GUEST_MAP);
    } else if (memcmp(key, vmx->host_tlb_key, sizeof(key))) {
        tlb_flush_by_mmuidx(cs, MMU_HOST_MAP);
    }

    if (vmx_load_msrs(env, vmcs_get(env, VMCS_EXIT_MSR_LOAD_ADDR),
                      vmcs_get(env, VMCS_EXIT_MSR_LOAD_COUNT))) {
        vmx_abort(env, 4);
    }
}

/* Second part of a VM exit, called with BQL held.  */
void vmx_do_exit(CPUX86State *env)
{
    CPUState *cs = env_cpu(env);
    X86VMXState *vmx = &env->vmx;

    vmcs_set(env, VMCS_EXIT_REASON, vmx->x_reason);
    vmcs_set(env, VMCS_EXIT_QUAL, vmx->x_qual);
    vmcs_set(env, VMCS_GUEST_LINEAR_ADDR, vmx->x_gla);
    vmcs_set(env, VMCS_GUEST_PHYS_ADDR, vmx->x_gpa);
    vmcs_set(env, VMCS_EXIT_INTR_INFO, vmx->x_intr_info);
    vmcs_set(env, VMCS_EXIT_INTR_ERROR, vmx->x_intr_error);
    vmcs_set(env, VMCS_IDTV_INFO, vmx->idtv_info);
    vmcs_set(env, VMCS_IDTV_ERROR, vmx->idtv_error);
    vmcs_set(env, VMCS_EXIT_INSN_LEN, vmx->x_insn_len);
    vmcs_set(env, VMCS_EXIT_INSN_INFO, vmx->x_insn_info);
    vmcs_set(env, VMCS_ENTRY_INTR_INFO,
             vmcs_get(env, VMCS_ENTRY_INTR_INFO) & ~VMX_INTR_VALID);

    vmx_save_guest_state(env);
    env->tsc_offset = 0;
    vmx_store_msrs(env, vmcs_get(env, VMCS_EXIT_MSR_STORE_ADDR),
                   vmcs_get(env, VMCS_EXIT_MSR_STORE_COUNT));

    if (vmx->pin & VMX_PIN_BASED_VMX_PREEMPTION_TIMER) {
        timer_del(env->vmx_timer);
    }
    vmx->timer_expired = false;
    cs->interrupt_request &= ~CPU_INTERRUPT_VMX;

    /* An NMI that has caused a VM exit blocks further ones in the host.  */
    if (vmx->x_reason == VMX_EXIT_EXCEPTION_NMI &&
        (vmx->x_intr_info & VMX_INTR_TYPE_MASK) == VMX_INTR_TYPE_NMI) {
        env->hflags2 |= HF2_NMI_MASK;
    }
    vmx->init_exit = vmx->x_reason == VMX_EXIT_INIT;

    /* The guest may have changed its paging context, flushing its TLB.  */
    vmx_paging_key(env, vmx->guest_tlb_key);
    vmx_load_host_state(env, vmx->exit);
}

/* ------------------------------------------------------------------------
 * VM entries
 */

#define CHECK(cond)                                                     \
    do {                                                                \
        if (!(cond)) {                                                  \
            qemu_log_mask(LOG_GUEST_ERROR,                              \
                          "VM entry: check failed: %s\n", #cond);       \
            return false;                                               \
        }                                                               \
    } while (0)

static bool vmx_msr_area_ok(CPUX86State *env, uint32_t addr_field,
                            uint32_t count_field)
{
    uint64_t addr = vmcs_get(env, addr_field);
    uint32_t count = vmcs_get(env, count_field);

    return count == 0 ||
        (!(addr & 15) && vmx_phys_ok(env, addr) &&
         vmx_phys_ok(env, addr + (uint64_t)count * 16 - 1));
}

static bool vmx_eptp_ok(CPUX86State *env, uint64_t eptp)
{
    uint64_t caps = vmx_ept_vpid_msr(env);

    return ((eptp & 7) == 0 ? (caps & MSR_VMX_EPT_UC) :
            (eptp & 7) == 6 ? (caps & MSR_VMX_EPT_WB) : 0) &&
        ((eptp >> 3) & 7) == 3 &&
        (!(eptp & EPTP_AD) || (caps & MSR_VMX_EPT_AD_BITS)) &&
        !(eptp & 0xf80) && vmx_phys_ok(env, eptp);
}

/* SDM 27.2.1.3: the event to be injected */
static bool vmx_check_injection(CPUX86State *env, X86VMXState *c)
{
    uint32_t info = vmcs_get(env, VMCS_ENTRY_INTR_INFO);
    uint32_t error = vmcs_get(env, VMCS_ENTRY_INTR_ERROR);
    uint32_t len = vmcs_get(env, VMCS_ENTRY_INSN_LEN);
    uint32_t type = info & VMX_INTR_TYPE_MASK;
    uint32_t vector = info & VMX_INTR_VECTOR;
    bool unrestricted = c->proc2 & VMX_SECONDARY_EXEC_UNRESTRICTED_GUEST;
    bool prot = !unrestricted ||
        (vmcs_get(env, VMCS_GUEST_CR0) & CR0_PE_MASK);
    bool want_error;

    if (!(info & VMX_INTR_VALID)) {
        return true;
    }
    CHECK(type != (1 << 8) && type != VMX_INTR_TYPE_OTHER);
    CHECK(type != VMX_INTR_TYPE_NMI || vector == 2);
    CHECK(type != VMX_INTR_TYPE_HW_EXC || vector <= 31);
    want_error = type == VMX_INTR_TYPE_HW_EXC && prot &&
        exception_has_error_code(vector);
    CHECK(want_error == !!(info & VMX_INTR_ERROR_CODE));
    CHECK(!(info & 0x7ffff000));
    CHECK(!want_error || !(error >> 16));
    if (type == VMX_INTR_TYPE_SW_INT || type == VMX_INTR_TYPE_PRIV_EXC ||
        type == VMX_INTR_TYPE_SW_EXC) {
        CHECK(len <= 15);
        CHECK(len != 0 ||
              (env->features[FEAT_VMX_MISC] & MSR_VMX_MISC_ZERO_LEN_INJECT));
    }
    return true;
}

/* SDM 27.2.1: VM-execution, VM-exit and VM-entry control fields */
static bool vmx_check_controls(CPUX86State *env, X86VMXState *c)
{
    CHECK(vmx_ctls_ok(env, MSR_IA32_VMX_PINBASED_CTLS, c->pin));
    CHECK(vmx_ctls_ok(env, MSR_IA32_VMX_PROCBASED_CTLS, c->proc));
    if (c->proc & VMX_CPU_BASED_ACTIVATE_SECONDARY_CONTROLS) {
        CHECK(vmx_ctls_ok(env, MSR_IA32_VMX_PROCBASED_CTLS2, c->proc2));
    }
    CHECK(vmcs_get(env, VMCS_CR3_TARGET_COUNT) <= VMX_CR3_TARGETS);
    if (c->proc & VMX_CPU_BASED_USE_IO_BITMAPS) {
        CHECK(vmx_page_ok(env, vmcs_get(env, VMCS_IO_BITMAP_A)));
        CHECK(vmx_page_ok(env, vmcs_get(env, VMCS_IO_BITMAP_B)));
    }
    if (c->proc & VMX_CPU_BASED_USE_MSR_BITMAPS) {
        CHECK(vmx_page_ok(env, vmcs_get(env, VMCS_MSR_BITMAP)));
    }
    CHECK((c->pin & VMX_PIN_BASED_NMI_EXITING) ||
          !(c->pin & VMX_PIN_BASED_VIRTUAL_NMIS));
    CHECK((c->pin & VMX_PIN_BASED_VIRTUAL_NMIS) ||
          !(c->proc & VMX_CPU_BASED_VIRTUAL_NMI_PENDING));
    if (c->proc2 & VMX_SECONDARY_EXEC_VIRTUALIZE_APIC_ACCESSES) {
        CHECK(vmx_page_ok(env, vmcs_get(env, VMCS_APIC_ACCESS_ADDR)));
    }
    if (c->proc2 & VMX_SECONDARY_EXEC_ENABLE_VPID) {
        CHECK(vmcs_get(env, VMCS_VPID) != 0);
    }
    if (c->proc2 & VMX_SECONDARY_EXEC_ENABLE_EPT) {
        CHECK(vmx_eptp_ok(env, vmcs_get(env, VMCS_EPTP)));
    }
    CHECK(!(c->proc2 & VMX_SECONDARY_EXEC_UNRESTRICTED_GUEST) ||
          (c->proc2 & VMX_SECONDARY_EXEC_ENABLE_EPT));

    CHECK(vmx_ctls_ok(env, MSR_IA32_VMX_EXIT_CTLS, c->exit));
    CHECK((c->pin & VMX_PIN_BASED_VMX_PREEMPTION_TIMER) ||
          !(c->exit & VMX_VM_EXIT_SAVE_VMX_PREEMPTION_TIMER));
    CHECK(vmx_msr_area_ok(env, VMCS_EXIT_MSR_STORE_ADDR,
                          VMCS_EXIT_MSR_STORE_COUNT));
    CHECK(vmx_msr_area_ok(env, VMCS_EXIT_MSR_LOAD_ADDR,
                          VMCS_EXIT_MSR_LOAD_COUNT));

    CHECK(vmx_ctls_ok(env, MSR_IA32_VMX_ENTRY_CTLS, c->entry));
    CHECK(vmx_msr_area_ok(env, VMCS_ENTRY_MSR_LOAD_ADDR,
                          VMCS_ENTRY_MSR_LOAD_COUNT));
    CHECK(!(c->entry & (VMX_VM_ENTRY_SMM | VMX_VM_ENTRY_DEACT_DUAL_MONITOR)));
    return vmx_check_injection(env, c);
}

/* SDM 27.2.2 to 27.2.4: host state */
static bool vmx_check_host_state(CPUX86State *env, X86VMXState *c)
{
    bool host64 = c->exit & VMX_VM_EXIT_HOST_ADDR_SPACE_SIZE;
    uint64_t cr4 = vmcs_get(env, VMCS_HOST_CR4);
    uint64_t rip = vmcs_get(env, VMCS_HOST_RIP);
    int i;

    CHECK(vmx_cr0_fixed_ok(vmcs_get(env, VMCS_HOST_CR0), false));
    CHECK(vmx_cr4_fixed_ok(env, cr4));
    CHECK(vmx_phys_ok(env, vmcs_get(env, VMCS_HOST_CR3)));
    CHECK(vmx_canonical(env, vmcs_get(env, VMCS_HOST_SYSENTER_ESP)));
    CHECK(vmx_canonical(env, vmcs_get(env, VMCS_HOST_SYSENTER_EIP)));
    if (c->exit & VMX_VM_EXIT_LOAD_IA32_PAT) {
        CHECK(vmx_pat_ok(vmcs_get(env, VMCS_HOST_PAT)));
    }
    if (c->exit & VMX_VM_EXIT_LOAD_IA32_EFER) {
        uint64_t efer = vmcs_get(env, VMCS_HOST_EFER);

        CHECK(!(efer & ~(uint64_t)(MSR_EFER_SCE | MSR_EFER_LME | MSR_EFER_LMA |
                                   MSR_EFER_NXE)));
        CHECK(!!(efer & MSR_EFER_LMA) == host64);
        CHECK(!!(efer & MSR_EFER_LME) == host64);
    }

    for (i = VMCS_HOST_ES_SEL; i <= VMCS_HOST_TR_SEL; i += 2) {
        CHECK(!(vmcs_get(env, i) & 7));
    }
    CHECK(vmcs_get(env, VMCS_HOST_CS_SEL) != 0);
    CHECK(vmcs_get(env, VMCS_HOST_TR_SEL) != 0);
    CHECK(host64 || vmcs_get(env, VMCS_HOST_SS_SEL) != 0);
    CHECK(vmx_canonical(env, vmcs_get(env, VMCS_HOST_FS_BASE)));
    CHECK(vmx_canonical(env, vmcs_get(env, VMCS_HOST_GS_BASE)));
    CHECK(vmx_canonical(env, vmcs_get(env, VMCS_HOST_GDTR_BASE)));
    CHECK(vmx_canonical(env, vmcs_get(env, VMCS_HOST_IDTR_BASE)));
    CHECK(vmx_canonical(env, vmcs_get(env, VMCS_HOST_TR_BASE)));

    CHECK(!!(env->efer & MSR_EFER_LMA) == host64);
    if (host64) {
        CHECK(cr4 & CR4_PAE_MASK);
        CHECK(vmx_canonical(env, rip));
    } else {
        CHECK(!(c->entry & VMX_VM_ENTRY_IA32E_MODE));
        CHECK(!(cr4 & CR4_PCIDE_MASK));
        CHECK(!(rip >> 32));
    }
    return true;
}

static bool vmx_check_seg_limit(uint32_t limit, uint32_t ar)
{
    bool g = ar & 0x8000;

    return g ? (limit & 0xfff) == 0xfff : !(limit >> 20);
}

/* SDM 27.3.1.2: guest segment registers */
static bool vmx_check_guest_segs(CPUX86State *env, X86VMXState *c,
                                 uint64_t rflags)
{
    bool unrestricted = c->proc2 & VMX_SECONDARY_EXEC_UNRESTRICTED_GUEST;
    bool ia32e = c->entry & VMX_VM_ENTRY_IA32E_MODE;
    bool vm86 = rflags & VM_MASK;
    bool pe = vmcs_get(env, VMCS_GUEST_CR0) & CR0_PE_MASK;
    uint16_t sel[8];
    uint32_t limit[8], ar[8];
    uint64_t base[8];
    bool usable[8];
    int i;

    for (i = 0; i < 8; i++) {
        sel[i] = vmcs_get(env, VMCS_GUEST_ES_SEL + 2 * i);
        limit[i] = vmcs_get(env, VMCS_GUEST_ES_LIMIT + 2 * i);
        ar[i] = vmcs_get(env, VMCS_GUEST_ES_AR + 2 * i);
        base[i] = vmcs_get(env, VMCS_GUEST_ES_BASE + 2 * i);
        usable[i] = !(ar[i] & VMX_AR_UNUSABLE);
    }

    /* selectors */
    CHECK(!(sel[7] & 4));
    CHECK(!usable[6] || !(sel[6] & 4));
    CHECK(vm86 || unrestricted || !((sel[R_SS] ^ sel[R_CS]) & 3));

    /* base addresses */
    if (vm86) {
        for (i = 0; i < 6; i++) {
            CHECK(base[i] == sel[i] << 4);
            CHECK(limit[i] == 0xffff);
            CHECK(ar[i] == 0xf3);
        }
    }
    CHECK(vmx_canonical(env, base[7]));
    CHECK(vmx_canonical(env, base[R_FS]));
    CHECK(vmx_canonical(env, base[R_GS]));
    CHECK(!usable[6] || vmx_canonical(env, base[6]));
    CHECK(!(base[R_CS] >> 32));
    CHECK(!usable[R_SS] || !(base[R_SS] >> 32));
    CHECK(!usable[R_DS] || !(base[R_DS] >> 32));
    CHECK(!usable[R_ES] || !(base[R_ES] >> 32));

    /* access rights */
    for (i = 0; i < 6 && !vm86; i++) {
        int type = ar[i] & 15;
        int dpl = (ar[i] >> 5) & 3;
        int ss_dpl = (ar[R_SS] >> 5) & 3;

        if (i == R_CS) {
            CHECK(usable[i]);
            CHECK(type == 9 || type == 11 || type == 13 || type == 15 ||
                  (unrestricted && type == 3));
            CHECK(type != 3 || dpl == 0);
            CHECK((type != 9 && type != 11) || dpl == ss_dpl);
            CHECK((type != 13 && type != 15) || dpl <= ss_dpl);
            CHECK(!(ia32e && (ar[i] & 0x2000) && (ar[i] & 0x4000)));
        } else if (i == R_SS) {
            CHECK(!usable[i] || type == 3 || type == 7);
            CHECK(unrestricted || dpl == (sel[i] & 3));
            CHECK(((ar[R_CS] & 15) != 3 && pe) || dpl == 0);
        } else if (usable[i]) {
            CHECK(type & 1);
            CHECK(!(type & 8) || (type & 2));
            CHECK(unrestricted || type > 11 || dpl >= (sel[i] & 3));
        }
        if (usable[i]) {
            CHECK(ar[i] & 0x10);            /* S */
            CHECK(ar[i] & 0x80);            /* P */
            CHECK(!(ar[i] & 0xfffe0f00));
            CHECK(vmx_check_seg_limit(limit[i], ar[i]));
        }
    }

    CHECK((ar[7] & 15) == 11 || (!ia32e && (ar[7] & 15) == 3));
    CHECK(!(ar[7] & 0x10) && (ar[7] & 0x80) && usable[7]);
    CHECK(!(ar[7] & 0xfffe0f00));
    CHECK(vmx_check_seg_limit(limit[7], ar[7]));
    if (usable[6]) {
        CHECK((ar[6] & 15) == 2);
        CHECK(!(ar[6] & 0x10) && (ar[6] & 0x80));
        CHECK(!(ar[6] & 0xfffe0f00));
        CHECK(vmx_check_seg_limit(limit[6], ar[6]));
    }
    return true;
}

/* SDM 27.3.1.5: guest non-register state */
static bool vmx_check_guest_nonreg(CPUX86State *env, X86VMXState *c,
                                   uint64_t rflags)
{
    uint64_t misc = vmx_misc_msr(env);
    uint32_t activity = vmcs_get(env, VMCS_GUEST_ACTIVITY);
    uint32_t intr = vmcs_get(env, VMCS_GUEST_INTERRUPTIBILITY);
    uint32_t inj = vmcs_get(env, VMCS_ENTRY_INTR_INFO);
    uint64_t dbg = vmcs_get(env, VMCS_GUEST_PENDING_DBG);
    uint32_t type = inj & VMX_INTR_TYPE_MASK;
    uint32_t vector = inj & VMX_INTR_VECTOR;
    int ss_dpl = (vmcs_get(env, VMCS_GUEST_ES_AR + 2 * R_SS) >> 5) & 3;

    CHECK(activity <= VMX_ACTIVITY_WAIT_SIPI);
    CHECK(activity == VMX_ACTIVITY_ACTIVE || ((misc >> (5 + activity)) & 1));
    CHECK(activity != VMX_ACTIVITY_HLT || ss_dpl == 0);
    CHECK(activity == VMX_ACTIVITY_ACTIVE ||
          !(intr & (VMX_BLOCK_STI | VMX_BLOCK_MOV_SS)));

    CHECK(!(intr & ~0xf));
    CHECK((intr & 3) != 3);
    CHECK((rflags & IF_MASK) || !(intr & VMX_BLOCK_STI));
    CHECK(!(intr & VMX_BLOCK_SMI) || (env->hflags & HF_SMM_MASK));

    if (inj & VMX_INTR_VALID) {
        switch (activity) {
        case VMX_ACTIVITY_HLT:
            CHECK(type == VMX_INTR_TYPE_EXT || type == VMX_INTR_TYPE_NMI ||
                  (type == VMX_INTR_TYPE_HW_EXC &&
                   (vector == EXCP01_DB || vector == EXCP12_MCHK)));
            break;
        case VMX_ACTIVITY_SHUTDOWN:
            CHECK(type == VMX_INTR_TYPE_NMI ||
                  (type == VMX_INTR_TYPE_HW_EXC && vector == EXCP12_MCHK));
            break;
        case VMX_ACTIVITY_WAIT_SIPI:
            CHECK(!(inj & VMX_INTR_VALID));
            break;
        }
        if (type == VMX_INTR_TYPE_EXT) {
            CHECK(rflags & IF_MASK);
            CHECK(!(intr & (VMX_BLOCK_STI | VMX_BLOCK_MOV_SS)));
        } else if (type == VMX_INTR_TYPE_NMI) {
            CHECK(!(intr & VMX_BLOCK_MOV_SS));
            CHECK(!(c->pin & VMX_PIN_BASED_VIRTUAL_NMIS) ||
                  !(intr & VMX_BLOCK_NMI));
        }
    }

    CHECK(!(dbg & ~0x1500fULL));
    if ((intr & (VMX_BLOCK_STI | VMX_BLOCK_MOV_SS)) ||
        activity == VMX_ACTIVITY_HLT) {
        bool btf = (c->entry & VMX_VM_ENTRY_LOAD_DEBUG_CONTROLS
                    ? vmcs_get(env, VMCS_GUEST_DEBUGCTL) : env->debugctl) & 2;

        CHECK(!!(dbg & DR6_BS) == ((rflags & TF_MASK) && !btf));
    }
    return true;
}

/* SDM 27.3.1: guest state; *QUAL gets the exit qualification in case of failure */
static bool vmx_check_guest_state(CPUX86State *env, X86VMXState *c,
                                  uint64_t *qual)
{
    bool unrestricted = c->proc2 & VMX_SECONDARY_EXEC_UNRESTRICTED_GUEST;
    bool ia32e = c->entry & VMX_VM_ENTRY_IA32E_MODE;
    uint64_t cr0 = vmcs_get(env, VMCS_GUEST_CR0);
    uint64_t cr3 = vmcs_get(env, VMCS_GUEST_CR3);
    uint64_t cr4 = vmcs_get(env, VMCS_GUEST_CR4);
    uint64_t rflags = vmcs_get(env, VMCS_GUEST_RFLAGS);
    uint64_t rip = vmcs_get(env, VMCS_GUEST_RIP);
    uint64_t inj = vmcs_get(env, VMCS_ENTRY_INTR_INFO);
    uint64_t link = vmcs_get(env, VMCS_LINK_POINTER);
    uint32_t cs_ar = vmcs_get(env, VMCS_GUEST_ES_AR + 2 * R_CS);
    int i;

    *qual = 0;
    CHECK(vmx_cr0_fixed_ok(cr0, unrestricted));
    CHECK(!(cr0 & CR0_PG_MASK) || (cr0 & CR0_PE_MASK));
    CHECK(vmx_cr4_fixed_ok(env, cr4));
    if (c->entry & VMX_VM_ENTRY_LOAD_DEBUG_CONTROLS) {
        CHECK(!(vmcs_get(env, VMCS_GUEST_DEBUGCTL) & ~0xffc3ULL));
        CHECK(!(vmcs_get(env, VMCS_GUEST_DR7) >> 32));
    }
    if (ia32e) {
        CHECK((cr0 & CR0_PG_MASK) && (cr4 & CR4_PAE_MASK));
    } else {
        CHECK(!(cr4 & CR4_PCIDE_MASK));
    }
    CHECK(vmx_phys_ok(env, cr3));
    CHECK(vmx_canonical(env, vmcs_get(env, VMCS_GUEST_SYSENTER_ESP)));
    CHECK(vmx_canonical(env, vmcs_get(env, VMCS_GUEST_SYSENTER_EIP)));
    if (c->entry & VMX_VM_ENTRY_LOAD_IA32_PAT) {
        CHECK(vmx_pat_ok(vmcs_get(env, VMCS_GUEST_PAT)));
    }
    if (c->entry & VMX_VM_ENTRY_LOAD_IA32_EFER) {
        uint64_t efer = vmcs_get(env, VMCS_GUEST_EFER);

        CHECK(!(efer & ~(uint64_t)(MSR_EFER_SCE | MSR_EFER_LME | MSR_EFER_LMA |
                                   MSR_EFER_NXE)));
        CHECK(!!(efer & MSR_EFER_LMA) == ia32e);
        CHECK(!(cr0 & CR0_PG_MASK) || !!(efer & MSR_EFER_LME) == ia32e);
    }

    if (!vmx_check_guest_segs(env, c, rflags)) {
        return false;
    }
    CHECK(vmx_canonical(env, vmcs_get(env, VMCS_GUEST_GDTR_BASE)));
    CHECK(vmx_canonical(env, vmcs_get(env, VMCS_GUEST_IDTR_BASE)));
    CHECK(!(vmcs_get(env, VMCS_GUEST_GDTR_LIMIT) >> 16));
    CHECK(!(vmcs_get(env, VMCS_GUEST_IDTR_LIMIT) >> 16));

    if (ia32e && (cs_ar & 0x2000)) {
        CHECK(vmx_canonical(env, rip));
    } else {
        CHECK(!(rip >> 32));
    }
    CHECK((rflags & ~0x003f7fd5ULL) == 2);
    CHECK(!(rflags & VM_MASK) || (!ia32e && (cr0 & CR0_PE_MASK)));
    CHECK(!(inj & VMX_INTR_VALID) ||
          (inj & VMX_INTR_TYPE_MASK) != VMX_INTR_TYPE_EXT ||
          (rflags & IF_MASK));

    if (!vmx_check_guest_nonreg(env, c, rflags)) {
        return false;
    }

    if (link != -1ULL) {
        *qual = 4;
        CHECK(vmx_page_ok(env, link));
        CHECK(link != c->vmcs_ptr);
        CHECK(x86_ldl_phys(env_cpu(env), link) == VMCS_REVISION);
    }

    if ((cr0 & CR0_PG_MASK) && (cr4 & CR4_PAE_MASK) && !ia32e) {
        *qual = 2;
        for (i = 0; i < 4; i++) {
            uint64_t pdpte;

            if (c->proc2 & VMX_SECONDARY_EXEC_ENABLE_EPT) {
                pdpte = vmcs_get(env, VMCS_GUEST_PDPTE0 + 2 * i);
            } else {
                pdpte = x86_ldq_phys(env_cpu(env), (cr3 & 0xffffffe0) + 8 * i);
            }
            CHECK(vmx_pdpte_ok(env, pdpte));
        }
    }
    *qual = 0;
    return true;
}

/* SDM 27.3.2: load the state of the guest.  */
static void vmx_load_guest_state(CPUX86State *env)
{
    CPUState *cs = env_cpu(env);
    X86VMXState *vmx = &env->vmx;
    const uint32_t keep_cr0 = 0x7ffaffd0;
    bool ia32e = vmx->entry & VMX_VM_ENTRY_IA32E_MODE;
    uint32_t interruptibility = vmcs_get(env, VMCS_GUEST_INTERRUPTIBILITY);
    uint64_t cr0, efer, dr7, key[6];
    int i;

    vmx_paging_key(env, vmx->host_tlb_key);
    vmx->dr6 = env->dr[6];

    env->hflags |= HF_GUEST_MASK;
    env->hflags2 |= HF2_VMX_MASK;
    if (vmx->proc2 & VMX_SECONDARY_EXEC_ENABLE_EPT) {
        env->hflags2 |= HF2_NPT_MASK;
    }
    if (vmx->proc & VMX_CPU_BASED_USE_TSC_OFFSETING) {
        env->tsc_offset = vmcs_get(env, VMCS_TSC_OFFSET);
    }

    dr7 = env->dr[7];
    if (vmx->entry & VMX_VM_ENTRY_LOAD_DEBUG_CONTROLS) {
        dr7 = vmcs_get(env, VMCS_GUEST_DR7) | DR7_FIXED_1;
        env->debugctl = vmcs_get(env, VMCS_GUEST_DEBUGCTL);
    }
    cr0 = vmcs_get(env, VMCS_GUEST_CR0);
    cr0 = (cr0 & ~(uint64_t)keep_cr0) | (env->cr[0] & keep_cr0);
    if (vmx->entry & VMX_VM_ENTRY_LOAD_IA32_EFER) {
        efer = vmcs_get(env, VMCS_GUEST_EFER);
    } else {
        efer = env->efer & ~(uint64_t)MSR_EFER_LMA;
        if (cr0 & CR0_PG_MASK) {
            efer &= ~(uint64_t)MSR_EFER_LME;
            efer |= ia32e ? MSR_EFER_LME : 0;
        }
        efer |= ia32e ? MSR_EFER_LMA : 0;
    }
    cpu_load_efer(env, efer);
    cpu_x86_load_cr0_cr4(env, cr0, vmcs_get(env, VMCS_GUEST_CR4));
    env->cr[3] = vmcs_get(env, VMCS_GUEST_CR3);
    cpu_x86_update_dr7(env, dr7);
    env->sysenter_cs = vmcs_get(env, VMCS_GUEST_SYSENTER_CS);
    env->sysenter_esp = vmcs_get(env, VMCS_GUEST_SYSENTER_ESP);
    env->sysenter_eip = vmcs_get(env, VMCS_GUEST_SYSENTER_EIP);
    if (vmx->entry & VMX_VM_ENTRY_LOAD_IA32_PAT) {
        env->pat = vmcs_get(env, VMCS_GUEST_PAT);
    }

    vmx_load_eflags(env, vmcs_get(env, VMCS_GUEST_RFLAGS));
    vmx_load_seg(env, R_CS);
    for (i = 0; i < VMX_SEG_GUEST_FIELDS; i++) {
        if (i != R_CS) {
            vmx_load_seg(env, i);
        }
    }
    env->gdt.base = vmcs_get(env, VMCS_GUEST_GDTR_BASE);
    env->gdt.limit = vmcs_get(env, VMCS_GUEST_GDTR_LIMIT);
    env->idt.base = vmcs_get(env, VMCS_GUEST_IDTR_BASE);
    env->idt.limit = vmcs_get(env, VMCS_GUEST_IDTR_LIMIT);

    env->eip = vmcs_get(env, VMCS_GUEST_RIP);
    env->regs[R_ESP] = vmcs_get(env, VMCS_GUEST_RSP);

    env->hflags &= ~HF_INHIBIT_IRQ_MASK;
    if (interruptibility & (VMX_BLOCK_STI | VMX_BLOCK_MOV_SS)) {
        env->hflags |= HF_INHIBIT_IRQ_MASK;
    }
    env->hflags2 &= ~HF2_NMI_MASK;
    vmx->vnmi_blocked = false;
    if (interruptibility & VMX_BLOCK_NMI) {
        if (vmx->pin & VMX_PIN_BASED_VIRTUAL_NMIS) {
            vmx->vnmi_blocked = true;
        } else {
            env->hflags2 |= HF2_NMI_MASK;
        }
    }

    if (vmx_guest_pae(env)) {
        for (i = 0; i < 4; i++) {
            env->pdptrs[i] = vmcs_get(env, VMCS_GUEST_PDPTE0 + 2 * i);
        }
    }

    /* Without VPIDs, VM entries flush.  With them, see vmx_load_host_state.  */
    vmx_paging_key(env, key);
    key[4] = vmx->proc2 & VMX_SECONDARY_EXEC_ENABLE_EPT ? vmx->eptp : -1;
    key[5] = vmx->proc2 & VMX_SECONDARY_EXEC_ENABLE_VPID
        ? vmcs_get(env, VMCS_VPID) | (vmx->apic_access << 16) : 0;
    if (!(vmx->proc2 & VMX_SECONDARY_EXEC_ENABLE_VPID)) {
        tlb_flush_by_mmuidx(cs, MMU_HOST_MAP | MMU_VMX_GUEST_MAP);
    }
    if (memcmp(key, vmx->guest_tlb_key, sizeof(key))) {
        vmx_flush_guest(env, key[4] != vmx->guest_tlb_key[4]);
        memcpy(vmx->guest_tlb_key, key, sizeof(key));
    }
}

/* A VM entry fails after the checks of the host state.  */
static G_NORETURN void vmx_entry_failure(CPUX86State *env, uint32_t reason,
                                         uint64_t qual)
{
    CPUState *cs = env_cpu(env);

    qemu_log_mask(CPU_LOG_INT, "VM entry failure: reason %u qual %" PRIu64 "\n",
                  reason, qual);
    vmcs_set(env, VMCS_EXIT_REASON, reason | VMX_EXIT_ENTRY_FAILURE);
    vmcs_set(env, VMCS_EXIT_QUAL, qual);
    env->vmx.proc2 = 0;         /* flush everything */
    vmx_load_host_state(env, vmcs_get(env, VMCS_EXIT_CTLS));
    cpu_loop_exit_noexc(cs);
}

static void vmx_inject_event(CPUX86State *env, uint32_t info)
{
    X86CPU *cpu = env_archcpu(env);
    X86VMXState *vmx = &env->vmx;
    uint32_t error = vmcs_get(env, VMCS_ENTRY_INTR_ERROR);
    uint32_t len = vmcs_get(env, VMCS_ENTRY_INSN_LEN);
    int vector = info & VMX_INTR_VECTOR;

    qemu_log_mask(CPU_LOG_INT, "VM entry: inject %x error %x\n", info, error);
    vmx->idtv_info = info;
    vmx->idtv_error = info & VMX_INTR_ERROR_CODE ? error : 0;
    vmx->launch_pending = true;
    vmx->x_insn_len = len;

    switch (info & VMX_INTR_TYPE_MASK) {
    case VMX_INTR_TYPE_NMI:
        if (vmx->pin & VMX_PIN_BASED_VIRTUAL_NMIS) {
            vmx->vnmi_blocked = true;
        } else {
            env->hflags2 |= HF2_NMI_MASK;
        }
        /* fall through */
    case VMX_INTR_TYPE_EXT:
        do_interrupt_all(cpu, vector, 0, 0, 0, 1);
        break;
    case VMX_INTR_TYPE_HW_EXC:
        /* for double and triple faults, see check_exception() */
        if (vector == 0 || (vector >= 10 && vector <= 14) ||
            vector == EXCP08_DBLE) {
            env->old_exception = vector;
        }
        do_interrupt_all(cpu, vector, 0, error, 0, 0);
        break;
    case VMX_INTR_TYPE_PRIV_EXC:
        env->eip += len;
        do_interrupt_all(cpu, vector, 0, 0, 0, 0);
        break;
    default:
        do_interrupt_all(cpu, vector, 1, 0, env->eip + len, 0);
        break;
    }
    env->old_exception = -1;
}

/* ------------------------------------------------------------------------
 * VMX instructions
 */

static void vmx_set_flags(CPUX86State *env, uint32_t flags)
{
    CC_SRC = flags;
    CC_OP = CC_OP_EFLAGS;
}

static void vmx_succeed(CPUX86State *env)
{
    vmx_set_flags(env, 0);
}

static void vmx_fail_invalid(CPUX86State *env)
{
    vmx_set_flags(env, CC_C);
}

static void vmx_fail(CPUX86State *env, int error)
{
    qemu_log_mask(CPU_LOG_INT, "VMX instruction error %d, rip " TARGET_FMT_lx
                  "\n", error, env->eip);
    if (env->vmx.vmcs_ptr == -1ULL) {
        vmx_fail_invalid(env);
    } else {
        vmcs_set(env, VMCS_INSN_ERROR, error);
        vmx_set_flags(env, CC_Z);
    }
}

/* Fill in qualification and instruction information for VMX instructions.  */
static G_NORETURN void vmx_exit_insn(CPUX86State *env, uint32_t reason,
                                     uintptr_t retaddr)
{
    VMXInsn insn;
    uint64_t qual = 0;

    vmx_exit_begin(env, retaddr);
    if (reason != VMX_EXIT_VMCALL && reason != VMX_EXIT_VMLAUNCH &&
        reason != VMX_EXIT_VMRESUME && reason != VMX_EXIT_VMXOFF &&
        vmx_decode_insn(env, &insn)) {
        env->vmx.x_insn_info = vmx_insn_info_mem(&insn) | (insn.reg << 28);
        if (insn.mod == 3) {
            env->vmx.x_insn_info |= insn.rm << 3;
        }
        qual = insn.disp;
    }
    vmx_exit_finish(env, reason, qual);
}

/* Common checks of all VMX instructions but VMXON and VMCALL */
static void vmx_check_insn(CPUX86State *env, uint32_t reason,
                           uintptr_t retaddr)
{
    if (!env->vmx.on || !(env->cr[0] & CR0_PE_MASK) ||
        (env->eflags & VM_MASK) ||
        ((env->efer & MSR_EFER_LMA) && !(env->hflags & HF_CS64_MASK))) {
        raise_exception_ra(env, EXCP06_ILLOP, retaddr);
    }
    if (cpu_vmx_non_root(env)) {
        vmx_exit_insn(env, reason, retaddr);
    }
    if ((env->hflags & HF_CPL_MASK) != 0) {
        raise_exception_err_ra(env, EXCP0D_GPF, 0, retaddr);
    }
}

void helper_vmxon(CPUX86State *env, target_ulong addr)
{
    uintptr_t ra = GETPC();
    X86VMXState *vmx = &env->vmx;
    const uint64_t fc = FEATURE_CONTROL_LOCKED |
        FEATURE_CONTROL_VMXON_ENABLED_OUTSIDE_SMX;
    uint64_t ptr;

    if (!cpu_has_vmx(env) || !(env->cr[4] & CR4_VMXE_MASK) ||
        !(env->cr[0] & CR0_PE_MASK) || (env->eflags & VM_MASK) ||
        ((env->efer & MSR_EFER_LMA) && !(env->hflags & HF_CS64_MASK))) {
        raise_exception_ra(env, EXCP06_ILLOP, ra);
    }
    if (cpu_vmx_non_root(env)) {
        vmx_exit_insn(env, VMX_EXIT_VMXON, ra);
    }
    if ((env->hflags & HF_CPL_MASK) != 0) {
        raise_exception_err_ra(env, EXCP0D_GPF, 0, ra);
    }
    if (vmx->on) {
        vmx_fail(env, VMX_ERR_VMXON_IN_ROOT);
        return;
    }
    if (!vmx_cr0_fixed_ok(env->cr[0], false) ||
        !vmx_cr4_fixed_ok(env, env->cr[4]) ||
        (env->msr_ia32_feature_control & fc) != fc ||
        !(env->a20_mask & (1 << 20))) {
        raise_exception_err_ra(env, EXCP0D_GPF, 0, ra);
    }
    ptr = cpu_ldq_data_ra(env, addr, ra);
    if (!vmx_page_ok(env, ptr) ||
        x86_ldl_phys(env_cpu(env), ptr) != VMCS_REVISION) {
        vmx_fail_invalid(env);
        return;
    }
    if (!env->vmx_timer) {
        env->vmx_timer = timer_new_ns(QEMU_CLOCK_VIRTUAL, vmx_timer_cb, env);
    }
    memset(vmx, 0, sizeof(*vmx));
    vmx->on = true;
    vmx->vmxon_ptr = ptr;
    vmx->vmcs_ptr = -1;
    vmx_succeed(env);
}

void helper_vmxoff(CPUX86State *env)
{
    vmx_check_insn(env, VMX_EXIT_VMXOFF, GETPC());
    env->vmx.on = false;
    env->vmx.init_exit = false;
    env->vmx.vmcs_ptr = -1;
    vmx_flush_guest(env, true);
    vmx_succeed(env);
}

void helper_vmclear(CPUX86State *env, target_ulong addr)
{
    uintptr_t ra = GETPC();
    X86VMXState *vmx = &env->vmx;
    uint64_t ptr;

    vmx_check_insn(env, VMX_EXIT_VMCLEAR, ra);
    ptr = cpu_ldq_data_ra(env, addr, ra);
    if (!vmx_page_ok(env, ptr)) {
        vmx_fail(env, VMX_ERR_VMCLEAR_ADDR);
    } else if (ptr == vmx->vmxon_ptr) {
        vmx_fail(env, VMX_ERR_VMCLEAR_VMXON_PTR);
    } else {
        x86_stl_phys(env_cpu(env), ptr + VMCS_OFS_LAUNCHED, 0);
        if (ptr == vmx->vmcs_ptr) {
            vmx->vmcs_ptr = -1;
        }
        vmx_succeed(env);
    }
}

void helper_vmptrld(CPUX86State *env, target_ulong addr)
{
    uintptr_t ra = GETPC();
    X86VMXState *vmx = &env->vmx;
    uint64_t ptr;
    void *page;

    vmx_check_insn(env, VMX_EXIT_VMPTRLD, ra);
    ptr = cpu_ldq_data_ra(env, addr, ra);
    if (!vmx_page_ok(env, ptr)) {
        vmx_fail(env, VMX_ERR_VMPTRLD_ADDR);
    } else if (ptr == vmx->vmxon_ptr) {
        vmx_fail(env, VMX_ERR_VMPTRLD_VMXON_PTR);
    } else if (x86_ldl_phys(env_cpu(env), ptr) != VMCS_REVISION) {
        vmx_fail(env, VMX_ERR_VMPTRLD_REVISION);
    } else {
        page = vmcs_map(env, ptr);
        if (!page) {
            vmx_fail(env, VMX_ERR_VMPTRLD_ADDR);
            return;
        }
        vmx->vmcs = page;
        vmx->vmcs_ptr = ptr;
        vmx_succeed(env);
    }
}

void helper_vmptrst(CPUX86State *env, target_ulong addr)
{
    vmx_check_insn(env, VMX_EXIT_VMPTRST, GETPC());
    cpu_stq_data_ra(env, addr, env->vmx.vmcs_ptr, GETPC());
    vmx_succeed(env);
}

/* Common part of VMREAD and VMWRITE */
static bool vmx_check_field(CPUX86State *env, uint64_t enc)
{
    if (env->vmx.vmcs_ptr == -1ULL) {
        vmx_fail_invalid(env);
        return false;
    }
    if ((enc >> 15) || !vmcs_field_exists(env, enc & ~1ULL) ||
        ((enc & 1) && (enc & 0x6000) != 0x2000)) {
        vmx_fail(env, VMX_ERR_BAD_FIELD);
        return false;
    }
    return true;
}

static uint64_t vmx_read_field(CPUX86State *env, uint64_t enc)
{
    uint64_t val = vmcs_get(env, enc);

    if (enc & 1) {
        val >>= 32;
    }
    return env->hflags & HF_CS64_MASK ? val : (uint32_t)val;
}

static uint64_t vmx_field_encoding(CPUX86State *env, uint64_t enc)
{
    return env->hflags & HF_CS64_MASK ? enc : (uint32_t)enc;
}

void helper_vmread_reg(CPUX86State *env, target_ulong enc, int reg)
{
    vmx_check_insn(env, VMX_EXIT_VMREAD, GETPC());
    enc = vmx_field_encoding(env, enc);
    if (vmx_check_field(env, enc)) {
        env->regs[reg] = vmx_read_field(env, enc);
        vmx_succeed(env);
    }
}

void helper_vmread_mem(CPUX86State *env, target_ulong enc, target_ulong addr)
{
    vmx_check_insn(env, VMX_EXIT_VMREAD, GETPC());
    enc = vmx_field_encoding(env, enc);
    if (vmx_check_field(env, enc)) {
        uint64_t val = vmx_read_field(env, enc);

        if (env->hflags & HF_CS64_MASK) {
            cpu_stq_data_ra(env, addr, val, GETPC());
        } else {
            cpu_stl_data_ra(env, addr, val, GETPC());
        }
        vmx_succeed(env);
    }
}

static void vmx_write_field(CPUX86State *env, uint64_t enc, uint64_t val)
{
    if ((enc & 0x0c00) == 0x0400 &&
        !(env->features[FEAT_VMX_MISC] & MSR_VMX_MISC_VMWRITE_VMEXIT)) {
        vmx_fail(env, VMX_ERR_READ_ONLY_FIELD);
        return;
    }
    switch (enc & 0x6001) {
    case 0x0000:
        val = (uint16_t)val;
        break;
    case 0x4000:
        val = (uint32_t)val;
        break;
    case 0x2001:
        val = deposit64(vmcs_get(env, enc), 32, 32, val);
        break;
    }
    vmcs_set(env, enc, val);
    vmx_succeed(env);
}

void helper_vmwrite_reg(CPUX86State *env, target_ulong enc, target_ulong val)
{
    vmx_check_insn(env, VMX_EXIT_VMWRITE, GETPC());
    enc = vmx_field_encoding(env, enc);
    if (vmx_check_field(env, enc)) {
        vmx_write_field(env, enc,
                        env->hflags & HF_CS64_MASK ? val : (uint32_t)val);
    }
}

void helper_vmwrite_mem(CPUX86State *env, target_ulong enc, target_ulong addr)
{
    vmx_check_insn(env, VMX_EXIT_VMWRITE, GETPC());
    enc = vmx_field_encoding(env, enc);
    if (env->vmx.vmcs_ptr == -1ULL) {
        vmx_fail_invalid(env);
    } else {
        uint64_t val = env->hflags & HF_CS64_MASK
            ? cpu_ldq_data_ra(env, addr, GETPC())
            : cpu_ldl_data_ra(env, addr, GETPC());

        if (vmx_check_field(env, enc)) {
            vmx_write_field(env, enc, val);
        }
    }
}

void helper_vmcall(CPUX86State *env)
{
    if (cpu_vmx_non_root(env)) {
        vmx_exit_insn(env, VMX_EXIT_VMCALL, GETPC());
    }
    vmx_check_insn(env, VMX_EXIT_VMCALL, GETPC());
    vmx_fail(env, VMX_ERR_VMCALL_IN_ROOT);
}

void helper_invept(CPUX86State *env, target_ulong type, target_ulong addr)
{
    uintptr_t ra = GETPC();
    uint64_t caps = vmx_ept_vpid_msr(env);
    uint64_t eptp;

    if (!(caps & MSR_VMX_EPT_INVEPT)) {
        raise_exception_ra(env, EXCP06_ILLOP, ra);
    }
    vmx_check_insn(env, VMX_EXIT_INVEPT, ra);
    type = vmx_field_encoding(env, type);
    if (!(type == 1 && (caps & MSR_VMX_EPT_INVEPT_SINGLE_CONTEXT)) &&
        !(type == 2 && (caps & MSR_VMX_EPT_INVEPT_ALL_CONTEXT))) {
        vmx_fail(env, VMX_ERR_INV_OPERAND);
        return;
    }
    eptp = cpu_ldq_data_ra(env, addr, ra);
    cpu_ldq_data_ra(env, addr + 8, ra);
    if (type == 1 && !vmx_eptp_ok(env, eptp)) {
        vmx_fail(env, VMX_ERR_INV_OPERAND);
        return;
    }
    vmx_flush_guest(env, true);
    vmx_succeed(env);
}

void helper_invvpid(CPUX86State *env, target_ulong type, target_ulong addr)
{
    uintptr_t ra = GETPC();
    uint64_t caps = vmx_ept_vpid_msr(env);
    uint64_t vpid, gla;

    if (!(caps & MSR_VMX_EPT_INVVPID)) {
        raise_exception_ra(env, EXCP06_ILLOP, ra);
    }
    vmx_check_insn(env, VMX_EXIT_INVVPID, ra);
    type = vmx_field_encoding(env, type);
    if (type > 3 || !(caps & (MSR_VMX_EPT_INVVPID_SINGLE_ADDR << type))) {
        vmx_fail(env, VMX_ERR_INV_OPERAND);
        return;
    }
    vpid = cpu_ldq_data_ra(env, addr, ra);
    gla = cpu_ldq_data_ra(env, addr + 8, ra);
    if ((vpid >> 16) || (type != 2 && vpid == 0) ||
        (type == 0 && !vmx_canonical(env, gla))) {
        vmx_fail(env, VMX_ERR_INV_OPERAND);
        return;
    }
    vmx_flush_guest(env, false);
    vmx_succeed(env);
}

/* Not a VMX instruction, but VMX decides whether it is available.  */
void helper_invpcid(CPUX86State *env, target_ulong type, target_ulong addr)
{
    uintptr_t ra = GETPC();
    uint64_t pcid, gla;

    if (cpu_vmx_non_root(env)) {
        if (!(env->vmx.proc2 & VMX_SECONDARY_EXEC_ENABLE_INVPCID)) {
            raise_exception_ra(env, EXCP06_ILLOP, ra);
        }
        if ((env->hflags & HF_CPL_MASK) == 0 &&
            (env->vmx.proc & VMX_CPU_BASED_INVLPG_EXITING)) {
            vmx_exit_insn(env, VMX_EXIT_INVPCID, ra);
        }
    }
    if ((env->hflags & HF_CPL_MASK) != 0) {
        raise_exception_err_ra(env, EXCP0D_GPF, 0, ra);
    }
    type = vmx_field_encoding(env, type);
    pcid = cpu_ldq_data_ra(env, addr, ra);
    gla = cpu_ldq_data_ra(env, addr + 8, ra);
    if (type > 3 || (pcid >> 12) ||
        (type < 2 && pcid != 0 && !(env->cr[4] & CR4_PCIDE_MASK)) ||
        (type == 0 && !vmx_canonical(env, gla))) {
        raise_exception_err_ra(env, EXCP0D_GPF, 0, ra);
    }
    if (cpu_vmx_non_root(env)) {
        vmx_flush_guest(env, false);
    } else {
        tlb_flush(env_cpu(env));
    }
}

/*
 * VMLAUNCH and VMRESUME.  The TB ends behind this, at the guest's RIP or, if
 * the instruction fails, at the next instruction.
 */
void helper_vmlaunch(CPUX86State *env, int resume, int insn_len)
{
    CPUState *cs = env_cpu(env);
    X86VMXState *vmx = &env->vmx;
    X86VMXState c;
    uintptr_t ra = GETPC();
    uint32_t launched, inj, timer, activity, kick = 0;
    uint64_t qual, dbg;
    int error = 0;

    vmx_check_insn(env, resume ? VMX_EXIT_VMRESUME : VMX_EXIT_VMLAUNCH, ra);
    if (vmx->vmcs_ptr == -1ULL) {
        vmx_fail_invalid(env);
        env->eip += insn_len;
        do_end_instruction(env);
        return;
    }

    /* Collect the controls in C until it is clear that the entry succeeds.  */
    c = *vmx;
    c.pin = vmcs_get(env, VMCS_PIN_CTLS);
    c.proc = vmcs_get(env, VMCS_PROC_CTLS);
    c.proc2 = c.proc & VMX_CPU_BASED_ACTIVATE_SECONDARY_CONTROLS
        ? vmcs_get(env, VMCS_PROC_CTLS2) : 0;
    c.exit = vmcs_get(env, VMCS_EXIT_CTLS);
    c.entry = vmcs_get(env, VMCS_ENTRY_CTLS);

    launched = ldl_le_p(vmx->vmcs + VMCS_OFS_LAUNCHED);
    if ((env->hflags & HF_INHIBIT_IRQ_MASK) && !(env->eflags & IF_MASK)) {
        error = VMX_ERR_ENTRY_MOV_SS;
    } else if (!resume && launched) {
        error = VMX_ERR_VMLAUNCH_NOT_CLEAR;
    } else if (resume && !launched) {
        error = VMX_ERR_VMRESUME_NOT_LAUNCHED;
    } else if (!vmx_check_controls(env, &c)) {
        error = VMX_ERR_ENTRY_CONTROLS;
    } else if (!vmx_check_host_state(env, &c)) {
        error = VMX_ERR_ENTRY_HOST_STATE;
    }
    if (error) {
        vmx_fail(env, error);
        env->eip += insn_len;
        do_end_instruction(env);
        return;
    }

    if (!vmx_check_guest_state(env, &c, &qual)) {
        vmx_entry_failure(env, VMX_EXIT_INVALID_GUEST, qual);
    }

    c.exception_bitmap = vmcs_get(env, VMCS_EXCEPTION_BITMAP);
    c.pf_mask = vmcs_get(env, VMCS_PF_MASK);
    c.pf_match = vmcs_get(env, VMCS_PF_MATCH);
    c.cr0_mask = vmcs_get(env, VMCS_CR0_MASK);
    c.cr0_shadow = vmcs_get(env, VMCS_CR0_SHADOW);
    c.cr4_mask = vmcs_get(env, VMCS_CR4_MASK);
    c.cr4_shadow = vmcs_get(env, VMCS_CR4_SHADOW);
    c.eptp = vmcs_get(env, VMCS_EPTP);
    c.apic_access =
        c.proc2 & VMX_SECONDARY_EXEC_VIRTUALIZE_APIC_ACCESSES
        ? vmcs_get(env, VMCS_APIC_ACCESS_ADDR) : -1;
    c.timer_expired = false;
    c.init_exit = false;
    c.launch_pending = false;
    c.idtv_info = 0;
    *vmx = c;

    qemu_log_mask(CPU_LOG_INT, "VM entry: vmcs %" PRIx64 " rip %" PRIx64 "\n",
                  vmx->vmcs_ptr, vmcs_get(env, VMCS_GUEST_RIP));
    vmx_load_guest_state(env);

    qual = vmx_load_msrs(env, vmcs_get(env, VMCS_ENTRY_MSR_LOAD_ADDR),
                         vmcs_get(env, VMCS_ENTRY_MSR_LOAD_COUNT));
    if (qual) {
        vmx_entry_failure(env, VMX_EXIT_MSR_LOAD, qual);
    }
    if (!resume) {
        stl_le_p(vmx->vmcs + VMCS_OFS_LAUNCHED, 1);
    }

    /* What may cause a VM exit or wake up the guest even before it runs.  */
    activity = vmcs_get(env, VMCS_GUEST_ACTIVITY);
    inj = vmcs_get(env, VMCS_ENTRY_INTR_INFO);
    if (vmx->pin & VMX_PIN_BASED_VMX_PREEMPTION_TIMER) {
        timer = vmcs_get(env, VMCS_PREEMPTION_TIMER);
        vmx->timer_deadline = cpu_get_tsc(env) +
            ((uint64_t)timer << VMX_TIMER_SHIFT);
        if (timer == 0) {
            vmx->timer_expired = true;
            kick = CPU_INTERRUPT_VMX;
        } else {
            timer_mod_ns(env->vmx_timer, qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL) +
                         vmx_ticks_to_ns(env, (uint64_t)timer <<
                                         VMX_TIMER_SHIFT) + 1);
        }
    }
    if (vmx->proc & (VMX_CPU_BASED_VIRTUAL_INTR_PENDING |
                     VMX_CPU_BASED_VIRTUAL_NMI_PENDING)) {
        kick = CPU_INTERRUPT_VMX;
    }
    if (kick) {
        bql_lock();
        cs->interrupt_request |= kick;
        bql_unlock();
    }

    if (inj & VMX_INTR_VALID) {
        vmx->activity = VMX_ACTIVITY_ACTIVE;
        vmx_inject_event(env, inj);
        return;
    }
    vmx->activity = activity;
    if (activity != VMX_ACTIVITY_ACTIVE) {
        cs->halted = 1;
        cs->exception_index = EXCP_HLT;
        cpu_loop_exit(cs);
    }

    dbg = vmcs_get(env, VMCS_GUEST_PENDING_DBG);
    if ((dbg & (DR6_BS | (1 << 12))) &&
        !(env->hflags & HF_INHIBIT_IRQ_MASK)) {
        env->dr[6] |= dbg & (DR6_BS | 0xf);
        raise_exception(env, EXCP01_DB);
    }
}
