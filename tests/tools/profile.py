#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What quarry prof has written, read again: profile.py COMMAND BASE [ARGUMENT...]

    truth BASE MEAN FILE [labelled]
                            estimates by call site against the lines "SITE SIZE LIVE ALL" of FILE, chosen MEAN bytes apart;
                            and the labels of those that a typed cache and a heap serve
    sound BASE VIEW SITE... the three forms agree with each other, and each site is in them

The protocol buffer is decoded by the field numbers of profile.proto, unknown ones being an error.
"""

import math
import re
import sys
import xml.etree.ElementTree as xml

# Message -> field -> (name, kind): kinds are a number, a packed list of numbers, a text, or a message.
FIELDS = {
	"Profile": {1: ("sample_type", "ValueType"), 2: ("sample", "Sample"), 3: ("mapping", "Mapping"),
		4: ("location", "Location"), 5: ("function", "Function"), 6: ("string", "text"), 9: ("time", "number"),
		10: ("duration", "number"), 11: ("period_type", "ValueType"), 12: ("period", "number"),
		14: ("default_type", "number")},
	"ValueType": {1: ("type", "number"), 2: ("unit", "number")},
	"Sample": {1: ("location", "packed"), 2: ("value", "packed"), 3: ("label", "Label")},
	"Label": {1: ("key", "number"), 2: ("text", "number")},
	"Mapping": {1: ("id", "number"), 2: ("start", "number"), 3: ("limit", "number"), 4: ("offset", "number"),
		5: ("file", "number"), 7: ("has_functions", "number")},
	"Location": {1: ("id", "number"), 2: ("mapping", "number"), 3: ("address", "number"), 4: ("line", "Line")},
	"Line": {1: ("function", "number"), 2: ("line", "number")},
	"Function": {1: ("id", "number"), 2: ("name", "number"), 3: ("system_name", "number"), 4: ("file", "number")},
}
TYPES = [("alloc_objects", "count"), ("alloc_space", "bytes"), ("inuse_objects", "count"), ("inuse_space", "bytes")]
SIGMAS = 5


def varint(data, at):
	value = shift = 0
	while True:
		byte = data[at]
		value |= (byte & 0x7f) << shift
		shift += 7
		at += 1
		if byte < 0x80:
			return value, at


def packed(data):
	values, at = [], 0
	while at < len(data):
		value, at = varint(data, at)
		values.append(value)
	return values


def is_list(name, kind):
	return kind != "number" and name != "period_type"


def decode(message, data):
	fields = {name: [] if is_list(name, kind) else 0 for name, kind in FIELDS[message].values()}
	at = 0
	while at < len(data):
		key, at = varint(data, at)
		name, kind = FIELDS[message][key >> 3]
		if key & 7 == 0:
			value, at = varint(data, at)
			assert kind == "number", name
		else:
			assert key & 7 == 2 and kind != "number", name
			length, at = varint(data, at)
			value, at = data[at:at + length], at + length
			assert len(value) == length
			if kind == "text":
				value = value.decode()
			else:
				value = packed(value) if kind == "packed" else decode(kind, value)
		if kind == "packed":
			fields[name] += value
		elif is_list(name, kind):
			fields[name].append(value)
		else:
			fields[name] = value
	return fields


def load(path):
	"""Checks what must hold of every profile; returns it with stacks of names, innermost first, and values."""
	with open(path, "rb") as file:
		profile = decode("Profile", file.read())
	text = profile["string"]
	assert text[0] == ""
	assert [(text[t["type"]], text[t["unit"]]) for t in profile["sample_type"]] == TYPES
	assert text[profile["default_type"]] == "inuse_space" and text[profile["period_type"]["unit"]] == "bytes"
	functions = {function["id"]: function for function in profile["function"]}
	locations = {location["id"]: location for location in profile["location"]}
	mappings = {mapping["id"]: mapping for mapping in profile["mapping"]}
	assert 0 not in functions and 0 not in locations and len(locations) == len(profile["location"])
	for location in locations.values():
		mapping = mappings.get(location["mapping"])
		assert mapping is None or mapping["start"] <= location["address"] < mapping["limit"]
	profile["stacks"] = [([text[functions[locations[place]["line"][0]["function"]]["name"]] for place in sample["location"]],
		sample["value"]) for sample in profile["sample"]]
	assert all(len(values) == len(TYPES) for _, values in profile["stacks"])
	profile["labels"] = {(names[0] if names else "", text[label["key"]], text[label["text"]])
		for (names, _), sample in zip(profile["stacks"], profile["sample"]) for label in sample["label"]}
	return profile


def sums(profile, site):
	chosen = [values for names, values in profile["stacks"] if names and names[0] == site]
	return [sum(column) for column in zip(*chosen)] if chosen else [0] * len(TYPES)


def check_truth(base, mean, path, labelled):
	profile = load(base + ".pb")
	bad = 0
	with open(path, encoding="utf-8") as file:
		lines = [line.split() for line in file if line.startswith("site_")]
	assert len(lines) == 6
	if labelled:
		assert profile["labels"] == {("site_object", "cache", "orders"), ("site_tenant", "heap", "tenant 1")}, profile["labels"]
	for site, nbytes, live, blocks in lines:
		nbytes = int(nbytes)
		p = -math.expm1(-nbytes / mean)
		found = sums(profile, site)
		for n, blocks_found, nbytes_found in ((int(blocks), found[0], found[1]), (int(live), found[2], found[3])):
			sigma = math.sqrt(n * (1 - p) / p)
			off = max(abs(blocks_found - n), abs(nbytes_found / nbytes - n))
			print("%-12s %7d blocks of %6d bytes, estimated %7d and %10d bytes, off by %.2f standard deviations"
				% (site, n, nbytes, blocks_found, nbytes_found, off / sigma if sigma else off))
			bad += off > SIGMAS * sigma + 1
	return bad


def check_sound(base, view, sites):
	profile = load(base + ".pb")
	value = TYPES.index(("inuse_space" if view == "live" else "alloc_space", "bytes"))
	whole = sum(values[value] for _, values in profile["stacks"])
	folded = {}
	with open(base + ".folded", encoding="utf-8") as file:
		for line in file:
			stack, number = line.rstrip("\n").rsplit(" ", 1)
			folded[stack] = folded.get(stack, 0) + int(number)
	expected = {}
	for names, values in profile["stacks"]:
		stack = ";".join(reversed([name.replace(";", ":") for name in names])) or "(no stack)"
		if values[value]:
			expected[stack] = expected.get(stack, 0) + values[value]
	assert folded == expected, (folded, expected)
	bars = [bar for bar in xml.parse(base + ".svg").getroot().iter() if bar.tag.endswith("}title")]
	widest = [bar.text for bar in bars if re.fullmatch(r"all: .*, 100\.00 %", bar.text)]
	assert len(widest) == 1 and whole > 0
	for site in sites:
		assert sums(profile, site)[value] > 0, site
		assert any(site in stack.split(";") for stack in folded), site
		assert any(bar.text.startswith(site + ": ") for bar in bars), site
	return 0


def main():
	command, base, *rest = sys.argv[1:]
	if command == "truth":
		return 1 if check_truth(base, int(rest[0]), rest[1], len(rest) > 2) else 0
	return check_sound(base, rest[0], rest[1:])


if __name__ == "__main__":
	sys.exit(main())
