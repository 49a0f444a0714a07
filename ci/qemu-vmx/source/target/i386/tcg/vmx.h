/*
 *  x86 VMX emulation: VMCS fields, exit reasons and internal interfaces
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

#ifndef I386_TCG_VMX_H
#define I386_TCG_VMX_H

/* VMCS field encodings (SDM Vol. 3, Appendix B) */
enum {
    /* 16-bit fields */
    VMCS_VPID                   = 0x0000,
    VMCS_GUEST_ES_SEL           = 0x0800, /* ES, CS, SS, DS, FS, GS: +2 each */
    VMCS_GUEST_LDTR_SEL         = 0x080c,
    VMCS_GUEST_TR_SEL           = 0x080e,
    VMCS_HOST_ES_SEL            = 0x0c00, /* ES, CS, SS, DS, FS, GS: +2 each */
    VMCS_HOST_CS_SEL            = 0x0c02,
    VMCS_HOST_SS_SEL            = 0x0c04,
    VMCS_HOST_TR_SEL            = 0x0c0c,
    /* 64-bit control fields */
    VMCS_IO_BITMAP_A            = 0x2000,
    VMCS_IO_BITMAP_B            = 0x2002,
    VMCS_MSR_BITMAP             = 0x2004,
    VMCS_EXIT_MSR_STORE_ADDR    = 0x2006,
    VMCS_EXIT_MSR_LOAD_ADDR     = 0x2008,
    VMCS_ENTRY_MSR_LOAD_ADDR    = 0x200a,
    VMCS_EXECUTIVE_VMCS         = 0x200c,
    VMCS_TSC_OFFSET             = 0x2010,
    VMCS_VIRTUAL_APIC_ADDR      = 0x2012,
    VMCS_APIC_ACCESS_ADDR       = 0x2014,
    VMCS_EPTP                   = 0x201a,
    /* 64-bit read-only and state fields */
    VMCS_GUEST_PHYS_ADDR        = 0x2400,
    VMCS_LINK_POINTER           = 0x2800,
    VMCS_GUEST_DEBUGCTL         = 0x2802,
    VMCS_GUEST_PAT              = 0x2804,
    VMCS_GUEST_EFER             = 0x2806,
    VMCS_GUEST_PDPTE0           = 0x280a,
    VMCS_HOST_PAT               = 0x2c00,
    VMCS_HOST_EFER              = 0x2c02,
    /* 32-bit control fields */
    VMCS_PIN_CTLS               = 0x4000,
    VMCS_PROC_CTLS              = 0x4002,
    VMCS_EXCEPTION_BITMAP       = 0x4004,
    VMCS_PF_MASK                = 0x4006,
    VMCS_PF_MATCH               = 0x4008,
    VMCS_CR3_TARGET_COUNT       = 0x400a,
    VMCS_EXIT_CTLS              = 0x400c,
    VMCS_EXIT_MSR_STORE_COUNT   = 0x400e,
    VMCS_EXIT_MSR_LOAD_COUNT    = 0x4010,
    VMCS_ENTRY_CTLS             = 0x4012,
    VMCS_ENTRY_MSR_LOAD_COUNT   = 0x4014,
    VMCS_ENTRY_INTR_INFO        = 0x4016,
    VMCS_ENTRY_INTR_ERROR       = 0x4018,
    VMCS_ENTRY_INSN_LEN         = 0x401a,
    VMCS_PROC_CTLS2             = 0x401e,
    /* 32-bit read-only fields */
    VMCS_INSN_ERROR             = 0x4400,
    VMCS_EXIT_REASON            = 0x4402,
    VMCS_EXIT_INTR_INFO         = 0x4404,
    VMCS_EXIT_INTR_ERROR        = 0x4406,
    VMCS_IDTV_INFO              = 0x4408,
    VMCS_IDTV_ERROR             = 0x440a,
    VMCS_EXIT_INSN_LEN          = 0x440c,
    VMCS_EXIT_INSN_INFO         = 0x440e,
    /* 32-bit state fields */
    VMCS_GUEST_ES_LIMIT         = 0x4800, /* ES, CS, SS, DS, FS, GS: +2 each */
    VMCS_GUEST_LDTR_LIMIT       = 0x480c,
    VMCS_GUEST_TR_LIMIT         = 0x480e,
    VMCS_GUEST_GDTR_LIMIT       = 0x4810,
    VMCS_GUEST_IDTR_LIMIT       = 0x4812,
    VMCS_GUEST_ES_AR            = 0x4814, /* ES, CS, SS, DS, FS, GS: +2 each */
    VMCS_GUEST_LDTR_AR          = 0x4820,
    VMCS_GUEST_TR_AR            = 0x4822,
    VMCS_GUEST_INTERRUPTIBILITY = 0x4824,
    VMCS_GUEST_ACTIVITY         = 0x4826,
    VMCS_GUEST_SMBASE           = 0x4828,
    VMCS_GUEST_SYSENTER_CS      = 0x482a,
    VMCS_PREEMPTION_TIMER       = 0x482e,
    VMCS_HOST_SYSENTER_CS       = 0x4c00,
    /* natural-width fields */
    VMCS_CR0_MASK               = 0x6000,
    VMCS_CR4_MASK               = 0x6002,
    VMCS_CR0_SHADOW             = 0x6004,
    VMCS_CR4_SHADOW             = 0x6006,
    VMCS_CR3_TARGET0            = 0x6008,
    VMCS_EXIT_QUAL              = 0x6400,
    VMCS_GUEST_LINEAR_ADDR      = 0x640a,
    VMCS_GUEST_CR0              = 0x6800,
    VMCS_GUEST_CR3              = 0x6802,
    VMCS_GUEST_CR4              = 0x6804,
    VMCS_GUEST_ES_BASE          = 0x6806, /* ES, CS, SS, DS, FS, GS: +2 each */
    VMCS_GUEST_LDTR_BASE        = 0x6812,
    VMCS_GUEST_TR_BASE          = 0x6814,
    VMCS_GUEST_GDTR_BASE        = 0x6816,
    VMCS_GUEST_IDTR_BASE        = 0x6818,
    VMCS_GUEST_DR7              = 0x681a,
    VMCS_GUEST_RSP              = 0x681c,
    VMCS_GUEST_RIP              = 0x681e,
    VMCS_GUEST_RFLAGS           = 0x6820,
    VMCS_GUEST_PENDING_DBG      = 0x6822,
    VMCS_GUEST_SYSENTER_ESP     = 0x6824,
    VMCS_GUEST_SYSENTER_EIP     = 0x6826,
    VMCS_HOST_CR0               = 0x6c00,
    VMCS_HOST_CR3               = 0x6c02,
    VMCS_HOST_CR4               = 0x6c04,
    VMCS_HOST_FS_BASE           = 0x6c06,
    VMCS_HOST_GS_BASE           = 0x6c08,
    VMCS_HOST_TR_BASE           = 0x6c0a,
    VMCS_HOST_GDTR_BASE         = 0x6c0c,
    VMCS_HOST_IDTR_BASE         = 0x6c0e,
    VMCS_HOST_SYSENTER_ESP      = 0x6c10,
    VMCS_HOST_SYSENTER_EIP      = 0x6c12,
    VMCS_HOST_RSP               = 0x6c14,
    VMCS_HOST_RIP               = 0x6c16,
};

/* Highest index of the encodings above (for IA32_VMX_VMCS_ENUM) */
#define VMCS_MAX_INDEX          0x17

/* Basic exit reasons (SDM Vol. 3, Appendix C) */
enum {
    VMX_EXIT_EXCEPTION_NMI      = 0,
    VMX_EXIT_EXTERNAL_INTR      = 1,
    VMX_EXIT_TRIPLE_FAULT       = 2,
    VMX_EXIT_INIT               = 3,
    VMX_EXIT_SIPI               = 4,
    VMX_EXIT_INTR_WINDOW        = 7,
    VMX_EXIT_NMI_WINDOW         = 8,
    VMX_EXIT_TASK_SWITCH        = 9,
    VMX_EXIT_CPUID              = 10,
    VMX_EXIT_HLT                = 12,
    VMX_EXIT_INVD               = 13,
    VMX_EXIT_INVLPG             = 14,
    VMX_EXIT_RDPMC              = 15,
    VMX_EXIT_RDTSC              = 16,
    VMX_EXIT_VMCALL             = 18,
    VMX_EXIT_VMCLEAR            = 19,
    VMX_EXIT_VMLAUNCH           = 20,
    VMX_EXIT_VMPTRLD            = 21,
    VMX_EXIT_VMPTRST            = 22,
    VMX_EXIT_VMREAD             = 23,
    VMX_EXIT_VMRESUME           = 24,
    VMX_EXIT_VMWRITE            = 25,
    VMX_EXIT_VMXOFF             = 26,
    VMX_EXIT_VMXON              = 27,
    VMX_EXIT_CR_ACCESS          = 28,
    VMX_EXIT_DR_ACCESS          = 29,
    VMX_EXIT_IO                 = 30,
    VMX_EXIT_RDMSR              = 31,
    VMX_EXIT_WRMSR              = 32,
    VMX_EXIT_INVALID_GUEST      = 33,
    VMX_EXIT_MSR_LOAD           = 34,
    VMX_EXIT_MWAIT              = 36,
    VMX_EXIT_MONITOR            = 39,
    VMX_EXIT_PAUSE              = 40,
    VMX_EXIT_APIC_ACCESS        = 44,
    VMX_EXIT_GDTR_IDTR          = 46,
    VMX_EXIT_LDTR_TR            = 47,
    VMX_EXIT_EPT_VIOLATION      = 48,
    VMX_EXIT_EPT_MISCONFIG      = 49,
    VMX_EXIT_INVEPT             = 50,
    VMX_EXIT_RDTSCP             = 51,
    VMX_EXIT_PREEMPTION_TIMER   = 52,
    VMX_EXIT_INVVPID            = 53,
    VMX_EXIT_WBINVD             = 54,
    VMX_EXIT_XSETBV             = 55,
    VMX_EXIT_RDRAND             = 57,
    VMX_EXIT_INVPCID            = 58,
    VMX_EXIT_RDSEED             = 61,

    VMX_EXIT_ENTRY_FAILURE      = 0x80000000,
};

/* VM-instruction error numbers */
enum {
    VMX_ERR_VMCALL_IN_ROOT      = 1,
    VMX_ERR_VMCLEAR_ADDR        = 2,
    VMX_ERR_VMCLEAR_VMXON_PTR   = 3,
    VMX_ERR_VMLAUNCH_NOT_CLEAR  = 4,
    VMX_ERR_VMRESUME_NOT_LAUNCHED = 5,
    VMX_ERR_ENTRY_CONTROLS      = 7,
    VMX_ERR_ENTRY_HOST_STATE    = 8,
    VMX_ERR_VMPTRLD_ADDR        = 9,
    VMX_ERR_VMPTRLD_VMXON_PTR   = 10,
    VMX_ERR_VMPTRLD_REVISION    = 11,
    VMX_ERR_BAD_FIELD           = 12,
    VMX_ERR_READ_ONLY_FIELD     = 13,
    VMX_ERR_VMXON_IN_ROOT       = 15,
    VMX_ERR_ENTRY_MOV_SS        = 26,
    VMX_ERR_INV_OPERAND         = 28,
};

/* Format of the interruption-information fields */
#define VMX_INTR_VECTOR         0xff
#define VMX_INTR_TYPE_SHIFT     8
#define VMX_INTR_TYPE_MASK      (7 << 8)
#define VMX_INTR_TYPE_EXT       (0 << 8)
#define VMX_INTR_TYPE_NMI       (2 << 8)
#define VMX_INTR_TYPE_HW_EXC    (3 << 8)
#define VMX_INTR_TYPE_SW_INT    (4 << 8)
#define VMX_INTR_TYPE_PRIV_EXC  (5 << 8)    /* INT1 */
#define VMX_INTR_TYPE_SW_EXC    (6 << 8)    /* INT3, INTO */
#define VMX_INTR_TYPE_OTHER     (7 << 8)
#define VMX_INTR_ERROR_CODE     (1 << 11)
#define VMX_INTR_NMI_UNBLOCKED  (1 << 12)
#define VMX_INTR_VALID          (1u << 31)

/* Interruptibility state */
#define VMX_BLOCK_STI           (1 << 0)
#define VMX_BLOCK_MOV_SS        (1 << 1)
#define VMX_BLOCK_SMI           (1 << 2)
#define VMX_BLOCK_NMI           (1 << 3)

/* Access rights */
#define VMX_AR_UNUSABLE         0x10000

/* EPT entries and EPTP */
#define EPT_R                   (1 << 0)
#define EPT_W                   (1 << 1)
#define EPT_X                   (1 << 2)
#define EPT_RWX                 7
#define EPT_LARGE               (1 << 7)
#define EPT_ACCESSED            (1 << 8)
#define EPT_DIRTY               (1 << 9)
#define EPTP_AD                 (1 << 6)

/* Types for cpu_svm_check_intercept_param() that only exist with VMX */
#define VMX_CHECK_RDRAND        0x10000
#define VMX_CHECK_RDSEED        0x10001
#define VMX_CHECK_RDTSCP        0x10002

/*
 * VMX side of the SVM intercept hooks.  All of these may only be called in
 * VMX non-root operation.
 */
void cpu_vmx_check_intercept(CPUX86State *env, uint32_t type,
                             uint64_t param, uintptr_t retaddr);
void cpu_vmx_check_io(CPUX86State *env, uint32_t port, uint32_t param,
                      uintptr_t retaddr);
void cpu_vmx_check_exception(CPUX86State *env, int intno, int error_code,
                             uint64_t qual, uintptr_t retaddr);
void cpu_vmx_check_soft_exception(CPUX86State *env, int intno, int insn_len,
                                  uintptr_t retaddr);
bool cpu_vmx_intercepts_pf(CPUX86State *env, int error_code);
void cpu_vmx_check_task_switch(CPUX86State *env, uint16_t selector, int source,
                               uintptr_t retaddr);
G_NORETURN void cpu_vmx_exit(CPUX86State *env, uint32_t reason, uint64_t qual,
                             uintptr_t retaddr);
G_NORETURN void cpu_vmx_exit_ept(CPUX86State *env, uint64_t gla, uint64_t gpa,
                                 bool final, uintptr_t retaddr);
G_NORETURN void cpu_vmx_exit_apic(CPUX86State *env, uint64_t gla,
                                  MMUAccessType access, uintptr_t retaddr);
void cpu_vmx_begin_event(CPUX86State *env, int intno, int is_int,
                         int error_code, target_ulong next_eip, int is_hw);
void cpu_vmx_end_event(CPUX86State *env);
void cpu_vmx_exec_event(CPUX86State *env);
void cpu_vmx_check_timer(CPUX86State *env, uint64_t tsc, uintptr_t retaddr);
void cpu_vmx_iret(CPUX86State *env);
void vmx_do_exit(CPUX86State *env);

/* In VMX operation, some bits of CR0 and CR4 are fixed.  */
bool cpu_vmx_cr0_ok(CPUX86State *env, uint64_t val);
bool cpu_vmx_cr4_ok(CPUX86State *env, uint64_t val);

/* MSRs that exist because of VMX */
bool cpu_vmx_rdmsr(CPUX86State *env, uint32_t index, uint64_t *val);

/* misc_helper.c; false means #GP */
bool x86_tcg_wrmsr(CPUX86State *env, uint32_t index, uint64_t val);
bool x86_tcg_rdmsr(CPUX86State *env, uint32_t index, uint64_t *val);

#endif /* I386_TCG_VMX_H */
