# SPDX-License-Identifier: MIT
"""What the runners share: finding allocators and programs, running one, rounds, facts of the machine."""

import datetime
import glob
import hashlib
import json
import os
import re
import resource
import signal
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(HERE)

# Debian's peers, by the name of the library to preload.
PEERS = (
	("jemalloc", "libjemalloc.so.2"),
	("mimalloc", "libmimalloc.so.2"),
	("tcmalloc", "libtcmalloc_minimal.so.4"),
	("tbbmalloc", "libtbbmalloc_proxy.so.2"),
)

# Variables that would change an allocator's behaviour behind the reader's back; --env sets them on purpose.
CLEARED = re.compile(r"^(LD_|MALLOC_|GLIBC_TUNABLES$|MIMALLOC_|TCMALLOC_|TBB_|JE_|QUARRY_)")


class Allocator:
	"""A name, the library to preload (None: glibc's own), and variables of the environment it runs with."""

	def __init__(self, name, path=None, reference=False):
		self.name = name
		self.path = os.path.abspath(path) if path else None
		self.reference = reference
		self.version = None
		self.env = {}

	def environment(self):
		env = {k: v for k, v in os.environ.items() if not CLEARED.match(k)}
		env.update(self.env)
		if self.path:
			env["LD_PRELOAD"] = self.path
		return env

	def facts(self):
		return {"path": self.path, "version": self.version or version_of(self), "sha256": digest_of(self.path),
			"env": self.env, "reference": self.reference}


class Failure(Exception):
	"""A run that gave no result; the text says why."""


def output_of(*command, cwd=None):
	try:
		done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True)
	except (OSError, subprocess.CalledProcessError):
		return ""
	return done.stdout.strip()


def find_library(soname):
	found = re.search(r"^\s*%s .*=> (\S+)" % re.escape(soname), output_of("ldconfig", "-p") or
		output_of("/sbin/ldconfig", "-p"), re.M)
	if found:
		return found.group(1)
	for pattern in ("/usr/lib/*/", "/usr/lib64/", "/usr/local/lib/", "/usr/lib/"):
		for path in glob.glob(pattern + soname):
			return path
	return None


def digest_of(path):
	"""What a version cannot tell: whether two files of samples come from the same build."""
	if not path:
		return None
	with open(path, "rb") as file:
		return hashlib.sha256(file.read()).hexdigest()


def git_describe():
	return output_of("git", "describe", "--always", "--dirty", "--tags", cwd=TOP)


def version_of(allocator):
	if allocator.name == "glibc" and not allocator.path:
		return output_of("getconf", "GNU_LIBC_VERSION")
	real = os.path.realpath(allocator.path)
	if os.path.basename(real).startswith("libquarry"):
		return git_describe() or os.path.basename(real)
	for path in (allocator.path, real, real.replace("/usr/lib/", "/lib/", 1)):
		owner = output_of("dpkg-query", "-S", path).split(":")[0]
		if owner:
			return output_of("dpkg-query", "-W", "-f", "${Package} ${Version}", owner)
	return os.path.basename(real)


def build_dirs(given):
	"""Where built programs and libraries may lie, the likeliest first."""
	named = given or os.environ.get("QUARRY_BUILD_DIR")
	if named:
		return [os.path.abspath(named)]
	return [os.getcwd(), TOP] + sorted(glob.glob(os.path.join(TOP, "build*")))


def find_built(dirs, relative):
	for directory in dirs:
		path = os.path.join(directory, relative)
		if os.path.isfile(path):
			return path
	return None


def find_allocators(args):
	"""All that are there, in a fixed order, then narrowed to --allocators."""
	dirs = build_dirs(args.build)
	quarry = args.lib or find_built(dirs, "lib/.libs/libquarry_malloc.so")
	found = [Allocator("glibc")]
	if quarry:
		found.append(Allocator("quarry", quarry))
	found += listed_peers(args.peers) if args.peers else debian_peers()
	for name, path in (split_pair(text, "=") for text in args.peer):
		found.append(Allocator(name, path))
	floor = args.floor and find_built(dirs, "bench/micro/.libs/libfloor.so")
	if args.floor and not floor:
		raise SystemExit("the floor is not built: make bench/micro/libfloor.la")
	if floor:
		found.append(Allocator("floor", floor, reference=True))
	return narrow(found, args)


def debian_peers():
	paths = [(name, find_library(soname)) for name, soname in PEERS]
	return [Allocator(name, path) for name, path in paths if path]


def listed_peers(path):
	"""What a file of build-field lists: by name the path, and perhaps the version and variables."""
	peers = []
	with open(path, encoding="utf-8") as file:
		for name, facts in json.load(file).items():
			peers.append(Allocator(name, os.path.join(os.path.dirname(path), facts["path"])))
			peers[-1].version = facts.get("version")
			peers[-1].env.update(facts.get("env", {}))
	return peers


def narrow(found, args):
	names = [allocator.name for allocator in found]
	for name in set(names):
		if names.count(name) > 1:
			raise SystemExit("two allocators are called %s" % name)
	for allocator in found:
		if allocator.path and not os.path.isfile(allocator.path):
			raise SystemExit("%s: no such library: %s" % (allocator.name, allocator.path))
	for name, setting in (split_pair(text, ":") for text in args.env):
		if name not in names:
			raise SystemExit("--env: no allocator %s" % name)
		key, value = split_pair(setting, "=")
		found[names.index(name)].env[key] = value
	if args.allocators:
		wanted = args.allocators.split(",")
		missing = [name for name in wanted if name not in names]
		if missing:
			raise SystemExit("not found: %s (there are: %s)" % (", ".join(missing), ", ".join(names)))
		found = [allocator for allocator in found if allocator.name in wanted or allocator.reference]
	return found


def split_pair(text, mark):
	left, sign, right = text.partition(mark)
	if not sign or not left:
		raise SystemExit("expected NAME%sVALUE: %s" % (mark, text))
	return left, right


def add_allocator_options(parser):
	parser.add_argument("--build", metavar="DIR", help="build directory (default: QUARRY_BUILD_DIR, the current "
		"directory, the source tree and its build*/)")
	parser.add_argument("--lib", metavar="PATH", help="the Quarry library to preload")
	parser.add_argument("--peer", metavar="NAME=PATH", action="append", default=[], help="one more allocator")
	parser.add_argument("--peers", metavar="FILE", help="the allocators of a file that build-field wrote, in place of "
		"those that the system has")
	parser.add_argument("--env", metavar="NAME:VAR=VALUE", action="append", default=[],
		help="a variable for one allocator's runs, such as quarry:QUARRY_CONF=...")
	parser.add_argument("--allocators", metavar="A,B", help="only these")
	parser.add_argument("--floor", action="store_true", help="also the barest free list (for pair loads only)")


def end_of(returncode):
	if returncode < 0:
		try:
			return "killed by %s" % signal.Signals(-returncode).name
		except ValueError:
			return "killed by signal %d" % -returncode
	return "exit status %d" % returncode


def unwind_when_terminated():
	"""SIGTERM ends this process by an exception, so that programs which it started are ended on the way out."""
	def end(number, _):
		signal.signal(number, signal.SIG_IGN)
		sys.exit(128 + number)

	signal.signal(signal.SIGTERM, end)


def run_program(command, allocator, timeout, stdin=subprocess.DEVNULL, cwd=None, cpus=None):
	"""Runs command under allocator, on these CPUs; its stdout and stderr, or Failure. No core files.

	Allocators count the CPUs that they may use: to give cpus is not for what is measured.
	"""
	def prepare():
		resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
		if cpus:
			os.sched_setaffinity(0, cpus)

	try:
		started = subprocess.Popen(command, env=allocator.environment(), stdin=stdin, cwd=cwd, text=True,
			stdout=subprocess.PIPE, stderr=subprocess.PIPE, errors="replace", preexec_fn=prepare,
			start_new_session=True)
	except OSError as error:
		raise Failure(str(error)) from None
	with started:
		try:
			stdout, stderr = started.communicate(timeout=timeout)
		except subprocess.TimeoutExpired:
			os.killpg(started.pid, signal.SIGKILL)
			raise Failure("no end within %d s" % timeout) from None
		except BaseException:
			os.killpg(started.pid, signal.SIGKILL)
			raise
	if started.returncode:
		words = stderr.strip().splitlines()
		raise Failure(end_of(started.returncode) + (": " + words[-1][:200] if words else ""))
	if "cannot be preloaded" in stderr:
		raise Failure("the library could not be preloaded")
	return subprocess.CompletedProcess(command, 0, stdout, stderr)


def run_load(program, words, allocator, timeout):
	"""One run of one load: its result as a dictionary, or Failure."""
	done = run_program([program] + words, allocator, timeout)
	try:
		result = json.loads(done.stdout)
	except ValueError:
		raise Failure("its output is no result: " + done.stdout[:80].strip()) from None
	check_origin(result, allocator)
	return result


def measure_program(tool, command, allocator, timeout, **where):
	"""One run of any program, by bench/measure: its figures as a dictionary, and its stdout; or Failure."""
	with tempfile.NamedTemporaryFile("r", prefix="quarry-bench-") as file:
		# A program may be linked with an allocator, as Debian's redis with jemalloc: libc's then has to go first too.
		settings = dict(allocator.env, LD_PRELOAD=allocator.path or "libc.so.6")
		settings.update(where.pop("env", {}))
		words = [tool, file.name] + ["%s=%s" % setting for setting in settings.items()] + ["--"] + command
		done = run_program(words, Allocator("glibc"), timeout, **where)
		try:
			result = json.loads(file.read())
		except ValueError:
			raise Failure("no figures: " + done.stderr.strip()[-200:]) from None
	if result["end"]:
		raise Failure(": ".join([end_of(result["end"])] + done.stderr.strip().splitlines()[-1:])[:250])
	result.update(ops=1, table_kib=0)
	return result, done.stdout


def rotated(items, by):
	by %= len(items)
	return items[by:] + items[:by]


def run_rounds(allocators, rounds, run_one):
	"""Cells of one row; a round runs each allocator once, beginning with another one each time."""
	cells = {allocator.name: {"runs": [], "failures": []} for allocator in allocators}
	for number in range(rounds):
		for allocator in rotated(allocators, number):
			cell = cells[allocator.name]
			try:
				cell["runs"].append(run_one(allocator))
			except Failure as failure:
				cell["failures"].append(str(failure))
	return cells


def check_origin(result, allocator):
	"""A preload that silently did not take place would pass glibc's figures off as the allocator's."""
	origin = os.path.realpath(result["malloc"])
	if allocator.path and origin != os.path.realpath(allocator.path):
		raise Failure("malloc came from %s" % origin)


def first_line(path):
	try:
		with open(path, encoding="utf-8", errors="replace") as file:
			return file.readline().strip()
	except OSError:
		return ""


def machine_facts():
	model = ""
	memory = 0
	with open("/proc/cpuinfo", encoding="utf-8") as file:
		for line in file:
			if line.startswith(("model name", "CPU part")):
				model = line.split(":", 1)[1].strip()
				break
	with open("/proc/meminfo", encoding="utf-8") as file:
		memory = int(file.readline().split()[1])
	return {
		"cpu": model,
		"cores": len(os.sched_getaffinity(0)),
		"memory_kib": memory,
		"kernel": os.uname().release,
		"arch": os.uname().machine,
		"nodes": len(glob.glob("/sys/devices/system/node/node[0-9]*")) or 1,
		"thp": first_line("/sys/kernel/mm/transparent_hugepage/enabled"),
		"overcommit": first_line("/proc/sys/vm/overcommit_memory"),
		"page_size": os.sysconf("SC_PAGE_SIZE"),
		"libc": output_of("getconf", "GNU_LIBC_VERSION"),
		"git": git_describe(),
		"date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
		"load": first_line("/proc/loadavg"),
	}


def samples(row, cell, kind):
	"""The values of one cell: seconds per operation, or KiB; empty where the row has none."""
	key = row[kind]
	if not key:
		return []
	if kind == "time":
		return [run[key] / run["ops"] for run in cell["runs"]]
	if key == "peak":
		return [run["peak_rss_kib"] - run["table_kib"] for run in cell["runs"]]
	return [run[key] for run in cell["runs"]]


def geometric_mean(values):
	return statistics.geometric_mean(values) if values else None


def spread(values):
	"""Half the distance between the quartiles, relative to the median: how far apart runs of one thing lie."""
	middle = statistics.median(values)
	if len(values) < 2 or not middle:
		return 0.0
	if len(values) < 4:
		return (max(values) - min(values)) / 2 / middle
	quartiles = statistics.quantiles(values, n=4, method="inclusive")
	return (quartiles[2] - quartiles[0]) / 2 / middle


def table(header, rows):
	"""A Markdown table with aligned columns: the first to the left, the others to the right."""
	widths = [max(len(str(row[i])) for row in [header] + rows) for i in range(len(header))]

	def line(cells):
		padded = [str(cell).rjust(width) for cell, width in zip(cells, widths)]
		padded[0] = str(cells[0]).ljust(widths[0])
		return "| " + " | ".join(padded) + " |"

	rule = ["-" * widths[0]] + ["-" * (width - 1) + ":" for width in widths[1:]]
	return "\n".join([line(header), line(rule)] + [line(row) for row in rows])
