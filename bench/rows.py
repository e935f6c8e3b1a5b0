# SPDX-License-Identifier: MIT
"""Rows whose subject is any program: bench/measure runs it, and its time and peak are those of all its processes."""

import fnmatch
import os
import re
import shutil

import benchlib


class Row:
	"""
	A command, in whose words {programs}, {work} and {tmp} stand for folders, or `load:NAME` for one of bench/load.

	Time is wall time, unless `time` says cpu_s; with `rate`, a pattern, the time of one operation: the program says how
	many, in units of `unit`, it did in `seconds`; own_time if that is CPU time already. quick: the words for a short
	look, where the work can be less.
	"""

	def __init__(self, name, words, quick=None, time="cost_s", rate=None, unit=1, seconds=1, env=None, stdin=None,
			own_time=False):
		self.name = name
		self.words = words.split()
		self.quick = (quick or words).split()
		self.time = time
		self.rate = rate
		self.unit = unit
		self.seconds = seconds
		self.env = env or {}
		self.stdin = stdin
		self.own_time = own_time

	def is_load(self):
		return self.words[0].startswith("load:")


class Place:
	"""Where things are: the built programs and loads, the folder of this file's work, a temporary one."""

	def __init__(self, args, tmp):
		self.dirs = benchlib.build_dirs(args.build)
		self.folders = {"programs": getattr(args, "programs", None) or "", "work": os.path.join(benchlib.HERE, "work"),
			"tmp": tmp}
		self.tool = benchlib.find_built(self.dirs, "bench/measure")
		if not self.tool:
			raise SystemExit("bench/measure is not built (looked in %s): make bench-programs" % ", ".join(self.dirs))

	def fill(self, text):
		return text.format(**self.folders)

	def command(self, row, quick=False):
		"""The words of a row with its program's path, or None where there is none."""
		words = [self.fill(word) for word in (row.quick if quick else row.words)]
		if row.is_load():
			path = benchlib.find_built(self.dirs, "bench/load/" + words[0][len("load:"):])
		else:
			path = shutil.which(words[0], path="/usr/local/bin:/usr/bin:/bin:/usr/sbin")
		return [path] + words[1:] if path else None


def run_once(place, row, command, allocator, timeout):
	if row.is_load():
		result = benchlib.run_load(command[0], command[1:], allocator, timeout)
		return dict(result, cost_s=result["wall_s"], cpu_cost_s=result["cpu_s"])
	env = {key: place.fill(value) for key, value in row.env.items()}
	with open(place.fill(row.stdin) if row.stdin else os.devnull, encoding="utf-8") as stdin:
		result, said = benchlib.measure_program(place.tool, command, allocator, timeout, stdin=stdin, env=env,
			cwd=place.folders["tmp"])
	result.update(cost_s=result["wall_s"], cpu_cost_s=result["cpu_s"])
	if row.rate:
		found = re.search(row.rate, said)
		if not found or float(found.group(1)) <= 0:
			raise benchlib.Failure("it names no rate: " + said.strip()[-80:])
		result.update(ops=float(found.group(1)) * row.unit, cost_s=row.seconds,
			cpu_cost_s=result["cpu_s"] / result["wall_s"] * row.seconds)
	return result


def run_row(place, row, allocators, args, run_one=run_once):
	command = place.command(row, args.quick)
	cells = benchlib.run_rounds(allocators, args.rounds,
		lambda allocator: run_one(place, row, command, allocator, args.timeout))
	return {"command": row.quick if args.quick else row.words, "time": row.time, "own_time": row.own_time,
		"memory": "peak", "cells": cells}


def chosen(rows, pattern):
	if not pattern:
		return rows
	wanted = pattern.split(",")
	for text in wanted:
		if not any(fnmatch.fnmatchcase(row.name, text) for row in rows):
			raise SystemExit("no row is called %s (there are: %s)" % (text, ", ".join(row.name for row in rows)))
	return [row for row in rows if any(fnmatch.fnmatchcase(row.name, text) for text in wanted)]


def present(place, rows):
	"""The rows that can run here; of the others it is said."""
	found = [row for row in rows if place.command(row)]
	missing = [row.name for row in rows if row not in found]
	if missing:
		print("not there, left out: %s" % ", ".join(missing))
	return found


def by_cpu(report):
	"""The same samples with CPU time in place of wall time: for a machine that others use as well."""
	for row in report["workloads"].values():
		if row["time"] == "cost_s" and not row.get("own_time"):
			row["time"] = "cpu_cost_s"
	return report
