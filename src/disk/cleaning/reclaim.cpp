#include "disk/cleaning/reclaim.h"

#include <set>

#include "disk/attach/load_map.h"
#include "disk/attach/root_set.h"
#include "disk/cache/hints.h"
#include "disk/keys.h"
#include "disk/log_objects.h"
#include "env/scope.h"

namespace ebb::disk {
namespace {

constexpr std::size_t parallel_max = 16;
// What a crash has left is looked for until so many in a row are not there: more than any writer puts out of
// order.
constexpr std::uint64_t misses_max = 16;

class Reclaim {
 public:
  Reclaim(StoreAccess access, ObjectRemover& remover, HeadAt head)
      : access_(access), remover_(remover), head_(std::move(head)) {}

  Task<Result<Reclaimed>> run() {
    const auto& head = head_.head;
    const bool is_deleted = head.state == HeadState::deleted, owes = head.roots && head.roots->owed > 0;
    if (!is_deleted && !owes && has_been_done(head)) co_return result_;
    EBB_CO_CHECKED(co_await read_roots_of_head());
    const bool is_ending = is_deleted && page_.roots.empty();
    if (is_ending) EBB_CO_CHECKED(co_await end_disk());
    if (checkpoint_) {
      co_await condemn(*checkpoint_, head.reclaimed);
      if (!is_ending) find_old_hints(checkpoint_->epoch);
    }
    for (const auto& dropped : page_.dropped) EBB_CO_CHECKED(co_await condemn_dropped(dropped));
    condemn_pages(is_ending);
    EBB_CO_CHECKED(co_await remove_all());
    EBB_CO_CHECKED(co_await remove_hints());
    EBB_CO_CHECKED(co_await say_so(is_ending));
    result_.is_disk_gone = is_ending;
    co_return result_;
  }

 private:
  static bool has_been_done(const Head& head) {
    if (!head.checkpoint || head.checkpoint->disk != head.disk) return true;
    return head.reclaimed && *head.reclaimed >= CheckpointId{head.checkpoint->epoch, head.checkpoint->number};
  }
  const DiskId& disk() const { return head_.head.disk; }

  Task<Status> read_roots_of_head() {
    const auto& head = head_.head;
    // A parent's checkpoint names nothing of ours, and may be gone when we are a tombstone.
    if (head.checkpoint && head.checkpoint->disk == head.disk) {
      EBB_CO_TRY(root, co_await read_checkpoint_root(access_, *head.checkpoint, nullptr));
      checkpoint_ = std::move(root);
    }
    if (checkpoint_ && head.state != HeadState::deleted) keep(*checkpoint_);
    auto page = co_await read_roots(access_, head);
    const bool was_ended = head.state == HeadState::deleted && !page && page.error().code == Code::not_found;
    if (was_ended) co_return Status{};  // and died before HEAD said so
    if (!page) co_return fail(std::move(page).error());
    page_ = std::move(*page);
    for (const auto& named : page_.roots) {
      EBB_CO_TRY(root, co_await read_checkpoint_root(access_, named.checkpoint, nullptr));
      keep(root);
    }
    co_return Status{};
  }

  void keep(const CheckpointRoot& root) {
    for (const auto& key : keys_of(root)) kept_.insert(key);
  }

  // Of what belongs to this disk, everything that the root names, and itself.
  std::vector<std::string> keys_of(const CheckpointRoot& root) const {
    std::vector<std::string> keys;
    for (const auto& o : root.objects)
      if (o.object.disk == disk()) keys.push_back(data_object_key(o.object));
    for (const auto& pack : root.packs)
      if (pack.disk == disk())
        keys.push_back(map_pack_key(pack.disk, pack.epoch, pack.checkpoint, pack.number));
    if (root.disk == disk()) std::ranges::copy(root_keys(root.epoch, root.number), std::back_inserter(keys));
    return keys;
  }

  std::array<std::string, 2> root_keys(DiskEpoch epoch, std::uint64_t number) const {
    return {checkpoint_root_key(disk(), epoch, number), checkpoint_root_copy_key(disk(), epoch, number)};
  }

  Task<void> condemn(CheckpointRoot root, std::optional<CheckpointId> reclaimed) {
    for (const auto& group : root.condemned) {
      if (reclaimed && group.by <= *reclaimed) continue;
      for (const auto& condemned : group.objects) co_await condemn(condemned);
    }
  }

  Task<void> condemn(Condemned c) {
    switch (c.kind) {
      case Condemned::Kind::segment:
        doom(segment_key(disk(), c.epoch, c.number));
        break;
      case Condemned::Kind::cleaned:
        doom(cleaned_key(disk(), c.epoch, c.number));
        break;
      case Condemned::Kind::pack:
        doom(map_pack_key(disk(), c.epoch, c.number, c.pack));
        break;
      case Condemned::Kind::root:
        for (auto& key : root_keys(c.epoch, c.number)) doom(std::move(key));
        break;
      case Condemned::Kind::lost_checkpoint:
        for (auto& key : root_keys(c.epoch, c.number)) doom(std::move(key));
        co_await doom_run(1, [this, c](std::uint64_t n) {
          return map_pack_key(disk(), c.epoch, c.number, static_cast<std::uint32_t>(n));
        });
        break;
      case Condemned::Kind::lost_cleaned:
        co_await doom_run(c.number, [this, c](std::uint64_t n) { return cleaned_key(disk(), c.epoch, n); });
        break;
    }
  }

  // Keys that follow each other, until none is there any more.
  Task<void> doom_run(std::uint64_t from, std::function<std::string(std::uint64_t)> key_of) {
    for (std::uint64_t n = from, misses = 0; misses < misses_max; ++n) {
      auto there = co_await access_.get_range(key_of(n), 0, 1);
      misses = there ? 0 : misses + 1;
      if (there) doom(key_of(n));
    }
  }

  // What a root that was removed had held, and what had been condemned on its lineage.
  Task<Status> condemn_dropped(CheckpointRef dropped) {
    if (dropped.disk != disk()) co_return Status{};
    auto root = co_await read_checkpoint_root(access_, dropped, nullptr);
    if (!root && root.error().code == Code::not_found)
      co_return Status{};  // done, and died before HEAD said so
    if (!root) co_return fail(std::move(root).error());
    for (auto& key : keys_of(*root)) doom(std::move(key));
    co_await condemn(*root, {});
    // Of epochs that a restore has cut off no other list tells.
    for (const auto& end : root->lineage)
      if (is_cut_off(end.epoch)) old_hints_.insert(end.epoch);
    if (is_cut_off(root->epoch)) old_hints_.insert(root->epoch);
    // By it all of that is found: it goes last.
    for (auto& own_key : root_keys(root->epoch, root->number))
      if (doomed_.contains(own_key)) doomed_last_.insert(std::move(own_key));
    co_return Status{};
  }

  void condemn_pages(bool is_ending) {
    const auto kept = is_ending ? 0 : std::min(page_.replaced.size(), RootsPage::replaced_kept);
    pages_done_.assign(page_.replaced.begin(), page_.replaced.end() - static_cast<std::ptrdiff_t>(kept));
    if (!is_ending && page_.owed() == page_.dropped.size()) pages_done_.clear();  // too few
    for (const auto& nonce : pages_done_) doom(roots_key(disk(), nonce));
    if (is_ending && head_.head.roots) doomed_last_.insert(roots_key(disk(), head_.head.roots->nonce));
  }

  void doom(std::string key) {
    if (kept_.contains(key))
      ++result_.held;
    else
      doomed_.insert(std::move(key));
  }

  // A tombstone that no named root leans on: all of it. Its fences stay for ever: they hold off late writers.
  Task<Status> end_disk() {
    const auto& head = head_.head;
    LogPoint from;
    if (checkpoint_) {
      for (auto& key : keys_of(*checkpoint_)) doom(std::move(key));
      from = checkpoint_->position;
      co_await condemn({Condemned::Kind::lost_checkpoint, checkpoint_->epoch, checkpoint_->number + 1, 0});
      co_await condemn({Condemned::Kind::lost_cleaned, checkpoint_->epoch, checkpoint_->cleaned + 1, 0});
      for (const auto& end : checkpoint_->lineage) old_hints_.insert(end.epoch);
    }
    for (const auto& end : head.lineage) {
      old_hints_.insert(end.epoch);
      for (auto seq = end.epoch == from.epoch ? from.seq + 1 : 1; seq <= end.seq; ++seq)
        doom(segment_key(disk(), end.epoch, seq));
      if (checkpoint_ && end.epoch <= checkpoint_->epoch) continue;
      co_await condemn({Condemned::Kind::lost_checkpoint, end.epoch, 1, 0});
      co_await condemn({Condemned::Kind::lost_cleaned, end.epoch, 1, 0});
    }
    co_return Status{};
  }

  // What guests read under epochs that are over. Once for each of those: when a
  // checkpoint of a newer epoch is carried out for the first time, for what had not yet been over when the
  // last one was.
  void find_old_hints(DiskEpoch now) {
    const auto& ended = checkpoint_->lineage;
    auto over_before = [&](DiskEpoch epoch) {
      auto count = static_cast<std::size_t>(
          std::ranges::count_if(ended, [&](const LogPoint& end) { return end.epoch < epoch; }));
      return count - std::min(count, hints_epochs_max - 1);
    };
    const auto& reclaimed = head_.head.reclaimed;
    for (auto i = reclaimed ? over_before(reclaimed->epoch) : 0; i < over_before(now); ++i)
      old_hints_.insert(ended[i].epoch);
  }

  bool is_cut_off(DiskEpoch epoch) const {
    const auto& head = head_.head;
    auto is_in = [&](const std::vector<LogPoint>& points) {
      return std::ranges::any_of(points, [&](const LogPoint& end) { return end.epoch == epoch; });
    };
    return epoch != head.epoch && !is_in(head.lineage) && !is_in(head.unsealed) &&
           !(checkpoint_ && is_in(checkpoint_->lineage));
  }

  Task<Status> remove_hints() {
    std::vector<std::string> keys;
    for (auto epoch : old_hints_) keys.push_back(hints_key(disk(), epoch));
    co_return co_await remove(std::move(keys));
  }

  Task<Status> remove_all() {
    for (const auto& key : doomed_last_) doomed_.erase(key);
    EBB_CO_CHECKED(co_await remove({doomed_.begin(), doomed_.end()}));
    EBB_CO_CHECKED(co_await remove({doomed_last_.begin(), doomed_last_.end()}));
    result_.objects = doomed_.size() + doomed_last_.size();
    co_return Status{};
  }

  Task<Status> remove(std::vector<std::string> keys) {
    for (std::size_t at = 0; at < keys.size(); at += parallel_max) {
      std::vector<Task<Status>> removals;
      for (auto i = at; i < std::min(keys.size(), at + parallel_max); ++i)
        removals.push_back(remover_.remove(keys[i]));
      for (auto& removed : co_await when_all(*access_.loop, std::move(removals)))
        EBB_CO_CHECKED(std::move(removed));
    }
    co_return Status{};
  }

  // The next checkpoint need not name them again.
  Task<Status> say_so(bool is_ending) {
    const auto& before = head_.head;
    if (is_ending) {
      if (!checkpoint_ && before.lineage.empty() && !before.roots) co_return Status{};
      const auto roots = before.roots;
      auto ended = co_await change_head(access_, head_, [roots](const Head& head) -> Result<Head> {
        if (head.state != HeadState::deleted || head.roots != roots)
          return fail(Code::conflict, "changed by somebody else");
        Head next = head;
        next.checkpoint.reset(), next.lineage.clear(), next.reclaimed.reset(), next.roots.reset();
        return next;
      });
      co_return ended ? Status{} : Status(fail(std::move(ended).error()));
    }
    if (checkpoint_ && !has_been_done(before)) EBB_CO_CHECKED(co_await say_reclaimed(id_of(*checkpoint_)));
    if (page_.owed() > 0) EBB_CO_CHECKED(co_await clear_page());
    co_return Status{};
  }

  // A restore may have gone back behind that checkpoint: then it is said of another lineage, and not at all.
  Task<Status> say_reclaimed(CheckpointId upto) {
    const auto roots = head_.head.roots;
    bool is_restored = false;
    auto changed = co_await change_head(access_, head_, [&](const Head& head) -> Result<Head> {
      is_restored = head.roots != roots;
      if (is_restored) return fail(Code::conflict, "its roots were changed meanwhile");
      Head next = head;
      if (!head.reclaimed || *head.reclaimed < upto) next.reclaimed = upto;
      return next;
    });
    if (changed) head_ = std::move(*changed);
    co_return changed || is_restored ? Status{} : Status(fail(std::move(changed).error()));
  }

  Task<Status> clear_page() {
    RootsEdit edit;
    edit.page = [this](RootsPage page) -> Result<RootsPage> {
      auto is_done = [](const auto& done, const auto& one) {
        return std::ranges::find(done, one) != done.end();
      };
      std::erase_if(page.dropped, [&](const CheckpointRef& c) { return is_done(page_.dropped, c); });
      std::erase_if(page.replaced, [&](const std::string& nonce) { return is_done(pages_done_, nonce); });
      return page;
    };
    edit.may = [](const Head&) { return Status{}; };
    auto changed = co_await change_roots(access_, head_, edit);
    co_return changed ? Status{} : Status(fail(std::move(changed).error()));
  }

  StoreAccess access_;
  ObjectRemover& remover_;
  HeadAt head_;
  std::optional<CheckpointRoot> checkpoint_;  // of ours, not of a parent
  RootsPage page_;
  std::vector<std::string> pages_done_;  // nonces
  std::set<std::string> kept_, doomed_, doomed_last_;
  std::set<DiskEpoch> old_hints_;
  Reclaimed result_;
};

}  // namespace

Task<Result<Reclaimed>> reclaim(StoreAccess access, ObjectRemover* remover, DiskId disk) {
  EBB_CO_TRY(head, co_await read_head(access, std::move(disk)));
  Reclaim work(access, *remover, std::move(head));
  co_return co_await work.run();
}

}  // namespace ebb::disk
