#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# g++ under preload: compiler, assembler and linker make the same object and a program that runs.
set -euo pipefail
# shellcheck source=tests/programs/common.sh
. "$(dirname "$0")/common.sh"

need g++ g++

cat >"$work/program.cc" <<'CC'
#include <algorithm>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <regex>
#include <string>
#include <tuple>
#include <unordered_map>
#include <variant>
#include <vector>

template <int N> struct chain {
	using type = std::tuple<std::vector<typename chain<N - 1>::type>, std::map<int, std::string>, int>;
	static int depth() { return chain<N - 1>::depth() + 1; }
};
template <> struct chain<0> {
	using type = int;
	static int depth() { return 0; }
};

template <int... I> static int sum(std::integer_sequence<int, I...>)
{
	return ((chain<I % 12>::depth() * I) + ... + 0);
}

int main()
{
	std::unordered_map<std::string, std::variant<int, double, std::vector<std::string>>> table;
	std::regex word("([a-z]+)([0-9]*)");
	std::smatch match;
	for (int i = 0; i < 2000; i++) {
		std::string text = "word" + std::to_string(i);
		if (std::regex_match(text, match, word))
			table[match[1].str() + std::to_string(i % 50)] =
				std::vector<std::string>(i % 7, match[2].str());
	}
	typename chain<11>::type deep;
	std::vector<std::unique_ptr<std::function<int(int)>>> functions;
	for (int i = 0; i < 100; i++)
		functions.push_back(std::make_unique<std::function<int(int)>>([i](int n) { return n * i; }));
	int total = std::accumulate(functions.begin(), functions.end(), 0, [](int n, auto &f) { return n + (*f)(3); });
	std::printf("%zu %d %d %zu\n", table.size(), total, sum(std::make_integer_sequence<int, 200>()),
		    std::get<0>(deep).size());
}
CC
cd "$work"
g++ -std=gnu++17 -O2 -g -c -o plain.o program.cc
traced g++ -std=gnu++17 -O2 -g -pipe -c -o tested.o program.cc
traced g++ -o program tested.o
expect_ran_preloaded cc1plus
expect_ran_preloaded as
expect_ran_preloaded ld
cmp plain.o tested.o || fail "the objects differ"
expect_same "the program's answer" "50 14850 108652 0" "$(preloaded ./program)"
