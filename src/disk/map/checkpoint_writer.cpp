// Stores what a map has frozen: changed pages packed into a few objects, then the root that names them.
#include <deque>

#include "base/check.h"
#include "base/checksum.h"
#include "disk/keys.h"
#include "disk/map/block_map.h"
#include "env/scope.h"

namespace ebb::disk {
namespace {

constexpr std::size_t pack_bytes = 4 * MiB;
constexpr std::size_t pages_at_once = 16, puts_in_flight = 4;
constexpr std::uint32_t sparse_percent =
    30;  // of a pack in use: below it the rest moves, so that the pack can go

Task<Status> put_checkpoint_object(StoreAccess access, std::string key, SharedBytes body) {
  if (co_await access.put_once(key, body) == StoreAccess::Put::stored) co_return Status{};
  co_return fail(Code::corrupt, "{} holds what this process did not write", key);
}

}  // namespace

class BlockMap::CheckpointWriter {
 public:
  CheckpointWriter(BlockMap& map, std::shared_ptr<const Changes> frozen, const CheckpointPlan& plan)
      : map_(map),
        frozen_(std::move(frozen)),
        plan_(plan),
        put_ended_(*map.access_.loop),
        scope_(*map.access_.loop) {}

  Task<Result<CheckpointRoot>> run() {
    auto pages = pages_to_write();
    for (std::size_t at = 0; at < pages.size(); at += pages_at_once) {
      auto some = std::span(pages).subspan(at, std::min(pages_at_once, pages.size() - at));
      EBB_CO_CHECKED(co_await write_pages({some.begin(), some.end()}));
    }
    EBB_CO_CHECKED(co_await end_pack());
    while (puts_ > 0) co_await put_ended_.wait();
    if (failed_) co_return fail(*failed_);
    co_return make_root();
  }

 private:
  struct NewPage {
    std::uint32_t pack = 0, offset = 0, bytes = 0;
  };

  // The changed ones, and those that keep an old pack alive nearly alone.
  std::vector<std::uint32_t> pages_to_write() const {
    std::set<std::uint32_t> pages;
    for (auto [page, place] : frozen_->pages) pages.insert(page);
    const auto& root = map_.root_;
    std::vector<std::uint64_t> used(root.packs.size());
    for (const auto& ref : root.pages)
      if (!pages.contains(ref.page)) used[ref.pack] += ref.bytes;
    for (const auto& ref : root.pages) {
      const auto& pack = root.packs[ref.pack];
      if (pack.disk == plan_.disk && used[ref.pack] * 100 < std::uint64_t{pack.bytes} * sparse_percent)
        pages.insert(ref.page);
    }
    return {pages.begin(), pages.end()};
  }

  Task<Status> write_pages(std::vector<std::uint32_t> pages) {
    std::vector<Task<Result<PageHandle>>> fetches;
    std::vector<std::size_t> of;
    std::vector<PageHandle> bases(pages.size());
    for (std::size_t i = 0; i < pages.size(); ++i) {
      auto place = map_.place_of(pages[i]);
      if (!place) continue;
      fetches.push_back(map_.fetch(*place));
      of.push_back(i);
    }
    if (fetches.empty()) co_await sleep_for(*map_.access_.loop, 0s);  // others have their turn
    auto fetched = co_await when_all(*map_.access_.loop, std::move(fetches));
    for (std::size_t i = 0; i < of.size(); ++i) {
      EBB_CO_TRY(page, std::move(fetched[i]));
      bases[of[i]] = std::move(page);
    }
    for (std::size_t i = 0; i < pages.size(); ++i) {
      add_page(pages[i], bases[i]);
      if (pack_.size() >= pack_bytes) EBB_CO_CHECKED(co_await end_pack());
    }
    co_return Status{};
  }

  void add_page(std::uint32_t number, const PageHandle& base) {
    const auto* delta = frozen_->find(number);
    static const PageDelta none;
    auto page = merge(base ? &base->page() : nullptr, delta ? *delta : none);
    page.disk = plan_.disk, page.page = number;
    if (base)
      for (const auto& run : base->page().runs) live_change_[run.object] -= run.count;
    for (const auto& run : page.runs) live_change_[run.object] += run.count;
    auto& made = pages_[number];
    if (page.runs.empty()) return;  // nothing is left there
    auto body = encode(page);
    made = {packs_begun_ + 1, static_cast<std::uint32_t>(pack_.size()),
            static_cast<std::uint32_t>(body.size())};
    append(pack_, body);
    waiting_.emplace_back(made.offset, std::make_shared<const LoadedPage>(std::move(page)));
  }

  // Its pages are in memory already: they are the likeliest to be asked for.
  Task<Status> end_pack() {
    if (pack_.empty()) co_return failed_ ? Status(fail(*failed_)) : Status{};
    PagePack pack{plan_.disk, plan_.epoch, plan_.number, ++packs_begun_,
                  static_cast<std::uint32_t>(pack_.size())};
    for (auto& [offset, page] : std::exchange(waiting_, {}))
      map_.cache_->add({pack, offset}, std::move(page));
    packs_.push_back(pack);
    while (puts_ >= puts_in_flight) co_await put_ended_.wait();
    if (failed_) co_return fail(*failed_);
    ++puts_;
    scope_.spawn(put(map_pack_key(pack.disk, pack.epoch, pack.checkpoint, pack.number),
                     std::make_shared<const Bytes>(std::exchange(pack_, {}))));
    co_return Status{};
  }

  Task<void> put(std::string key, SharedBytes body) {
    auto done = co_await put_checkpoint_object(map_.access_, std::move(key), std::move(body));
    if (!done) failed_ = done.error();
    --puts_;
    put_ended_.notify_all();
  }

  CheckpointRoot make_root() const {
    const auto& old = map_.root_;
    CheckpointRoot root{plan_.disk,
                        plan_.epoch,
                        plan_.number,
                        plan_.size_bytes,
                        plan_.position,
                        plan_.lineage,
                        map_.frozen_next_object_,
                        {},
                        {},
                        {},
                        0,
                        {}};
    root.cleaned = map_.frozen_cleaned_;
    std::vector<Condemned> condemned;
    for (auto object : old.objects) {
      if (object.id >= map_.frozen_next_object_) break;
      auto change = live_change_.find(object.id);
      if (change != live_change_.end())
        object.live = static_cast<std::uint32_t>(object.live + change->second);
      if (is_needed(object))
        root.objects.push_back(object);
      else if (object.object.disk == plan_.disk)
        condemned.push_back({kind_of(object.object), object.object.epoch, object.object.seq, 0});
    }
    std::map<PagePack, std::uint32_t> index;
    auto add = [&](std::uint32_t page, const PagePack& pack, std::uint32_t offset, std::uint32_t bytes) {
      auto [it, is_new] = index.try_emplace(pack, static_cast<std::uint32_t>(root.packs.size()));
      if (is_new) root.packs.push_back(pack);
      root.pages.push_back({page, it->second, offset, bytes});
    };
    auto made = pages_.begin();
    auto add_made_below = [&](std::uint64_t end) {
      for (; made != pages_.end() && made->first < end; ++made)
        if (made->second.bytes > 0)
          add(made->first, packs_[made->second.pack - 1], made->second.offset, made->second.bytes);
    };
    for (const auto& ref : old.pages) {
      add_made_below(ref.page);
      if (!pages_.contains(ref.page)) add(ref.page, old.packs[ref.pack], ref.offset, ref.bytes);
    }
    add_made_below(~std::uint64_t{0});
    condemn_old_map(index, condemned);
    condemn_what_was_lost(condemned);
    if (old.disk == plan_.disk) root.condemned = old.condemned;
    std::erase_if(root.condemned,
                  [&](const auto& group) { return plan_.reclaimed && group.by <= *plan_.reclaimed; });
    if (!condemned.empty()) root.condemned.push_back({id_of(root), std::move(condemned)});
    return root;
  }

  static Condemned::Kind kind_of(const DataObject& object) {
    return object.kind == ObjectKind::cleaned ? Condemned::Kind::cleaned : Condemned::Kind::segment;
  }

  // By the map, or to make a map again from objects alone: then its trims keep older data from coming back.
  bool is_needed(const MapObject& object) const {
    if (object.live > 0 || map_.frozen_being_filled_.contains(object.id)) return true;
    if (object.trims == 0) return false;
    auto carrier = map_.released_.find(object.id);
    return carrier == map_.released_.end() || carrier->second >= map_.frozen_next_object_;
  }

  // The packs and the root that this checkpoint replaces.
  void condemn_old_map(const std::map<PagePack, std::uint32_t>& used,
                       std::vector<Condemned>& condemned) const {
    const auto& old = map_.root_;
    for (const auto& pack : old.packs)
      if (pack.disk == plan_.disk && !used.contains(pack))
        condemned.push_back({Condemned::Kind::pack, pack.epoch, pack.checkpoint, pack.number});
    if (old.disk == plan_.disk && old.number > 0)
      condemned.push_back({Condemned::Kind::root, old.epoch, old.number, 0});
  }

  // The first checkpoint of an epoch: its predecessors may have died over one, or over cleaned objects.
  void condemn_what_was_lost(std::vector<Condemned>& condemned) const {
    const auto& old = map_.root_;
    const bool has_old = old.disk == plan_.disk && old.number > 0;
    if (has_old && old.epoch == plan_.epoch) return;
    auto add = [&](DiskEpoch epoch, std::uint64_t checkpoint, std::uint64_t cleaned) {
      condemned.push_back({Condemned::Kind::lost_checkpoint, epoch, checkpoint, 0});
      condemned.push_back({Condemned::Kind::lost_cleaned, epoch, cleaned, 0});
    };
    if (has_old) add(old.epoch, old.number + 1, old.cleaned + 1);
    for (const auto& sealed : plan_.lineage)
      if (!has_old || sealed.epoch > old.epoch) add(sealed.epoch, 1, 1);
  }

  BlockMap& map_;
  std::shared_ptr<const Changes> frozen_;
  const CheckpointPlan& plan_;
  Bytes pack_;
  std::vector<std::pair<std::uint32_t, PageHandle>> waiting_;  // pages of pack_, by their offsets
  std::uint32_t packs_begun_ = 0;
  std::vector<PagePack> packs_;
  std::map<std::uint32_t, NewPage> pages_;  // bytes 0: the page is empty now
  std::unordered_map<ObjectId, std::int64_t> live_change_;
  std::size_t puts_ = 0;
  std::optional<Error> failed_;
  Notify put_ended_;
  Scope scope_;
};

void BlockMap::freeze() {
  CHECK(!frozen_);
  frozen_ = std::make_shared<const Changes>(std::exchange(changed_, {}));
  frozen_next_object_ = root_.next_object;
  frozen_cleaned_ = cleaned_;
  frozen_being_filled_ = being_filled_;
}

Task<Result<CheckpointRef>> BlockMap::store_checkpoint(CheckpointPlan plan) {
  CHECK(frozen_ && !stored_);
  CheckpointWriter writer(*this, frozen_, plan);
  EBB_CO_TRY(root, co_await writer.run());
  auto body = std::make_shared<const Bytes>(encode(root));
  std::vector<Task<Status>> puts;
  for (auto key_of : {checkpoint_root_key, checkpoint_root_copy_key})
    puts.push_back(put_checkpoint_object(access_, key_of(plan.disk, plan.epoch, plan.number), body));
  for (auto& put : co_await when_all(*access_.loop, std::move(puts))) EBB_CO_CHECKED(std::move(put));
  stored_ = std::move(root);
  co_return CheckpointRef{plan.disk, plan.epoch, plan.number, body->size(), crc32c(*body), plan.position};
}

// Objects that were added since are the next checkpoint's to count.
void BlockMap::adopt() {
  CHECK(frozen_ && stored_);
  auto old = std::move(root_);
  use_root(std::move(*stored_));
  stored_.reset();
  auto added = std::ranges::lower_bound(old.objects, frozen_next_object_, {}, &MapObject::id);
  root_.objects.insert(root_.objects.end(), added, old.objects.end());
  root_.next_object = old.next_object;
  std::erase_if(released_, [&](const auto& item) { return !entry(item.first); });
  frozen_.reset();
}

}  // namespace ebb::disk
