# SPDX-License-Identifier: MIT
"""Reports: made by run, field and programs, kept as JSON, printed as tables of ratios and means.

A report is a dictionary: machine, options, allocators by name, workloads by name. Each workload names its figures and
has a cell for each allocator: runs and failures. Where it says so (`base`), ratios are to the best of the peers, so
that Quarry may be below 1; otherwise to the best of all.
"""

import datetime
import json
import os
import statistics
import sys

import benchlib

# What no row of Quarry's is to exceed, as a ratio to the best peer, where the report sets no limits of its own.
LIMITS = {"time": 1.05, "memory": 1.15}
# Of the peers that need at most this many times the fastest one's time the leanest is named, too.
FAST = 1.5

# Figures of single loads that are read for themselves rather than as a ratio.
OWN_FIGURES = (
	("idle", "kib_per_thread", "KiB per idle thread"),
	("idle", "ended_kib", "KiB left after 1000 idle threads ended"),
	("age", "resident_over_live", "ageing: resident over live at the end"),
	("pc_sleep", "peak_over_live", "sleeping producers: peak resident over live"),
	("churn", "growth_kib", "thread churn: KiB grown over the last 9/10"),
	("burst_seq", "rss_kib_at_last", "1 thread, in order: KiB after the burst"),
	("burst_random", "rss_kib_at_last", "1 thread, at random: KiB after the burst"),
	("burst4_exit", "rss_kib_at_last", "4 threads that ended: KiB after the burst"),
	("burst4_idle", "rss_kib_at_last", "4 idle threads: KiB after the burst"),
	("burst4_cross", "rss_kib_at_last", "4 idle threads, crossed: KiB after the burst"),
)


# --- making ---

def new(kind, allocators, options, **more):
	return dict({"format": 1, "kind": kind, "machine": benchlib.machine_facts(), "options": options,
		"allocators": {allocator.name: allocator.facts() for allocator in allocators}, "workloads": {}}, **more)


def write(report, path):
	with open(path, "w", encoding="utf-8") as file:
		json.dump(report, file, indent=1)


def read(path):
	with open(path, encoding="utf-8") as file:
		return json.load(file)


def fill(report, out, rows, change=None):
	"""Runs the rows, (name, function that returns the workload), and writes the samples, changed by `change`."""
	out = out or datetime.datetime.now().strftime("bench-%Y%m%d-%H%M%S.json")
	try:
		for name, run_row in rows:
			print("%s ..." % name, file=sys.stderr, end="", flush=True)
			report["workloads"][name] = run_row()
			if change:
				change(report)
			print(" " + ", ".join(line_of(report, name)), file=sys.stderr)
			report["machine"]["load_at_end"] = benchlib.first_line("/proc/loadavg")
			write(report, out)
	except KeyboardInterrupt:
		print("interrupted: what follows is not complete", file=sys.stderr)
	print("samples in %s" % out, file=sys.stderr)


def line_of(report, name):
	"""One row in short: Quarry's time and memory as ratios to the best peer's."""
	only = dict(report, workloads={name: report["workloads"][name]}, base="peers")
	for what, table in zip(("time", "memory"), ratios(only)):
		for _, _, values, best in table.rows:
			if values.get("quarry") and best:
				yield "%s %.2f" % (what, values["quarry"] / best)


def add_run_options(parser, rounds):
	parser.add_argument("--rounds", type=int, default=None, help="runs of each cell (default %d)" % rounds)
	parser.add_argument("--quick", action="store_true", help="one round of less work")
	parser.add_argument("--timeout", type=int, default=120, help="seconds until a run counts as failed")
	parser.add_argument("--out", metavar="FILE", help="where the samples go (default: bench-DATE.json)")
	parser.add_argument("--show", metavar="FILE", help="run nothing, print the tables of an earlier run")
	parser.set_defaults(preset_rounds=rounds)


def show_or_run(args, run_all, change=None):
	"""The end of each runner's main: 1 if a run failed. What is only shown is changed by `change` first."""
	if args.out and not os.path.isdir(os.path.dirname(os.path.abspath(args.out))):
		raise SystemExit("%s: no such directory" % os.path.dirname(args.out))
	args.rounds = args.rounds or (1 if args.quick else args.preset_rounds)
	report = read(args.show) if args.show else run_all(args)
	if args.show and change:
		change(report)
	print(text_of(report))
	return 1 if failures(report) else 0


# --- condensing ---

def shortened(value):
	return float("%.6g" % value) if isinstance(value, float) else value


def condensed(report):
	"""The same report with one run in each cell, the medians, and the noise there was: small enough to keep."""
	own = [key for _, key, _ in OWN_FIGURES]
	rows = {}
	for name, row in report["workloads"].items():
		keys = ["ops", "wall_s", "cpu_s", "peak_rss_kib", "table_kib", row["time"], row["memory"]] + own
		cells = {}
		for who, cell in row["cells"].items():
			runs = cell["runs"]
			noise = {kind: shortened(noise_of(row, cell, kind)) for kind in ("time", "memory") if row[kind] and runs}
			medians = {key: shortened(statistics.median(run[key] for run in runs)) for key in keys
				if runs and key in runs[0]}
			cells[who] = {"runs": [medians] if runs else [], "failures": sorted(set(cell["failures"])), "noise": noise}
		rows[name] = dict(row, cells=cells)
	return dict(report, workloads=rows)


def write_small(report, path):
	"""A line for each row, so that changes can be read."""
	rows = ",\n".join("%s: %s" % (json.dumps(name), json.dumps(row)) for name, row in report["workloads"].items())
	rest = json.dumps({key: value for key, value in report.items() if key != "workloads"}, indent=1)
	with open(path, "w", encoding="utf-8") as file:
		file.write('%s,\n "workloads": {\n%s\n}}\n' % (rest[:-2], rows))


# --- printing ---

def median_of(row, cell, kind):
	"""The median of a cell, or None where the row has no such figure or a run failed."""
	values = benchlib.samples(row, cell, kind)
	return statistics.median(values) if values and not cell["failures"] else None


def noise_of(row, cell, kind):
	"""The spread of a cell's samples; of a condensed cell what it was; None where there was one run."""
	if "noise" in cell:
		return cell["noise"].get(kind)
	return benchlib.spread(benchlib.samples(row, cell, kind)) if len(cell["runs"]) > 1 else None


def seconds_text(seconds):
	for limit, factor, unit in ((1e-6, 1e9, "ns"), (1e-3, 1e6, "us"), (1, 1e3, "ms")):
		if seconds < limit:
			return "%.3g %s" % (seconds * factor, unit)
	return "%.3g s" % seconds


def kib_text(kib):
	return "%.3g MiB" % (kib / 1024) if kib >= 1024 else "%.3g KiB" % kib


def cell_text(cell, ratio):
	if cell is None:
		return ""
	if cell["failures"]:
		return "FAIL %d/%d" % (len(cell["failures"]), len(cell["failures"]) + len(cell["runs"]))
	return "%.2f" % ratio


class Ratios:
	"""One table: of each row the ratios to its best allocator, or best peer. References are never the best."""

	def __init__(self, report, kind, text_of):
		self.names = list(report["allocators"])
		self.ranked = [name for name in self.names if not report["allocators"][name].get("reference")]
		self.peers = [name for name in self.ranked if name != "quarry"]
		to_peers = report.get("base") == "peers" and self.peers
		self.ours = bool("quarry" in self.ranked and self.peers and not to_peers)
		self.text_of = text_of
		self.rows = []
		self.noise = {}
		for name, row in report["workloads"].items():
			values = {who: median_of(row, cell, kind) for who, cell in row["cells"].items()}
			known = [values[who] for who in (self.peers if to_peers else self.ranked) if values.get(who)]
			if known or any(row[kind] and cell["failures"] for cell in row["cells"].values()):
				self.rows.append((name, row["cells"], values, min(known) if known else None))
				noises = [noise_of(row, row["cells"][who], kind) for who in self.ranked if values.get(who)]
				noises = [noise for noise in noises if noise is not None]
				self.noise[name] = "%.0f %%" % (statistics.median(noises) * 100) if noises else ""

	def means(self):
		return {who: benchlib.geometric_mean([values[who] / best for _, _, values, best in self.rows
			if values.get(who) and best]) for who in self.ranked}

	def lines(self):
		ours = self.ours
		header = ["workload"] + self.names + ["best", "noise"] + (["quarry / best peer"] if ours else [])
		lines = []
		for name, cells, values, best in self.rows:
			texts = [cell_text(cells.get(who), (values.get(who) or 0) / (best or 1)) for who in self.names]
			lines.append([name] + texts + [self.text_of(best) if best else "", self.noise[name]])
			if ours:
				peers = [values[who] for who in self.peers if values.get(who)]
				known = values.get("quarry") and peers
				lines[-1].append("%.2f" % (values["quarry"] / min(peers)) if known else "")
		means = self.means()
		texts = ["%.3f" % means[who] if means.get(who) else "" for who in self.names]
		lines.append(["geometric mean"] + texts + [""] * (len(header) - len(self.names) - 1))
		return benchlib.table(header, lines)


def startup_line(row, names, key, unit):
	runs = {who: cell["runs"] for who, cell in row["cells"].items()}
	medians = {who: statistics.median(run[key] for run in runs[who]) * 1e6 for who in names if runs.get(who)}
	base = medians.get("glibc")
	return ["start-up of true: %s%s" % (unit, " over glibc" if base else "")] + [
		"%.0f" % (medians[who] - (base or 0)) if who in medians else "" for who in names]


def own_figures(report):
	names = list(report["allocators"])
	lines = []
	for load, key, title in OWN_FIGURES:
		row = report["workloads"].get(load)
		if not row:
			continue
		texts = []
		for who in names:
			runs = row["cells"].get(who, {"runs": []})["runs"]
			value = statistics.median(run[key] for run in runs) if runs else None
			texts.append("" if value is None else "%.0f" % value if value >= 100 else "%.3g" % value)
		lines.append([title] + texts)
	startup = report["workloads"].get("startup")
	if startup:
		lines += [startup_line(startup, names, *which) for which in (("wall_s", "us"), ("cpu_s", "CPU us"))]
	return benchlib.table(["figure"] + names, lines) if lines else ""


def means_table(time, memory):
	means, sizes = time.means(), memory.means()
	lines = []
	for who in time.ranked:
		if means.get(who) and sizes.get(who):
			values = means[who], sizes[who], means[who] * sizes[who]
			lines.append([who] + ["%.3f" % value for value in values])
	return benchlib.table(["allocator", "time", "memory", "product"], lines) if lines else ""


def verdict(time, memory):
	means, sizes = time.means(), memory.means()
	peers = [who for who in time.peers if means.get(who) and sizes.get(who)]
	if not means.get("quarry") or not sizes.get("quarry") or not peers:
		return ""
	fastest, leanest = min(peers, key=means.get), min(peers, key=sizes.get)
	rival = min((who for who in peers if means[who] <= FAST * means[fastest]), key=sizes.get)
	texts = ["time %.3f of the fastest single peer (%s)" % (means["quarry"] / means[fastest], fastest)]
	texts.append("memory %.3f of the leanest (%s)" % (sizes["quarry"] / sizes[leanest], leanest))
	if rival != leanest:
		texts.append("%.3f of the leanest of those within %.1f times the fastest's time (%s)" % (
			sizes["quarry"] / sizes[rival], FAST, rival))
	return "quarry: " + ", ".join(texts)


def beyond(table, what, limit):
	"""The rows in which Quarry needs more than limit times the best peer's, the worst first."""
	found = []
	for name, _, values, _ in table.rows:
		peers = {values[who]: who for who in table.peers if values.get(who)}
		if peers and values.get("quarry") and values["quarry"] > limit * min(peers):
			found.append((values["quarry"] / min(peers), name, peers[min(peers)]))
	texts = ["%s %.2f (%s)" % (name, ratio, peer) for ratio, name, peer in sorted(found, reverse=True)]
	return "Quarry over %.2f of the best peer in %s: %s" % (limit, what, ", ".join(texts) or "nowhere")


def beyond_texts(report):
	time, memory = ratios(report)
	limits = report.get("limits", LIMITS)
	if "quarry" not in time.ranked or not time.peers:
		return []
	return [beyond(time, "time", limits["time"]), beyond(memory, "memory", limits["memory"])]


def failures(report):
	return [(load, who, text) for load, row in report["workloads"].items()
		for who, cell in row["cells"].items() for text in sorted(set(cell["failures"]))]


def ratios(report):
	return Ratios(report, "time", seconds_text), Ratios(report, "memory", kib_text)


def head_of(report):
	machine, options = report["machine"], report["options"]
	rounds = options.get("rounds", 0)
	made = "%d round%s%s" % (rounds, "" if rounds == 1 else "s", " of less work" if options.get("quick") else "")
	return "\n\n".join([
		"%(cpu)s, %(cores)d cores, %(nodes)d node(s), %(libc)s, kernel %(kernel)s, THP %(thp)s" % machine,
		"git %(git)s, %(date)s, load average %(load)s, " % machine + made,
		", ".join("%s: %s" % (name, facts["version"]) for name, facts in report["allocators"].items())])


def counts_text(report, heading):
	"""The tables; with the floor, each figure is followed by its ratio to the floor's."""
	names = list(report["allocators"])
	parts = [head_of(report)]
	for key, title in (("instructions", "Instructions"), ("nanoseconds", "Nanoseconds")):
		lines = []
		for name, values in report[key].items():
			floor = values.get("floor")
			texts = [("%.1f" % values[who] if who in values else "") + (" (%.2f)" % (values[who] / floor)
				if floor and who in values and who != "floor" else "") for who in names]
			lines.append([name] + texts)
		if lines:
			brackets = "; in brackets: of the floor" if "floor" in names else ""
			parts += ["%s%s per malloc and free pair, the load's loop included%s" % (heading, title, brackets),
				benchlib.table(["load"] + names, lines)]
	missing = [text.split(": ")[0] for text in report["failures"]]
	return "\n\n".join(parts + (["Not counted: " + ", ".join(missing)] if missing else []))


def text_of(report, heading=""):
	"""All that there is to say, as Markdown; tables have a line above them that begins with heading."""
	if report.get("kind") == "instructions":
		return counts_text(report, heading)
	time, memory = ratios(report)
	best = "best peer" if report.get("base") == "peers" else "best"
	parts = [head_of(report)]
	for title, table in (("Time", time), ("Resident memory", memory)):
		if table.rows:
			parts += [heading + "%s, ratio to the %s" % (title, best), table.lines()]
	means = means_table(time, memory)
	if means:
		parts += [heading + "Geometric means of the ratios to the %s of each row" % best, means, verdict(time, memory)]
	parts += beyond_texts(report)
	own = own_figures(report)
	if own:
		parts += [heading + "Figures of their own (smaller is better)", own]
	failed = failures(report)
	if failed:
		parts += [heading + "Failed runs (in no mean: the means of these allocators stand on fewer rows)",
			"\n".join("- %s under %s: %s" % failure for failure in failed)]
	return "\n\n".join(part for part in parts if part)
