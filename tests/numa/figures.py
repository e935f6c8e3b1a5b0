# SPDX-License-Identifier: MIT
"""Which figures the scenarios of tests/numa/check must report under Quarry, and whether they suffice.

A figure is (right, total): so many of so many pages or calls. Of other allocators nothing is demanded.
"""

# What each scenario must report under Quarry: bounds in percent, and what the figures say.
SCENARIOS = {
	"pinned": {
		"pinned": (100, "each thread allocates for itself"),
		"pinned-arena": (100, ""),
		"pinned-residency": (99, "all that is resident, as Quarry counts it"),
	},
	"exchange": {
		"exchange": (100, "threads free and replace each other's blocks"),
		"exchange-arena": (100, ""),
	},
	"handed": {
		"handed": (100, "first touched by a thread of another node"),
		"handed-arena": (100, ""),
	},
	"remote": {
		"remote-producer": (100, "freed on another node: who allocates"),
		"remote-consumer": (100, "freed on another node: who frees"),
		"remote-again": (90, "memory freed there serves its first owner again"),
	},
	"churn": {
		"churn": (100, "threads come and go on all nodes"),
		"churn-arena": (100, ""),
	},
	"fork": {
		"fork": (100, "the parent, which forks under load"),
		"fork-arena": (100, ""),
		"fork-child": (100, "what the child allocates"),
		"fork-copied": (100, "what it inherits and writes to from another node"),
	},
	"migrate": {
		"migrate": (99, "after a move was noticed"),
		"migrate-all": (None, "after a move"),
		"migrate-noticed": (100, "threads that notice it within 500 calls"),
		"migrate-counted": (100, "moves in the statistics"),
	},
	"program": {
		"program": (99, "sqlite3 on every node: pages without a file"),
		"program-arena": (100, "those of mappings that prefer a node"),
	},
	"calls": {
		"on-node": (100, "asked for by node"),
		"node-of": (100, ""),
		"node-set": (100, "a thread's memory pinned to each node"),
		"node-follow": (99, "and following its CPU again"),
	},
	"kinds": {
		"bandwidth": (100, "asked for by kind: the node that has it for the thread"),
		"latency": (100, "its own"),
		"capacity": (100, "the largest"),
	},
	"interleaved": {"interleaved": (99, "large blocks spread over all nodes: evenness")},
	"spread": {"spread": (95, "malloc by numa:interleave: evenness")},
	"settled": {"settled": (100, "threads without slow paths that notice a move")},
	"spill": {
		"spill": (100, "calls that succeed on a full node"),
		"spill-counted": (100, "the statistics say so"),
		"spill-later": (99, "local again when the node has memory"),
	},
}
FIGURES = {name: entry for scenario in SCENARIOS.values() for name, entry in scenario.items()}


def percent(figure):
	"""Rounded down: only all is 100."""
	right, total = figure
	return right * 10000 // total / 100 if total else 0.0


def fails(name, figure):
	right, total = figure
	bound = FIGURES[name][0]
	return bound is not None and (total == 0 or 100 * right < bound * total)


def missing_figures(job):
	"""A figure that does not arrive was not judged. A process with one node has no residency by node."""
	one_node = job.cpuset.partition(":")[2].isdigit()
	for name in SCENARIOS[job.scenario]:
		if name not in job.figures and not (one_node and name.endswith("-residency")):
			yield name


def complaints(jobs, done, expected):
	"""What is wrong with a guest's report. Of peers nothing is demanded."""
	if not done:
		yield "the guest did not come to its end"
	if len(jobs) != expected:
		yield f"{len(jobs)} of {expected} jobs were started"
	for job in (job for job in jobs if job.allocator == "quarry"):
		where = f"{job.scenario} {job.cpuset}"
		if job.status != 0:
			yield f"{where}: status {job.status}"
		else:
			for name in missing_figures(job):
				yield f"{where}: no figure {name}"
		for name, figure in job.figures.items():
			if fails(name, figure):
				yield f"{where}: {name} {percent(figure):.2f} %, {figure[0]} of {figure[1]}"
