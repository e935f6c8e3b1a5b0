# SPDX-License-Identifier: MIT
"""The figures of a bench/numa report and their tables on the terminal; the HTML report takes its figures from here."""

import statistics

import benchlib
import numa_plan


def median(cell, value_of):
	"""Over the cell's runs that have the figure; None where none has or a run failed."""
	values = [value_of(run) for run in cell["runs"]]
	values = [value for value in values if value is not None]
	return statistics.median(values) if values and not cell["failures"] else None


def rate(run):
	return run["ops"] / run["wall_s"] if run["wall_s"] else None


def share(run, key="local_share"):
	"""A share that the kernel did not tell is -1 in the samples."""
	return run[key] if run.get(key, -1) >= 0 else None


def resident_mib(run):
	return (run["peak_rss_kib"] - run["table_kib"]) / 1024


def remote_frees(run):
	"""Quarry's own count, per thousand operations; no other allocator tells."""
	if "quarry_remote_frees" not in run or not run["ops"]:
		return None
	return run["quarry_remote_frees"] * 1000 / run["ops"]


def counters_line(report, scenario):
	"""What Quarry's statistics by node say of the last row, or None: frees across nodes, moves followed, spills."""
	rows = rows_of(report, scenario)
	cell = rows[-1]["cells"].get("quarry") if rows else None
	if not cell or len(rows[-1]["nodes"]) < 2 or not cell["runs"] or "quarry_node_frees" not in cell["runs"][0]:
		return None
	values = [median(cell, lambda run, key=key: run[key]) or 0
		for key in ("quarry_node_frees", "quarry_migrations", "quarry_spills")]
	return "Quarry, %s: %d blocks went home to another node, %d moves of threads were followed, %d spills." % (
		(rows[-1]["label"],) + tuple(values))


def rate_text(value):
	if value is None:
		return ""
	return "%.2f M" % (value / 1e6) if value >= 1e6 else "%.1f k" % (value / 1e3)


def share_text(value):
	return "" if value is None else "%.1f %%" % (value * 100)


def number_text(value):
	return "" if value is None else "%.1f" % value


# Figures of single scenarios: key of the run, title.
EXTRA_SHARES = {
	"shared": [("read_share", "reads that were local")],
	"migrate": [("settled_share", "local, settled")],
}


def rows_of(report, scenario):
	return [row for row in report["rows"] if row["scenario"] == scenario]


def cell_text(cell, value_of, text_of):
	if cell and cell["failures"]:
		return "FAIL %d/%d" % (len(cell["failures"]), len(cell["failures"]) + len(cell["runs"]))
	return text_of(median(cell, value_of)) if cell else ""


def square(run, key, ids_key):
	"""A flat matrix of a run as {(row node, column node): value}."""
	ids = [int(node) for node in run.get(ids_key, [])]
	values = run.get(key, [])
	return {(a, b): values[i * len(ids) + j] for i, a in enumerate(ids) for j, b in enumerate(ids)} if values else {}


def pages(cell):
	"""The matrix of pages, summed over the runs: rows are the nodes where they should be."""
	total = {}
	for run in cell["runs"]:
		for pair, count in square(run, "pages", "node_ids").items():
			total[pair] = total.get(pair, 0) + count
	return total


def bandwidth(cell, key="gb_per_s"):
	"""Medians over the runs: {(reader's node, memory's node): value}."""
	runs = [square(run, key, "bandwidth_nodes") for run in cell["runs"]]
	return {pair: statistics.median(run[pair] for run in runs) for pair in (runs[0] if runs else {})}


def local_and_remote(values):
	"""Means of the matrix on and off its diagonal; None for what it does not have."""
	local = [value for (a, b), value in values.items() if a == b]
	remote = [value for (a, b), value in values.items() if a != b]
	return tuple(statistics.mean(found) if found else None for found in (local, remote))


def scenario_table(report, scenario):
	"""A line per allocator: its rate in every row; of the last row also placement and memory."""
	rows = rows_of(report, scenario)
	extras = EXTRA_SHARES.get(scenario, [])
	header = ["allocator"] + ["ops/s, " + row["label"] for row in rows] + ["local pages"] + [
		title for _, title in extras] + ["resident MiB", "remote frees / 1000 ops"]
	lines = []
	for who in report["allocators"]:
		last = rows[-1]["cells"].get(who)
		line = [who] + [cell_text(row["cells"].get(who), rate, rate_text) for row in rows]
		line.append(cell_text(last, share, share_text))
		line += [cell_text(last, lambda run, key=key: share(run, key), share_text) for key, _ in extras]
		line += [cell_text(last, resident_mib, number_text), cell_text(last, remote_frees, number_text)]
		lines.append(line)
	return benchlib.table(header, lines)


def bandwidth_table(report):
	header = ["allocator", "blocks", "GB/s local", "GB/s remote", "ns local", "ns remote", "local pages",
		"resident MiB"]
	lines = []
	for row in rows_of(report, "bandwidth"):
		for who in report["allocators"]:
			cell = row["cells"].get(who, {"runs": [], "failures": []})
			speeds = local_and_remote(bandwidth(cell)) + local_and_remote(bandwidth(cell, "latency_ns"))
			lines.append([who, row["label"].replace("blocks of ", "")] + [number_text(speed) for speed in speeds] + [
				cell_text(cell, share, share_text), cell_text(cell, resident_mib, number_text)])
	return benchlib.table(header, lines)


def table_of(report, scenario):
	return bandwidth_table(report) if scenario == "bandwidth" else scenario_table(report, scenario)


def per_node_table(report):
	"""Of the largest run of `local`: the rate of each node's threads. None on one node."""
	rows = rows_of(report, "local")
	if not rows or len(rows[-1]["nodes"]) < 2:
		return None
	lines = []
	for who in report["allocators"]:
		runs = rows[-1]["cells"].get(who, {"runs": []})["runs"]
		by_node = [dict(zip(map(int, run["node_ids"]), run["node_ops_per_s"])) for run in runs]
		lines.append([who] + [rate_text(statistics.median(run.get(node, 0) for run in by_node)) if by_node else ""
			for node in rows[-1]["nodes"]])
	return benchlib.table(["allocator"] + ["node %d" % node for node in rows[-1]["nodes"]], lines)


def failures(report):
	return sorted({"%s, %s under %s: %s" % (row["scenario"], row["label"], who, text) for row in report["rows"]
		for who, cell in row["cells"].items() for text in cell["failures"]})


def machine_text(report):
	machine = report["machine"]
	lines = ["%s, %d CPUs, kernel %s, load average %s" % (machine["cpu"], machine["cores"], machine["kernel"],
		machine["load"])]
	for node in machine["topology"]["nodes"]:
		distances = " ".join("%s:%d" % pair for pair in node["distances"].items())
		lines.append("node %d: %d usable CPUs, %.1f GiB%s" % (node["id"], len(node["cpus"]),
			node["memory_kib"] / (1 << 20), ", distances " + distances if len(node["distances"]) > 1 else ""))
	return lines


def show(report):
	"""Print all tables; True if a run failed."""
	print("\n".join(machine_text(report)))
	print(", ".join("%s: %s" % (who, facts["version"]) for who, facts in report["allocators"].items()))
	for note in report["notes"]:
		print("note: " + note)
	for name, title, unit in numa_plan.SCENARIOS:
		if not rows_of(report, name):
			continue
		print("\n%s (one op is %s)\n" % (title, unit))
		print(table_of(report, name))
		counters = counters_line(report, name)
		if counters:
			print("\n" + counters)
		by_node = per_node_table(report) if name == "local" else None
		if by_node:
			print("\nThe same by node, operations per second of its threads\n\n" + by_node)
	failed = failures(report)
	if failed:
		print("\nFailed runs\n\n" + "\n".join("- " + text for text in failed))
	return bool(failed)
