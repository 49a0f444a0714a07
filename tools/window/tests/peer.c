/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The second of two members, in C: sends back what the first one sends, each byte plus one,
 * until a frame of one byte comes. `peer FILE SIZE` */
#include "cellvisor_window.h"

#include <stdlib.h>

int main(int argc, char **argv)
{
	static unsigned char frame[CELLVISOR_MOST];
	struct cellvisor_link link;
	struct cellvisor_words all;
	struct cellvisor_end from, to;
	long size;

	if (argc != 3 || !cellvisor_find("no such link", &link))
		return 2;
	all = cellvisor_map(argv[1], 0, strtoull(argv[2], NULL, 10));
	if (!all.at || cellvisor_ring(all, 2, 0, 0).at || cellvisor_ring(all, 9, 0, 1).at)
		return 3;
	from = cellvisor_reader(cellvisor_ring(all, 2, 0, 1));
	to = cellvisor_writer(cellvisor_ring(all, 2, 1, 0));
	/* Who reads is there. */
	while (cellvisor_write(&to, "here", 4) != 1)
		;
	/* Nothing was written yet, and who writes is told. */
	if (!cellvisor_fall_asleep(&from) || cellvisor_is_to_ring(&to))
		return 4;
	while (cellvisor_write(&to, "asleep", 6) != 1)
		;
	while ((size = cellvisor_read(&from, frame)) == 0)
		;
	cellvisor_wake_up(&from);
	while (cellvisor_write(&to, "awake", 5) != 1)
		;
	for (;;) {
		size = cellvisor_read(&from, frame);
		if (size < 0)
			while (cellvisor_write(&to, "nonsense", 8) != 1)
				;
		if (size == 1)
			return 0;
		for (long i = 0; i < size; i++)
			frame[i]++;
		while (size > 0 && cellvisor_write(&to, frame, size) != 1)
			;
	}
}
