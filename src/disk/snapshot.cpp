// Snapshots of a disk by its owner, and the end of an opener that restores it.
#include "base/check.h"
#include "base/text.h"
#include "disk/object_disk.h"

namespace ebb::disk {

// The writes of one lineage are numbered without gaps: the same last write is the same content.
// One that also knows where all turns before ours ended, those too that sent nothing: what their logs hold beyond it can be told
// for as long as the root is there.
bool ObjectDisk::has_checkpoint_at(const LogPoint& point) const {
  const auto& head = head_.head;
  return head.checkpoint && head.checkpoint->disk == head.disk &&
         head.checkpoint->position.write_seq == point.write_seq &&
         std::ranges::none_of(
             head.lineage, [&](const LogPoint& end) { return head.checkpoint->position.epoch < end.epoch; });
}

Status ObjectDisk::check_still_attached(const Head& head) const {
  bool is_ours = head.opener == opener_.opener && head.epoch == opener_.epoch;
  if (is_ours && head.state == HeadState::attached) return {};
  return fail(Code::fenced, "disk '{}' is {} by {} in epoch {}", head.disk, json::name_of(head.state),
              head.owner, head.epoch.text());
}

// In a scope of the disk's own: whoever asked may go away, and the checkpoint under way must end.
Task<Result<NamedRoot>> ObjectDisk::snapshot(SnapshotRequest request) {
  EBB_CO_CHECKED(check_request(request));
  OneShot<Result<NamedRoot>> made(*access_.loop);
  scope_.spawn(run_snapshot(std::move(request), made.completer()));
  co_return co_await made;
}

Task<void> ObjectDisk::run_snapshot(SnapshotRequest request, std::function<void(Result<NamedRoot>)> done) {
  auto turn = co_await snapshot_lock_.lock();
  done(co_await make_snapshot(std::move(request)));
}

Task<Result<NamedRoot>> ObjectDisk::make_snapshot(SnapshotRequest request) {
  EBB_CO_TRY(now, co_await read_head(access_, head_.head.disk));
  EBB_CO_TRY(page, co_await read_roots(access_, now.head));
  EBB_CO_TRY(made, find_made(page, request));
  if (made) co_return *made;
  EBB_CO_CHECKED(check_still_attached(now.head));

  EBB_CO_TRY(needs_checkpoint, co_await begin_snapshot());
  if (needs_checkpoint) {
    CHECK(snapshot_plan_);
    auto plan = *std::exchange(snapshot_plan_, std::nullopt);
    if (auto published = co_await publish_checkpoint(std::move(plan)); !published) {
      end_checkpoint();
      co_await lose(published.error());
      co_return fail(std::move(published).error());
    }
  }
  // Until the root is in HEAD no newer checkpoint replaces the one that it names.
  auto added = co_await add_root(std::move(request));
  end_checkpoint();
  begin_cleaning();
  co_return added;
}

// Ends with is_checkpointing_ ours, and the map frozen at a cut (true), or HEAD's checkpoint being the whole
// disk (false).
Task<Result<bool>> ObjectDisk::begin_snapshot() {
  for (;; co_await checkpoint_ended_.wait()) {
    if (stopped()) co_return fail(*stopped());
    if (snapshot_plan_) co_return true;
    if (is_ending_) {
      co_return fail(Code::fenced, "disk '{}' is being sealed", head_.head.disk);
    }
    if (is_checkpointing_) continue;
    if (!pipeline_.is_cut()) {
      is_snapshot_waiting_ = true;
      pipeline_.cut_soon();
      continue;
    }
    is_snapshot_waiting_ = false, is_checkpointing_ = true;
    if (has_checkpoint_at(pipeline_.cut_point())) co_return false;
    snapshot_plan_ = begin_checkpoint(pipeline_.cut_point());
    co_return true;
  }
}

Task<Result<NamedRoot>> ObjectDisk::add_root(SnapshotRequest request) {
  auto turn = co_await head_lock_.lock();
  CHECK(head_.head.checkpoint);
  NamedRoot root{request.name,    head_.head.size_bytes,    *head_.head.checkpoint,
                 request.request, access_.loop->wall_now(), opener_.owner};
  RootsEdit edit;
  edit.page = [root](RootsPage page) { return with_root(std::move(page), root); };
  edit.may = [this, root](const Head& head) -> Status {
    EBB_CHECKED(check_still_attached(head));
    CHECK(head.checkpoint == root.checkpoint);
    return {};
  };
  EBB_CO_TRY(now, co_await change_roots(access_, head_, edit));
  head_ = std::move(now.at);
  EBB_CO_TRY(made, find_made(now.page, request));
  CHECK(made);
  co_return *made;
}

// ---- restore

namespace {

std::string free_name(const RootsPage& page, WallMs now) {
  auto time = format_time(now);  // 2026-11-23T03:12:40Z
  std::string name = "before-restore-";
  for (char c : time)
    if (c >= '0' && c <= '9') name += c;
  auto free = name;
  for (int n = 2; page.find(free); ++n) free = fmt::format("{}-{}", name, n);
  return free;
}

const RestoreRecord* find_restore(const RootsPage& page, const std::string& request) {
  auto it = std::ranges::find(page.restores, request, &RestoreRecord::request);
  return it == page.restores.end() ? nullptr : &*it;
}

}  // namespace

Task<Result<RestoreRecord>> ObjectDisk::restore(RestoreRequest request) {
  // The present state becomes a root of this disk, so it needs a checkpoint of this disk.
  if (!has_checkpoint_at(pipeline_.cut_point())) ++segments_since_checkpoint_;
  EBB_CO_CHECKED(co_await close_and_checkpoint(0));
  auto turn = co_await head_lock_.lock();
  const auto end = pipeline_.committed();
  const auto at = access_.loop->wall_now();
  const NamedRoot present{{}, head_.head.size_bytes, *head_.head.checkpoint, request.request,
                          at, opener_.owner};
  CHECK(has_checkpoint_at(end));

  NamedRoot target;  // as the page has it that HEAD is changed with
  RootsEdit edit;
  edit.page = [&](RootsPage page) -> Result<RootsPage> {
    if (find_restore(page, request.request)) return page;
    const auto* root = page.find(request.root);
    if (!root) return fail(Code::not_found, "there is no snapshot '{}'", request.root);
    target = *root;
    auto kept = present;
    kept.name = request.keep_as.empty() ? free_name(page, at) : request.keep_as;
    EBB_TRY(next, with_root(page, kept));
    next.restores.push_back(
        {target.name, kept.name, request.request, at, opener_.epoch, end, target.checkpoint.position});
    if (next.restores.size() > restores_kept) next.restores.erase(next.restores.begin());
    return next;
  };
  edit.may = [&](const Head& head) -> Status {
    EBB_CHECKED(check_still_attached(head));
    if (head.size_bytes >= target.size_bytes) return {};
    return fail(Code::invalid, "snapshot '{}' is larger than the disk", target.name);
  };
  // Our epoch holds nothing but a fence: the next opener's writes follow the root's, along this lineage
  // alone.
  edit.head = [&](Head& head) {
    auto cut = target.checkpoint.position;
    head.state = HeadState::detached_clean;
    head.checkpoint = target.checkpoint;
    head.reclaimed.reset();  // which says something about one lineage only
    head.lineage.clear();
    if (target.checkpoint.disk == head.disk) head.lineage.push_back(cut);
    cut.epoch = opener_.epoch, cut.opener = opener_.opener, cut.seq = 0;
    head.unsealed = {cut};
  };
  EBB_CO_TRY(now, co_await change_roots(access_, head_, edit));
  head_ = std::move(now.at);
  const auto* record = find_restore(now.page, request.request);
  CHECK(record);
  co_return *record;
}

}  // namespace ebb::disk
