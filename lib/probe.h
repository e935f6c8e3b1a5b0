/* SPDX-License-Identifier: MIT */
/*
 * Probe: static places for tracers (USDT), which systemtap, bpftrace and perf find by notes of the library. Each is one
 * instruction that does nothing until a tracer replaces it; its arguments are what happens to lie in registers and
 * memory there. Built without <sys/sdt.h> there are none. quarry-probes(7) lists them; a test holds the list to the
 * notes.
 */
#ifndef QUARRY_PROBE_H
#define QUARRY_PROBE_H

#ifdef QUARRY_HAVE_SDT
#include <sys/sdt.h>
#define PROBE2(name, a, b) STAP_PROBE2(quarry, name, a, b)
#define PROBE3(name, a, b, c) STAP_PROBE3(quarry, name, a, b, c)
#else
#define PROBE2(name, a, b) ((void)(a), (void)(b))
#define PROBE3(name, a, b, c) ((void)(a), (void)(b), (void)(c))
#endif

#endif
