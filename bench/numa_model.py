# SPDX-License-Identifier: MIT
"""What the counts of a run would cost on 2, 4 and 8 sockets: NUMA-MODEL.md has the argument, the sources of the
latencies and what is left out. Everything is a surcharge on the measured time of an operation.
"""

import math

import benchlib
import numa_tables

# Idle latencies in ns, local, one hop, two hops; where they come from is in NUMA-MODEL.md.
LATENCIES = (81.0, 141.0, 201.0)

# Of the other sockets: how many are one hop away, and two.
SOCKETS = {2: (1, 0), 4: (3, 0), 8: (3, 4)}

LINE = 64
MEAN_BLOCK = 462	# bytes, bench_mixed_size
OUTBOX_BYTES = 16384	# OUTBOX_NBYTES of lib/tunables.h: what a batch on its way home holds
PARALLEL = 4	# of a block's lines after the first, so many are fetched at a time
MISSES = (0.1, 1.0)	# shares of the lines that no cache has
RUN_SECONDS = 3600	# how long the program has run: memory that changed hands stays where it is, without a home

MEAN_LINES = MEAN_BLOCK / LINE
EXPOSED = (1 + (MEAN_LINES - 1) / PARALLEL) / MEAN_LINES
BATCH_BLOCKS = OUTBOX_BYTES / MEAN_BLOCK


class Counts:
	"""What one scenario did per operation, by the run of Quarry on the fewest nodes (medians over its runs)."""

	def __init__(self, row):
		cell = row["cells"]["quarry"]
		words = dict(word.split("=") for word in row["words"])
		self.scenario = row["scenario"]
		self.ns = self.median(cell, lambda run: run["wall_s"] * run["threads"] / run["ops"] * 1e9)
		self.rate = self.median(cell, numa_tables.rate)
		self.own = self.per_op(cell, "own_lines")
		self.other = self.per_op(cell, "other_lines")
		self.homeward = self.per_op(cell, "quarry_remote_frees")
		self.refills = self.per_op(cell, "quarry_refills")
		self.flushes = self.per_op(cell, "quarry_flushes")
		self.foreign = self.per_op(cell, "other_frees") if self.scenario != "kv" else self.homeward
		self.live = self.live_blocks(words, cell)

	@staticmethod
	def median(cell, value_of):
		return numa_tables.median(cell, value_of) or 0

	def per_op(self, cell, key):
		return self.median(cell, lambda run: run.get(key, 0) / run["ops"])

	@staticmethod
	def live_blocks(words, cell):
		threads = Counts.median(cell, lambda run: run["threads"])
		return float(words.get("entries") or words.get("keys") or int(words["live"]) * threads)


def extra_ns(sockets, latencies):
	"""Mean extra latency of an access to another socket, all others being as likely."""
	one, two = SOCKETS[sockets]
	return (one * (latencies[1] - latencies[0]) + two * (latencies[2] - latencies[0])) / (one + two)


def drifted(counts, sockets):
	"""Share of a thread's memory that lies elsewhere when nothing brings it home, after RUN_SECONDS.

	Each block that another thread frees and keeps is memory of a random node from then on.
	"""
	turnover = counts.foreign * counts.rate * RUN_SECONDS / counts.live
	return (1 - 1 / sockets) * (1 - math.exp(-turnover))


def shared_ns(counts, sockets, miss, latencies):
	"""What every allocator pays alike: lines of blocks that another thread made. Of a table those that miss, from
	whichever socket; of a block handed to the next socket all, for its maker's caches have them."""
	if counts.scenario == "shared":
		return counts.other * EXPOSED * miss * (1 - 1 / sockets) * extra_ns(sockets, latencies)
	return counts.other * EXPOSED * (latencies[1] - latencies[0]) if counts.scenario == "handoff" else 0.0


def quarry_ns(counts, sockets, miss, latencies):
	"""Own lines are local. A block that comes home has its first line fetched from the socket that freed it; a batch
	takes the inbox's line there and back."""
	away = (1 - 1 / sockets) if counts.scenario != "handoff" else 1.0
	homeward = counts.homeward * away * (1 + 2 / BATCH_BLOCKS) * extra_ns(sockets, latencies)
	return shared_ns(counts, sockets, miss, latencies) + homeward


def first_touch_ns(counts, sockets, miss, latencies):
	"""No block has a home: what is freed elsewhere stays there. Batches to and from the central lists cost alike."""
	wrong = drifted(counts, sockets)
	if counts.scenario == "migrate":
		wrong = 0.5	# all of the second half: the thread's cache goes on with the memory of its old node
	own = counts.own * EXPOSED * miss * wrong * extra_ns(sockets, latencies)
	batches = counts.foreign * 2 / BATCH_BLOCKS * (1 - 1 / sockets) * extra_ns(sockets, latencies)
	return shared_ns(counts, sockets, miss, latencies) + own + batches


def latencies_of(report):
	"""Measured ones where the machine has several nodes (two hops from the farthest), else the published ones."""
	rows = numa_tables.rows_of(report, "bandwidth")
	cell = rows[-1]["cells"].get("quarry") if rows else None
	values = numa_tables.bandwidth(cell, "latency_ns") if cell else {}
	local, remote = numa_tables.local_and_remote(values)
	if not local or not remote or remote <= local:
		return LATENCIES, "published"
	others = sorted(value for (a, b), value in values.items() if a != b)
	return (local, others[0], max(others[-1], 2 * others[0] - local)), "measured here"


def counts_of(report):
	found = []
	for scenario in ("local", "handoff", "shared", "migrate", "kv"):
		rows = [row for row in numa_tables.rows_of(report, scenario)
			if numa_tables.median(row["cells"].get("quarry", {"runs": [], "failures": []}), numa_tables.rate)]
		if rows:
			fewest = min(len(row["nodes"]) for row in rows)
			found.append(Counts([row for row in rows if len(row["nodes"]) == fewest][-1]))
	return found


def counts_table(found):
	lines = [[counts.scenario, "%.0f" % counts.ns, "%.1f" % counts.own, "%.1f" % counts.other] + [
		"%.1f" % (value * 1000) for value in (counts.foreign, counts.homeward, counts.homeward / BATCH_BLOCKS,
		counts.refills, counts.flushes)] for counts in found]
	return benchlib.table(["per op", "ns", "own lines", "others' lines", "foreign frees / 1000", "went home / 1000",
		"batches / 1000", "refills / 1000", "flushes / 1000"], lines)


def cost_table(found, miss, latencies):
	lines = []
	for counts in found:
		line = [counts.scenario, "%.0f" % counts.ns]
		for sockets in SOCKETS:
			for cost in (quarry_ns, first_touch_ns):
				extra = cost(counts, sockets, miss, latencies)
				line.append("%.0f (%+.0f %%)" % (counts.ns + extra, extra / counts.ns * 100))
		lines.append(line)
	return benchlib.table(["ns per op", "measured"] + ["%d sockets, %s" % (sockets, who) for sockets in SOCKETS
		for who in ("Quarry", "first touch")], lines)


def text(report):
	"""The whole model as text; empty where the report has no run of Quarry, or times that mean nothing."""
	found = [] if report.get("emulated") else counts_of(report)
	if not found:
		return ""
	latencies, origin = latencies_of(report)
	parts = ["Counts of Quarry's run (batches: %.0f blocks each):\n\n%s" % (BATCH_BLOCKS, counts_table(found)),
		"Latencies, %s: %.0f ns local, %.0f one hop, %.0f two hops; a program that has run for an hour." % ((origin,) +
		tuple(latencies))]
	for miss in MISSES:
		parts.append("%.0f %% of the lines of a thread's own blocks miss the caches:\n\n%s" % (miss * 100,
			cost_table(found, miss, latencies)))
	return "\n\n".join(parts)


def show(report):
	words = text(report)
	if not words:
		raise SystemExit("numa: there is no run of Quarry here, or none with times that mean anything")
	print(words)
	print("\nbench/NUMA-MODEL.md says what is assumed, and what is left out.")
