// SPDX-License-Identifier: GPL-2.0-only
/* Wakes who polls the device when something has happened to a cell. */
#include "cellvisor.h"

#include <linux/atomic.h>
#include <linux/irq_work.h>
#include <linux/poll.h>
#include <linux/string.h>
#include <linux/tracepoint.h>
#include <linux/uaccess.h>
#include <linux/wait.h>

/*
 * The monitor interrupts a CPU of Linux by the vector for platform IPIs, which only
 * machines of one maker use. No module can set its handler, but what its tracepoint
 * calls. NULL where there is no such tracepoint: then nobody is woken.
 */
static struct tracepoint *vector_entry;

/* Interrupts so far. Each open file remembers how many it has seen. */
static atomic_t count = ATOMIC_INIT(0);
static DECLARE_WAIT_QUEUE_HEAD(waiting);
static struct irq_work waker;

static void wake(struct irq_work *work)
{
	wake_up_interruptible_all(&waiting);
}

/* Something has happened; callable anywhere but in an NMI. */
void cv_events_tell(void)
{
	atomic_inc(&count);
	/* In an interrupt with PREEMPT_RT a queue cannot be woken directly. */
	irq_work_queue(&waker);
}

static void on_vector(void *data, int vector)
{
	cv_events_tell();
}

static void find(struct tracepoint *point, void *found)
{
	if (!strcmp(point->name, "x86_platform_ipi_entry"))
		*(struct tracepoint **)found = point;
}

/* True if the monitor can tell of events by CV_EVENT_VECTOR. */
bool cv_events_heard(void)
{
	return vector_entry;
}

static void *seen_by_now(void)
{
	return (void *)(unsigned long)(u32)atomic_read(&count);
}

/* A file that is opened has seen all that was before. */
void cv_events_open(struct file *file)
{
	file->private_data = seen_by_now();
}

/* Ready when something has happened that the file has not been read since. */
__poll_t cv_events_poll(struct file *file, poll_table *table)
{
	if (!vector_entry)
		return EPOLLERR;
	poll_wait(file, &waiting, table);
	return READ_ONCE(file->private_data) == seen_by_now() ? 0 : EPOLLIN | EPOLLRDNORM;
}

/* Never waits: how often something has happened, as a u64, all of which is seen. */
ssize_t cv_events_read(struct file *file, char __user *to, size_t size, loff_t *offset)
{
	void *now = seen_by_now();
	u64 number = (unsigned long)now;

	if (size < sizeof(number))
		return -EINVAL;
	if (copy_to_user(to, &number, sizeof(number)))
		return -EFAULT;
	WRITE_ONCE(file->private_data, now);
	return sizeof(number);
}

void cv_events_init(void)
{
	init_irq_work(&waker, wake);
	for_each_kernel_tracepoint(find, &vector_entry);
	if (vector_entry && tracepoint_probe_register(vector_entry, on_vector, NULL))
		vector_entry = NULL;
	if (!vector_entry)
		pr_warn("this kernel cannot trace platform IPIs: events of cells wake nobody\n");
}

void cv_events_exit(void)
{
	if (vector_entry) {
		tracepoint_probe_unregister(vector_entry, on_vector, NULL);
		tracepoint_synchronize_unregister();
	}
	irq_work_sync(&waker);
}
