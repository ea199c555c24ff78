#include "drain/state_facts.h"

#include <fmt/ranges.h>

#include "base/checksum.h"

namespace ebb::drain {
namespace {

using Named = std::map<std::string, std::string>;

void add_number(std::string& bytes, std::uint64_t number) {
  bytes.append(reinterpret_cast<const char*>(&number), sizeof number);
}
void add_text(std::string& bytes, const std::string& words) {
  add_number(bytes, words.size()), bytes += words;
}

void add_differences(const Named& then, const Named& now, std::vector<std::string>& found) {
  for (const auto& [name, value] : then) {
    const auto at = now.find(name);
    if (at == now.end())
      found.push_back(fmt::format("{}: {}, now gone", name, value));
    else if (at->second != value)
      found.push_back(fmt::format("{}: {}, now {}", name, value, at->second));
  }
  for (const auto& [name, value] : now)
    if (!then.contains(name)) found.push_back(fmt::format("{}: new, {}", name, value));
}

}  // namespace

StateFacts::StateFacts(const Fleet& fleet, const Seen& seen, const std::vector<WorkerId>& drained) {
  bool with_labels = false;
  for (const auto& worker : drained) {
    others_[fmt::format("{} of the plan", worker)] = "to be emptied";
    with_labels |= add_vms_of(fleet, worker);
  }
  workers_.reserve(fleet.workers().size());
  for (const auto& [id, worker] : fleet.workers()) add_worker(fleet, seen, worker, with_labels);
  for (const auto& [id, budget] : fleet.budgets())
    others_[fmt::format("budget {}", id)] = json::write_text(budget);
}

void StateFacts::add_worker(const Fleet& fleet, const Seen& seen, const Worker& worker, bool with_labels) {
  OfWorker of{worker.id};
  of.holds = static_cast<std::uint32_t>(fleet.holds_on(worker.id).size());
  of.answers = seen.is_ready(worker.id);
  of.used = fleet.used_on(worker.id), of.capacity = worker.capacity;
  of.pools = text(fmt::format("{}", fmt::join(worker.pools, ", ")));
  of.networks = text(fmt::format("{}", fmt::join(worker.networks.value_or(std::vector<NetworkId>()), ", ")));
  if (with_labels) of.labels = text(text_of(worker.labels));
  workers_.push_back(std::move(of));
}

bool StateFacts::add_vms_of(const Fleet& fleet, const WorkerId& worker) {
  bool asks_for_labels = false;
  for (const auto& id : fleet.vms_owned_by(worker)) {
    const auto& vm = fleet.at(id);
    const auto* m = fleet.open_migration_of(id);
    others_[fmt::format("{} on {}", id, worker)] =
        fmt::format("shall be {}, epoch {}{}", json::name_of(vm.desired), vm.epoch,
                    m ? fmt::format(", moving to {}", m->target) : "");
    const auto* group = vm.spec.group ? fleet.find(*vm.spec.group) : nullptr;
    if (group) others_[fmt::format("group of {}", id)] = fmt::format("{} ({})", group->id, text_of(*group));
    if (vm.spec.worker_labels)
      others_[fmt::format("labels that {} asks for", id)] = text_of(*vm.spec.worker_labels);
    if (vm.spec.cpu_features)
      others_[fmt::format("CPU features that {} asks for", id)] = json::write_text(*vm.spec.cpu_features);
    asks_for_labels |= group || vm.spec.worker_labels;
  }
  return asks_for_labels;
}

std::uint32_t StateFacts::text(std::string words) {
  const auto [at, is_new] = text_ids_.try_emplace(words, static_cast<std::uint32_t>(texts_.size()));
  if (is_new) texts_.push_back(std::move(words));
  return at->second;
}

std::string StateFacts::bytes_of(const OfWorker& w) const {
  std::string bytes;
  add_text(bytes, w.id.value);
  for (const std::uint64_t number : {std::uint64_t{w.holds}, std::uint64_t{w.answers}, w.used.cpu_millis,
                                     w.used.memory_bytes, w.capacity.cpu_millis, w.capacity.memory_bytes})
    add_number(bytes, number);
  for (const auto id : {w.pools, w.networks, w.labels}) add_text(bytes, texts_[id]);
  return bytes;
}

std::string StateFacts::hash() const {
  std::string bytes;
  for (const auto& worker : workers_) bytes += bytes_of(worker);
  for (const auto& [name, value] : others_) add_text(bytes, name), add_text(bytes, value);
  return fmt::format("{:08x}{:08x}", crc32c(as_bytes(bytes)), crc32c(as_bytes(bytes), 0x9e3779b9));
}

Named StateFacts::named(const OfWorker& w) const {
  Named facts{
      {fmt::format("holds of {}", w.id), fmt::format("{}", w.holds)},
      {fmt::format("whether {} answers", w.id), w.answers ? "yes" : "no"},
      {fmt::format("memory taken on {}", w.id),
       fmt::format("{} of {} bytes", w.used.memory_bytes, w.capacity.memory_bytes)},
      {fmt::format("cores taken on {}", w.id),
       fmt::format("{} of {} thousandths", w.used.cpu_millis, w.capacity.cpu_millis)},
      {fmt::format("pools of {}", w.id), texts_[w.pools]},
      {fmt::format("networks of {}", w.id), texts_[w.networks]},
  };
  if (w.labels) facts[fmt::format("labels of {}", w.id)] = texts_[w.labels];
  return facts;
}

std::vector<std::string> StateFacts::differences(const StateFacts& now) const {
  std::vector<std::string> found;
  auto a = workers_.begin(), b = now.workers_.begin();
  while (a != workers_.end() || b != now.workers_.end()) {
    const bool takes_a = a != workers_.end() && (b == now.workers_.end() || a->id <= b->id);
    const bool takes_b = b != now.workers_.end() && (a == workers_.end() || b->id <= a->id);
    const bool is_same = takes_a && takes_b && bytes_of(*a) == now.bytes_of(*b);
    if (!is_same) add_differences(takes_a ? named(*a) : Named(), takes_b ? now.named(*b) : Named(), found);
    a += takes_a, b += takes_b;
  }
  add_differences(others_, now.others_, found);
  return found;
}

}  // namespace ebb::drain
