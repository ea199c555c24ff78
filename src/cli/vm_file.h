// A VM in a file: in TOML as people write it (docs/vms.md), or in JSON as the API takes it.
#pragma once
#include "cli/commands.h"

namespace ebb {

// `name` stands for the file in errors, and tells the format: JSON if it ends in .json. Paths that the file names begin
// at its folder.
Result<RunOptions> parse_vm_file(std::string text, std::string name);

}  // namespace ebb
