#include "drain_choice.h"

#include <charconv>

#include "control/limits.h"

namespace ebb::what_if {
namespace {

// Racks in random order, as long as there are too few; workers without one are a rack each.
std::vector<std::uint32_t> share_of(const FleetRecords& records, double percent, Random& random) {
  std::map<std::string, std::vector<std::uint32_t>> by_rack;
  for (std::uint32_t i = 0; i < records.workers.size(); ++i) {
    const auto& worker = records.workers[i];
    const auto zone = worker.labels.find("zone"), rack = worker.labels.find("rack");
    by_rack[rack == worker.labels.end()
                ? "worker " + worker.id.value
                : (zone == worker.labels.end() ? "" : zone->second) + "/" + rack->second]
        .push_back(i);
  }
  std::vector<const std::vector<std::uint32_t>*> racks;
  for (const auto& [name, workers] : by_rack) racks.push_back(&workers);
  for (std::size_t i = racks.size(); i > 1; --i) std::swap(racks[i - 1], racks[random.below(i)]);
  const auto wanted =
      static_cast<std::size_t>(percent / 100 * static_cast<double>(records.workers.size()) + 0.5);
  std::vector<std::uint32_t> chosen;
  for (const auto* rack : racks)
    for (const auto worker : *rack)
      if (chosen.size() < wanted) chosen.push_back(worker);
  return chosen;
}

std::vector<std::uint32_t> with_labels(const FleetRecords& records, const Labels& labels) {
  std::vector<std::uint32_t> chosen;
  for (std::uint32_t i = 0; i < records.workers.size(); ++i)
    if (has_labels(records.workers[i].labels, labels)) chosen.push_back(i);
  return chosen;
}

}  // namespace

Result<std::vector<DrainChoice>> choose_workers(const FleetRecords& records,
                                                const std::vector<DrainWish>& wishes, Random& random) {
  std::vector<DrainChoice> choices;
  std::map<std::uint32_t, std::string> taken;
  for (const auto& wish : wishes) {
    auto workers =
        wish.labels.empty() ? share_of(records, wish.percent, random) : with_labels(records, wish.labels);
    if (workers.empty())
      return fail(Code::not_found, "'--drain {}' selects no worker of this fleet", wish.text);
    for (const auto worker : workers)
      if (const auto [at, is_new] = taken.try_emplace(worker, wish.text); !is_new)
        return fail_field("--drain", "{} is in '--drain {}' and in '--drain {}'", records.workers[worker].id,
                          at->second, wish.text);
    const auto most = control::drain_workers_max;
    const auto parts = (workers.size() + most - 1) / most;
    for (std::size_t part = 0; part < parts; ++part) {
      const auto at = [&](std::size_t n) {
        return workers.begin() + static_cast<std::ptrdiff_t>(workers.size() * n / parts);
      };
      choices.push_back({parts == 1 ? wish.text : fmt::format("{} ({} of {})", wish.text, part + 1, parts),
                         {at(part), at(part + 1)}});
    }
  }
  return choices;
}

Result<DrainWish> parse_drain_wish(std::string_view text) {
  DrainWish wish;
  wish.text = text;
  if (text.ends_with('%')) {
    const auto read = std::from_chars(text.data(), text.data() + text.size() - 1, wish.percent);
    if (read.ec == std::errc{} && read.ptr == text.data() + text.size() - 1 && wish.percent > 0 &&
        wish.percent <= 100)
      return wish;
    return fail_field("--drain", "'{}' is no share of a fleet: it must be above 0% and at most 100%", text);
  }
  const auto equals = text.find('=');
  if (equals == std::string_view::npos || equals == 0 || equals + 1 == text.size())
    return fail_field("--drain", "'{}' must be rack=NAME, zone=NAME, KEY=VALUE or a share such as 10%", text);
  wish.labels[std::string(text.substr(0, equals))] = text.substr(equals + 1);
  return wish;
}

}  // namespace ebb::what_if
