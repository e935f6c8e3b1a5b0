# SPDX-License-Identifier: MIT
"""The report of bench/numa: one HTML file with its plots as inline SVG, to be read anywhere, without a script, a
network or another file. The SVG is written directly (numa_svg.py), so that nothing beyond Python is needed.
"""

import numa_model
import numa_plan
import numa_svg
import numa_tables

COLOURS = {"quarry": "#c0392b", "glibc": "#34495e", "jemalloc": "#2e86c1", "mimalloc": "#27ae60", "tcmalloc": "#b7950b",
	"tbbmalloc": "#8e44ad"}
SPARE = ("#16a085", "#d35400", "#7f8c8d", "#c2185b")

STYLE = """
body { font: 15px/1.5 sans-serif; color: #222; max-width: 1100px; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.5em; } h2 { font-size: 1.15em; margin-top: 2.2em; border-bottom: 1px solid #ddd; }
svg { max-width: 100%; height: auto; } .row { display: flex; flex-wrap: wrap; gap: 14px; }
table { border-collapse: collapse; font-size: 13px; margin: 1em 0; } td, th { padding: 2px 10px; text-align: right;
border-bottom: 1px solid #eee; } td:first-child, th:first-child { text-align: left; }
.note { background: #fff6e0; border-left: 4px solid #e0a800; padding: .4em 1em; }
.small { color: #666; font-size: 13px; }
pre { font-size: 12px; overflow-x: auto; }
"""


def percent(value):
	return "%.0f %%" % (value * 100)


def colours_of(names):
	others = [name for name in names if name not in COLOURS]
	return dict(COLOURS, **{name: SPARE[i % len(SPARE)] for i, name in enumerate(others)})


def paragraph(words, kind=""):
	return "<p%s>%s</p>" % (' class="%s"' % kind if kind else "", numa_svg.escape(words))


def html_table(markdown):
	"""The terminal's table again, so that both say the same."""
	lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines()]
	parts = ["<tr>" + "".join("<th>%s</th>" % numa_svg.escape(cell) for cell in lines[0]) + "</tr>"]
	for cells in lines[2:]:
		parts.append("<tr>" + "".join("<td>%s</td>" % numa_svg.escape(cell) for cell in cells) + "</tr>")
	return "<table>" + "".join(parts) + "</table>"


class Page:
	"""The parts in order. A part whose rows are not in the report adds nothing."""

	def __init__(self, report):
		self.report = report
		self.names = list(report["allocators"])
		self.colours = colours_of(self.names)
		self.nodes = [node["id"] for node in report["machine"]["topology"]["nodes"]]
		self.parts = []

	def last(self, scenario):
		rows = numa_tables.rows_of(self.report, scenario)
		return rows[-1] if rows else None

	def cells(self, row):
		return [(who, row["cells"][who]) for who in self.names if row["cells"].get(who, {}).get("runs")]

	def by_scenario(self, value_of):
		"""Groups for bars: the last, largest row of each scenario but the bandwidth's."""
		groups = []
		for name, _, _ in numa_plan.SCENARIOS:
			row = self.last(name)
			if row and name != "bandwidth":
				groups.append((name, {who: numa_tables.median(cell, value_of) for who, cell in self.cells(row)}))
		return groups

	def head(self):
		report = self.report
		self.parts.append("<h1>Where the memory lies: allocators on %d NUMA node%s</h1>" % (len(self.nodes),
			"s"[:len(self.nodes) > 1]))
		self.parts += [paragraph(line, "small") for line in numa_tables.machine_text(report)]
		self.parts.append(paragraph("%s. %s" % (report["machine"]["date"], ", ".join("%s: %s" % (who, facts["version"])
			for who, facts in report["allocators"].items())), "small"))
		self.parts += [paragraph(note, "note") for note in report["notes"]]

	def locality(self):
		groups = self.by_scenario(numa_tables.share)
		if not groups:
			return
		self.parts.append("<h2>Locality</h2>")
		self.parts.append(paragraph("Share of the pages under live blocks that lie on the node of the thread which "
			"allocated the block, asked of the kernel page by page; with all threads of the machine. For migrate: "
			"blocks allocated after the move. For kv: values on the node of the worker that serves them."))
		self.parts.append(numa_svg.bars(groups, self.names, self.colours, "share of local pages", percent, 1.0))

	def scaling(self):
		rows = numa_tables.rows_of(self.report, "local")
		if len(rows) < 2:
			return
		points = {who: [] for who in self.names}
		for row in rows:
			for who, cell in self.cells(row):
				value = numa_tables.median(cell, numa_tables.rate)
				if value is not None:
					points[who].append((len(row["cpus"]), value))
		borders = [len(row["cpus"]) for row in rows if len(row["nodes"]) > 1]
		self.parts.append("<h2>Scaling</h2>")
		self.parts.append(paragraph("Local allocation and touch, operations per second of all threads together: first "
			"the CPUs of one node, then whole nodes are added (dashed lines)."))
		self.parts.append(numa_svg.curves(points, self.names, self.colours, "scaling", "threads, each bound to a CPU",
			borders))

	def rates(self):
		groups = []
		for title, values in self.by_scenario(numa_tables.rate):
			best = max([value for value in values.values() if value] or [1])
			groups.append((title, {who: value / best if value is not None else None for who, value in values.items()}))
		if groups:
			self.parts.append("<h2>Throughput</h2>")
			self.parts.append(paragraph("Operations per second over those of the best, with all threads."))
			self.parts.append(numa_svg.bars(groups, self.names, self.colours, "relative throughput", percent, 1.0))

	def memory(self):
		groups = self.by_scenario(numa_tables.resident_mib)
		if groups:
			self.parts.append("<h2>Resident memory</h2>")
			self.parts.append(paragraph("Most that was resident, in MiB, without the load's own tables."))
			self.parts.append(numa_svg.bars(groups, self.names, self.colours, "resident memory"))

	def heat_maps(self):
		self.parts.append("<h2>Where pages ended up</h2>")
		self.parts.append(paragraph("Rows: the node of the thread that allocated. Columns: the node where the page "
			"lies. Each row adds up to 100 %; a dark diagonal is what one wants."))
		for name, title, _ in numa_plan.SCENARIOS:
			row = self.last(name)
			maps = []
			for who, cell in self.cells(row) if row else []:
				found = numa_tables.pages(cell)
				homes = [node for node in self.nodes if any(found.get((node, where)) for where in self.nodes)]
				if homes:
					maps.append(numa_svg.heat(found, homes, self.nodes, who, "page on node", percent,
						"pages of %s by node, %s" % (who, name)))
			if maps:
				self.parts.append("<h3>%s: %s</h3><div class=\"row\">%s</div>" % (numa_svg.escape(title),
					numa_svg.escape(row["label"]), "".join(maps)))

	def bandwidths(self):
		row = self.last("bandwidth")
		if not row:
			return
		self.parts.append("<h2>Bandwidth and latency of what was handed out</h2>")
		self.parts.append(paragraph("Rows: the node whose CPUs read. Columns: the node whose threads allocated. "
			"Last-level cache: %d KiB; a share of the reads hits it. %s." % (
			self.report["machine"]["topology"]["cache_kib"], row["label"].capitalize())))
		for key, unit in (("gb_per_s", "GB/s"), ("latency_ns", "ns")):
			found = [(who, numa_tables.bandwidth(cell, key)) for who, cell in self.cells(row)]
			most = max([value for _, values in found for value in values.values()] or [1])
			self.parts.append('<div class="row">%s</div>' % "".join(numa_svg.heat(values, row["nodes"], row["nodes"],
				"%s, %s" % (who, unit), "memory of node", lambda value: "%.1f" % value, "%s of %s" % (unit, who), most)
				for who, values in found if values))

	def tables(self):
		self.parts.append("<h2>All figures</h2>")
		self.parts.append(paragraph("Placement, memory and remote frees are those of the last column's row. Remote "
			"frees are Quarry's own count; the others do not tell."))
		for name, title, unit in numa_plan.SCENARIOS:
			if not numa_tables.rows_of(self.report, name):
				continue
			self.parts += ["<h3>%s</h3>" % numa_svg.escape(title), paragraph("One op is %s." % unit, "small"),
				html_table(numa_tables.table_of(self.report, name))]
			counters = numa_tables.counters_line(self.report, name)
			self.parts += [paragraph(counters, "small")] if counters else []
			by_node = numa_tables.per_node_table(self.report) if name == "local" else None
			if by_node:
				self.parts += [paragraph("The same by node, operations per second of its threads.", "small"),
					html_table(by_node)]
		failed = numa_tables.failures(self.report)
		self.parts += [paragraph("failed: " + words, "note") for words in failed]

	def model(self):
		words = numa_model.text(self.report)
		if words:
			self.parts.append("<h2>What it would cost on more sockets</h2><pre>%s</pre>" % numa_svg.escape(words))


def write(report, path):
	page = Page(report)
	plots = [page.head, page.locality, page.scaling, page.rates, page.memory, page.heat_maps, page.bandwidths,
		page.model, page.tables]
	if report.get("emulated"):	# its times mean nothing
		plots = [page.head, page.locality, page.memory, page.heat_maps, page.tables]
	for plot in plots:
		plot()
	with open(path, "w", encoding="utf-8") as file:
		file.write("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>bench/numa</title><style>%s"
			"</style></head><body>\n%s\n</body></html>\n" % (STYLE, "\n".join(page.parts)))
