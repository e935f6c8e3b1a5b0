# SPDX-License-Identifier: MIT
"""One run of the key-value server under an allocator, with its workers bound, and of its load generator.

The result has the fields of a load (harness.h) as far as they have a meaning here.
"""

import os
import re
import signal
import subprocess
import tempfile

import benchlib


def start(row, program, allocator, log):
	command = [program, "--port", "0", "--threads", str(len(row.cpus)), "--cpus", ",".join(map(str, row.cpus)),
		"--lifetime", "600"]
	return subprocess.Popen(command, env=allocator.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
		stderr=log, text=True)


def stop(server):
	"""It must end by itself and in order."""
	server.send_signal(signal.SIGTERM)
	try:
		status = server.wait(20)
	except subprocess.TimeoutExpired:
		raise benchlib.Failure("the server does not stop") from None
	if status:
		raise benchlib.Failure("the server ended: " + benchlib.end_of(status))


def status_kib(pid, field):
	try:
		with open("/proc/%d/status" % pid, encoding="utf-8") as file:
			found = re.search(r"%s:\s+(\d+) kB" % field, file.read())
	except OSError:
		found = None
	if not found:
		raise benchlib.Failure("the server died")
	return int(found.group(1))


def check_preloaded(pid, allocator):
	"""As benchlib.check_origin: a preload that did not take place must not pass for a result."""
	if not allocator.path:
		return
	with open("/proc/%d/maps" % pid, encoding="utf-8") as file:
		if os.path.realpath(allocator.path) not in file.read():
			raise benchlib.Failure("the server does not have the library")


def figures(text):
	"""kv_load's lines: {phase: {name: value}}."""
	lines = [dict(word.partition("=")[::2] for word in line.split()) for line in text.splitlines()]
	return {line["phase"]: line for line in lines if "phase" in line}


def matrix(pairs):
	"""Nodes and the flat matrix of values, rows by the worker's node, as the loads report pages."""
	counts = {}
	for word in filter(None, pairs.split(",")):
		worker, value, count = map(int, word.split(":"))
		counts[worker, value] = count
	ids = sorted({node for pair in counts for node in pair})
	return ids, [counts.get((worker, value), 0) for worker in ids for value in ids]


def result_of(text, summary, pid, row):
	phases = figures(text)
	churn, where = phases["churn"], phases.get("locality", {})
	ids, pages = matrix(where.get("pairs", ""))
	asked = int(where.get("asked", 0))
	value_lines = int(churn["live_bytes"]) / max(1, int(churn["keys"])) / 64
	result = {"workload": "kv", "ops": int(churn["requests"]), "wall_s": float(churn["seconds"]),
		"p50_us": float(churn["p50_us"]), "p99_us": float(churn["p99_us"]), "threads": len(row.cpus),
		"own_lines": int(churn["requests"]) * value_lines,
		"peak_rss_kib": status_kib(pid, "VmHWM"), "end_rss_kib": status_kib(pid, "VmRSS"), "table_kib": 0,
		"local_share": int(where["local"]) / asked if asked else -1, "node_ids": ids, "pages": pages}
	found = re.search(r"^\s*remote\s+(\d+)", summary, re.M)
	if found:
		result["quarry_remote_frees"] = int(found.group(1))
	found = re.search(r"(\d+) refills, (\d+) flushes", summary)
	if found:
		result["quarry_refills"], result["quarry_flushes"] = map(int, found.groups())
	return result


def load(row, program, port, server, options):
	words = dict(word.split("=") for word in row.words)
	command = [os.path.join(os.path.dirname(program), "kv_load"), "--port", port, "--keys", words["keys"],
		"--milliseconds", words["ms"], "--connections", str(4 * len(row.cpus)), "--threads",
		str(max(1, len(row.cpus) // 2)), "--limit", str(options.timeout), "--locality"]
	with tempfile.TemporaryDirectory() as scratch:
		summary = os.path.join(scratch, "summary")
		done = benchlib.run_program(command + ["--summary", summary], benchlib.Allocator("glibc"), options.timeout + 10,
			cpus=os.sched_getaffinity(0) - set(row.cpus))
		text = ""
		if os.path.exists(summary):
			with open(summary, encoding="utf-8") as file:
				text = file.read()
	return result_of(done.stdout, text, server.pid, row)


def run(row, program, allocator, options):
	with tempfile.TemporaryFile("w+") as log:
		server = start(row, program, allocator, log)
		try:
			found = re.search(r":(\d+),", server.stdout.readline())
			if not found:
				raise benchlib.Failure("the server does not start")
			check_preloaded(server.pid, allocator)
			result = load(row, program, found.group(1), server, options)
			stop(server)
			return result
		finally:
			server.stdout.close()
			if server.poll() is None:
				server.kill()
				server.wait()
