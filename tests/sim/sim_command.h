// What ebb-sim is asked to play, read from words and written as words: what fails prints the command that
// plays it again.
#pragma once
#include <span>

#include "scripts.h"

namespace ebb::fleet_sim {

struct SimCommand {
  std::uint64_t seeds = 0, first = 1;
  std::uint64_t slice = 0, slices = 1;  // of the crash points, or of the kills
  std::optional<std::uint64_t> crash_point{};
  Script script = Script::drain;
  std::optional<Kill> kill{};
  bool crash_points = false, kills = false, sketched = false, verbose = false;
  bool operator==(const SimCommand&) const = default;

  FleetSimOptions::Workers kind() const;
};

// Says what is wrong with the words.
Result<SimCommand> read_command(std::span<const std::string_view> words);
// "./dev sim --seeds 1 --first 7 --verbose": to be typed at the root of the tree.
std::string command_line(const SimCommand& command);

// The same at one seed, or at one point, and every event shown.
SimCommand again_at_seed(SimCommand command, std::uint64_t seed);
SimCommand again_at_point(SimCommand command, std::uint64_t point);
SimCommand again_with(SimCommand command, Kill kill);

}  // namespace ebb::fleet_sim
