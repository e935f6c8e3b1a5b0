/* SPDX-License-Identifier: MIT */
/*
 * The keys of QUARRY_CONF, a line each. Whoever includes this defines what a line becomes (lib/options.c a parser's
 * table, tools/options.c the switches of quarry run); no other place lists the keys, and so there is no include guard.
 *
 *     OPTION_WORDS(key, words separated by '|', default, meaning)     the first word is 0, and so on
 *     OPTION_NUMBER(key, least, most, default, meaning)
 */
OPTION_WORDS(purge, "thread|inline|off", OPTION_PURGE_THREAD,
	     "who gives memory back: a thread, slow paths, or nobody")
OPTION_NUMBER(decay_ms, 0, 600000, 1000, "free memory is kept so many milliseconds, at least")
OPTION_WORDS(on_error, "abort|report", OPTION_ON_ERROR_ABORT,
	     "after the message about a misuse: abort, or ignore the call")
OPTION_WORDS(numa, "local|off", OPTION_NUMA_LOCAL,
	     "arenas on the node of the thread that needs them, or one node")
OPTION_WORDS(huge_pages, "never|inherit", OPTION_HUGE_PAGES_NEVER,
	     "refuse transparent huge pages, or do as the system is set")
OPTION_NUMBER(cache_kib, 0, 65536, 4096, "how far the lists of a thread's cache may grow")
OPTION_WORDS(stats, "none|exit", OPTION_STATS_NONE, "the summary on stderr when the process ends")
#undef OPTION_WORDS
#undef OPTION_NUMBER
