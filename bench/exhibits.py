# SPDX-License-Identifier: MIT
"""What bench/publish shows beside the tables of allocators: reports of other shapes.

Each kind is kept as bench/results/KIND.json and has a title, a sentence about it, and two texts of a report: `text`, all
of it, is what its runner prints and bench/RESULTS.md has; `short` is for README.md.
"""

import collections
import json
import statistics
import textwrap

import benchlib

Exhibit = collections.namedtuple("Exhibit", "title about text short")


def machine_line(report):
	return "%(cpu)s, %(cores)d cores, %(libc)s, kernel %(kernel)s, git %(git)s, %(date)s, load average %(load)s" % (
		report["machine"])


def write(report, path):
	"""A line for each of the report's parts, or of the entries of a part, so that changes can be read."""
	parts = []
	for key, value in report.items():
		entries = []
		if isinstance(value, list):
			entries = [json.dumps(entry) for entry in value]
		elif isinstance(value, dict):
			entries = ["%s: %s" % (json.dumps(name), json.dumps(entry)) for name, entry in value.items()]
		marks = "[]" if isinstance(value, list) else "{}"
		parts.append(" %s: %s" % (json.dumps(key), "%s\n  %s\n %s" % (marks[0], ",\n  ".join(entries), marks[1]) if entries
			else json.dumps(value)))
	with open(path, "w", encoding="utf-8") as file:
		file.write("{\n%s\n}\n" % ",\n".join(parts))


def load_of(report):
	"""What else ran while it was measured."""
	return report["machine"]["load"].split()[0]


# --- quarry top ---

def delay_name(delay):
	return "every %s s" % delay if float(delay) else "not watched"


def watched_table(report):
	"""Medians of each figure; of the throughput also the median of the rounds' ratios to the run without."""
	rounds, delays = report["rounds"], list(report["rounds"][0])
	lines = []
	for key, title, form in (("rate", "requests per second", "%.0f"), ("p99_us", "latency p99, us", "%.0f"),
			("server_us", "CPU of the server per request, us", "%.2f"), ("watcher", "CPU of quarry top, % of one", "%.2f")):
		lines.append([title] + [form % statistics.median(runs[delay][key] for runs in rounds) for delay in delays])
	alone = delays[0]
	for key, title in (("rate", "throughput, of not watched"), ("server_us", "CPU per request, of not watched")):
		lines.append([title] + ["%.3f" % statistics.median(runs[delay][key] / runs[alone][key] for runs in rounds)
			for delay in delays])
	spread = statistics.median(benchlib.spread([runs[delay]["rate"] for runs in rounds]) for delay in delays)
	return benchlib.table(["the demo's server"] + [delay_name(delay) for delay in delays], lines), spread


def watched_short(report):
	table, spread = watched_table(report)
	said = "Medians of %d rounds of %g s with each in turn; half the distance between the quartiles of the throughput was " \
		"%.0f %%, at a load average of %s."
	said %= (len(report["rounds"]), report["options"]["seconds"], spread * 100, load_of(report))
	return "%s\n\n%s" % (table, textwrap.fill(said, 120))


def watched_text(report):
	return "%s\n\n%s" % (machine_line(report), watched_short(report))


# --- CPython ---

PYTHON_BASE = "pymalloc"


def python_ratios(report, what):
	"""By interpreter: the ratio to pymalloc in each script, None where there is none, and their mean."""
	found = {}
	for who in report["allocators"]:
		ratios = [row[who] / row[PYTHON_BASE] if who in row and PYTHON_BASE in row else None
			for row in report[what].values()]
		found[who] = ratios + [None if None in ratios else benchlib.geometric_mean(ratios)]
	return found


def python_table(report):
	"""Instructions and peak in each cell."""
	counts, peaks = python_ratios(report, "counts"), python_ratios(report, "peaks")
	lines = [[who] + ["%.2f, %.2f" % pair if None not in pair else "" for pair in zip(counts[who], peaks[who])]
		for who in counts]
	return benchlib.table(["instructions, peak"] + list(report["counts"]) + ["means"], lines)


def python_text(report):
	parts = [machine_line(report)]
	for what, title in (("counts", "instructions"), ("peaks", "peak resident size")):
		lines = [[who] + ["%.3f" % ratio if ratio else "" for ratio in ratios]
			for who, ratios in python_ratios(report, what).items()]
		parts.append(benchlib.table(["%s, of %s" % (title, PYTHON_BASE)] + list(report[what]) + ["mean"], lines))
	parts.append("Instructions are counted by cachegrind over the whole process; means are geometric.")
	return "\n\n".join(parts + report["failures"])


# --- objects of 24 bytes ---

def ints_table(report):
	columns = (("each", "bytes each", 1, "%.1f"), ("pairs", "million pairs/s", 1, "%.1f"), ("peak", "peak MiB", 1024, "%.1f"),
		("dropped", "all dropped, MiB", 1024, "%.1f"), ("rested", "after a rest, MiB", 1024, "%.1f"))
	lines = [[name] + [form % (statistics.median(run[key] for run in runs) / unit) for key, _, unit, form in columns]
		for name, runs in report["runs"].items()]
	return benchlib.table(["%.0f million objects" % (report["options"]["objects"] / 1e6)] + [title for _, title, _, _ in
		columns], lines)


def ints_short(report):
	return "%s\n\n%s" % (ints_table(report), "Medians of %d interleaved rounds, at a load average of %s." %
		(report["options"]["rounds"], load_of(report)))


def ints_text(report):
	return "%s\n\n%s" % (machine_line(report), ints_short(report))


# --- the price of the checks ---

def checks_table(report, key, title, base="without"):
	names = list(report["allocators"])
	rows = report[key]
	lines = []
	for load, values in rows.items():
		line = [load] + ["%.3f" % (values[who] / values[base]) if who in values and base in values else "" for who in names]
		if key == "instructions":
			line = [load] + ["%.1f" % values[who] if who in values else "" for who in names]
		lines.append(line + (["%.1f %%" % (100 * (report["noise"][load] or 0))] if key == "times" else []))
	ratios = {who: [values[who] / values[base] for values in rows.values() if who in values and base in values]
		for who in names}
	means = ["%.3f" % benchlib.geometric_mean(ratios[who]) if ratios[who] else "" for who in names]
	lines.append(["geometric mean, of %s" % base] + means + ([""] if key == "times" else []))
	return benchlib.table([title] + names + (["noise"] if key == "times" else []), lines)


def checks_text(report):
	parts = [machine_line(report), checks_table(report, "instructions", "instructions per pair")]
	if report["times"]:
		parts += [checks_table(report, "times", "CPU time, of without"),
			"Medians of %d interleaved rounds; noise is that of the default library." % report["options"]["rounds"]]
	return "\n\n".join(parts + report["failures"])


def checks_short(report):
	return checks_table(report, "instructions", "instructions per pair")


# --- what is accounted for ---

MIB = 1 << 20


def mib(nbytes):
	return "" if nbytes is None else "%.2f" % (nbytes / MIB)


def gap_text(row):
	"""In MiB and, where more than one is resident, as a part of what the kernel has."""
	part = ", %+.1f %%" % (100 * row["gap"] / row["resident"]) if row["resident"] > MIB else ""
	return "%+.2f%s" % (row["gap"] / MIB, part)


def accounting_table(report):
	columns = ("requested", "rounding", "live", "cached", "pools", "units", "kept", "clean", "records", "mapped", "resident",
		"expected")
	signs = {"rounding": "+", "live": "= ", "cached": "+", "pools": "+", "units": "+", "kept": "+", "clean": "+",
		"records": "+", "mapped": "= "}
	lines = [[row["load"], row["looks"]] + [mib(row[name]) for name in columns] + [gap_text(row)]
		for row in report["rows"]]
	return benchlib.table(["MiB", "looks"] + [signs.get(name, "") + name for name in columns] + ["gap"], lines)


def accounting_verdict(report):
	rows = report["rows"]
	faults = ["%s: %s" % (row["load"], fault) for row in rows for fault in row["faults"]]
	words = "%d looks at %d loads, %d that do not add up; requested bytes are %s" % (sum(row["looks"] for row in rows),
		len(rows), len(faults), "estimates by the profile" if any(row["requested_kind"] == 1 for row in rows) else "exact")
	if rows:
		worst = max(rows, key=lambda row: abs(row["gap"]))
		words += "; the largest gap to what the kernel has resident is, in MiB, %s (%s)" % (gap_text(worst), worst["load"])
	return "\n\n".join(["does not add up: " + fault for fault in faults] + [textwrap.fill(words + ".", 120)])


def accounting_text(report):
	return "\n\n".join([machine_line(report), accounting_table(report), accounting_verdict(report)])


# --- the sampled heap profile ---

def profile_counts(report):
	lines = [[row["work"]] + [("%.1f" if row[key] < 1000 else "%.0f") % row[key] for key in ("off", "on")] +
		["%+.2f %%" % (100 * (row["on"] / row["off"] - 1))] for row in report["counts"]]
	return benchlib.table(["instructions", "profile off", "on, one in %d KiB" % (report["options"]["mean"] >> 10), "more"],
		lines)


def profile_sites(report):
	lines = []
	for site in report["sites"]:
		off, deviation = site["estimated"] - site["live"], site["deviation"]
		lines.append([site["site"], "%d KiB" % (site["mean"] >> 10), site["bytes"], mib(site["live"]), mib(site["estimated"]),
			mib(deviation), "%+.2f" % (off / deviation) if deviation else "none"])
	return benchlib.table(["call site", "one in", "bytes of a block", "live MiB", "estimated", "standard deviation",
		"off by deviations"], lines)


def profile_text(report):
	return "\n\n".join([machine_line(report), profile_counts(report), profile_sites(report)])


def profile_short(report):
	return "\n\n".join([profile_counts(report), profile_sites(report)])


EXHIBITS = {
	"profile": Exhibit("The sampled heap profile", "What it costs while it is on, and live bytes by call site as a program "
		"knows them beside what the profile estimates (`bench/profiled`); the standard deviation is that of the formula in "
		"quarry_profile(3).", profile_text, profile_short),
	"checks": Exhibit("Price of the checks", "What looking for misuse costs (`bench/checks`): the default library beside the "
		"same configured with `--disable-checks`, the hardened one and LLVM's scudo, which valgrind cannot count.",
		checks_text, checks_short),
	"accounting": Exhibit("What is accounted for", "The loads of the bench frame held still (`bench/accounting`), each at "
		"the moment when most was live: from what the program asked for to what is mapped, step by step, and what the kernel "
		"has resident of the arenas beside what is expected there (live and cached blocks, free pools and units; large "
		"blocks lie elsewhere). What does not add up, to the byte, is listed.", accounting_text, accounting_verdict),
	"ints": Exhibit("Objects of 24 bytes", "What Python 2's integers did (`bench/ints`): objects made and dropped 100,000 at "
		"a time, then all made and all dropped, in one of Quarry's typed caches, by malloc of each allocator, and in blocks "
		"with a free list that keeps them. What is resident, without the program's own table.", ints_text, ints_short),
	"watched": Exhibit("A server that is watched", "The demo's server under its load, alone and with `quarry top` on a "
		"terminal looking at it (`bench/watched`).", watched_text, watched_short),
	"python_counts": Exhibit("CPython on each allocator", "One interpreter at the same scripts, with its memory from each "
		"(`bench/python --instructions`): `quarry` serves all three of CPython's domains, `quarry-arena` the arenas of "
		"pymalloc, the others come by PYTHONMALLOC=malloc. Ratios to pymalloc.", python_text, python_table),
}
