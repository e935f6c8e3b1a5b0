# SPDX-License-Identifier: MIT
"""The rows of the bench frame: which programs of bench/load run with which arguments."""

import fnmatch


class Load:
	"""One row: a program with arguments, which of its figures count, and whether it runs unless named."""

	def __init__(self, name, words="", time="cpu_s", memory="peak", named_only=False):
		self.name = name
		self.program, *self.words = (words or name).split()
		self.time = time
		self.memory = memory
		self.named_only = named_only


LOADS = (
	Load("pair16", "pair size=16", named_only=True),
	Load("pair64", "pair size=64"),
	Load("pair256", "pair size=256", named_only=True),
	Load("pair1024", "pair size=1024"),
	Load("batch64x100", "batch size=64 count=100", named_only=True),
	Load("batch64x4000", "batch size=64 count=4000"),
	Load("rep1k", "replace live=1000 ops=60000000"),
	Load("rep10k", "replace live=10000", named_only=True),
	Load("rep10k_4k", "replace live=10000 max=4096 ops=10000000"),
	Load("rep100k", "replace live=100000"),
	Load("rep1m", "replace live=1000000 max=215 ops=10000000"),
	Load("nodes"),
	Load("larson2", "larson threads=2"),
	Load("larson8", "larson threads=8"),
	Load("prodcons1", "prodcons pairs=1"),
	Load("prodcons4", "prodcons pairs=4"),
	Load("pc_sleep"),
	Load("swap2", "swap threads=2"),
	Load("swap8", "swap threads=8"),
	Load("mstress2", "mstress threads=2"),
	Load("mstress8", "mstress threads=8"),
	Load("age"),
	Load("churn"),
	Load("idle", "idle settle=2", time=None, memory="kib_per_thread"),
	Load("realloc_double", "realloc grow=200 ops=4000000"),
	Load("realloc_quarter", "realloc grow=125 ops=5000000"),
	Load("realloc_large", "realloc buffers=1 min=4096 max=67108864 grow=125 ops=500"),
	Load("calloc"),
	Load("large"),
	Load("large2", "large threads=2"),
	Load("startup", memory=None),
	Load("burst_seq", "burst", time=None, memory="rss_kib_at_last", named_only=True),
	Load("burst_random", "burst order=random", time=None, memory="rss_kib_at_last", named_only=True),
	Load("burst4_exit", "burst threads=4 order=random", time=None, memory="rss_kib_at_last", named_only=True),
	Load("burst4_idle", "burst threads=4 after=idle", time=None, memory="rss_kib_at_last", named_only=True),
	Load("burst4_cross", "burst threads=4 cross=1 order=random after=idle", time=None, memory="rss_kib_at_last",
		named_only=True),
)


def chosen(patterns):
	if not patterns:
		return [load for load in LOADS if not load.named_only]
	wanted = [pattern for text in patterns for pattern in text.split(",")]
	for pattern in wanted:
		if not any(fnmatch.fnmatchcase(load.name, pattern) for load in LOADS):
			raise SystemExit("no workload is called %s (--list shows them)" % pattern)
	return [load for load in LOADS if any(fnmatch.fnmatchcase(load.name, pattern) for pattern in wanted)]
