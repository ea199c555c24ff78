#include "placement/placement_planner.h"

#include <fmt/ranges.h>

#include "base/text.h"

namespace ebb::placement {
namespace {

struct Weights {
  double cpu = 1, memory = 1;
};

double ratio(std::uint64_t part, std::uint64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

// A dimension weighs more the less of it is free over all candidates.
Weights scarcity(const std::vector<Candidate>& candidates) {
  Resources capacity, used;
  for (const auto& c : candidates) {
    if (c.refusal.empty()) capacity += c.capacity, used += c.used;
  }
  return {1.0 / (1.01 - std::min(1.0, ratio(used.cpu_millis, capacity.cpu_millis))),
          1.0 / (1.01 - std::min(1.0, ratio(used.memory_bytes, capacity.memory_bytes)))};
}

// Everything that stands in the way, not the first thing alone: whoever clears it should not find another
// behind it.
std::string why_not(const Candidate& c, const Request& r) {
  std::string all;
  auto add = [&](std::string_view why) { all += (all.empty() ? "" : ", ") + std::string(why); };
  if (!c.refusal.empty()) add(c.refusal);
  if (auto found = r.excluded.find(c.worker); found != r.excluded.end()) add(found->second);
  for (const auto& pool : r.pools) {
    if (std::find(c.pools.begin(), c.pools.end(), pool) == c.pools.end())
      add(fmt::format("cannot reach pool {}", pool));
  }
  for (const auto& network : r.networks) {
    if (std::find(c.networks.begin(), c.networks.end(), network) == c.networks.end())
      add(fmt::format("has no network {}", network));
  }
  auto room = c.capacity.minus(c.used);
  if (r.needs.memory_bytes > room.memory_bytes) {
    add(fmt::format("{} of memory needed, {} free", format_size(r.needs.memory_bytes),
                    format_size(room.memory_bytes)));
  }
  if (r.needs.cpu_millis > room.cpu_millis) {
    add(fmt::format("{:.1f} cores needed, {:.1f} free", static_cast<double>(r.needs.cpu_millis) / 1000,
                    static_cast<double>(room.cpu_millis) / 1000));
  }
  return all;
}

double leftover(const Candidate& c, const Request& r, const Weights& weights) {
  auto room = c.capacity.minus(c.used).minus(r.needs);
  return weights.cpu * ratio(room.cpu_millis, c.capacity.cpu_millis) +
         weights.memory * ratio(room.memory_bytes, c.capacity.memory_bytes);
}

}  // namespace

std::vector<Choice> place(std::vector<Candidate> candidates, std::vector<Request> requests) {
  const auto weights = scarcity(candidates);
  Resources largest{1, 1};
  for (const auto& c : candidates) {
    largest.cpu_millis = std::max(largest.cpu_millis, c.capacity.cpu_millis);
    largest.memory_bytes = std::max(largest.memory_bytes, c.capacity.memory_bytes);
  }
  auto size = [&](const Request& r) {
    return weights.cpu * ratio(r.needs.cpu_millis, largest.cpu_millis) +
           weights.memory * ratio(r.needs.memory_bytes, largest.memory_bytes);
  };
  std::sort(requests.begin(), requests.end(), [&](const Request& a, const Request& b) {
    auto sa = size(a), sb = size(b);
    return sa != sb ? sa > sb : a.vm < b.vm;
  });

  std::vector<Choice> choices;
  for (const auto& request : requests) {
    Choice choice{request.vm, std::nullopt, {}};
    Candidate* best = nullptr;
    double best_leftover = 0;
    for (auto& candidate : candidates) {
      if (auto why = why_not(candidate, request); !why.empty()) {
        choice.refusals.push_back({candidate.worker, std::move(why)});
        continue;
      }
      auto left = leftover(candidate, request, weights);
      if (!best || left < best_leftover) best = &candidate, best_leftover = left;
    }
    if (best) {
      best->used += request.needs;
      choice.worker = best->worker;
      choice.refusals.clear();
    }
    choices.push_back(std::move(choice));
  }
  return choices;
}

std::string describe(const std::vector<Refusal>& refusals) {
  if (refusals.empty()) return "there is no other worker";
  std::vector<std::string_view> reasons;  // in the order of the first worker with each
  std::map<std::string_view, std::vector<std::string_view>> workers;
  for (const auto& refusal : refusals) {
    auto& same = workers[refusal.why];
    if (same.empty()) reasons.push_back(refusal.why);
    same.push_back(refusal.worker.value);
  }
  std::string text;
  for (auto reason : reasons) {
    auto& names = workers[reason];
    const auto more = names.size() - std::min(names.size(), names_shown_max);
    names.resize(names.size() - more);
    text += fmt::format("{}{}{}: {}", text.empty() ? "" : "; ", fmt::join(names, ", "),
                        more ? fmt::format(" and {} more", more) : "", reason);
  }
  return text;
}

}  // namespace ebb::placement
