// SPDX-License-Identifier: GPL-2.0-only
/* Memory that Linux must leave alone, and the tools' view of it. */
#include "cellvisor.h"

#include <linux/io.h>
#include <linux/ioport.h>
#include <linux/lockdep.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/sort.h>

static LIST_HEAD(pins);
static u32 pins_count;
/*
 * Guards both. Taken under mmap_lock by cv_mmap(), so nothing that
 * can fault in user memory may run while it is held.
 */
static DEFINE_MUTEX(pins_lock);

/* Host-physical address of page @index. */
u64 cv_range_phys(const struct cv_range *range, u64 index)
{
	if (range->pages)
		return page_to_phys(range->pages[index]);
	return range->start + index * range->page_size;
}

static void range_release(struct kref *ref)
{
	struct cv_range *range = container_of(ref, struct cv_range, ref);

	if (range->pages)
		unpin_user_pages(range->pages, range->count);
	else
		release_mem_region(range->start, range->count * range->page_size);
	kvfree(range->pages);
	kfree(range);
}

void cv_range_put(struct cv_range *range)
{
	kref_put(&range->ref, range_release);
}

/* An empty range, or an error if @address and @size are not whole pages. */
static struct cv_range *range_new(u64 address, u64 size, u64 page_size)
{
	struct cv_range *range;

	if (page_size != SZ_2M && page_size != SZ_1G)
		return ERR_PTR(-EINVAL);
	if (!size || !IS_ALIGNED(address | size, page_size) || address + size < address)
		return ERR_PTR(-EINVAL);
	range = kzalloc(sizeof(*range), GFP_KERNEL);
	if (!range)
		return ERR_PTR(-ENOMEM);
	kref_init(&range->ref);
	range->page_size = page_size;
	return range;
}

/*
 * Pins the huge page at @address. One 4 KiB page of it is enough: the pin
 * counts for the whole compound page, which hugetlb never splits, and which is
 * one run of physical memory by its nature. A page of another kind (a
 * transparent huge page, say) can be split, so it is refused.
 */
static int pin_huge_page(u64 address, u64 bytes, struct page **page)
{
	int got = pin_user_pages_fast(address, 1, FOLL_WRITE | FOLL_LONGTERM, page);

	if (got != 1)
		return got < 0 ? got : -EFAULT;
	if (PageHuge(*page) && page_size(compound_head(*page)) >= bytes &&
	    IS_ALIGNED(page_to_phys(*page), bytes))
		return 0;
	unpin_user_page(*page);
	return -EINVAL;
}

/* Pins huge pages of the caller. Must not be called under mmap_lock. */
struct cv_range *cv_range_pin(u64 address, u64 size, u64 page_size)
{
	struct cv_range *range = range_new(address, size, page_size);
	u64 total, i;
	int err = 0;

	if (IS_ERR(range))
		return range;
	total = div64_u64(size, page_size);
	if (total > div64_u64((u64)totalram_pages() << PAGE_SHIFT, page_size)) {
		kfree(range);
		return ERR_PTR(-ENOMEM);
	}
	range->pages = kvmalloc_array(total, sizeof(*range->pages), GFP_KERNEL_ACCOUNT);
	if (!range->pages) {
		kfree(range);
		return ERR_PTR(-ENOMEM);
	}
	for (i = 0; i < total && !err; i++) {
		/* Ctrl-Z is no reason to fail: only who dies is not waited for. */
		err = fatal_signal_pending(current) ? -EINTR :
		      pin_huge_page(address + i * page_size, page_size, &range->pages[i]);
		if (!err)
			range->count++;
		cond_resched();
	}
	if (!err)
		return range;
	cv_range_put(range);
	return ERR_PTR(err);
}

/*
 * Claims a range that was reserved at boot. It must lie in what the firmware's
 * map, as changed by memmap=, calls reserved: neither Linux's RAM nor a
 * device's window.
 */
struct cv_range *cv_range_claim(u64 start, u64 size, u64 page_size)
{
	struct cv_range *range = range_new(start, size, page_size);

	if (IS_ERR(range))
		return range;
	if (region_intersects(start, size, IORESOURCE_MEM, IORES_DESC_RESERVED) !=
	    REGION_INTERSECTS) {
		pr_err("memory at %#llx, %llu bytes, is not reserved: reserve it with memmap= when Linux boots\n",
		       start, size);
		kfree(range);
		return ERR_PTR(-EPERM);
	}
	if (!request_mem_region(start, size, "cellvisor")) {
		pr_err("memory at %#llx, %llu bytes, is in use: see /proc/iomem\n", start, size);
		kfree(range);
		return ERR_PTR(-EBUSY);
	}
	range->start = start;
	range->count = div64_u64(size, page_size);
	return range;
}

static int compare_pages(const void *left, const void *right)
{
	unsigned long a = page_to_pfn(*(struct page **)left);
	unsigned long b = page_to_pfn(*(struct page **)right);

	return a < b ? -1 : a > b;
}

static struct cv_range *pins_by_id(u64 id)
{
	struct cv_range *range;

	lockdep_assert_held(&pins_lock);
	list_for_each_entry(range, &pins, node) {
		if (range->id == id)
			return range;
	}
	return NULL;
}

/*
 * Lists @range as @id, which takes the caller's reference unless that number is
 * taken. From here on its pages are in the order of their addresses, so that one
 * mapping can hold all neighbours.
 */
int cv_pins_add(struct cv_range *range, u64 id)
{
	int err = -EEXIST;

	if (range->pages)
		sort(range->pages, range->count, sizeof(*range->pages), compare_pages, NULL);
	mutex_lock(&pins_lock);
	if (!pins_by_id(id)) {
		range->id = id;
		list_add_tail(&range->node, &pins);
		pins_count++;
		err = 0;
	}
	mutex_unlock(&pins_lock);
	return err;
}

/*
 * Drops the pin with this number. Memory that is still mapped is given back when
 * its last mapping goes.
 */
int cv_pins_drop(u64 id)
{
	struct cv_range *range;

	mutex_lock(&pins_lock);
	range = pins_by_id(id);
	if (range) {
		list_del(&range->node);
		pins_count--;
	}
	mutex_unlock(&pins_lock);
	if (!range)
		return -ENOENT;
	cv_range_put(range);
	return 0;
}

/* As cv_pins_drop(), for all that there are. */
void cv_pins_drop_all(void)
{
	struct cv_range *range, *next;
	LIST_HEAD(gone);

	mutex_lock(&pins_lock);
	list_splice_init(&pins, &gone);
	pins_count = 0;
	mutex_unlock(&pins_lock);
	list_for_each_entry_safe(range, next, &gone, node)
		cv_range_put(range);
}

u32 cv_pins_count(void)
{
	return READ_ONCE(pins_count);
}

/* True if the listed range holds the @size bytes at @phys without a gap. */
static bool range_covers(const struct cv_range *range, u64 phys, u64 size)
{
	u64 i, page, end;

	for (i = 0; i < range->count; i++) {
		page = cv_range_phys(range, i);
		if (phys < page || phys - page >= range->page_size)
			continue;
		end = page + range->page_size;
		while (end - phys < size && ++i < range->count && cv_range_phys(range, i) == end)
			end += range->page_size;
		return end - phys >= size;
	}
	return false;
}

static struct cv_range *pins_find(u64 phys, u64 size)
{
	struct cv_range *range, *found = NULL;

	mutex_lock(&pins_lock);
	list_for_each_entry(range, &pins, node) {
		if (range_covers(range, phys, size)) {
			kref_get(&range->ref);
			found = range;
			break;
		}
	}
	mutex_unlock(&pins_lock);
	return found;
}

static void mapping_open(struct vm_area_struct *vma)
{
	struct cv_range *range = vma->vm_private_data;

	kref_get(&range->ref);
}

static void mapping_close(struct vm_area_struct *vma)
{
	cv_range_put(vma->vm_private_data);
}

/* Each mapping holds a reference, so that UNPIN cannot pull memory from under it. */
static const struct vm_operations_struct mapping_ops = {
	.open = mapping_open,
	.close = mapping_close,
};

/* Maps pinned memory, write-back; the offset is the host-physical address. */
int cv_mmap(struct file *file, struct vm_area_struct *vma)
{
	u64 phys = (u64)vma->vm_pgoff << PAGE_SHIFT;
	u64 size = vma->vm_end - vma->vm_start;
	struct cv_range *range;
	int err;

	if (!cv_may_manage(file))
		return -EPERM;
	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	if (phys >> PAGE_SHIFT != vma->vm_pgoff)
		return -EPERM;
	range = pins_find(phys, size);
	if (!range)
		return -EPERM;
	err = remap_pfn_range(vma, vma->vm_start, vma->vm_pgoff, size, vma->vm_page_prot);
	if (err) {
		cv_range_put(range);
		return err;
	}
	vma->vm_ops = &mapping_ops;
	vma->vm_private_data = range;
	return 0;
}
