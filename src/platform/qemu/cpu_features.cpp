#include "platform/qemu/cpu_features.h"

#include <algorithm>
#include <sstream>

namespace ebb::qemu {

std::vector<std::string> parse_cpu_flags(std::string_view cpuinfo) {
  std::istringstream lines{std::string(cpuinfo)};
  std::vector<std::string> flags;
  for (std::string line; flags.empty() && std::getline(lines, line);) {
    const auto colon = line.find(':');
    if (!line.starts_with("flags") || colon == std::string::npos) continue;
    std::istringstream words(line.substr(colon + 1));
    for (std::string word; words >> word;) flags.push_back(word);
  }
  std::ranges::sort(flags);
  const auto repeated = std::ranges::unique(flags);
  flags.erase(repeated.begin(), repeated.end());
  return flags;
}

// As a guest of QEMU 7.2 sees qemu64, the lesser of the two models.
std::vector<std::string> emulated_cpu_features() {
  return {"apic", "cmov", "cx16",  "cx8", "de",   "fpu",  "fxsr",    "lahf_lm", "lm",
          "mca",  "mce",  "mmx",   "msr", "mtrr", "nx",   "pae",     "pat",     "pge",
          "pni",  "pse",  "pse36", "sep", "sse",  "sse2", "syscall", "tsc"};
}

}  // namespace ebb::qemu
