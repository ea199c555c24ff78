#include "disk/object_disk.h"

#include "base/check.h"

namespace ebb::disk {
namespace {

std::vector<LogPoint> joined(std::vector<LogPoint> older, const std::vector<LogPoint>& newer) {
  for (const auto& point : newer) {
    bool is_known = !older.empty() && older.back().epoch >= point.epoch;
    if (!is_known) older.push_back(point);
  }
  return older;
}

}  // namespace

ObjectDisk::ObjectDisk(Parts parts)
    : access_(parts.access),
      head_(std::move(parts.head)),
      opener_(std::move(parts.opener)),
      map_(std::move(parts.loaded.map)),
      lineage_(joined(std::move(parts.loaded.older_lineage), head_.head.lineage)),
      wal_(std::move(parts.wal)),
      memory_(std::move(parts.memory)),
      tuning_(parts.tuning),
      pipeline_(access_, {head_.head.disk, head_.head.unsealed.back(), wal_ ? wal_->log_id() : std::string()},
                map_.get(), wal_.get(), tuning_, memory_.room,
                {[this](const LogPoint& point, std::size_t bytes) { after_cut(point, bytes); },
                 [](const LogPoint&) {}, [this](Error why) { scope_.spawn(lose(std::move(why))); }}),
      reader_(access_, map_.get(), memory_.pieces.get(),
              [this](const DataObject& object) { return pipeline_.resident(object); }),
      head_lock_(*access_.loop),
      segments_since_checkpoint_(parts.loaded.segments_since_checkpoint),
      cleaner_(access_, head_.head.disk, opener_.epoch, map_.get(), parts.cleaning,
               [this](const DataObject& object) { return is_committed(object); }),
      snapshot_lock_(*access_.loop),
      checkpoint_ended_(*access_.loop),
      ownership_changed_(*access_.loop),
      scope_(*access_.loop) {}

// Also of a disk that nobody writes to, and whose owners end without a word: HEAD is written at each turn, and stays small.
void ObjectDisk::start() {
  pipeline_.begin();
  if (has_long_lineage()) scope_.spawn(checkpoint_when_quiet());
}

template <class T>
Task<Result<T>> ObjectDisk::answer(Task<Result<T>> read) {
  if (stopped()) co_return fail(*stopped());
  auto got = co_await std::move(read);
  if (stopped()) co_return fail(*stopped());
  if (!got && got.error().code == Code::not_found)
    co_return fail(co_await explain_missing(std::move(got).error()));
  co_return got;
}

Task<Result<Bytes>> ObjectDisk::read(std::uint64_t offset, std::size_t length) {
  return answer(reader_.read(offset, length));
}

Task<Result<Slices>> ObjectDisk::gather(std::uint64_t offset, std::size_t length) {
  return answer(reader_.gather(offset, length));
}

// What the map names is there, short of damage - unless we have a successor who cleaned it away.
Task<Error> ObjectDisk::explain_missing(Error missing) {
  auto now = co_await read_head(access_, head_.head.disk);
  if (!now) co_return std::move(now).error();
  const auto& head = now->head;
  if (head.opener == opener_.opener && head.epoch == opener_.epoch)
    co_return Error{Code::corrupt, std::move(missing).message, {}};
  Error why{Code::fenced,
            fmt::format("{} took disk '{}' over as epoch {}", head.owner, head.disk, head.epoch.text()),
            {}};
  // Not from here: whoever hears of it ends the sessions that such reads run in.
  scope_.spawn(lose(why));
  co_return why;
}

Task<Status> ObjectDisk::write(std::uint64_t offset, Bytes data) {
  auto count = data.size() / block_bytes;
  return pipeline_.write(offset / block_bytes, count, std::move(data));
}

Task<Status> ObjectDisk::flush() {
  switch (head_.head.disk_class) {
    case DiskClass::remote:
      co_return co_await pipeline_.flush_to_store();
    case DiskClass::local:
      for (;;) {  // either wait may take so long that the other's answer is old
        EBB_CO_CHECKED(co_await pipeline_.flush_to_log());
        if (!owned_at_ || access_.loop->now() - *owned_at_ <= tuning_.ownership_age_max) co_return Status{};
        EBB_CO_CHECKED(co_await wait_until_surely_owner());
      }
  }
  CHECK(false);
}

Task<Status> ObjectDisk::trim(std::uint64_t offset, std::uint64_t length) {
  return pipeline_.write(offset / block_bytes, length / block_bytes, {});
}

Task<Status> ObjectDisk::write_zeroes(std::uint64_t offset, std::uint64_t length, ZeroMode) {
  return pipeline_.write(offset / block_bytes, length / block_bytes, {});
}

Task<Result<std::vector<Extent>>> ObjectDisk::extents(std::uint64_t offset, std::uint64_t length) {
  if (stopped()) co_return fail(*stopped());
  co_return co_await reader_.extents(offset, length);
}

// What class `remote` acknowledges, the store has accepted from us. Class `local` must know by other means
// that it has no successor, who would serve `settle` after a take-over: so its word is good for less than
// that.
Task<Status> ObjectDisk::wait_until_surely_owner() {
  while (owned_at_ && !stopped() && access_.loop->now() - *owned_at_ > tuning_.ownership_age_max) {
    co_await ownership_changed_.wait();
  }
  if (stopped()) co_return fail(*stopped());
  co_return Status{};
}

void ObjectDisk::confirm_ownership(Instant asked_at) {
  owned_at_ = owned_at_ ? std::max(*owned_at_, asked_at) : asked_at;
  ownership_changed_.notify_all();
}

void ObjectDisk::stop(Error why) {
  pipeline_.stop(std::move(why));
  checkpoint_ended_.notify_all();
  ownership_changed_.notify_all();
}

Task<void> ObjectDisk::lose(Error why) {
  if (stopped()) co_return;
  stop(why);
  if (on_lost_) on_lost_(why);
}

// A writer changes HEAD only while it is the owner; whatever others changed beside that (roots) stays.
Task<Status> ObjectDisk::change_own_head(std::function<Result<Head>(Head)> change) {
  auto turn = co_await head_lock_.lock();
  auto opener = opener_;
  auto guarded = [opener, change](const Head& head) -> Result<Head> {
    if (head.opener == opener.opener && head.epoch == opener.epoch) return change(head);
    return fail(Code::fenced, "{} took disk '{}' over as epoch {}", head.owner, head.disk, head.epoch.text());
  };
  EBB_CO_TRY(now, co_await change_head(access_, head_, guarded));
  head_ = std::move(now);
  co_return Status{};
}

Task<Status> ObjectDisk::grow(std::uint64_t size_bytes) {
  EBB_CO_CHECKED(co_await change_own_head([size_bytes](Head head) -> Result<Head> {
    if (head.state != HeadState::attached)
      return fail(Code::fenced, "disk '{}' is no longer attached", head.disk);
    EBB_CHECKED(check_growth(head, size_bytes));
    head.size_bytes = size_bytes;
    return head;
  }));
  map_->grow(head_.head.size_bytes);
  co_return Status{};
}

// ---- checkpoints

bool ObjectDisk::is_map_half_full() const {
  return map_->changed_bytes() > pipeline_.map_changes_bytes_max() / 2;
}

// A checkpoint rewrites the pages that changed: the larger the map, the more changes it waits for.
bool ObjectDisk::checkpoint_is_due() const {
  if (is_map_half_full()) return true;
  // What is overwritten until then takes room in the store: with little data, a little.
  auto bytes_min = std::max<std::uint64_t>(map_->live_blocks() * block_bytes / 64, 8 * tuning_.segment_bytes);
  if (segments_since_checkpoint_ < tuning_.checkpoint_segments && bytes_since_checkpoint_ < bytes_min)
    return false;
  return map_->changed_bytes() * 32 >= map_->stored_bytes() ||
         segments_since_checkpoint_ >= tuning_.checkpoint_segments * 16;
}

void ObjectDisk::after_cut(const LogPoint& point, std::size_t data_bytes) {
  bytes_since_checkpoint_ += data_bytes;
  ++segments_since_checkpoint_;
  if (is_checkpointing_ || is_ending_) return;
  if (is_snapshot_waiting_) {
    is_snapshot_waiting_ = false, is_checkpointing_ = true;
    snapshot_plan_ = begin_checkpoint(point);
    checkpoint_ended_.notify_all();
  } else if (checkpoint_is_due()) {
    is_checkpointing_ = true;
    scope_.spawn(write_checkpoint(begin_checkpoint(point)));
  }
}

BlockMap::CheckpointPlan ObjectDisk::begin_checkpoint(const LogPoint& point) {
  segments_since_checkpoint_ = bytes_since_checkpoint_ = 0;
  map_->freeze();
  cleaner_.checkpoint_begun();
  return {head_.head.disk, opener_.epoch, ++checkpoints_,      head_.head.size_bytes,
          point,           lineage_,      head_.head.reclaimed};
}

Task<void> ObjectDisk::write_checkpoint(BlockMap::CheckpointPlan plan) {
  auto published = co_await publish_checkpoint(std::move(plan));
  end_checkpoint();
  if (!published)
    co_await lose(published.error());
  else
    begin_cleaning();
}

void ObjectDisk::end_checkpoint() {
  is_checkpointing_ = false;
  checkpoint_ended_.notify_all();
  pipeline_.go_on();
}

Task<Status> ObjectDisk::publish_checkpoint(BlockMap::CheckpointPlan plan) {
  auto position = plan.position;
  EBB_CO_TRY(ref, co_await map_->store_checkpoint(std::move(plan)));
  // HEAD may name only what is committed: a checkpoint must never be ahead of the log.
  for (Backoff wait(*access_.loop); pipeline_.committed().seq < position.seq; co_await wait.wait()) {
    if (stopped()) co_return fail(*stopped());
  }
  EBB_CO_CHECKED(co_await change_own_head([ref](Head head) -> Result<Head> {
    if (head.state != HeadState::attached)
      return fail(Code::fenced, "disk '{}' is no longer attached", head.disk);
    record_checkpoint(head, ref);
    head.unsealed = {ref.position};
    return head;
  }));
  map_->adopt();
  co_return Status{};
}

// ---- cleaning

bool ObjectDisk::is_committed(const DataObject& object) const {
  bool is_in_our_run =
      object.kind == ObjectKind::segment && object.disk == head_.head.disk && object.epoch == opener_.epoch;
  return !is_in_our_run || object.seq <= pipeline_.committed().seq;
}

void ObjectDisk::begin_cleaning() {
  if (!is_cleaning_) scope_.spawn(clean());
}

Task<void> ObjectDisk::clean() {
  is_cleaning_ = true;
  // What is moved changes the map as writes do, and like them it waits for the checkpoint.
  for (bool goes_on = true; goes_on && !is_map_half_full() && !is_closing_ && !stopped();) {
    auto ran = co_await cleaner_.run();
    if (!ran && ran.error().code == Code::fenced) {
      is_cleaning_ = false;
      co_await lose(std::move(ran).error());
      co_return;
    }
    goes_on = !ran || *ran;  // a damaged object is left alone, and found again by whoever reads it
  }
  is_cleaning_ = false;
  co_await checkpoint_when_quiet();
}

// A disk that is written on makes checkpoints anyway; one that is not gives back what cleaning gained.
Task<void> ObjectDisk::checkpoint_when_quiet() {
  constexpr Duration look_period = 5s;
  if (std::exchange(waits_for_quiet_, true)) co_return;
  auto is_urgent = [this] { return is_map_half_full() || has_long_lineage(); };
  auto is_wanted = [&] { return (cleaner_.owes_checkpoint() || is_urgent()) && !is_closing_ && !stopped(); };
  for (auto wait = is_urgent() ? Duration{0} : look_period; is_wanted(); wait = look_period) {
    co_await sleep_for(*access_.loop, wait);
    auto point = pipeline_.quiet_point();
    if (!point || is_checkpointing_ || !is_wanted()) continue;
    is_checkpointing_ = true;
    co_await write_checkpoint(begin_checkpoint(*point));
  }
  waits_for_quiet_ = false;
}

// ---- the end of our epoch

Task<Status> ObjectDisk::close_and_checkpoint(std::uint64_t segments_min) {
  is_closing_ = true;
  EBB_CO_CHECKED(co_await pipeline_.close());
  while (is_checkpointing_ && !stopped()) co_await checkpoint_ended_.wait();
  if (stopped()) co_return fail(*stopped());
  is_ending_ = true;  // a snapshot that waits gives up
  checkpoint_ended_.notify_all();
  if (segments_since_checkpoint_ > segments_min || has_long_lineage()) {
    is_checkpointing_ = true;
    auto published = co_await publish_checkpoint(begin_checkpoint(pipeline_.committed()));
    end_checkpoint();
    if (!published) co_return fail(std::move(published).error());
  }
  co_return co_await fence_own_next(access_, head_.head.disk, pipeline_.committed(), opener_);
}

Task<Status> ObjectDisk::seal() {
  EBB_CO_CHECKED(co_await close_and_checkpoint(tuning_.detach_checkpoint_segments));
  auto last = pipeline_.committed();
  co_return co_await change_own_head([last](Head head) -> Result<Head> {
    head.state = HeadState::detached_clean;
    head.unsealed = {last};
    return head;
  });
}

Task<Status> ObjectDisk::seal_as_image(std::string root_name) {
  ++segments_since_checkpoint_;  // an image always has a checkpoint, also an empty one
  EBB_CO_CHECKED(co_await close_and_checkpoint(0));
  auto disk = head_.head.disk;
  NamedRoot root{root_name, head_.head.size_bytes,    *head_.head.checkpoint,
                 root_name, access_.loop->wall_now(), opener_.owner};
  RootsPage roots;
  roots.roots = {root};
  auto page = co_await store_roots(access_, disk, std::move(roots));
  co_return co_await change_own_head([page](Head head) -> Result<Head> {
    if (head.state == HeadState::sealed) return head;  // by us; forks may have been pinned since
    head.state = HeadState::sealed;
    head.unsealed.clear();
    head.roots = page;
    return head;
  });
}

}  // namespace ebb::disk
