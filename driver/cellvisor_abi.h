/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * The contract between cellvisor's tools, driver and monitor, as far as the
 * driver needs it. Written by `cargo xtask header` from
 * hypervisor/abi/src/{image,ioctl,status,call}.rs, where every field is
 * explained: change it there.
 */
#ifndef CELLVISOR_ABI_H
#define CELLVISOR_ABI_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define CV_ABI_VERSION 15
#define CV_PAGE_SIZE 4096ULL
#define CV_CHUNK_SIZE 0x200000ULL

#define CV_MAGIC "CELLVISR"
#define CV_BASE 0x200000000000ULL
#define CV_BRIDGE_SLOT 64
#define CV_BRIDGE_PAGES 4
#define CV_MAX_CHUNKS 512

struct cv_image_header {
	__u8 magic[8];
	__u32 abi_version;
	__u32 header_size;
	__u64 entry;
	__u64 file_size;
	__u64 memory_size;
	__u64 boot_info;
	__u64 bridge_tables;
};
_Static_assert(sizeof(struct cv_image_header) == 56, "cv_image_header");

struct cv_boot_info {
	__u32 abi_version;
	__u32 cpu_count;
	__u32 chunk_count;
	__u32 la57;
	__u64 plan_offset;
	__u64 plan_len;
	__u64 chunks[CV_MAX_CHUNKS];
};
_Static_assert(sizeof(struct cv_boot_info) == 4128, "cv_boot_info");

struct cv_info {
	__u32 abi_version;
	__u32 enabled;
	__u32 tsc_khz;
	__u32 pins;
};
_Static_assert(sizeof(struct cv_info) == 16, "cv_info");

struct cv_enable {
	__u64 address;
	__u64 size;
	__u64 plan_offset;
	__u64 plan_len;
	__u64 pause_ns;
	__u32 cpus;
	__u32 status;
	__u32 detail;
	__u32 cpu;
};
_Static_assert(sizeof(struct cv_enable) == 56, "cv_enable");

struct cv_pin {
	__u64 address;
	__u64 size;
	__u64 page_size;
	__u64 addresses;
	__u64 id;
	__u32 flags;
	__u32 reserved;
};
_Static_assert(sizeof(struct cv_pin) == 48, "cv_pin");

struct cv_call {
	__u64 buffer;
	__u32 code;
	__u32 request_len;
	__u32 capacity;
	__u32 response_len;
	__u32 status;
	__u32 reserved;
};
_Static_assert(sizeof(struct cv_call) == 32, "cv_call");

#define CV_PIN_RESERVED 1
#define CV_CALL_BUFFER 65536

#define CV_IOC_INFO _IOR('V', 0, struct cv_info)
#define CV_IOC_ENABLE _IOWR('V', 1, struct cv_enable)
#define CV_IOC_DISABLE _IOWR('V', 2, struct cv_enable)
#define CV_IOC_PIN _IOWR('V', 3, struct cv_pin)
#define CV_IOC_UNPIN _IO('V', 4)
#define CV_IOC_CALL _IOWR('V', 5, struct cv_call)

#define CV_CODE_LEAVE 1129709570
#define CV_CODE_CELLS_END 1129709584
#define CV_CODE_WATCH 1129709586
#define CV_CODES_LOOK \
	1129709569, 1129709576, 1129709577, 1129709578, 1129709582, 1129709583

#define CV_ENTER_OK 0
#define CV_ENTER_ABI_MISMATCH 1
#define CV_ENTER_NO_VIRTUALIZATION 2
#define CV_ENTER_LOCKED_BY_FIRMWARE 3
#define CV_ENTER_MISSING_FEATURE 4
#define CV_ENTER_IN_USE 5
#define CV_ENTER_CPUS_MISSING 6
#define CV_ENTER_BAD_PLAN 7
#define CV_ENTER_UNKNOWN_CPU 8
#define CV_ENTER_NO_MEMORY 9
#define CV_ENTER_OTHER_CPU_FAILED 10
#define CV_ENTER_INSTRUCTION_FAILED 11
#define CV_ENTER_ENTRY_FAILED 12
#define CV_ENTER_UNSUPPORTED 13
#define CV_ENTER_INJECTED 14
#define CV_ENTER_CELLS_EXIST 15
#define CV_ENTER_BUSY 16
#define CV_ENTER_APIC_MODE 17
#define CV_ENTER_CPUS_OFFLINE 18
#define CV_ENTER_DRIVER 19
#define CV_ENTER_BAD_IMAGE 20
#define CV_ENTER_TSC_RATE 21
#define CV_ENTER_LATE 22

#define CV_CALL_OK 0
#define CV_CALL_AGAIN 1
#define CV_CALL_UNKNOWN_CALL 2
#define CV_CALL_MALFORMED 3
#define CV_CALL_DENIED 4
#define CV_CALL_NO_SUCH_CELL 5
#define CV_CALL_WRONG_STATE 6
#define CV_CALL_NOT_OWNED 7
#define CV_CALL_NO_MEMORY 8
#define CV_CALL_BUSY 9
#define CV_CALL_CPU_STUCK 10
#define CV_CALL_BAD_NAME 11
#define CV_CALL_BAD_RESOURCE 12
#define CV_CALL_TOO_LONG 13
#define CV_CALL_TOO_MANY_CELLS 14
#define CV_CALL_NOT_SUPPORTED 15
#define CV_CALL_CELLS_EXIST 16
#define CV_CALL_DAMAGED 17
#define CV_CALL_NO_CLASS 18
#define CV_CALL_LEFT_OUT 19

#endif /* CELLVISOR_ABI_H */
