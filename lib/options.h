/* SPDX-License-Identifier: MIT */
/*
 * options: what QUARRY_CONF="key:value,key:value" says.
 *
 * Owns       the settings and the table of their keys. They are right before any constructor (the defaults, statically
 *            initialised) and change once, when the library constructor calls options_read.
 * Locking    none: written by the constructor alone, plainly read by everyone.
 */
#ifndef QUARRY_OPTIONS_H
#define QUARRY_OPTIONS_H

#include <stdbool.h>

/* Who gives memory back by time. */
enum option_purge {
	OPTION_PURGE_THREAD, /* a background thread, started when there is something to do */
	OPTION_PURGE_INLINE, /* the slow paths of allocating threads */
	OPTION_PURGE_OFF,    /* nobody; trim does */
};

/* What happens after a misuse was reported. */
enum option_on_error {
	OPTION_ON_ERROR_ABORT,
	OPTION_ON_ERROR_REPORT, /* the call is ignored and the program goes on */
};

enum option_numa {
	OPTION_NUMA_LOCAL,      /* arenas on the node of the thread that needs them */
	OPTION_NUMA_INTERLEAVE, /* units of arenas, and pages of large blocks, on all nodes by turns */
	OPTION_NUMA_OFF,        /* one node */
	OPTION_NUMA_NODE,       /* this and what follows: all on the kernel's node 0, 1 and so on; node says if it exists */
};

enum option_huge_pages {
	OPTION_HUGE_PAGES_NEVER,   /* refused by madvise: the first touch of an arena would cost 2 MiB */
	OPTION_HUGE_PAGES_INHERIT, /* as the system is set */
	OPTION_HUGE_PAGES_ALWAYS,  /* asked for by madvise */
};

enum option_stats {
	OPTION_STATS_NONE,
	OPTION_STATS_EXIT, /* statistics when the process ends */
};

enum option_stats_format {
	OPTION_STATS_FORMAT_TEXT, /* the one-screen summary */
	OPTION_STATS_FORMAT_JSON,
	OPTION_STATS_FORMAT_PROMETHEUS,
	OPTION_STATS_FORMAT_TABLES, /* the summary, and tables */
};

enum option_profile {
	OPTION_PROFILE_OFF,
	OPTION_PROFILE_ON,   /* from the start */
	OPTION_PROFILE_EXIT, /* and written when the process ends */
};

/* Most bytes of a path, its end included. */
#define OPTION_PATH_NBYTES 256

struct options {
	unsigned purge;      /* enum option_purge */
	unsigned decay_ms;   /* free memory is kept at least so long before it goes back */
	unsigned on_error;   /* enum option_on_error; report_set_fatal is told */
	unsigned numa;       /* enum option_numa */
	unsigned huge_pages; /* enum option_huge_pages */
	unsigned cache_kib;  /* most that a thread's cache holds, KiB */
	unsigned limit_mib;  /* most memory that Quarry may be charged with, MiB; 0: no limit */
	unsigned quarantine_kib; /* hardened: most that waits in all quarantines of small blocks, KiB */
	unsigned stats;      /* enum option_stats */
	unsigned stats_format; /* enum option_stats_format */
	unsigned stats_ms;     /* period of statistics; 0: none */
	unsigned stats_signal; /* number of the signal that asks for statistics; 0: none */
	char stats_file[OPTION_PATH_NBYTES]; /* where statistics go; "": standard error */
	unsigned profile;       /* enum option_profile */
	unsigned profile_bytes; /* between two allocations that are chosen, on the average */
	unsigned guard_sample;  /* bytes between two allocations that are guarded, on the average; 0: none is */
	unsigned guard_slots;   /* guarded blocks at a time, at most */
	char profile_file[OPTION_PATH_NBYTES]; /* where the profile goes at exit; "": quarry.%p.heap */
};

/* The default of guard_sample, which differs in the hardened library. */
#ifdef QUARRY_HARDENED
#define OPTION_GUARD_SAMPLE 8388608
#else
#define OPTION_GUARD_SAMPLE 0
#endif

extern struct options options;

/**
 * Read QUARRY_CONF. Called once, by the library constructor; reads environ itself and does not allocate.
 *
 * An unknown key or a bad value is reported in one line on descriptor 2 and the default holds. A set-uid program
 * (AT_SECURE) keeps all defaults.
 */
void options_read(void);

/** Apply "key:value,key:value". The last of two values for one key holds; empty items are passed over. */
void options_parse(const char *conf);

/** Is there such a key, and is this one of its values? Changes nothing and says nothing; for the quarry command. */
bool options_accept(const char *key, const char *value);

struct text;

/** Append the path of an option, with the process's number for %p, so that children do not write to one file. */
void options_append_path(struct text *name, const char *path);

/** Value of an environment variable, found without libc's lock; NULL also in a set-uid program. */
const char *options_environment(const char *name);

#endif
