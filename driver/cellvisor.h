/* SPDX-License-Identifier: GPL-2.0-only */
/* What the files of the driver share. */
#ifndef CELLVISOR_H
#define CELLVISOR_H

#undef pr_fmt
#define pr_fmt(fmt) "cellvisor: " fmt

#include <linux/fs.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mm_types.h>
#include <linux/poll.h>
#include <asm/irq_vectors.h>

#include "cellvisor_abi.h"

/**
 * struct cv_range - memory that is kept from Linux for the monitor or a cell
 * @node: place in the list of pins
 * @ref: one reference of the list or of the monitor, one of each mapping
 * @id: the number that whoever made it chose
 * @page_size: size of one page in bytes; each is physically contiguous
 * @count: how many pages
 * @pages: first struct page of each page, or NULL for a range reserved at boot
 * @start: host-physical address of a range reserved at boot
 */
struct cv_range {
	struct list_head node;
	struct kref ref;
	u64 id;
	u64 page_size;
	u64 count;
	struct page **pages;
	u64 start;
};

/* The vector by which the monitor tells of events. */
#define CV_EVENT_VECTOR X86_PLATFORM_IPI_VECTOR

/* main.c */
bool cv_may_manage(struct file *file);

/* events.c */
void cv_events_init(void);
void cv_events_exit(void);
bool cv_events_heard(void);
void cv_events_tell(void);
void cv_events_open(struct file *file);
__poll_t cv_events_poll(struct file *file, poll_table *table);
ssize_t cv_events_read(struct file *file, char __user *to, size_t size, loff_t *offset);

/* features.c */
void cv_features_note(void);
void cv_features_restore(void);

/* pin.c */
u64 cv_range_phys(const struct cv_range *range, u64 index);
struct cv_range *cv_range_pin(u64 address, u64 size, u64 page_size);
struct cv_range *cv_range_claim(u64 start, u64 size, u64 page_size);
void cv_range_put(struct cv_range *range);
int cv_pins_add(struct cv_range *range, u64 id);
int cv_pins_drop(u64 id);
void cv_pins_drop_all(void);
u32 cv_pins_count(void);
int cv_mmap(struct file *file, struct vm_area_struct *vma);

/* switch.c: the caller serialises these */
int cv_switch_init(void);
void cv_switch_exit(void);
bool cv_switch_on(void);
int cv_switch_enable(struct cv_enable *request);
int cv_switch_disable(struct cv_enable *request);
void cv_switch_end(void *buffer);
int cv_switch_call(u32 code, void *buffer, u32 len, u32 capacity, u64 *result);

/* entry.S */
#define CV_NO_MONITOR (~0ULL)

u64 cv_entry_enter(u64 bridge_cr3, u64 linux_cr3, u64 entry);
u64 cv_entry_leave(u64 bridge_cr3, u64 linux_cr3, u64 code);
u64 cv_entry_call(u64 buffer, u64 len, u64 capacity, u64 code);

#endif /* CELLVISOR_H */
