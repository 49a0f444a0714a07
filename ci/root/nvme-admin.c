/*
 * nvme-admin DEVICE OPCODE CDW10 CDW11 [CNTLID...]: sends an admin command to
 * an NVMe controller (/dev/nvme0), and prints what it answers. Controller ids
 * become the list that Namespace Attachment takes, and NSID comes from the
 * environment.
 */
#include <fcntl.h>
#include <linux/nvme_ioctl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

/* Numbers in a controller list: a count, then ids. */
#define LIST 2048

int main(int argc, char **argv)
{
	static uint16_t list[LIST] __attribute__((aligned(4096)));
	struct nvme_admin_cmd command;
	const char *nsid = getenv("NSID");
	int fd, status;

	if (argc < 5 || argc - 5 >= LIST) {
		fprintf(stderr, "usage: nvme-admin DEVICE OPCODE CDW10 CDW11 [CNTLID...]\n");
		return 2;
	}
	fd = open(argv[1], O_RDWR);
	if (fd < 0) {
		perror(argv[1]);
		return 1;
	}
	memset(&command, 0, sizeof(command));
	command.opcode = (uint8_t)strtoul(argv[2], NULL, 0);
	command.cdw10 = (uint32_t)strtoul(argv[3], NULL, 0);
	command.cdw11 = (uint32_t)strtoul(argv[4], NULL, 0);
	command.nsid = nsid ? (uint32_t)strtoul(nsid, NULL, 0) : 0;
	if (argc > 5) {
		list[0] = (uint16_t)(argc - 5);
		for (int i = 5; i < argc; i++)
			list[i - 4] = (uint16_t)strtoul(argv[i], NULL, 0);
		command.addr = (uint64_t)(uintptr_t)list;
		command.data_len = sizeof(list);
	}
	status = ioctl(fd, NVME_IOCTL_ADMIN_CMD, &command);
	if (status < 0) {
		perror("NVME_IOCTL_ADMIN_CMD");
		return 1;
	}
	printf("nvme-admin: opcode %s cdw10 %s: status %#x result %#x\n", argv[2], argv[3],
	       (unsigned int)status, command.result);
	return status != 0;
}
