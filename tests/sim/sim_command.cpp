#include "sim_command.h"

#include <charconv>

#include "base/text.h"

namespace ebb::fleet_sim {
namespace {

Result<std::uint64_t> read_number(std::string_view text) {
  std::uint64_t number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc{} && end == text.data() + text.size()) return number;
  return fail(Code::invalid, "'{}' is no number", text);
}

Status read_slice(std::string_view text, SimCommand& command) {
  const auto slash = std::min(text.find('/'), text.size());
  EBB_TRY(slice, read_number(text.substr(0, slash)));
  EBB_TRY(slices, read_number(text.substr(std::min(slash + 1, text.size()))));
  if (slices == 0) return fail(Code::invalid, "'{}' has no slices", text);
  command.slice = slice, command.slices = slices;
  return {};
}

// "freezing/source_agent/vm-1"
Result<Kill> read_kill(std::string_view text) {
  auto parts = split(text, '/');
  if (parts.size() != 3) return fail(Code::invalid, "'{}' is not PHASE/VICTIM/VM", text);
  EBB_TRY(phase, json::read<Phase>(json::Value(parts[0])));
  EBB_TRY(victim, json::read<Victim>(json::Value(parts[1])));
  return Kill{phase, victim, VmId(std::string(parts[2]))};
}

// An option that takes a value.
Status read_option(std::string_view name, std::string_view value, SimCommand& command) {
  if (name == "--slice") return read_slice(value, command);
  if (name == "--script") {
    EBB_TRY(script, json::read<Script>(json::Value(value)));
    command.script = script;
    return {};
  }
  if (name == "--kill") {
    EBB_TRY(kill, read_kill(value));
    command.kill = kill;
    return {};
  }
  EBB_TRY(number, read_number(value));
  if (name == "--seeds")
    command.seeds = number;
  else if (name == "--first")
    command.first = number;
  else if (name == "--crash-point")
    command.crash_point = number;
  else
    return fail(Code::invalid, "there is no option '{}'", name);
  return {};
}

}  // namespace

FleetSimOptions::Workers SimCommand::kind() const {
  return sketched ? FleetSimOptions::Workers::sketched : FleetSimOptions::Workers::production;
}

Result<SimCommand> read_command(std::span<const std::string_view> words) {
  SimCommand command;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "--verbose")
      command.verbose = true;
    else if (words[i] == "--sketched")
      command.sketched = true;
    else if (words[i] == "--kills")
      command.kills = true;
    else if (words[i] == "--crash-points")
      command.crash_points = true;
    else if (i + 1 == words.size())
      return fail(Code::invalid, "'{}' is no option, or needs a value", words[i]);
    else {
      EBB_CHECKED(read_option(words[i], words[i + 1], command));
      ++i;
    }
  }
  if (command.seeds == 0 && !command.crash_points && !command.crash_point && !command.kills && !command.kill)
    return fail(Code::invalid, "nothing to play");
  return command;
}

std::string command_line(const SimCommand& command) {
  const SimCommand plain;
  std::string line = "./dev sim";
  if (command.seeds > 0) line += fmt::format(" --seeds {}", command.seeds);
  if (command.crash_points) line += " --crash-points";
  if (command.crash_point) line += fmt::format(" --crash-point {}", *command.crash_point);
  if (command.kills) line += " --kills";
  if (command.kill)
    line += fmt::format(" --kill {}/{}/{}", json::name_of(command.kill->phase),
                        json::name_of(command.kill->victim), command.kill->vm);
  if (command.script != plain.script) line += fmt::format(" --script {}", json::name_of(command.script));
  if (command.slices > 1) line += fmt::format(" --slice {}/{}", command.slice, command.slices);
  line += fmt::format(" --first {}", command.first);
  if (command.sketched) line += " --sketched";
  if (command.verbose) line += " --verbose";
  return line;
}

SimCommand again_at_seed(SimCommand command, std::uint64_t seed) {
  command.seeds = 1, command.first = seed, command.verbose = true;
  return command;
}

SimCommand again_at_point(SimCommand command, std::uint64_t point) {
  command.crash_points = false, command.slice = 0, command.slices = 1;
  command.crash_point = point, command.verbose = true;
  return command;
}

SimCommand again_with(SimCommand command, Kill kill) {
  command.kills = false, command.slice = 0, command.slices = 1;
  command.kill = std::move(kill), command.verbose = true;
  return command;
}

}  // namespace ebb::fleet_sim
