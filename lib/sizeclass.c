/* SPDX-License-Identifier: MIT */
/*
 * Size classes: the tables of sizeclass.h, computed by the compiler so that no code has to run before the first malloc.
 */
#include "sizeclass.h"

/* Block size of class i: linear at first, then eight to a doubling. */
#define NBYTES(i)                                                                                                      \
	((i) < (int)LINEAR_CLASSES ? ((size_t)(i) + 1) * ALIGNMENT                                                     \
				   : (LINEAR_CLASS_LIMIT << DOUBLING(i)) + (STEP(i) + 1) * EIGHTH(DOUBLING(i)))
#define EIGHTH(doubling) (LINEAR_CLASS_LIMIT / 8 << (doubling))
#define DOUBLING(i) ((i) < (int)LINEAR_CLASSES ? 0 : ((size_t)(i)-LINEAR_CLASSES) / 8)
#define STEP(i) (((size_t)(i)-LINEAR_CLASSES) % 8)

/* A pool takes as many units as give it eight blocks (four of the largest) and lose at most a 32nd of it. */
#define FITS(s, k) ((k)*POOL_SIZE / (s) >= 4 && (k)*POOL_SIZE % (s)*32 <= (k)*POOL_SIZE)
#define UNITS(s)                                                                                                       \
	(FITS(s, 1)    ? 1                                                                                             \
	 : FITS(s, 2)  ? 2                                                                                             \
	 : FITS(s, 3)  ? 3                                                                                             \
	 : FITS(s, 4)  ? 4                                                                                             \
	 : FITS(s, 5)  ? 5                                                                                             \
	 : FITS(s, 6)  ? 6                                                                                             \
	 : FITS(s, 7)  ? 7                                                                                             \
	 : FITS(s, 8)  ? 8                                                                                             \
	 : FITS(s, 9)  ? 9                                                                                             \
	 : FITS(s, 10) ? 10                                                                                            \
	 : FITS(s, 11) ? 11                                                                                            \
	 : FITS(s, 12) ? 12                                                                                            \
	 : FITS(s, 13) ? 13                                                                                            \
	 : FITS(s, 14) ? 14                                                                                            \
	 : FITS(s, 15) ? 15                                                                                            \
		       : 16)

#define CLASS(i) {~(uint64_t)0 / NBYTES(i) + 1, NBYTES(i), UNITS(NBYTES(i)), UNITS(NBYTES(i)) * POOL_SIZE / NBYTES(i)}
#define CLASSES4(i) CLASS(i), CLASS((i) + 1), CLASS((i) + 2), CLASS((i) + 3)
#define CLASSES16(i) CLASSES4(i), CLASSES4((i) + 4), CLASSES4((i) + 8), CLASSES4((i) + 12)

size_t sizeclass_limit = SPAN_REQUEST_THRESHOLD;

const struct size_class size_classes[] = {CLASSES16(0), CLASSES16(16), CLASSES16(32), CLASSES16(48), CLASSES16(64)};
_Static_assert(sizeof(size_classes) / sizeof(size_classes[0]) >= NB_SIZE_CLASSES, "the table holds every class");

/* The inverse, for the step that ends at n = (i + 1) * ALIGNMENT bytes. */
#define LOG2_UP(n) ((n) <= 512 ? 0 : (n) <= 1024 ? 1 : (n) <= 2048 ? 2 : 3)
#define SZIDX(n)                                                                                                       \
	((n) <= LINEAR_CLASS_LIMIT ? (n) / ALIGNMENT - 1                                                               \
				   : LINEAR_CLASSES + LOG2_UP(n) * 8 + ((n)-1) / EIGHTH(LOG2_UP(n)) - 8)
#define STEP1(i) SZIDX(((size_t)(i) + 1) * ALIGNMENT)
#define STEPS4(i) STEP1(i), STEP1((i) + 1), STEP1((i) + 2), STEP1((i) + 3)
#define STEPS16(i) STEPS4(i), STEPS4((i) + 4), STEPS4((i) + 8), STEPS4((i) + 12)
#define STEPS64(i) STEPS16(i), STEPS16((i) + 16), STEPS16((i) + 32), STEPS16((i) + 48)

_Alignas(CACHE_LINE) const uint8_t szidx_of_step[] = {STEPS64(0), STEPS64(64), STEPS64(128), STEPS64(192)};

int sizeclass_of_aligned(size_t nbytes, size_t alignment)
{
	if (nbytes < alignment)
		nbytes = alignment;
	if (nbytes > sizeclass_limit)
		return -1;
	for (unsigned szidx = sizeclass_of(nbytes); szidx < NB_SIZE_CLASSES; szidx++)
		if (sizeclass_nbytes(szidx) > sizeclass_limit)
			break;
		else if (sizeclass_nbytes(szidx) % alignment == 0)
			return (int)szidx;
	return -1;
}
