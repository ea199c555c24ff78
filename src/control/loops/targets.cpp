#include "control/loops/targets.h"

#include "control/loops/numbers.h"

namespace ebb::control {
namespace {

// No target should need longer for what comes than the slowest source for what goes.
double longest_source_seconds(const Fleet& fleet, const std::vector<Leaving>& leaving,
                              std::uint32_t parallel_max) {
  std::map<WorkerId, double> seconds;
  double longest = 0;
  for (const auto& one : leaving) {
    auto& at = seconds[*fleet.at(one.vm).worker];
    at += one.seconds;
    longest = std::max({longest, at / std::max(1u, parallel_max), static_cast<double>(one.seconds)});
  }
  return longest;
}

// Why nothing takes a VM is told of so many: each answer looks at every worker.
constexpr std::size_t explained_max = 100;
// Room is made on so many workers at most, the emptiest: their VMs have to be looked at one by one.
constexpr std::size_t roomy_workers_max = 1000;
// So many fit into one commit for sure: a move that waits for room stands in the records together with those that make it.
constexpr std::size_t room_moves_max = 30;
// Of a few VMs a tenth is nothing.
constexpr double moves_for_room_min = 4;

double free_share(const placement::Candidate& c) {
  const auto& capacity = c.worker->capacity;
  const auto room = capacity.minus(c.used);
  const auto share = [](std::uint64_t part, std::uint64_t whole) {
    return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
  };
  return share(room.cpu_millis, capacity.cpu_millis) + share(room.memory_bytes, capacity.memory_bytes);
}

// All that leave, in numbers, with or without room that is made.
class Attempt {
 public:
  Attempt(const Fleet& fleet, std::vector<placement::Candidate> workers, const std::vector<WorkerId>& sources,
          const std::vector<Leaving>& leaving, std::uint32_t parallel_max)
      : fleet_(fleet), workers_(std::move(workers)), sources_(sources), leaving_(leaving) {
    longest_source_ = longest_source_seconds(fleet, leaving, parallel_max);
  }
  struct Found {
    std::vector<drain::Placed> placed;
    std::vector<const Leaving*> unplaced;

    // Moves that make room, or wait for it.
    std::size_t about_room() const {
      return static_cast<std::size_t>(std::ranges::count_if(
          placed, [](const drain::Placed& p) { return p.makes_room || !p.after.empty(); }));
    }
  };

  Found run(const MayMakeRoom& may_make_room) {
    Numbers numbers(fleet_, workers_, sources_);
    std::vector<float> seconds;
    auto in_numbers = add_leaving(numbers, seconds);
    if (may_make_room) add_movable(numbers, may_make_room);
    numbers.finish();
    const auto longest = seconds.empty() ? 1 : *std::ranges::max_element(seconds);
    seconds.resize(numbers.numbers().vms(), longest);

    auto placer = numbers.placer();
    placement::EvacuationOptions options;
    options.eject_depth = may_make_room ? 2 : 0;
    options.extra_moves_max =
        std::max(options.extra_moves_max,
                 moves_for_room_min / static_cast<double>(std::max<std::size_t>(1, in_numbers.size())));
    options.seconds = seconds;
    options.stays.resize(numbers.numbers().vms(), true);
    std::fill_n(options.stays.begin(), numbers.names().size(), false);
    options.arrival_seconds_max = longest_source_;
    const auto found = placement::evacuate(numbers.numbers(), &placer, numbers.sources(), options);

    Found result;
    for (const auto& move : found.moves) {
      result.placed.push_back({numbers.names()[move.vm], workers_[move.to].worker->id, {}});
      result.placed.back().makes_room = move.makes_room;
    }
    for (const auto& precedence : found.precedences)
      result.placed[precedence.move].after.push_back(result.placed[precedence.after].vm);
    for (const auto vm : found.unplaced)
      if (vm < in_numbers.size())
        result.unplaced.push_back(in_numbers[vm]);  // else it stays for others to be placed by
    return result;
  }
  const std::vector<placement::Candidate>& workers() const { return workers_; }
  // Those of which numbers do not say all.
  const std::vector<const Leaving*>& by_name() const { return by_name_; }

 private:
  std::vector<const Leaving*> add_leaving(Numbers& numbers, std::vector<float>& seconds) {
    std::vector<const Leaving*> added;
    by_name_.clear();
    for (const auto& one : leaving_) {
      const auto& vm = fleet_.at(one.vm);
      if (one.excluded.empty() && numbers.add_leaving(needs_of(fleet_, vm), vm))
        added.push_back(&one), seconds.push_back(static_cast<float>(one.seconds));
      else
        by_name_.push_back(&one);
    }
    return added;
  }
  void add_movable(Numbers& numbers, const MayMakeRoom& may_make_room) {
    std::vector<const placement::Candidate*> roomy;
    for (const auto& c : workers_)
      if (c.refusal.empty() && !std::ranges::binary_search(sources_, c.worker->id)) roomy.push_back(&c);
    std::ranges::sort(roomy, [](auto* a, auto* b) {
      const auto fa = free_share(*a), fb = free_share(*b);
      return fa != fb ? fa > fb : a->worker->id < b->worker->id;
    });
    if (roomy.size() > roomy_workers_max) roomy.resize(roomy_workers_max);
    for (const auto* c : roomy)
      for (const auto& id : fleet_.vms_owned_by(c->worker->id)) {
        const auto& vm = fleet_.at(id);
        if (vm.desired == VmDesired::running && !fleet_.open_migration_of(id) && may_make_room(vm))
          numbers.add_movable(needs_of(fleet_, vm), vm);
      }
  }

  const Fleet& fleet_;
  std::vector<placement::Candidate> workers_;
  const std::vector<WorkerId>& sources_;
  const std::vector<Leaving>& leaving_;
  double longest_source_ = 0;
  std::vector<const Leaving*> by_name_;
};

}  // namespace

std::vector<drain::Placed> choose_targets(const Fleet& fleet, const Seen& seen,
                                          const std::vector<WorkerId>& sources, std::vector<Leaving> leaving,
                                          std::uint32_t parallel_max, const MayMakeRoom& may_make_room) {
  if (leaving.empty()) return {};
  Attempt attempt(fleet, candidates(fleet, seen), sources, leaving, parallel_max);
  auto found = attempt.run(nullptr);
  if (!found.unplaced.empty() && may_make_room)
    if (auto with_room = attempt.run(may_make_room);
        with_room.unplaced.size() < found.unplaced.size() && with_room.about_room() <= room_moves_max)
      found = std::move(with_room);

  auto workers = attempt.workers();
  std::map<GroupId, std::vector<placement::Stand>> chosen;
  for (const auto& placed : found.placed) {
    const auto& vm = fleet.at(placed.vm);
    auto& target =
        *std::ranges::lower_bound(workers, *placed.target, {}, [](auto& c) { return c.worker->id; });
    target.used += footprint(vm.spec);
    if (vm.spec.group) chosen[*vm.spec.group].push_back({vm.id, domains_of(*target.worker)});
  }
  auto by_name = attempt.by_name();
  std::vector<VmId> untold;
  for (const auto* one : found.unplaced) {
    if (by_name.size() < explained_max)
      by_name.push_back(one);
    else
      untold.push_back(one->vm);
  }
  std::vector<placement::Request> requests;
  for (const auto* one : by_name) {
    auto request = request_for(fleet, fleet.at(one->vm), one->excluded);
    if (request.group) {
      request.stands = stands_of(fleet, request.group->id, sources);
      std::ranges::copy(chosen[request.group->id], std::back_inserter(request.stands));
    }
    requests.push_back(std::move(request));
  }
  auto placed = std::move(found.placed);
  // The drained workers themselves are no candidates, and need no line among the refusals.
  std::erase_if(workers, [&](const auto& c) { return std::ranges::binary_search(sources, c.worker->id); });
  for (auto& choice : placement::place(std::move(workers), std::move(requests)))
    placed.push_back({choice.vm, choice.worker, placement::describe(choice.refusals)});
  for (auto& vm : untold)
    placed.push_back({std::move(vm), std::nullopt,
                      fmt::format("no room is left, as for the {} that are told of", explained_max)});
  return placed;
}

}  // namespace ebb::control
