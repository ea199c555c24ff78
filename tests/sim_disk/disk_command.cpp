#include <charconv>
#include <cstdio>

#include "disk_scenario.h"
#include "disk_stories.h"

namespace ebb::disk_sim {
namespace {

struct Arguments {
  std::uint64_t seeds = 0, first = 1, stories = 0;
  bool verbose = false, ends_at_failure = false;
};

std::optional<Arguments> read_arguments(std::span<char*> words) {
  Arguments a;
  for (std::size_t i = 0; i < words.size(); ++i) {
    std::string_view word = words[i], value = i + 1 < words.size() ? words[i + 1] : "";
    if (word == "--verbose" || word == "--until-failure") {
      (word == "--verbose" ? a.verbose : a.ends_at_failure) = true;
      continue;
    }
    auto* number = word == "--seeds"     ? &a.seeds
                   : word == "--first"   ? &a.first
                   : word == "--stories" ? &a.stories
                                         : nullptr;
    if (!number) return std::nullopt;
    auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), *number);
    if (error != std::errc{} || end != value.data() + value.size()) return std::nullopt;
    ++i;
  }
  if ((a.seeds == 0) == (a.stories == 0)) return std::nullopt;
  return a;
}

// Every story of so many steps.
int run_stories(std::uint64_t length) {
  auto all = play_all_stories({.length_max = length});
  for (const auto& violation : all.violations) fmt::print("{}\n", violation);
  fmt::print("{} stories, {} of them with a crash: {}\n", all.stories, all.crashes,
             all.violations.empty() ? "ok" : "FAILED");
  return all.violations.empty() ? 0 : 1;
}

}  // namespace

int run_command(std::span<char*> words) {
  auto arguments = read_arguments(words);
  if (!arguments) {
    fmt::print(stderr,
               "usage: ebb-sim disk --seeds N [--first S] [--until-failure] [--verbose]\n"
               "       ebb-sim disk --stories LENGTH\n");
    return 2;
  }
  if (arguments->stories > 0) return run_stories(arguments->stories);
  std::uint64_t failed = 0;
  for (auto seed = arguments->first; seed < arguments->first + arguments->seeds; ++seed) {
    FleetOptions options{.seed = seed};
    if (arguments->verbose) options.on_note = [](std::string_view text) { fmt::print("{}\n", text); };
    auto result = play_seed(options);
    fmt::print("seed {} {}: {}, {} events, state {:016x}\n", seed, result.ok() ? "ok" : "FAILED",
               result.summary, result.events, result.state_hash);
    for (const auto& violation : result.violations) fmt::print("  {}\n", violation);
    if (!result.ok()) fmt::print("  again: ./dev sim disk --seeds 1 --first {} --verbose\n", seed);
    failed += !result.ok();
    std::fflush(stdout);
    if (failed > 0 && arguments->ends_at_failure) return 1;
  }
  fmt::print("{} of {} seeds failed\n", failed, arguments->seeds);
  return failed == 0 ? 0 : 1;
}

}  // namespace ebb::disk_sim
