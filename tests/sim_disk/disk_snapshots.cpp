#include "disk_snapshots.h"

#include "disk_troubles.h"

namespace ebb::disk_sim {
namespace {
constexpr std::size_t wishes_max = 3, known_max = 24;
}

template <class T, class Make>
std::shared_ptr<std::optional<Result<T>>> Snapshots::ask_control_plane(sim::SimProcess*& process, Make make) {
  auto answer = std::make_shared<std::optional<Result<T>>>();
  process = &fleet_.world().start_process("control", "admin");
  auto& client = process->make<sim::SimStoreClient>(*process, fleet_.store());
  auto& admin = process->make<disk::PoolAdmin>(process->loop(), client);
  process->make<Scope>(process->loop())
      .spawn([](Task<Result<T>> task, std::shared_ptr<std::optional<Result<T>>> out) -> Task<void> {
        auto done = co_await std::move(task);
        out->emplace(std::move(done));
      }(make(admin), answer));
  return answer;
}

void Snapshots::act() {
  if (control_.disks().empty()) return;
  const auto& disk = control_.disks()[random_.below(control_.disks().size())];
  if (random_.chance(0.6))
    begin_snapshot(disk);
  else if (random_.chance(0.5))
    begin_restore(disk);
  else
    begin_removal(disk);
}

// ---- snapshots

void Snapshots::begin_snapshot(const DiskId& disk) {
  if (wishes_.size() >= wishes_max || known_.size() >= known_max) return;
  Wish wish;
  wish.disk = disk, wish.name = fmt::format("s{}", ++asked_);
  const auto* tenure = fleet_.oracle().newest(disk);
  const bool may_be_restored_first = restore_ && restore_->has_begun && restore_->disk == disk;
  if (tenure && !may_be_restored_first) {
    wish.epoch = tenure->epoch;
    // Of a tenure that may have ended already only what the store has for certain is promised.
    const bool lives = control_.is_open(disk) && tenure->epoch.placement == control_.epoch_of(disk);
    wish.least = lives ? tenure->flushed : tenure->kept_anywhere;
    if (lives && fleet_.oracle().class_of(disk) == DiskClass::local) wish.least = tenure->kept_anywhere;
  }
  wishes_.push_back(std::move(wish));
}

void Snapshots::ask(Wish& wish) {
  wish.ask_at = fleet_.now() + between(random_, 50ms, 400ms);
  if (restore_ && restore_->has_begun && restore_->disk == wish.disk) return;
  auto& worker = control_.wanted_at(wish.disk);
  auto status = worker.is_running() ? DiskFleet::status_of(worker, wish.disk) : std::nullopt;
  wish.is_asked_of_owner = status && status->state == DiskSeen::open;
  if (wish.is_asked_of_owner) {
    const DiskEpoch epoch{status->epoch, status->incarnation};
    const auto* tenure = fleet_.oracle().newest(wish.disk);
    const bool is_its_own = tenure && tenure->epoch == epoch;  // else its guest has not begun
    if (!wish.told || wish.told->first != epoch) wish.told = {epoch, is_its_own ? tenure->acknowledged : 0};
    wish.process = worker.process;
    wish.answer = std::make_shared<std::optional<Result<bool>>>();
    MakeSnapshot request{wish.disk, pool_id, status->epoch, wish.name, wish.name};
    worker.scope->spawn([](disk::DiskDaemon* daemon, MakeSnapshot made,
                           std::shared_ptr<std::optional<Result<bool>>> out) -> Task<void> {
      auto done = co_await daemon->snapshot(std::move(made));
      if (done)
        out->emplace(true);
      else
        out->emplace(fail(std::move(done).error()));
    }(worker.daemon, std::move(request), wish.answer));
  } else if (random_.chance(0.3)) {  // perhaps nobody holds it
    auto tuning = fleet_.tuning();
    wish.answer = ask_control_plane<bool>(wish.process, [&](disk::PoolAdmin& admin) -> Task<Result<bool>> {
      return [](disk::PoolAdmin* pool, DiskId disk, std::string name,
                disk::DiskTuning with) -> Task<Result<bool>> {
        EBB_CO_CHECKED(co_await pool->snapshot(std::move(disk), {name, name}, with));
        co_return true;
      }(&admin, wish.disk, wish.name, tuning);
    });
  }
}

void Snapshots::tick() {
  for (auto& wish : wishes_) {
    const bool is_dead = wish.answer && !*wish.answer && (!wish.process || !wish.process->is_alive());
    if (is_dead) wish.answer.reset();
    if (wish.answer && *wish.answer && **wish.answer) continue;  // learnt below
    if (wish.answer && *wish.answer) {
      const auto& error = (*wish.answer)->error();
      if (error.code == Code::conflict && error.field == "name")
        fleet_.world().violation(
            fmt::format("snapshot {} of {} is refused: {}", wish.name, wish.disk, error));
      wish.answer.reset();
    }
    if (!wish.answer && fleet_.now() >= wish.ask_at) ask(wish);
  }
  std::erase_if(wishes_, [this](const Wish& wish) {
    return wish.answer && *wish.answer && **wish.answer && learn(wish);
  });
  if (restore_) go_on_with_restore();
  if (removal_) go_on_with_removal();
}

// False: the store does not answer now.
bool Snapshots::learn(const Wish& wish) {
  auto root = fleet_.read_root(wish.disk, wish.name);
  if (!root && root.error().code == Code::internal) return false;
  if (!root) {
    fleet_.world().violation(fmt::format("snapshot {} of {}: {}", wish.name, wish.disk, root.error()));
    return true;
  }
  const auto* newest = fleet_.oracle().newest(wish.disk);
  const bool is_owners = wish.is_asked_of_owner && wish.told && wish.told->first == root->position.epoch &&
                         newest && newest->epoch == wish.told->first;
  fleet_.oracle().check_root(wish.disk, wish.name, root->position, root->content,
                             is_owners ? wish.told->first : wish.epoch,
                             is_owners ? wish.told->second : wish.least);
  known_.push_back({wish.disk, wish.name, std::move(root->content)});
  return true;
}

const Snapshots::Known* Snapshots::draw_known(const DiskId& disk) {
  std::vector<const Known*> of;
  for (const auto& known : known_)
    if (known.disk == disk) of.push_back(&known);
  return of.empty() ? nullptr : of[random_.below(of.size())];
}

std::optional<Snapshots::Origin> Snapshots::draw_origin() {
  if (known_.empty()) return std::nullopt;
  auto& known = known_[random_.below(known_.size())];
  ++known.forks_begun;
  return Origin{known.disk, known.name, known.content};
}

void Snapshots::fork_is_made(const DiskId& disk, const std::string& root) {
  if (auto* known = find_known(disk, root)) --known->forks_begun;
}

Snapshots::Known* Snapshots::find_known(const DiskId& disk, const std::string& name) {
  auto it = std::ranges::find_if(known_, [&](const Known& k) { return k.disk == disk && k.name == name; });
  return it == known_.end() ? nullptr : &*it;
}

// ---- restores

void Snapshots::begin_restore(const DiskId& disk) {
  if (restore_ || !control_.is_open(disk) || fleet_.is_reading()) return;
  const auto* known = draw_known(disk);
  if (!known) return;
  Restore restore;
  restore.disk = disk, restore.name = known->name, restore.request = fmt::format("r{}", ++restores_);
  restore.give_up_at = fleet_.now() + 5s;
  restore_ = std::move(restore);
  control_.hold(disk);
}

// Stopped, then restored by whoever lives long enough, then started anew.
void Snapshots::go_on_with_restore() {
  auto& r = *restore_;
  if (!r.has_begun) {
    if (!control_.seal(r.disk)) {
      if (fleet_.now() < r.give_up_at) return;
      control_.release(r.disk);
      return restore_.reset();
    }
    const auto* last = fleet_.oracle().newest(r.disk);
    if (!last) return;
    r.has_begun = true, r.before = last->epoch, r.give_up_at = fleet_.now() + 30s;
    fleet_.oracle().expect_restore(r.disk, find_known(r.disk, r.name)->content);
    // What is taken from now on may be of the restored disk.
    for (auto& wish : wishes_)
      if (wish.disk == r.disk) wish.least = 0, wish.told.reset();
  }
  if (r.answer && *r.answer) {
    auto& answer = **r.answer;
    if (answer) return end_restore(*answer);
    const auto code = answer.error().code;
    if (code != Code::conflict && code != Code::fenced) {
      fleet_.world().violation(
          fmt::format("{} cannot be restored to {}: {}", r.disk, r.name, answer.error()));
      return;
    }
    // Somebody opened it meanwhile, as asked long ago: HEAD decides.
    r.answer.reset();
    if (fleet_.now() < r.give_up_at) return;
    control_.release(r.disk);
    return restore_.reset();
  }
  if (r.process && r.process->is_alive() && r.answer) {
    if (random_.chance(0.05)) r.process->kill();
    return;
  }
  auto tuning = fleet_.tuning();
  r.answer = ask_control_plane<disk::RestoreRecord>(r.process, [&](disk::PoolAdmin& admin) {
    return admin.restore(r.disk, {r.name, r.request, {}}, tuning);
  });
}

void Snapshots::end_restore(const disk::RestoreRecord& record) {
  const auto r = *restore_;
  auto left = fleet_.read_root(r.disk, record.kept_as);
  if (!left && left.error().code == Code::internal) return;  // the store does not answer now
  if (!left)
    fleet_.world().violation(fmt::format("what {} was before its restore is lost: {}", r.disk, left.error()));
  else
    fleet_.oracle().check_left(r.disk, record.epoch, left->content);
  if (left && known_.size() < known_max) known_.push_back({r.disk, record.kept_as, left->content});
  restore_.reset();
  control_.release(r.disk);
}

// ---- removals

void Snapshots::begin_removal(const DiskId& disk) {
  const auto* known = draw_known(disk);
  if (removal_ || !known || known->forks_begun > 0 ||
      (restore_ && restore_->disk == disk && restore_->name == known->name))
    return;
  removal_ = Removal{*known};
  std::erase_if(known_, [this](const Known& k) {
    return k.disk == removal_->known.disk && k.name == removal_->known.name;
  });
}

void Snapshots::go_on_with_removal() {
  auto& r = *removal_;
  if (r.answer && *r.answer) {
    const auto& answer = **r.answer;
    if (answer) {
      ++removed_;
    } else if (answer.error().code == Code::busy) {  // a fork needs it
      known_.push_back(std::move(r.known));
    } else {
      fleet_.world().violation(
          fmt::format("snapshot {} of {} cannot be removed: {}", r.known.name, r.known.disk, answer.error()));
    }
    return removal_.reset();
  }
  if (r.process && r.process->is_alive() && r.answer) {
    if (random_.chance(0.05)) r.process->kill();
    return;
  }
  r.answer = ask_control_plane<bool>(r.process, [&](disk::PoolAdmin& admin) -> Task<Result<bool>> {
    return [](disk::PoolAdmin* pool, DiskId disk, std::string name) -> Task<Result<bool>> {
      EBB_CO_CHECKED(co_await pool->remove_root(std::move(disk), {name, name}));
      co_return true;
    }(&admin, r.known.disk, r.known.name);
  });
}

std::string Snapshots::waits_for() const {
  std::string out;
  for (const auto& wish : wishes_) out += fmt::format("snapshot {} of {}; ", wish.name, wish.disk);
  if (removal_) out += fmt::format("removal of {} of {}; ", removal_->known.name, removal_->known.disk);
  if (restore_)
    out += fmt::format("restore of {} to {}{}", restore_->disk, restore_->name,
                       restore_->has_begun ? " (sealed)" : "");
  return out;
}

void Snapshots::check_end() {
  for (const auto& known : known_) {
    auto root = fleet_.read_root(known.disk, known.name);
    if (!root)
      fleet_.world().violation(
          fmt::format("snapshot {} of {} in the end: {}", known.name, known.disk, root.error()));
    else if (root->content != known.content)
      fleet_.world().violation(fmt::format("snapshot {} of {} has changed", known.name, known.disk));
  }
}

}  // namespace ebb::disk_sim
