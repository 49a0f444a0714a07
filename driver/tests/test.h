/* SPDX-License-Identifier: GPL-2.0-only */
/* What the files of the driver's test share. */
#ifndef TEST_H
#define TEST_H

#include <stddef.h>

#include "../cellvisor_abi.h"

#define MIB2 0x200000UL

/* The open device. */
extern int device;

/* Prints whether @got is @want, and counts it if not. */
void check(const char *what, long long got, long long want);
/* What a request came to: its result, or -errno. */
long ask(unsigned long request, void *arg);
long free_huge_pages(void);
/* Huge pages of the default size; ends the test if there are none. */
char *huge_pages(size_t size, int flags);
struct cv_info info(void);

void test_pins(void);
void test_bad_images(void);
void test_entries(void);
void test_stuck(void);

#endif /* TEST_H */
