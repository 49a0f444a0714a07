// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/cellvisor: what the tools ask of the kernel.
 *
 * The driver decides nothing about cells. It keeps memory from Linux, takes
 * the CPUs into the monitor and passes hypercalls on without reading them.
 */
#include "cellvisor.h"

#include <linux/capability.h>
#include <linux/init.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/reboot.h>
#include <linux/semaphore.h>
#include <linux/slab.h>
#include <linux/suspend.h>
#include <linux/uaccess.h>
#include <asm/tsc.h>

/*
 * One change of state or hypercall at a time. Pins have a lock of their own:
 * clearing a cell's huge pages takes seconds, and calls need not wait for it.
 * Taken before mmap_lock. A mutex would let who waits spin while its owner runs: a
 * call scrubs megabytes, and each cell may have somebody who looks at it.
 */
static struct semaphore lock = __SEMAPHORE_INITIALIZER(lock, 1);

/* Requests and responses: the monitor wants one run of physical memory. */
static void *call_buffer;

/* This machine is on its way to sleep; guarded by the lock. */
static bool falling_asleep;

static long do_info(void __user *arg)
{
	struct cv_info info = {
		.abi_version = CV_ABI_VERSION,
		.enabled = cv_switch_on(),
		.tsc_khz = tsc_khz,
		.pins = cv_pins_count(),
	};

	return copy_to_user(arg, &info, sizeof(info)) ? -EFAULT : 0;
}

static long do_switch(void __user *arg, int (*change)(struct cv_enable *))
{
	struct cv_enable request;
	int err;

	if (copy_from_user(&request, arg, sizeof(request)))
		return -EFAULT;
	err = change(&request);
	if (err)
		return err;
	return copy_to_user(arg, &request, sizeof(request)) ? -EFAULT : 0;
}

/* Tells the caller where the pages of @range are. */
static int put_addresses(const struct cv_range *range, u64 __user *to)
{
	u64 i;

	for (i = 0; i < range->count; i++) {
		if (put_user(cv_range_phys(range, i), to + i))
			return -EFAULT;
	}
	return 0;
}

static long do_pin(void __user *arg)
{
	struct cv_range *range;
	struct cv_pin pin;
	int err = 0;

	if (copy_from_user(&pin, arg, sizeof(pin)))
		return -EFAULT;
	if (pin.flags & ~CV_PIN_RESERVED || pin.reserved || !pin.id)
		return -EINVAL;
	if (pin.flags & CV_PIN_RESERVED)
		range = cv_range_claim(pin.address, pin.size, pin.page_size);
	else
		range = cv_range_pin(pin.address, pin.size, pin.page_size);
	if (IS_ERR(range))
		return PTR_ERR(range);
	if (!(pin.flags & CV_PIN_RESERVED))
		err = put_addresses(range, u64_to_user_ptr(pin.addresses));
	if (!err)
		err = cv_pins_add(range, pin.id);
	if (err)
		cv_range_put(range);
	return err;
}

/* The monitor is on: it shall tell of events. */
static void watch(void)
{
	u64 result;

	if (!cv_events_heard())
		return;
	*(u8 *)call_buffer = CV_EVENT_VECTOR;
	if (cv_switch_call(CV_CODE_WATCH, call_buffer, 1, CV_CALL_BUFFER, &result) ||
	    lower_32_bits(result) != CV_CALL_OK)
		pr_warn("the monitor does not tell of events\n");
}

static long do_enable(void __user *arg)
{
	long result;

	if (falling_asleep) {
		pr_err("this machine is about to be suspended\n");
		return -EAGAIN;
	}
	result = do_switch(arg, cv_switch_enable);
	if (!result && cv_switch_on())
		watch();
	return result;
}

static long do_disable(void __user *arg)
{
	long result = do_switch(arg, cv_switch_disable);

	cv_events_tell();
	return result;
}

/* True for hypercalls that change nothing and show nothing of a cell's inside. */
static bool code_looks(u32 code)
{
	static const u32 codes[] = { CV_CODES_LOOK };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(codes); i++) {
		if (codes[i] == code)
			return true;
	}
	return false;
}

static long do_call(struct file *file, void __user *arg)
{
	struct cv_call call;
	u64 result;
	int err;

	if (copy_from_user(&call, arg, sizeof(call)))
		return -EFAULT;
	if (!cv_may_manage(file) && !code_looks(call.code))
		return -EPERM;
	if (call.request_len > CV_CALL_BUFFER || call.capacity > CV_CALL_BUFFER ||
	    call.code == CV_CODE_LEAVE)
		return -EINVAL;
	if (copy_from_user(call_buffer, u64_to_user_ptr(call.buffer), call.request_len))
		return -EFAULT;
	err = cv_switch_call(call.code, call_buffer, call.request_len, call.capacity, &result);
	if (err)
		return err;
	call.status = lower_32_bits(result);
	call.response_len = min(upper_32_bits(result), call.capacity);
	call.reserved = 0;
	if (copy_to_user(u64_to_user_ptr(call.buffer), call_buffer, call.response_len) ||
	    copy_to_user(arg, &call, sizeof(call)))
		return -EFAULT;
	return 0;
}

static long cv_ioctl(struct file *file, unsigned int request, unsigned long arg)
{
	void __user *user = (void __user *)arg;
	long result;

	if (request == CV_IOC_INFO)
		return do_info(user);
	if (!cv_may_manage(file) && request != CV_IOC_CALL)
		return -EPERM;
	switch (request) {
	case CV_IOC_PIN:
		return do_pin(user);
	case CV_IOC_UNPIN:
		return cv_pins_drop(arg);
	}
	/* A stop by Ctrl-Z takes effect afterwards. */
	if (down_killable(&lock))
		return -EINTR;
	switch (request) {
	case CV_IOC_ENABLE:
		result = do_enable(user);
		break;
	case CV_IOC_DISABLE:
		result = do_disable(user);
		break;
	case CV_IOC_CALL:
		result = do_call(file, user);
		break;
	default:
		result = -ENOTTY;
	}
	up(&lock);
	return result;
}

/*
 * Whoever has the device open for writing proved on opening it that it may change
 * this machine. Whoever has it open for reading may look at cells and wait for
 * events; who that is, the device's mode says.
 */
bool cv_may_manage(struct file *file)
{
	return file->f_mode & FMODE_WRITE;
}

static int cv_open(struct inode *inode, struct file *file)
{
	if (cv_may_manage(file) && !capable(CAP_SYS_ADMIN))
		return -EPERM;
	cv_events_open(file);
	return 0;
}

static const struct file_operations cv_fops = {
	.owner = THIS_MODULE,
	.open = cv_open,
	.unlocked_ioctl = cv_ioctl,
	.mmap = cv_mmap,
	.poll = cv_events_poll,
	.read = cv_events_read,
};

static struct miscdevice cv_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "cellvisor",
	.fops = &cv_fops,
	.mode = 0600,
};

/*
 * Restart, power-off and kexec: the next kernel must find the machine as the
 * firmware left it. Linux asks nobody whether it may, so cells that are left end
 * here.
 */
static int on_reboot(struct notifier_block *block, unsigned long event, void *data)
{
	struct cv_enable request = {};

	down(&lock);
	if (cv_switch_on()) {
		cv_switch_end(call_buffer);
		if (cv_switch_disable(&request) || cv_switch_on())
			pr_warn("the monitor stays on while this machine goes down\n");
	}
	up(&lock);
	return NOTIFY_DONE;
}

static struct notifier_block reboot_block = {
	.notifier_call = on_reboot,
};

/* Suspend loses the CPUs' virtualization state, and cells cannot sleep. */
static int on_suspend(struct notifier_block *block, unsigned long event, void *data)
{
	int result = NOTIFY_DONE;

	down(&lock);
	switch (event) {
	case PM_SUSPEND_PREPARE:
	case PM_HIBERNATION_PREPARE:
	case PM_RESTORE_PREPARE:
		/* From here on nobody may turn the monitor on until it is over. */
		falling_asleep = !cv_switch_on();
		if (falling_asleep)
			break;
		pr_err("this machine cannot be suspended while the monitor is on: disable it first\n");
		result = NOTIFY_BAD;
		break;
	case PM_POST_SUSPEND:
	case PM_POST_HIBERNATION:
	case PM_POST_RESTORE:
		falling_asleep = false;
		break;
	}
	up(&lock);
	return result;
}

static struct notifier_block suspend_block = {
	.notifier_call = on_suspend,
};

static int __init cv_init(void)
{
	int err;

	call_buffer = (void *)__get_free_pages(GFP_KERNEL, get_order(CV_CALL_BUFFER));
	if (!call_buffer)
		return -ENOMEM;
	err = cv_switch_init();
	if (err)
		goto free_buffer;
	cv_events_init();
	err = register_reboot_notifier(&reboot_block);
	if (err)
		goto exit_events;
	err = register_pm_notifier(&suspend_block);
	if (err)
		goto forget_reboot;
	err = misc_register(&cv_device);
	if (err)
		goto forget_suspend;
	return 0;

forget_suspend:
	unregister_pm_notifier(&suspend_block);
forget_reboot:
	unregister_reboot_notifier(&reboot_block);
exit_events:
	cv_events_exit();
	cv_switch_exit();
free_buffer:
	free_pages((unsigned long)call_buffer, get_order(CV_CALL_BUFFER));
	return err;
}

/* The monitor holds a reference to the module, so it is off here. */
static void __exit cv_exit(void)
{
	misc_deregister(&cv_device);
	unregister_pm_notifier(&suspend_block);
	unregister_reboot_notifier(&reboot_block);
	cv_pins_drop_all();
	cv_events_exit();
	cv_switch_exit();
	free_pages((unsigned long)call_buffer, get_order(CV_CALL_BUFFER));
}

module_init(cv_init);
module_exit(cv_exit);
MODULE_DESCRIPTION("cellvisor: loads the partitioning monitor and keeps memory for its cells");
MODULE_VERSION("0.1.0");
MODULE_LICENSE("GPL");
