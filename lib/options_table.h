/* SPDX-License-Identifier: MIT */
/*
 * The keys of QUARRY_CONF, a line each. Whoever includes this defines what a line becomes (lib/options.c a parser's
 * table, tools/options.c the switches of quarry run); no other place lists the keys, and so there is no include guard.
 *
 *     OPTION_WORDS(key, words separated by '|', default, meaning)     the first word is 0, and so on; the last one may
 *                                                                     be like "node:0..7", for eight values
 *     OPTION_NUMBER(key, least, most, default, meaning)
 *     OPTION_PATH(key, meaning)                                       any text without a comma; none at first
 */
OPTION_WORDS(purge, "thread|inline|off", OPTION_PURGE_THREAD,
	     "who gives memory back: a thread, slow paths, or nobody")
OPTION_NUMBER(decay_ms, 0, 600000, 1000, "free memory is kept so many milliseconds, at least")
OPTION_WORDS(on_error, "abort|report", OPTION_ON_ERROR_ABORT,
	     "after the message about a misuse: abort, or ignore the call")
OPTION_WORDS(numa, "local|interleave|off|node:0..1023", OPTION_NUMA_LOCAL,
	     "memory on the thread's node, on all by turns, as if there were one node, or on one by the kernel's number")
OPTION_WORDS(huge_pages, "never|inherit|always", OPTION_HUGE_PAGES_NEVER,
	     "transparent huge pages: refuse them, do as the system is set, or ask for them")
OPTION_NUMBER(cache_kib, 0, 65536, 4096, "how far the lists of a thread's cache may grow")
OPTION_NUMBER(limit_mib, 0, 16777216, 0, "most memory, in MiB: beyond it requests fail; 0: no limit")
OPTION_NUMBER(quarantine_kib, 0, 65536, 256, "hardened library: freed small blocks wait, this much of them in all threads")
OPTION_WORDS(stats, "none|exit", OPTION_STATS_NONE, "statistics when the process ends")
OPTION_WORDS(stats_format, "text|json|prometheus|tables", OPTION_STATS_FORMAT_TEXT,
	     "the summary, a line of JSON, Prometheus's text format, or the summary with tables")
OPTION_PATH(stats_file, "statistics are appended to it, or replace it for prometheus; %p is the process's number")
OPTION_NUMBER(stats_ms, 0, 3600000, 0, "statistics every so many milliseconds, or never; by purge:thread")
OPTION_NUMBER(stats_signal, 0, 64, 0, "statistics when this signal comes, or never; by purge:thread")
OPTION_WORDS(profile, "off|on|exit", OPTION_PROFILE_OFF,
	     "the sampled heap profile: off, on from the start, or also written when the process ends")
OPTION_NUMBER(profile_bytes, 1, 1073741824, 524288, "one allocation in so many bytes goes into the profile")
OPTION_PATH(profile_file, "the profile goes there at exit; %p is the process's number; quarry.%p.heap without")
OPTION_NUMBER(guard_sample, 0, 1073741824, OPTION_GUARD_SAMPLE,
	      "one allocation in so many bytes is guarded; 0: none, and 8388608 in the hardened library")
OPTION_NUMBER(guard_slots, 1, 4096, 48, "so many allocations may be guarded at a time")
#undef OPTION_WORDS
#undef OPTION_NUMBER
#undef OPTION_PATH
