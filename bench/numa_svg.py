# SPDX-License-Identifier: MIT
"""Three kinds of plots as inline SVG: grouped bars, lines, heat maps. They know nothing of allocators or nodes."""

import html
import math

INK, FAINT, GRID = "#333333", "#777777", "#e4e4e4"


def escape(text):
	return html.escape(str(text), quote=True)


def text(x, y, words, anchor="start", size=12, colour=INK, more=""):
	return '<text x="%.1f" y="%.1f" text-anchor="%s" font-size="%d" fill="%s"%s>%s</text>' % (
		x, y, anchor, size, colour, more, escape(words))


def box(x, y, width, height, fill, tip="", stroke="none"):
	return '<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s" stroke="%s"><title>%s</title></rect>' % (
		x, y, width, height, fill, stroke, escape(tip))


def line(x1, y1, x2, y2, colour=GRID, dash=""):
	return '<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s"%s/>' % (x1, y1, x2, y2, colour,
		' stroke-dasharray="%s"' % dash if dash else "")


def picture(width, height, parts, label):
	"""Wide pictures shrink with the page; the label is for those who do not see it."""
	return ('<svg viewBox="0 0 %d %d" width="%d" role="img" aria-label="%s" font-family="sans-serif">' % (
		width, height, width, escape(label)) + "".join(parts) + "</svg>")


def nice_step(top, steps=5):
	"""A step of 1, 2 or 5 times a power of ten, so that about `steps` of them reach top."""
	if top <= 0:
		return 1
	power = 10 ** math.floor(math.log10(top / steps))
	return next(power * factor for factor in (1, 2, 5, 10) if power * factor * steps >= top)


def short(value):
	for limit, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
		if value >= limit:
			return "%.3g%s" % (value / limit, unit)
	return "%.3g" % value


def axis(left, top, width, height, most, format_of):
	"""Horizontal grid lines from 0 to a round number at or above `most`; the parts, and that number."""
	step = nice_step(most)
	count = max(1, math.ceil(most / step - 1e-9))
	parts = []
	for i in range(count + 1):
		y = top + height - height * i / count
		parts += [line(left, y, left + width, y), text(left - 6, y + 4, format_of(i * step), "end", 11, FAINT)]
	return parts, count * step


def legend(x, y, names, colours):
	parts = []
	for name in names:
		parts += [box(x, y - 9, 10, 10, colours[name], name), text(x + 14, y, name)]
		x += 24 + 7.2 * len(name)
	return parts


def bars(groups, names, colours, label, format_of=short, top_value=None):
	"""groups: [(title, {name: value or None})]; one cluster of bars for each, in the order of names."""
	bar, gap, left, top, height = 16, 26, 60, 34, 190
	cluster = bar * len(names) + gap
	width = left + max(cluster * len(groups), 460) + 10
	known = [value for _, values in groups for value in values.values() if value is not None]
	parts, most = axis(left, top, width - left - 10, height, top_value or max(known or [1]), format_of)
	parts += legend(left, 16, names, colours)
	for number, (title, values) in enumerate(groups):
		x = left + gap / 2 + number * cluster
		for place, name in enumerate(names):
			value = values.get(name)
			if value is None:
				parts.append(text(x + place * bar + bar / 2, top + height - 3, "?", "middle", 10, FAINT))
				continue
			tall = height * value / most
			parts.append(box(x + place * bar + 1, top + height - tall, bar - 2, tall, colours[name],
				"%s, %s: %s" % (name, title, format_of(value))))
		parts.append(text(x + (cluster - gap) / 2, top + height + 18, title, "middle"))
	return picture(width, top + height + 28, parts, label)


def curves(points, names, colours, label, xlabel, borders=()):
	"""points: {name: [(x, y)]}, x from 1 on a binary logarithmic scale; dashed lines at the borders."""
	left, top, width, height = 70, 34, 560, 260
	xs = sorted({x for series in points.values() for x, _ in series})
	known = [y for series in points.values() for _, y in series]
	parts, most = axis(left, top, width, height, max(known or [1]), short)
	span = math.log2(max(xs)) if xs and max(xs) > 1 else 1

	def across(x):
		return left + 14 + (width - 28) * math.log2(x) / span

	for x in borders:
		parts.append(line(across(x), top, across(x), top + height, FAINT, "3 4"))
	parts += legend(left, 16, names, colours)
	parts += [text(across(x), top + height + 16, "%d" % x, "middle", 11, FAINT) for x in xs]
	parts.append(text(left + width / 2, top + height + 34, xlabel, "middle"))
	for name in names:
		places = [(across(x), top + height - height * y / most, x, y) for x, y in points.get(name, [])]
		path = " ".join("%.1f,%.1f" % place[:2] for place in places)
		parts.append('<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>' % (path, colours[name]))
		for x, y, threads, value in places:
			parts.append('<circle cx="%.1f" cy="%.1f" r="3.5" fill="%s"><title>%s</title></circle>' % (x, y,
				colours[name], escape("%s, %d: %s" % (name, threads, short(value)))))
	return picture(left + width + 10, top + height + 42, parts, label)


def shade(part):
	"""White at 0 to deep blue at 1."""
	part = min(max(part, 0), 1)
	return "#%02x%02x%02x" % tuple(round(255 + (end - 255) * part) for end in (20, 82, 140))


def heat(values, rows, columns, title, column_title, format_of, label, most=None):
	"""values: {(row, column): number}; shaded up to `most`, or each row by its own sum where most is None."""
	cell = 46 if len(columns) <= 8 else max(12, 368 // len(columns))
	left, top = 44, 44
	parts = [text(left, 16, title, size=13), text(left, 34, column_title, size=10, colour=FAINT)]
	for number, row in enumerate(rows):
		y = top + 14 + number * cell
		total = most or sum(values.get((row, column), 0) for column in columns) or 1
		parts.append(text(left - 8, y + cell / 2 + 4, row, "end", 11, FAINT))
		for place, column in enumerate(columns):
			value = values.get((row, column), 0)
			x, part = left + place * cell, value / total
			shown = format_of(value if most else part)
			parts.append(box(x, y, cell - 1, cell - 1, shade(part), "%s from %s: %s" % (row, column, shown), GRID))
			if cell >= 30:
				ink = "#ffffff" if part > 0.55 else INK
				parts.append(text(x + cell / 2, y + cell / 2 + 4, shown, "middle", 10, ink))
	parts += [text(left + place * cell + cell / 2, top + 8, column, "middle", 11, FAINT)
		for place, column in enumerate(columns)]
	return picture(left + max(cell * len(columns), 150) + 8, top + 20 + cell * len(rows), parts, label)
