// SPDX-License-Identifier: MIT
// Work for a C++ compiler: much of the standard library, and a little code that instantiates it.
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <functional>
#include <future>
#include <iostream>
#include <map>
#include <random>
#include <regex>
#include <unordered_map>
#include <variant>

std::map<std::string, std::variant<int, std::vector<std::string>>> words_of(const std::string &text)
{
	std::map<std::string, std::variant<int, std::vector<std::string>>> found;
	const std::regex word("([a-z]+)([0-9]*)");

	for (std::sregex_iterator at(text.begin(), text.end(), word), end; at != end; ++at)
		found[at->str(1)] = std::vector<std::string>{at->str(2)};
	return found;
}
