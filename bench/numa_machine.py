# SPDX-License-Identifier: MIT
"""The machine as bench/numa sees it: nodes, their CPUs, memory and distances from sysfs, and what the process may use.

A description other than /sys serves tests: nothing is then asked of this process or its kernel.
"""

import os
import re

import benchlib


def parse_list(text):
	"""The kernel's list format: "0-3,8" is [0, 1, 2, 3, 8]."""
	found = []
	for part in text.replace("\n", "").split(","):
		first, dash, last = part.strip().partition("-")
		if first:
			found += range(int(first), int(last if dash else first) + 1)
	return found


def size_kib(text):
	found = re.match(r"(\d+)([KMG]?)$", text)
	return int(found.group(1)) * {"": 1 / 1024, "K": 1, "M": 1024, "G": 1 << 20}[found.group(2)] if found else 0


class Node:
	"""One NUMA node: its number, its usable CPUs (one of each core first), memory and distances by node number."""

	def __init__(self, number, cpus, memory_kib, distances):
		self.id = number
		self.cpus = cpus
		self.memory_kib = memory_kib
		self.distances = distances

	def facts(self):
		return {"id": self.id, "cpus": self.cpus, "memory_kib": self.memory_kib,
			"distances": {str(other): value for other, value in self.distances.items()}}


class Machine:
	"""nodes: all that are there, by number; working: those with usable CPUs, which is where threads can be bound."""

	def __init__(self, sysfs=None):
		self.root = os.path.join(sysfs or "/sys", "devices/system")
		self.described = sysfs is not None
		self.notes = []
		online = parse_list(benchlib.first_line(self.path("cpu/online")))
		self.usable = set(online) if self.described else os.sched_getaffinity(0)
		self.nodes = self.read_nodes() or [self.one_node()]
		self.working = [node for node in self.nodes if node.cpus]
		self.cache_kib = self.last_level_cache()
		self.note_what_lacks()

	def path(self, relative):
		return os.path.join(self.root, relative)

	def read_nodes(self):
		directory = self.path("node")
		names = os.listdir(directory) if os.path.isdir(directory) else []
		numbers = sorted(int(name[4:]) for name in names if re.fullmatch(r"node\d+", name))
		nodes = []
		for number in numbers:
			here = "node/node%d/" % number
			cpus = [cpu for cpu in parse_list(benchlib.first_line(self.path(here + "cpulist"))) if cpu in self.usable]
			distances = [int(word) for word in benchlib.first_line(self.path(here + "distance")).split()]
			known = dict(zip(numbers, distances)) if len(distances) == len(numbers) else {}
			nodes.append(Node(number, self.cores_first(cpus), self.node_memory(here), known))
		return nodes

	def node_memory(self, here):
		try:
			with open(self.path(here + "meminfo"), encoding="utf-8") as file:
				found = re.search(r"MemTotal:\s+(\d+) kB", file.read())
		except OSError:
			return 0
		return int(found.group(1)) if found else 0

	def one_node(self):
		self.notes.append("sysfs has no nodes here: the machine is taken as one node")
		return Node(0, self.cores_first(sorted(self.usable)), benchlib.machine_facts()["memory_kib"], {0: 10})

	def cores_first(self, cpus):
		"""One CPU of every core before the second of any, so that few threads do not share cores."""
		ranks = {}
		for cpu in cpus:
			siblings = parse_list(benchlib.first_line(self.path("cpu/cpu%d/topology/thread_siblings_list" % cpu)))
			ranks[cpu] = sum(1 for other in siblings if other < cpu and other in cpus)
		return sorted(cpus, key=lambda cpu: (ranks[cpu], cpu))

	def last_level_cache(self):
		"""KiB of the largest cache of the first usable CPU."""
		if not self.working:
			return 0
		caches = self.path("cpu/cpu%d/cache" % self.working[0].cpus[0])
		names = os.listdir(caches) if os.path.isdir(caches) else []
		return max([size_kib(benchlib.first_line(os.path.join(caches, name, "size"))) for name in names] or [0])

	def note_what_lacks(self):
		if not self.working:
			raise SystemExit("numa: no node has a CPU that this process may use")
		without = [str(node.id) for node in self.nodes if not node.cpus]
		if without:
			self.notes.append("without usable CPUs: node %s; no thread is bound there, pages may lie there" %
				", ".join(without))
		empty = [str(node.id) for node in self.working if not node.memory_kib]
		if empty:
			self.notes.append("without memory: node %s; what its threads allocate cannot be local" % ", ".join(empty))
		if len(self.working) == 1:
			self.notes.append("one node with CPUs: remote memory, hand-over between nodes and migration to another "
				"node cannot be shown; all loads run on the one node and every page is local")
		allowed = "" if self.described else self.allowed_memory()
		lacking = [str(node.id) for node in self.nodes if allowed and node.id not in parse_list(allowed)]
		if lacking:
			self.notes.append("this process may not use the memory of node %s" % ", ".join(lacking))

	@staticmethod
	def allowed_memory():
		try:
			with open("/proc/self/status", encoding="utf-8") as file:
				found = re.search(r"Mems_allowed_list:\s+(\S+)", file.read())
		except OSError:
			return ""
		return found.group(1) if found else ""

	def others(self, node):
		"""The other working nodes, the nearest first."""
		return sorted((other for other in self.working if other is not node),
			key=lambda other: (node.distances.get(other.id, 0), (other.id - node.id) % (1 << 20)))

	def facts(self):
		return {"nodes": [node.facts() for node in self.nodes], "cache_kib": self.cache_kib,
			"working": [node.id for node in self.working]}
