# SPDX-License-Identifier: MIT
"""What bench/numa runs on a machine: for each scenario its rows, each a load with its CPUs. Nothing runs here."""

# name, title, what one operation is
SCENARIOS = (
	("local", "Local allocation and touch", "a block replaced, all of it written"),
	("handoff", "Producer on one node, consumer on another", "a block handed over"),
	("shared", "A table built by one thread, used by all", "an entry read"),
	("migrate", "A thread that migrates half way", "a block replaced, all of it written"),
	("kv", "Key-value server with workers on every node", "a request"),
	("bandwidth", "Memory that each allocator handed out", "a cache line read"),
)


class Row:
	"""One load on given CPUs: which scenario, what to call it, program, arguments, threads and nodes."""

	def __init__(self, scenario, label, program, cpus, nodes, **words):
		self.scenario = scenario
		self.label = label
		self.program = program
		self.cpus = cpus
		self.nodes = [node.id for node in nodes]
		self.words = ["%s=%s" % pair for pair in words.items()]

	def command(self):
		return self.words + ["cpus=" + ",".join(map(str, self.cpus))]

	def facts(self):
		return {"scenario": self.scenario, "label": self.label, "program": self.program, "cpus": self.cpus,
			"nodes": self.nodes, "words": self.words}


def threads_text(count):
	return "1 thread" if count == 1 else "%d threads" % count


def doublings(most):
	"""1, 2, 4, ... and most itself."""
	found = [1]
	while 2 * found[-1] < most:
		found.append(2 * found[-1])
	return found + [most] if most > 1 else found


def spread(nodes, per_node=None):
	"""CPUs of several nodes by turns, up to per_node of each."""
	lists = [node.cpus[:per_node] for node in nodes]
	longest = max(len(cpus) for cpus in lists)
	return [cpus[i] for i in range(longest) for cpus in lists if i < len(cpus)]


def scaling(machine, quick):
	"""(label, CPUs, nodes): within the first node by doublings, then by whole nodes, by doublings too."""
	first = machine.working[0]
	steps = [(threads_text(count), first.cpus[:count], [first]) for count in doublings(len(first.cpus))]
	for count in doublings(len(machine.working))[1:]:
		nodes = machine.working[:count]
		cpus = [cpu for node in nodes for cpu in node.cpus]
		steps.append(("%d on %d nodes" % (len(cpus), count), cpus, nodes))
	return steps if not quick or len(steps) < 3 else [steps[0], steps[-1]]


def local_rows(machine, options):
	return [Row("local", label, "numa_local", cpus, nodes, threads=len(cpus), ms=options.ms, live=options.live)
		for label, cpus, nodes in scaling(machine, options.quick)]


def handoff_row(label, producers, consumers, nodes, options):
	count = min(len(producers), len(consumers))
	cpus = [cpu for pair in zip(producers[:count], consumers[:count]) for cpu in pair]
	return Row("handoff", label, "numa_handoff", cpus, nodes, pairs=count, ms=options.ms, live=options.live // 2)


def handoff_rows(machine, options):
	"""Within a node, to the nearest and to the farthest one; at last all nodes at once, each to the next."""
	first = machine.working[0]
	half = max(1, len(first.cpus) // 2)
	rows = [handoff_row("node %d alone" % first.id, first.cpus[:half], first.cpus[half:] or first.cpus, [first],
		options)]
	others = machine.others(first)
	for other in {node.id: node for node in others[:1] + others[-1:]}.values():
		for count in sorted({1, min(len(first.cpus), len(other.cpus))}):
			rows.append(handoff_row("%d to %d, %d pair%s" % (first.id, other.id, count, "s"[:count > 1]),
				first.cpus[:count], other.cpus[:count], [first, other], options))
	if len(machine.working) > 2:
		producers, consumers = [], []
		for node, after in zip(machine.working, machine.working[1:] + machine.working[:1]):
			count = max(1, min(len(node.cpus), len(after.cpus)) // 2)
			producers += node.cpus[:count]
			consumers += after.cpus[-count:]
		rows.append(handoff_row("each to the next", producers, consumers, machine.working, options))
	return rows[-2:] if options.quick else rows


def shared_rows(machine, options):
	steps = [("1 thread", machine.working[0].cpus[:1], machine.working[:1])]
	if len(machine.working) > 1:
		cpus = spread(machine.working, 1)
		steps.append(("1 per node", cpus, machine.working))
	cpus = spread(machine.working)
	if len(cpus) > len(steps[-1][1]):
		steps.append(("all %d" % len(cpus), cpus, machine.working))
	if options.quick:
		steps = steps[-1:]
	return [Row("shared", label, "numa_shared", cpus, nodes, threads=len(cpus), ms=options.ms,
		entries=options.live * 5) for label, cpus, nodes in steps]


def migrate_rows(machine, options):
	"""A thread per node, all moved to the next node at once; on one node from the first CPU to the last."""
	nodes = machine.working
	if len(nodes) == 1:
		cpus, to = nodes[0].cpus[:1], nodes[0].cpus[-1:]
		label = "CPU %d to %d" % (cpus[0], to[0])
	else:
		cpus, to = [node.cpus[0] for node in nodes], [node.cpus[-1] for node in nodes[1:] + nodes[:1]]
		label = "each node to the next"
	return [Row("migrate", label, "numa_migrate", cpus, nodes, threads=len(cpus), ms=2 * options.ms, live=options.live,
		to=",".join(map(str, to)))]


def kv_rows(machine, options):
	"""Half of each node's CPUs for workers, the rest for the load generator; on one node both use all."""
	cpus = [cpu for node in machine.working for cpu in node.cpus[:max(1, len(node.cpus) // 2)]]
	if len(machine.working) == 1:
		cpus = machine.working[0].cpus
	return [Row("kv", "%d workers" % len(cpus), "kv_server", cpus, machine.working, keys=options.keys,
		ms=2 * options.ms)]


def bandwidth_rows(machine, options):
	"""Blocks of a server's size and of a table's size, read by all CPUs of a node from the memory of each node."""
	per_node = max(len(node.cpus) for node in machine.working)
	least = min([node.memory_kib for node in machine.working if node.memory_kib] or [1 << 20])
	# Four times the cache for a node, but no more than an eighth of the smallest node's memory.
	node_mib = int(min(max(4 * machine.cache_kib, options.mib << 10), least / 8)) >> 10
	mib = max(2, node_mib // per_node)
	cpus = [cpu for node in machine.working for cpu in node.cpus]
	sizes = (65536,) if options.quick else (1024, 65536, 4 << 20)
	return [Row("bandwidth", "blocks of %s" % ("%d KiB" % (size >> 10) if size < 1 << 20 else "%d MiB" % (size >> 20)),
		"numa_bandwidth", cpus, machine.working, threads=len(cpus), mib=max(mib, size >> 20), size=size,
		passes=options.passes) for size in sizes]


PLANNERS = {"local": local_rows, "handoff": handoff_rows, "shared": shared_rows, "migrate": migrate_rows, "kv": kv_rows,
	"bandwidth": bandwidth_rows}


def plan(machine, options):
	names = [name for name, _, _ in SCENARIOS]
	wanted = options.scenarios.split(",") if options.scenarios else names
	for name in wanted:
		if name not in names:
			raise SystemExit("no scenario is called %s (there are: %s)" % (name, ", ".join(names)))
	return [row for name in names if name in wanted for row in PLANNERS[name](machine, options)]
