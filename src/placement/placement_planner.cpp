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
    if (c.refusal.empty()) capacity += c.worker->capacity, used += c.used;
  }
  return {1.0 / (1.01 - std::min(1.0, ratio(used.cpu_millis, capacity.cpu_millis))),
          1.0 / (1.01 - std::min(1.0, ratio(used.memory_bytes, capacity.memory_bytes)))};
}

// Everything that stands in the way, not the first thing alone: whoever clears it should not find another
// behind it.
std::string why_not(const Candidate& c, const Request& r, const GroupRules* group) {
  const auto& worker = *c.worker;
  std::string all;
  auto add = [&](std::string_view why) { all += (all.empty() ? "" : ", ") + std::string(why); };
  if (!c.refusal.empty()) add(c.refusal);
  if (auto found = r.excluded.find(worker.id); found != r.excluded.end()) add(found->second);
  for (const auto& pool : r.pools) {
    if (std::ranges::find(worker.pools, pool) == worker.pools.end())
      add(fmt::format("cannot reach pool {}", pool));
  }
  for (const auto& network : r.networks)
    if (!has_network(worker, network)) add(fmt::format("has no network {}", network));
  if (r.firmware && !has_firmware(worker, *r.firmware))
    add(fmt::format("has no firmware '{}'", json::name_of(*r.firmware)));
  for (const auto& [key, value] : r.labels)
    if (!has_labels(worker.labels, {{key, value}})) add(fmt::format("has no label {}={}", key, value));
  for (const auto& feature : r.cpu_features)
    if (!has_cpu_feature(worker, feature)) add(fmt::format("has no CPU feature {}", feature));
  if (group)
    if (auto why = group->why_not(domains_of(worker)); !why.empty()) add(why);
  auto room = worker.capacity.minus(c.used);
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
  const auto& capacity = c.worker->capacity;
  auto room = capacity.minus(c.used).minus(r.needs);
  return weights.cpu * ratio(room.cpu_millis, capacity.cpu_millis) +
         weights.memory * ratio(room.memory_bytes, capacity.memory_bytes);
}

template <class T>
bool has(const std::optional<std::vector<T>>& all, const T& one) {
  return all && std::ranges::find(*all, one) != all->end();
}

}  // namespace

bool has_firmware(const Worker& worker, Firmware firmware) {
  return !worker.firmware || has(worker.firmware, firmware);
}
bool has_network(const Worker& worker, const NetworkId& network) { return has(worker.networks, network); }
bool has_cpu_feature(const Worker& worker, const std::string& feature) {
  return !worker.cpu_features || has(worker.cpu_features, feature);
}

std::vector<Choice> place(std::vector<Candidate> candidates, std::vector<Request> requests) {
  const auto weights = scarcity(candidates);
  Resources largest{1, 1};
  for (const auto& c : candidates) {
    largest.cpu_millis = std::max(largest.cpu_millis, c.worker->capacity.cpu_millis);
    largest.memory_bytes = std::max(largest.memory_bytes, c.worker->capacity.memory_bytes);
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
  std::map<GroupId, std::vector<Stand>> chosen;  // by the choices so far
  for (auto& request : requests) {
    std::optional<GroupRules> rules;
    if (request.group) {
      std::ranges::copy(chosen[request.group->id], std::back_inserter(request.stands));
      rules.emplace(*request.group, request.vm, request.stands);
    }
    Choice choice{request.vm, std::nullopt, {}};
    Candidate* best = nullptr;
    double best_leftover = 0;
    for (auto& candidate : candidates) {
      if (auto why = why_not(candidate, request, rules ? &*rules : nullptr); !why.empty()) {
        choice.refusals.push_back({candidate.worker->id, std::move(why)});
        continue;
      }
      auto left = leftover(candidate, request, weights);
      if (!best || left < best_leftover) best = &candidate, best_leftover = left;
    }
    if (best) {
      best->used += request.needs;
      choice.worker = best->worker->id;
      choice.refusals.clear();
      if (request.group) chosen[request.group->id].push_back({request.vm, domains_of(*best->worker)});
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
