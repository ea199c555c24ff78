// Which CPU features guests get here, by the names of a guest's /proc/cpuinfo.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace ebb::qemu {

// The flags of the first processor, sorted, each once; empty: the text names none. `cpuinfo`: of Linux's /proc/cpuinfo.
std::vector<std::string> parse_cpu_flags(std::string_view cpuinfo);

// What emulation gives every guest: the models that qemu_command.cpp names have these in common.
std::vector<std::string> emulated_cpu_features();

}  // namespace ebb::qemu
