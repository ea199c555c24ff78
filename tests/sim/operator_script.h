// What an operator types, and what he sees: a commented script of `ebb` commands and of what befalls the fleet, with the output beside
// each command. tests/scenarios/README.md tells how to write one.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"

namespace ebb::fleet_sim {

struct OperatorScriptRun {
  std::string transcript;               // the script, with the output that there was
  std::vector<std::string> violations;  // of the checkers
};

// invalid: a line is not understood. `on_note`: everything that happens.
Result<OperatorScriptRun> play_operator_script(const std::string& script,
                                               std::function<void(std::string_view)> on_note = {});

}  // namespace ebb::fleet_sim
