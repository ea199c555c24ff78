#include "fleet_maker.h"

#include <cmath>
#include <functional>
#include <numeric>

#include "base/random.h"
#include "trace_tables.h"

namespace ebb::what_if {
namespace {

constexpr double stateless = 0.15;         // of the VMs: they have no disk, and move by a restart
constexpr double overfill = 1.15;          // so much more comes than stays
constexpr std::size_t budgets_made = 400;  // for the largest groups; a cell has 500 at most
constexpr double tenant_share_max = 0.01;  // of the VMs
constexpr std::uint64_t disk_bytes = 32 * 1024ull * 1024 * 1024;

// Draws an index with a probability in proportion to its weight.
class Lottery {
 public:
  template <class Kinds>
  explicit Lottery(const Kinds& kinds) {
    for (const auto& kind : kinds) upto_.push_back((upto_.empty() ? 0 : upto_.back()) + kind.weight);
  }
  std::size_t draw(Random& random) const {
    const auto at = std::ranges::upper_bound(upto_, random.unit() * upto_.back());
    return std::min(static_cast<std::size_t>(at - upto_.begin()), upto_.size() - 1);
  }

 private:
  std::vector<double> upto_;
};

struct Weighted {
  double weight = 1;
};

// Sizes of tenants by Pareto's law, none above its share.
std::vector<Weighted> tenant_weights(std::size_t count, Random& random) {
  std::vector<Weighted> tenants(count);
  double sum = 0;
  for (auto& tenant : tenants) sum += tenant.weight = std::pow(1 - random.unit(), -1 / 1.16);
  for (auto& tenant : tenants) tenant.weight = std::min(tenant.weight, tenant_share_max * sum);
  return tenants;
}

class Maker {
 public:
  Maker(const MakeOptions& options, TraceTables tables)
      : options_(options),
        tables_(std::move(tables)),
        random_(options.seed),
        vm_kinds_(tables_.vms),
        group_kinds_(tables_.groups),
        tenants_(tenant_weights(std::clamp<std::size_t>(options.workers / 50, 20, 5000), random_)) {}

  FleetRecords make() {
    make_workers();
    fill(options_.use * overfill, options_.vms_max * overfill);
    thin_out();
    write_vms();
    write_groups();
    return std::move(fleet_);
  }

 private:
  struct Made {
    std::size_t kind = 0;
    std::uint32_t worker = 0;
    std::uint32_t group = 0;  // an index of groups_
    std::uint32_t tenant = 0;
  };
  struct MadeGroup {
    const GroupKind* kind = nullptr;
    std::vector<std::uint32_t> members;  // indexes of vms_
  };

  void make_workers() {
    const Lottery kinds(tables_.workers), racks(tables_.racks);
    for (std::uint32_t rack = 0; fleet_.workers.size() < options_.workers; ++rack) {
      const auto size = tables_.racks[racks.draw(random_)].workers;
      const auto kind = kinds.draw(random_);  // a rack is bought at one time
      for (std::uint32_t i = 0; i < size && fleet_.workers.size() < options_.workers; ++i) {
        Worker w;
        w.id = WorkerId(fmt::format("worker-{}", fleet_.workers.size() + 1)), w.boot_id = "boot-1";
        w.agent_version = "sim", w.capacity = tables_.workers[kind].capacity;
        w.labels = tables_.workers[kind].labels;
        w.labels["rack"] = fmt::format("r{}", rack + 1);
        w.pools = {PoolId("main")};
        has_gpu_.push_back(w.labels.contains("gpu"));
        rack_of_.push_back(rack);
        fleet_.workers.push_back(std::move(w));
      }
    }
    const auto all = rack_of_.back() + 1;
    for (std::size_t i = 0; i < rack_of_.size(); ++i) {
      fleet_.workers[i].labels["zone"] = fmt::format("z{}", rack_of_[i] % std::min(options_.zones, all) + 1);
      total_ += fleet_.workers[i].capacity;
      if (has_gpu_[i]) with_gpu_.push_back(static_cast<std::uint32_t>(i));
    }
    racks_ = all;
    free_.reserve(fleet_.workers.size());
    for (const auto& w : fleet_.workers) free_.push_back(w.capacity);
    by_rack_.resize(racks_);
    for (std::uint32_t i = 0; i < rack_of_.size(); ++i) by_rack_[rack_of_[i]].push_back(i);
  }

  double use() const {
    const auto share = [](std::uint64_t part, std::uint64_t whole) {
      return static_cast<double>(part) / static_cast<double>(whole);
    };
    return std::max(share(used_.cpu_millis, total_.cpu_millis),
                    share(used_.memory_bytes, total_.memory_bytes));
  }

  // Groups come until so much is in use, or hardly any finds room.
  void fill(double use_max, double vms_max) {
    constexpr int misses_max = 2000;
    for (int misses = 0; use() < use_max && misses < misses_max;) {
      if (vms_max > 0 && static_cast<double>(vms_.size()) >= vms_max) return;
      MadeGroup group{&tables_.groups[group_kinds_.draw(random_)], {}};
      const auto kind = vm_kinds_.draw(random_);
      const auto tenant = static_cast<std::uint32_t>(tenants_.draw(random_));
      const auto rack = static_cast<std::uint32_t>(random_.below(racks_));
      for (std::uint32_t i = 0; i < group.kind->vms; ++i) {
        const auto worker = choose(kind, group, rack);
        misses = worker ? 0 : misses + 1;
        if (!worker) break;
        put(kind, *worker, tenant, group);
      }
      if (!group.members.empty()) groups_.push_back(std::move(group));
    }
  }
  void put(std::size_t kind, std::uint32_t worker, std::uint32_t tenant, MadeGroup& group) {
    const auto needs = needs_of(kind);
    free_[worker] = free_[worker].minus(needs);
    used_ += needs;
    group.members.push_back(static_cast<std::uint32_t>(vms_.size()));
    vms_.push_back({kind, worker, static_cast<std::uint32_t>(groups_.size()), tenant});
  }
  Resources needs_of(std::size_t kind) const {
    VmSpec spec;
    spec.cpus = tables_.vms[kind].cpus, spec.memory_bytes = tables_.vms[kind].memory_bytes;
    return footprint(spec);
  }

  // Of four random workers that will do, the one that is left with the least.
  std::optional<std::uint32_t> choose(std::size_t kind, const MadeGroup& group, std::uint32_t rack) {
    const auto needs = needs_of(kind);
    const auto& among = tables_.vms[kind].needs_gpu ? with_gpu_
                        : group.kind->together      ? by_rack_[rack]
                                                    : everywhere();
    std::optional<std::uint32_t> best;
    double best_left = 0;
    for (int tries = 0, found = 0; !among.empty() && found < 4 && tries < 64; ++tries) {
      const auto at = among[random_.below(among.size())];
      if (!needs.fits_in(free_[at]) || !may_join(group, at)) continue;
      ++found;
      const auto left = free_[at].minus(needs);
      const auto& all = fleet_.workers[at].capacity;
      const auto share = static_cast<double>(left.cpu_millis) / static_cast<double>(all.cpu_millis) +
                         static_cast<double>(left.memory_bytes) / static_cast<double>(all.memory_bytes);
      if (!best || share < best_left) best = at, best_left = share;
    }
    return best;
  }
  bool may_join(const MadeGroup& group, std::uint32_t worker) const {
    return std::ranges::all_of(group.kind->apart, [&](const Apart& apart) {
      const auto others = std::ranges::count_if(group.members, [&](std::uint32_t vm) {
        const auto at = vms_[vm].worker;
        return apart.level == DomainLevel::rack ? rack_of_[at] == rack_of_[worker] : at == worker;
      });
      return others < apart.most;
    });
  }
  const std::vector<std::uint32_t>& everywhere() {
    if (everywhere_.empty()) {
      everywhere_.resize(fleet_.workers.size());
      std::iota(everywhere_.begin(), everywhere_.end(), 0u);
    }
    return everywhere_;
  }

  // Random ones go, and leave holes everywhere.
  void thin_out() {
    std::vector<std::uint32_t> order(vms_.size());
    std::iota(order.begin(), order.end(), 0u);
    for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random_.below(i)]);
    gone_.resize(vms_.size());
    auto left = vms_.size();
    for (const auto vm : order) {
      if (use() <= options_.use && (options_.vms_max == 0 || left <= options_.vms_max)) return;
      const auto needs = needs_of(vms_[vm].kind);
      used_ = used_.minus(needs), free_[vms_[vm].worker] += needs;
      gone_[vm] = true, --left;
    }
  }

  void write_vms() {
    Image image;
    image.id = ImageId("guest"), image.pool = PoolId("main"), image.state = ImageState::ready;
    fleet_.images.push_back(image);
    for (std::uint32_t i = 0; i < vms_.size(); ++i) {
      if (gone_[i]) continue;
      const auto& made = vms_[i];
      const auto& kind = tables_.vms[made.kind];
      Vm vm;
      vm.id = VmId(fmt::format("vm-{}", fleet_.vms.size() + 1));
      vm.worker = fleet_.workers[made.worker].id, vm.epoch = fleet_.vms.size() + 1;
      vm.spec.image = image.id, vm.spec.cpus = kind.cpus, vm.spec.memory_bytes = kind.memory_bytes;
      vm.spec.tenant = fmt::format("tenant-{}", made.tenant + 1);
      if (kind.needs_gpu) vm.spec.worker_labels = Labels{{"gpu", "yes"}};
      if (groups_[made.group].kind->vms > 1) {
        vm.spec.group = GroupId(group_name(made.group));
        vm.spec.labels["app"] = group_name(made.group);
      }
      if (random_.chance(stateless)) {
        vm.spec.storage = Storage::none;
      } else {
        Disk disk;
        disk.id = DiskId("disk-" + vm.id.value), disk.pool = PoolId("main"), disk.size_bytes = disk_bytes;
        disk.vm = vm.id, disk.image = image.id, disk.state = DiskState::ready;
        vm.disk = disk.id;
        fleet_.disks.push_back(std::move(disk));
      }
      fleet_.vms.push_back(std::move(vm));
    }
  }
  static std::string group_name(std::uint32_t group) { return fmt::format("group-{}", group + 1); }

  // The largest of them may have a tenth away at once.
  void write_groups() {
    std::vector<std::pair<std::uint32_t, std::uint32_t>> sizes;
    for (std::uint32_t i = 0; i < groups_.size(); ++i) {
      const auto alive = static_cast<std::uint32_t>(
          std::ranges::count_if(groups_[i].members, [&](auto vm) { return !gone_[vm]; }));
      if (groups_[i].kind->vms == 1 || alive == 0) continue;
      fleet_.groups.push_back({GroupId(group_name(i)), groups_[i].kind->apart, groups_[i].kind->together});
      sizes.emplace_back(alive, i);
    }
    std::ranges::sort(sizes, std::greater<>());
    for (std::size_t i = 0; i < std::min(sizes.size(), budgets_made); ++i) {
      Budget budget;
      budget.id = BudgetId("budget-" + group_name(sizes[i].second));
      budget.selector = {{"app", group_name(sizes[i].second)}};
      budget.away_max = std::max(1u, sizes[i].first / 10);
      fleet_.budgets.push_back(std::move(budget));
    }
  }

  const MakeOptions& options_;
  const TraceTables tables_;
  Random random_;
  const Lottery vm_kinds_, group_kinds_, tenants_;
  FleetRecords fleet_;
  Resources total_, used_;
  std::uint32_t racks_ = 0;
  std::vector<std::uint32_t> rack_of_, with_gpu_, everywhere_;
  std::vector<std::vector<std::uint32_t>> by_rack_;
  std::vector<bool> has_gpu_, gone_;
  std::vector<Resources> free_;
  std::vector<Made> vms_;
  std::vector<MadeGroup> groups_;
};

}  // namespace

Result<FleetRecords> make_fleet(const MakeOptions& options) {
  EBB_TRY(tables, read_tables(options.trace));
  if (options.workers == 0) return fail_field("--workers", "a fleet has at least one worker");
  auto fleet = Maker(options, std::move(tables)).make();
  fleet.origin = options.trace;
  return fleet;
}

}  // namespace ebb::what_if
