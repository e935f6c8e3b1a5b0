# SPDX-License-Identifier: MIT
"""Judge what bench/numa wrote: numa_bench.py DIRECTORY, with ring.json, odd.json, run.json, run.html, model."""

import json
import os
import re
import sys
import xml.etree.ElementTree


def expect(condition, what):
	if not condition:
		raise SystemExit("numa_bench: " + what)


def read(name):
	with open(os.path.join(sys.argv[1], name), encoding="utf-8") as file:
		return file.read()


def rows_of(plan, scenario):
	return [row for row in plan["rows"] if row["scenario"] == scenario]


def words_of(row):
	return dict(word.split("=") for word in row["words"])


def check_ring():
	plan = json.loads(read("ring.json"))
	nodes = {node["id"]: node for node in plan["topology"]["nodes"]}
	expect(list(nodes) == [0, 1, 2, 3], "ring: nodes %s" % list(nodes))
	expect(nodes[1]["cpus"] == [2, 3, 10, 11], "ring: CPUs of node 1: %s" % nodes[1]["cpus"])
	expect(nodes[0]["distances"]["2"] == 28 and nodes[0]["memory_kib"] == 1048576, "ring: facts of node 0")
	expect(plan["topology"]["cache_kib"] == 16384, "ring: cache")
	expect(not plan["notes"], "ring: notes %s" % plan["notes"])
	local = rows_of(plan, "local")
	expect([len(row["cpus"]) for row in local] == [1, 2, 4, 8, 16], "ring: scaling %s" % local)
	expect([len(row["nodes"]) for row in local] == [1, 1, 1, 2, 4], "ring: nodes of the scaling")
	expect(local[1]["cpus"] == [0, 1], "ring: a second thread of a core before the second core")
	home = {cpu: node for node, facts in nodes.items() for cpu in facts["cpus"]}
	pairs = [{(home[a], home[b]) for a, b in zip(row["cpus"][::2], row["cpus"][1::2])}
		for row in rows_of(plan, "handoff")]
	expect({(0, 0)} in pairs and {(0, 1)} in pairs and {(0, 2)} in pairs, "ring: pairs of nodes %s" % pairs)
	expect(pairs[-1] == {(0, 1), (1, 2), (2, 3), (3, 0)}, "ring: each to the next: %s" % pairs[-1])
	migrate = rows_of(plan, "migrate")[0]
	to = [home[int(cpu)] for cpu in words_of(migrate)["to"].split(",")]
	expect([home[cpu] for cpu in migrate["cpus"]] == [0, 1, 2, 3] and to == [1, 2, 3, 0], "ring: migration")
	expect({home[cpu] for cpu in rows_of(plan, "kv")[0]["cpus"]} == {0, 1, 2, 3}, "ring: workers on every node")
	expect(len(rows_of(plan, "bandwidth")[0]["cpus"]) == 16, "ring: bandwidth by all CPUs")


def check_odd():
	plan = json.loads(read("odd.json"))
	expect([node["id"] for node in plan["topology"]["nodes"]] == [0, 4, 9], "odd: nodes")
	expect(plan["topology"]["working"] == [0, 9], "odd: nodes with CPUs")
	expect(plan["topology"]["nodes"][2]["cpus"] == [2, 3, 4], "odd: a CPU that is not online")
	expect(any("node 4" in note for note in plan["notes"]), "odd: no note on the node without CPUs")
	expect(any("without memory: node 9" in note for note in plan["notes"]), "odd: no note on the node without memory")


def check_cell(where, scenario, cell):
	expect(cell["runs"] and not cell["failures"], "%s: %s" % (where, cell["failures"]))
	for run in cell["runs"]:
		expect(run["ops"] > 0 and run["wall_s"] > 0 and run["peak_rss_kib"] > 0, "%s: %s" % (where, run))
		expect(len(run["pages"]) == len(run["node_ids"]) ** 2, "%s: matrix of pages" % where)
		expect(-1 <= run["local_share"] <= 1, "%s: share" % where)
		if scenario == "bandwidth":
			expect(all(value > 0 for value in run["gb_per_s"] + run["latency_ns"]), "%s: no bandwidth" % where)


def check_run():
	report = json.loads(read("run.json"))
	expect(report["kind"] == "numa" and report["format"] == 1, "not a report")
	expect({"glibc", "quarry"} <= set(report["allocators"]), "allocators %s" % list(report["allocators"]))
	expect(json.loads(read("here.json"))["topology"] == report["machine"]["topology"], "plan and run differ in machine")
	scenarios = {row["scenario"] for row in report["rows"]}
	expect(scenarios == {"local", "handoff", "shared", "migrate", "kv", "bandwidth"}, "scenarios %s" % scenarios)
	for row in report["rows"]:
		for who, cell in row["cells"].items():
			check_cell("%s, %s" % (row["label"], who), row["scenario"], cell)
	run = [row for row in report["rows"] if row["scenario"] == "handoff"][0]["cells"]["quarry"]["runs"][0]
	expect(run["quarry_remote_frees"] > run["ops"] / 2, "handed over blocks do not go home: %s" % run)
	one_node = len(report["machine"]["topology"]["working"]) == 1
	expect(one_node == any("cannot be shown" in note for note in report["notes"]), "what one node cannot show")


def check_texts():
	page = read("run.html")
	pictures = re.findall(r"<svg .*?</svg>", page, re.S)
	expect(len(pictures) > 10, "only %d plots" % len(pictures))
	for picture in pictures:
		xml.etree.ElementTree.fromstring(picture)
	expect(not re.search(r"(src|href)=", page), "the report needs another file")
	model = read("model")
	for words in ("2 sockets, Quarry", "8 sockets, first touch", "batches / 1000"):
		expect(words in model, "the model lacks '%s'" % words)


def check_model():
	"""What NUMA-MODEL.md says of the terms, by the counts of this run."""
	sys.path.insert(0, os.path.join(os.environ["QUARRY_SOURCE_DIR"], "bench"))
	import numa_model
	counts = {found.scenario: found for found in numa_model.counts_of(json.loads(read("run.json")))}
	expect(set(counts) == {"local", "handoff", "shared", "migrate", "kv"}, "model: scenarios %s" % list(counts))
	nearer, farther = (numa_model.extra_ns(sockets, numa_model.LATENCIES) for sockets in (4, 8))
	expect(farther > nearer > 0, "model: hops")

	def extra(cost, scenario, sockets, miss):
		return cost(counts[scenario], sockets, miss, numa_model.LATENCIES)

	for sockets in numa_model.SOCKETS:
		ours = extra(numa_model.quarry_ns, "migrate", sockets, 1)
		theirs = extra(numa_model.first_touch_ns, "migrate", sockets, 1)
		expect(ours < theirs, "model: migration is free under first touch")
		expect(extra(numa_model.first_touch_ns, "local", sockets, 1) == 0, "model: first touch pays for local work")
		expect(0 < extra(numa_model.quarry_ns, "handoff", sockets, 0), "model: the way home is free")
		for found in counts.values():
			expect(numa_model.drifted(found, sockets) <= 1 - 1 / sockets, "model: more drift than memory")
		few, many = (extra(numa_model.first_touch_ns, "handoff", sockets, miss) for miss in (0.1, 1))
		expect(0 < few < many, "model: misses cost nothing")


for check in (check_ring, check_odd, check_run, check_texts, check_model):
	check()
