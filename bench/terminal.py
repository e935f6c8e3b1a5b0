# SPDX-License-Identifier: MIT
"""A terminal to run a program on, and a picture of its screen: a pseudo-terminal, the cells that were drawn, an SVG.

Knows of a terminal's sequences those that ncurses sends where TERM is xterm-256color; others are passed over.
"""

import fcntl
import html
import os
import re
import struct
import subprocess
import termios
import threading
import time

TERM = "xterm-256color"
COLOURS = ("#2b303b", "#e06c75", "#98c379", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#dcdfe4")
PAPER, INK, DIM = "#1e222a", "#dcdfe4", "#7f8794"
CELL, LINE, MARGIN = 7.8, 17, 12

# A control sequence, a title, a character set, another escape, or one character.
TOKEN = re.compile(r"\x1b\[([?>]?)([\d;]*)([@-~])|\x1b\][^\x07]*\x07|\x1b[()].|\x1b.|([\s\S])")
PLAIN = (None, None, False, False, False)  # colour, background, bold, dim, reverse


class Screen:
	"""Rows of cells, each a character and its style."""

	def __init__(self, rows, columns):
		self.rows, self.columns = rows, columns
		self.cells = [self.blank_line() for _ in range(rows)]
		self.row = self.column = 0
		self.style = PLAIN
		self.last = " "
		self.rest = ""

	def blank_line(self):
		return [(" ", PLAIN)] * self.columns

	def text(self):
		return "\n".join("".join(char for char, _ in line) for line in self.cells)

	def feed(self, data):
		text = self.rest + data.decode("latin-1")
		# A sequence that is cut off waits for its end.
		start = text.rfind("\x1b")
		whole = start < 0 or TOKEN.match(text, start).end() - start > 2 or text[start + 1:start + 2] not in ("", "[", "]")
		text, self.rest = (text, "") if whole else (text[:start], text[start:])
		for found in TOKEN.finditer(text):
			mark, numbers, final, char = found.groups()
			if char:
				self.put(char)
			elif final and not mark:
				self.control(final, [int(number or 0) for number in numbers.split(";")])

	def put(self, char):
		if char == "\r":
			self.column = 0
		elif char == "\n":
			self.row = min(self.row + 1, self.rows - 1)
		elif char == "\b":
			self.column = max(self.column - 1, 0)
		elif char >= " ":
			if self.column >= self.columns:
				self.row, self.column = min(self.row + 1, self.rows - 1), 0
			self.cells[self.row][self.column] = (char, self.style)
			self.column += 1
			self.last = char

	def control(self, final, numbers):
		count = max(numbers[0], 1)
		line = self.cells[self.row]
		blank = (" ", PLAIN[:1] + self.style[1:2] + PLAIN[2:])
		if final == "H":
			self.row = min(count, self.rows) - 1
			self.column = min(max((numbers + [1])[1], 1), self.columns) - 1
		elif final in "ABCDGd":
			row = {"A": self.row - count, "B": self.row + count, "d": count - 1}.get(final, self.row)
			column = {"C": self.column + count, "D": self.column - count, "G": count - 1}.get(final, self.column)
			self.row, self.column = min(max(row, 0), self.rows - 1), min(max(column, 0), self.columns - 1)
		elif final == "m":
			self.choose(numbers)
		elif final == "b":
			for _ in range(count):
				self.put(self.last)
		elif final in "XP@":
			kept = {"X": line[self.column + count:], "P": line[self.column + count:], "@": line[self.column:]}[final]
			gap = [] if final == "P" else [blank] * count
			self.cells[self.row] = (line[:self.column] + gap + kept + [blank] * count)[:self.columns]
		elif final == "K":
			first, end = {0: (self.column, self.columns), 1: (0, self.column + 1)}.get(numbers[0], (0, self.columns))
			line[first:end] = [blank] * (min(end, self.columns) - first)
		elif final == "J":
			self.control("K", numbers)
			for row in {0: range(self.row + 1, self.rows), 1: range(self.row)}.get(numbers[0], range(self.rows)):
				self.cells[row] = [blank] * self.columns

	def choose(self, numbers):
		colour, background, bold, dim, reverse = self.style
		for number in numbers:
			if number == 0:
				colour, background, bold, dim, reverse = PLAIN
			elif number in (1, 2, 7):
				bold, dim, reverse = bold or number == 1, dim or number == 2, reverse or number == 7
			elif number in (22, 27):
				bold, dim, reverse = bold and number != 22, dim and number != 22, reverse and number != 27
			elif 30 <= number <= 39:
				colour = number - 30 if number < 38 else None
			elif 40 <= number <= 49:
				background = number - 40 if number < 48 else None
		self.style = (colour, background, bold, dim, reverse)


class Session:
	"""A program on a terminal of its own. What it draws is read all the time, and kept where there is a screen."""

	def __init__(self, command, env, rows=40, columns=120, keep=True):
		self.screen = Screen(rows, columns) if keep else None
		self.lock = threading.Lock()
		self.terminal, inside = os.openpty()
		fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
		env = {name: value for name, value in env.items() if name not in ("LINES", "COLUMNS")}
		self.process = subprocess.Popen(command, env=dict(env, TERM=TERM), stdin=inside, stdout=inside, stderr=inside,
			start_new_session=True)
		os.close(inside)
		self.nbytes = 0
		self.reader = threading.Thread(target=self.read, daemon=True)
		self.reader.start()

	def read(self):
		while True:
			try:
				data = os.read(self.terminal, 65536)
			except OSError:  # the program has ended
				return
			with self.lock:
				self.nbytes += len(data)
				if self.screen:
					self.screen.feed(data)

	def keys(self, text):
		os.write(self.terminal, text.encode())

	def shows(self, pattern):
		with self.lock:
			return re.search(pattern, self.screen.text()) is not None if self.screen else self.nbytes > 0

	def wait_for(self, pattern, seconds=20):
		"""Until the pattern is on the screen, or, without one, anything was drawn; false if not so soon."""
		end = time.monotonic() + seconds
		while not self.shows(pattern):
			if time.monotonic() > end or self.process.poll() is not None:
				return False
			time.sleep(0.02)
		return True

	def picture(self, title):
		with self.lock:
			return svg(self.screen, title)

	def close(self):
		if self.process.poll() is None:
			self.process.terminate()
		self.process.wait()
		self.reader.join(5)
		os.close(self.terminal)


# --- pictures ---

def runs(line):
	"""Stretches of one style: (column, text, style)."""
	found = []
	for column, (char, style) in enumerate(line):
		if found and found[-1][2] == style:
			found[-1][1].append(char)
		else:
			found.append((column, [char], style))
	return [(column, "".join(chars), style) for column, chars, style in found]


def colours_of(style):
	"""Ink, and what is behind it or None."""
	colour, background, bold, dim, reverse = style
	ink = COLOURS[colour] if colour is not None else DIM if dim else "#ffffff" if bold else INK
	paper = COLOURS[background] if background is not None else None
	return (paper or PAPER, ink) if reverse else (ink, paper)


def svg(screen, title):
	"""The screen without the empty lines at its end."""
	used = [row for row, line in enumerate(screen.cells) if any(cell != (" ", PLAIN) for cell in line)]
	rows = used[-1] + 1 if used else 1
	width, height = screen.columns * CELL + 2 * MARGIN, rows * LINE + 2 * MARGIN
	parts = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" width="%.0f" height="%.0f" role="img">' % (
		width, height, width, height), "<title>%s</title>" % html.escape(title),
		'<rect width="100%%" height="100%%" rx="6" fill="%s"/>' % PAPER,
		'<g font-family="DejaVu Sans Mono, Liberation Mono, Consolas, monospace" font-size="13" xml:space="preserve">']
	for row, line in enumerate(screen.cells[:rows]):
		for column, text, style in runs(line):
			ink, paper = colours_of(style)
			x, y = MARGIN + column * CELL, MARGIN + row * LINE
			if paper:
				parts.append('<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s"/>' % (x, y, len(text) * CELL, LINE,
					paper))
			if text.strip():
				text = text.rstrip()
				weight = ' font-weight="bold"' if style[2] else ""
				# Whatever the font's own width is, each character lies in its cell.
				parts.append('<text x="%.1f" y="%d" textLength="%.1f" fill="%s"%s>%s</text>' % (x, y + 13,
					len(text) * CELL, ink, weight, html.escape(text).replace(" ", "\u00a0")))
	return "\n".join(parts + ["</g>", "</svg>"]) + "\n"
