#include "agent/wish_step.h"

#include <set>

namespace ebb::agent {
namespace {

Epoch acted_epoch(const Wishes& wishes, const VmId& vm) {
  auto found = wishes.epochs.find(vm);
  return found != wishes.epochs.end() ? found->second : wishes.forgotten_epoch;
}

// Whether a machine may run, or a disk be owned, for the sake of this wish.
bool owns_something(Wanted wanted) {
  switch (wanted) {
    case Wanted::running:
    case Wanted::sealed:
    case Wanted::stopped:
      return true;
    case Wanted::standby:
    case Wanted::absent:
      return false;
  }
  return false;
}

// The reason why an entry is not followed, or "".
std::string why_refused(const Wishes& now, const WantedVm& entry) {
  auto acted = acted_epoch(now, entry.vm);
  if (entry.epoch >= acted) return "";
  // To stand by is to own nothing: it may name the epoch of whoever owns the VM now - unless that would end
  // what is owned here under a newer one.
  auto held = now.vms.find(entry.vm);
  if (entry.wanted == Wanted::standby && (held == now.vms.end() || !owns_something(held->second.wanted)))
    return "";
  return fmt::format("epoch {} is older than {}, which was acted on", entry.epoch, acted);
}

// The oldest go first: whoever is placed here anew has a newer epoch than all that ever left.
void forget_old_epochs(Wishes& wishes) {
  if (wishes.epochs.size() <= epochs_max) return;
  std::set<std::pair<Epoch, VmId>> gone;
  for (const auto& [vm, epoch] : wishes.epochs) {
    if (!wishes.vms.contains(vm)) gone.emplace(epoch, vm);
  }
  for (const auto& [epoch, vm] : gone) {
    if (wishes.epochs.size() <= epochs_max) break;
    wishes.epochs.erase(vm);
    wishes.forgotten_epoch = std::max(wishes.forgotten_epoch, epoch);
  }
}

}  // namespace

WishStep take_wanted(Wishes now, const WantedSet& set) {
  WishStep step{std::move(now), {}};
  auto& next = step.next;
  std::set<VmId> named;
  for (const auto& entry : set.vms) {
    named.insert(entry.vm);
    if (auto why = why_refused(next, entry); !why.empty()) {
      step.refused.push_back({entry.vm, std::move(why)});
      continue;
    }
    if (owns_something(entry.wanted)) {
      auto& acted = next.epochs[entry.vm];
      acted = std::max(acted, entry.epoch);
    }
    next.vms[entry.vm] = entry;
  }
  for (auto& [vm, wish] : next.vms) {
    if (!named.contains(vm)) wish.wanted = Wanted::absent;
  }
  next.revision = set.revision;
  forget_old_epochs(next);
  return step;
}

}  // namespace ebb::agent
