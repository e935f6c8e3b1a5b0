# SPDX-License-Identifier: MIT
"""A machine with NUMA nodes: qemu's software emulation, a Debian kernel, and an initial file system made here.

Needs neither root nor KVM. The guest's processors run by turns in one thread, so it is fit for placement, not for time.
"""

import glob
import gzip
import io
import os
import pwd
import re
import subprocess
import tarfile
import time

EMULATOR = "qemu-system-x86_64"
META_PACKAGE = "linux-image-cloud-amd64"



class Missing(Exception):
	"""Something is not installed; the text says what, and in which package it is."""


# === kernel ==========================================================================================================


def newest(pattern):
	def release(path):
		return [int(number) for number in re.findall(r"\d+", os.path.basename(path))]
	found = [path for path in glob.glob(pattern) if os.access(path, os.R_OK)]
	return max(found, key=release) if found else None


def download_kernel(directory):
	"""From the package that the meta package depends on, fetched and not installed: no right is needed."""
	depends = subprocess.run(["apt-cache", "depends", META_PACKAGE], capture_output=True, text=True, check=True).stdout
	match = re.search(r"Depends: (linux-image-\S+)", depends)
	if match is None:
		raise OSError(f"no candidate for {META_PACKAGE}")
	os.makedirs(directory, exist_ok=True)
	user = pwd.getpwuid(os.getuid()).pw_name
	subprocess.run(["apt-get", "-q", "-o", f"APT::Sandbox::User={user}", "download", match.group(1)],
		cwd=directory, capture_output=True, check=True, timeout=120)
	for package in glob.glob(os.path.join(directory, "linux-image-*.deb")):
		contents = subprocess.run(["dpkg-deb", "--fsys-tarfile", package], capture_output=True, check=True).stdout
		with tarfile.open(fileobj=io.BytesIO(contents)) as archive:
			for member in archive.getmembers():
				if os.path.basename(member.name).startswith("vmlinuz-"):
					member.name = os.path.basename(member.name)
					archive.extract(member, directory)
		os.unlink(package)


def find_kernel(directory):
	"""$QUARRY_NUMA_KERNEL, an installed cloud kernel, one unpacked in the directory before, or one downloaded now."""
	named = os.environ.get("QUARRY_NUMA_KERNEL")
	if named:
		return named
	unpacked = os.path.join(directory, "vmlinuz-*-cloud-amd64")
	found = newest("/boot/vmlinuz-*-cloud-amd64") or newest(unpacked)
	if found is None:
		try:
			download_kernel(directory)
		except (OSError, subprocess.SubprocessError) as error:
			raise Missing(f"no kernel; Debian package: {META_PACKAGE} ({error})") from error
		found = newest(unpacked)
	if found is None:
		raise Missing(f"no kernel; Debian package: {META_PACKAGE}")
	return found


# === file system =====================================================================================================


class Archive:
	"""An initial file system, in cpio's format "newc", compressed. Everything belongs to root and may be run."""

	def __init__(self):
		self.parts = []
		self.names = set()

	def add(self, name, data=b"", mode=0o100755):
		name = name.strip("/")
		if name in self.names:
			return
		self.names.add(name)
		if "/" in name:
			self.add(os.path.dirname(name), mode=0o40755)
		self.entry(name, data, mode)

	def entry(self, name, data, mode):
		encoded = name.encode() + b"\0"
		fields = (len(self.parts) + 1, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
		header = b"070701" + b"".join(b"%08x" % field for field in fields)
		for part in (header + encoded, data):
			self.parts.append(part + b"\0" * (-len(part) % 4))

	def add_file(self, path, name=None):
		with open(path, "rb") as file:
			self.add(name or path, file.read())

	def add_program(self, path, name=None):
		"""With the loader and the libraries it needs, at the places where they are here."""
		self.add_file(path, name)
		listing = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
		for library in re.findall(r"(/\S+) \(0x", listing):
			self.add_file(library)

	def write(self, path):
		self.entry("TRAILER!!!", b"", 0)
		with open(path, "wb") as file:
			file.write(gzip.compress(b"".join(self.parts), 1))


# === machine =========================================================================================================


class Machine:
	"""Nodes with their memory (MiB) and CPUs, one socket per node that has CPUs; distances[i][j] between nodes.

	speeds[i][j] are latency (ns) and bandwidth (GiB/s) of node j's memory for the CPUs of node i, for the firmware's
	table of such figures (HMAT). A node without CPUs then belongs to those of the first.
	"""

	def __init__(self, nodes, distances=None, speeds=None):
		self.nodes = nodes
		self.distances = distances
		self.speeds = speeds

	def speed_arguments(self):
		for source, row in enumerate(self.speeds):
			for target, (latency, bandwidth) in enumerate(row):
				pair = f"hmat-lb,initiator={source},target={target},hierarchy=memory"
				yield from ("-numa", f"{pair},data-type=access-latency,latency={latency}")
				yield from ("-numa", f"{pair},data-type=access-bandwidth,bandwidth={bandwidth}G")

	def arguments(self):
		ncpus = sum(cpus for _, cpus in self.nodes)
		sockets = sum(cpus > 0 for _, cpus in self.nodes)
		first = 0
		arguments = ["-m", f"{sum(mib for mib, _ in self.nodes)}M",
			"-smp", f"{ncpus},sockets={sockets},cores={ncpus // sockets},threads=1"]
		for number, (mib, cpus) in enumerate(self.nodes):
			of_node = f"cpus={first}-{first + cpus - 1}," if cpus else ""
			if mib:
				arguments += ["-object", f"memory-backend-ram,id=memory{number},size={mib}M"]
				of_node += f"memdev=memory{number},"
			if self.speeds:
				of_node += f"initiator={number if cpus else 0},"
			arguments += ["-numa", f"node,nodeid={number},{of_node}".rstrip(",")]
			first += cpus
		for source, row in enumerate(self.distances or []):
			for target, distance in enumerate(row):
				if source != target:
					arguments += ["-numa", f"dist,src={source},dst={target},val={distance}"]
		if self.speeds:
			arguments += ["-machine", "q35,hmat=on", *self.speed_arguments()]
		return arguments


def read_lines(path):
	try:
		with open(path, encoding="utf-8", errors="replace") as file:
			return file.read().splitlines()
	except FileNotFoundError:
		return []


def run_emulator(command, log, report, seconds, silence):
	"""Until it ends, which it is made to after so many seconds, or when nothing was reported in those of silence."""
	start = time.monotonic()
	try:
		with open(log, "w", encoding="utf-8") as output:
			emulator = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
	except FileNotFoundError as error:
		raise Missing(f"{EMULATOR} is missing; Debian package: qemu-system-x86") from error
	try:
		while emulator.poll() is None:
			passed = time.monotonic() - start
			if passed > seconds or (passed > silence and not read_lines(report)):
				break
			time.sleep(0.1)
	finally:
		emulator.kill()
		emulator.wait()


def boot(machine, kernel, archive, jobs, seconds, logs, silence=None):
	"""Run a list of jobs in a guest, for so many seconds at most. Returns what they reported, line by line.

	With silence given, a guest that reports nothing in that time is booted once more: a kernel is up in 3 to 5
	seconds, or some times that on a busy machine, and one that hangs before is the emulator's fault.
	"""
	report, console = f"{logs}.report", f"{logs}.console"
	# Moving pages by itself is the kernel's; what is asked here is where the allocator put them.
	append = f"console=ttyS0 quiet panic=1 no_timer_check numa_balancing=disable jobs={jobs}"
	command = [EMULATOR, "-accel", "tcg,thread=single", "-nodefaults", "-display", "none", "-no-reboot",
		"-serial", f"file:{console}", "-serial", f"file:{report}", *machine.arguments(),
		"-kernel", kernel, "-initrd", archive, "-append", append]
	for quiet in (silence or seconds, seconds):
		for old in (report, console):
			if os.path.exists(old):
				os.unlink(old)
		start = time.monotonic()
		run_emulator(command, f"{logs}.emulator", report, seconds, quiet)
		lines = read_lines(report)
		seconds -= time.monotonic() - start
		if lines or seconds <= 0:
			break
	return lines
