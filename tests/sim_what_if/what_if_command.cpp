#include "what_if_command.h"

#include <charconv>
#include <cstdio>
#include <fstream>

#include "base/text.h"
#include "drain_choice.h"
#include "export_reader.h"

namespace ebb::what_if {
namespace {

constexpr std::string_view usage = R"(usage: ebb-sim fleet --trace EXPORT --drain WHICH ...
         asks "what if" of a fleet that 'ebb export' wrote
       ebb-sim fleet --trace azure|huawei|alibaba --workers N [--vms N] [--use PERCENT] [--zones N] --drain WHICH ...
         of a fleet that is made like a real one
  --drain rack=NAME|zone=NAME|KEY=VALUE|PERCENT%   may be repeated
  --partial          drains move what can be placed although some VMs cannot
  --parallel N       moves at a time from one worker, --per-target N into one (2 each)
  --failures WHAT=PERCENT[,...]   dead: workers that lose power; boot: VMs that do not come up on their first
                     target; standby: that it cannot prepare
  --back-after TIME  until a worker that lost power while it was drained is back (10m)
  --seed N, --tick TIME, --heartbeat TIME, --limit TIME
  --json FILE        the report as JSON, beside the text
)";

template <class Number>
Result<Number> number_of(std::string_view option, std::string_view text, Number least, Number most) {
  Number value{};
  const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
  if (read.ec == std::errc{} && read.ptr == text.data() + text.size() && value >= least && value <= most)
    return value;
  return fail_field(std::string(option), "{} '{}' must be a number from {} to {}", option, text, least, most);
}

Result<Duration> duration_of(std::string_view option, std::string_view text) {
  auto duration = parse_duration(text);
  if (duration && *duration > 0s) return *duration;
  return fail_field(std::string(option), "{} '{}' must be a time such as 250ms, 90s or 10m", option, text);
}

// "dead=1,boot=2,standby=1", in percent.
Status read_failures(std::string_view text, Failures& failures) {
  for (const auto part : split(text, ',')) {
    const auto equals = std::min(part.find('='), part.size());
    const auto name = part.substr(0, equals);
    auto* share = name == "dead"      ? &failures.dead
                  : name == "boot"    ? &failures.boots
                  : name == "standby" ? &failures.standbys
                                      : nullptr;
    if (!share || equals == part.size())
      return fail_field("--failures", "--failures '{}' must be dead=PERCENT, boot=PERCENT or standby=PERCENT",
                        part);
    auto value = part.substr(equals + 1);
    if (value.ends_with('%')) value.remove_suffix(1);
    EBB_TRY(percent, number_of<double>("--failures", value, 0, 100));
    *share = percent / 100;
  }
  return {};
}

Status read_option(std::string_view option, std::string_view value, WhatIfCommand& c) {
  constexpr std::uint32_t many = 10'000'000;
  const auto count = [&](std::uint32_t& into, std::uint32_t most) -> Status {
    EBB_TRY(n, number_of<std::uint32_t>(option, value, 1, most));
    into = n;
    return {};
  };
  const auto duration = [&](auto& into) -> Status {
    EBB_TRY(d, duration_of(option, value));
    into = d;
    return {};
  };
  if (option == "--workers") return count(c.make.workers, 1'000'000);
  if (option == "--vms") return count(c.make.vms_max, many);
  if (option == "--zones") return count(c.make.zones, 10'000);
  if (option == "--parallel") return count(c.options.drain_options.parallel_max, 1000);
  if (option == "--per-target") return count(c.options.drain_options.per_target_max, 1000);
  if (option == "--back-after") return duration(c.options.failures.back_after);
  if (option == "--tick") return duration(c.options.tick);
  if (option == "--heartbeat") return duration(c.options.heartbeat);
  if (option == "--limit") return duration(c.options.limit);
  if (option == "--failures") return read_failures(value, c.options.failures);
  if (option == "--trace") return c.make.trace = value, Status{};
  if (option == "--json") return c.json_file = value, Status{};
  if (option == "--seed") {
    EBB_TRY(seed, number_of<std::uint64_t>(option, value, 0, UINT64_MAX));
    c.make.seed = c.options.seed = seed;
    return {};
  }
  if (option == "--use") {
    EBB_TRY(percent, number_of<double>(option, value, 1, 100));
    c.make.use = percent / 100;
    return {};
  }
  if (option == "--drain") {
    EBB_TRY(wish, parse_drain_wish(value));
    c.options.drains.push_back(std::move(wish));
    return {};
  }
  return fail_field(std::string(option), "there is no option '{}'", option);
}

bool write_file(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::trunc);
  file << text;
  return static_cast<bool>(file.flush());
}

int say(const Error& error) {
  fmt::print(stderr, "ebb-sim: {}\n", error.message);
  return error.code == Code::internal || error.code == Code::unavailable ? 1 : 2;
}

}  // namespace

Result<WhatIfCommand> read_command(const std::vector<std::string_view>& words) {
  WhatIfCommand c;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "--partial") {
      c.options.drain_options.partial = true;
      continue;
    }
    if (i + 1 == words.size() || !words[i].starts_with("--"))
      return fail_field(std::string(words[i]), "'{}' is no option with a value", words[i]);
    EBB_CHECKED(read_option(words[i], words[i + 1], c));
    ++i;
  }
  if (c.make.trace.empty())
    return fail_field("--trace", "say --trace: a file of 'ebb export', or azure, huawei or alibaba");
  if (c.options.drains.empty()) return fail_field("--drain", "say --drain: what is to be emptied");
  if (c.make.workers == 0) c.export_file = std::exchange(c.make.trace, "");
  return c;
}

int run_command(std::span<char*> words) {
  auto command = read_command(std::vector<std::string_view>(words.begin(), words.end()));
  if (!command) {
    const auto status = say(command.error());
    fmt::print(stderr, "{}", usage);
    return status;
  }
  command->options.on_progress = [](std::string_view text) { fmt::print(stderr, "{}\n", text); };
  auto fleet = command->export_file.empty() ? make_fleet(command->make) : read_export(command->export_file);
  if (!fleet) return say(fleet.error());
  const auto report = ask_what_if(*fleet, command->options);
  if (!report) return say(report.error());
  fmt::print("{}", text_of(*report));
  if (!command->json_file.empty() &&
      !write_file(command->json_file, json::to_pretty_text(json::write(*report)) + "\n"))
    return say({Code::invalid, fmt::format("{} cannot be written", command->json_file), "--json"});
  return report->is_ok() ? 0 : 1;
}

}  // namespace ebb::what_if
