// `ebb-sim fleet`: the words of its command line, and what becomes of them.
#pragma once
#include <span>
#include <string_view>
#include <vector>

#include "fleet_maker.h"
#include "what_if.h"

namespace ebb::what_if {

struct WhatIfCommand {
  std::string export_file;  // else a fleet is made
  MakeOptions make;
  WhatIfOptions options;
  std::string json_file;
};

// invalid: names the word that is at fault.
Result<WhatIfCommand> read_command(const std::vector<std::string_view>& words);

// The process's exit status: 0 if all went well; 1 if something was violated, or a drain neither ended nor says why; 2 for wrong input.
int run_command(std::span<char*> words);

}  // namespace ebb::what_if
