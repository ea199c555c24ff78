#include "disk/write_pipeline.h"

#include "base/check.h"
#include "base/checksum.h"
#include "disk/block_device.h"
#include "disk/format/limits.h"

namespace ebb::disk {
namespace {
constexpr std::size_t group_bytes_max = 4 * MiB;
constexpr std::size_t groups_max = 2;  // being written to the log
constexpr Duration forever = 1h;
}  // namespace

WritePipeline::WritePipeline(StoreAccess access, Start start, BlockMap* map, Wal* wal, DiskTuning tuning,
                             std::shared_ptr<SharedRoom> room, Events events)
    : access_(access),
      start_(std::move(start)),
      map_(*map),
      wal_(wal),
      tuning_(tuning),
      events_(std::move(events)),
      admission_(*access.loop),
      uploader_(access, start_.disk, tuning.window,
                {[this](const SegmentBuilder::Cut& cut) { on_committed(cut); },
                 [this](Error why) { events_.lost(std::move(why)); }}),
      cut_point_(start_.end),
      committed_(start_.end),
      next_write_seq_(start_.end.write_seq + 1),
      acknowledged_write_seq_(start_.end.write_seq),
      unsent_(std::move(room)),
      log_poke_(*access.loop),
      poke_(*access.loop),
      changed_(*access.loop),
      scope_(*access.loop) {}

Task<Status> WritePipeline::replay(std::vector<ReplayRecord> records) {
  for (auto& found : records) {
    // Their place in the order is theirs already, and everything new comes after them.
    if (found.record.write_seq != next_write_seq_) {
      co_return fail(Code::corrupt,
                     "the log of '{}' goes on with write {}, and the store ends before {}: the log is kept",
                     start_.disk, found.record.write_seq, next_write_seq_);
    }
    const auto blocks = map_.size_blocks();
    if (found.record.block > blocks || found.record.count > blocks - found.record.block) {
      co_return fail(Code::corrupt, "the log of '{}' writes beyond the end of the disk", start_.disk);
    }
    Record record;
    record.kind = found.record.kind, record.write_seq = next_write_seq_++;
    record.block = found.record.block, record.count = found.record.count;
    record.data_bytes = found.data.size();
    if (!found.data.empty()) record.data = std::make_shared<const Bytes>(std::move(found.data));
    record.log_end = found.record.end();
    unsent_.take(record.cost());
    replayed_to_ = record.write_seq;
    if (!co_await apply(std::move(record))) co_return fail(*stopped_);
  }
  co_return Status{};
}

Task<Status> WritePipeline::wait_for_room(std::size_t bytes) {
  auto has_own = [&] { return unsent_.taken() == 0 || unsent_.taken() + bytes <= tuning_.pending_bytes_max; };
  while (!stopped_ && !(has_own() && unsent_.has_room(bytes))) {
    if (has_own()) {
      cut_soon();  // what we have ourselves goes back the sooner
      co_await unsent_.wait_for_others();
    } else {
      co_await changed_.wait();
    }
  }
  if (stopped_) co_return fail(*stopped_);
  co_return Status{};
}

Task<Status> WritePipeline::write(std::uint64_t block, std::uint64_t count, Bytes data) {
  auto shared = data.empty() ? nullptr : std::make_shared<const Bytes>(std::move(data));
  const std::uint64_t record_blocks_max = tuning_.record_bytes / block_bytes;
  OneShot<Status> last_done(*access_.loop);
  {
    // Records of one write stand together, in the order of the calls.
    auto turn = co_await admission_.lock();
    for (std::uint64_t at = 0; at < count;) {
      Record record;
      record.kind = shared ? WalKind::data : WalKind::zeroes;
      record.count = static_cast<std::uint32_t>(shared ? std::min(count - at, record_blocks_max) : count);
      record.block = block + at;
      record.data = shared;
      record.data_at = shared ? at * block_bytes : 0;
      record.data_bytes = shared ? record.count * block_bytes : 0;
      EBB_CO_CHECKED(co_await wait_for_room(record.cost()));
      if (is_closed_)
        co_return fail(Code::fenced, "disk '{}' is being sealed: it takes no writes", start_.disk);
      record.write_seq = next_write_seq_++;
      unsent_.take(record.cost());
      at += record.count;
      if (at == count) record.done = last_done.completer();
      queue_.push(std::move(record));
      (wal_ ? log_poke_ : poke_).poke();  // the next record may have to wait until this one is in the store
    }
  }
  co_return co_await last_done;
}

void WritePipeline::begin() {
  if (wal_) scope_.spawn(run_log());
  scope_.spawn(run());
}

Task<void> WritePipeline::run_log() {
  while (!stopped_) {
    bool may_begin = logging_.size() < groups_max && logged_.cost < group_bytes_max;
    if (queue_.empty() || !may_begin) {
      co_await log_poke_.wait_for(forever);
    } else {
      take_group(&logging_.emplace_back());
      scope_.spawn(log_group(&logging_.back()));
    }
  }
}

// One group, written to the log together, beside others; they end in their order.
Task<void> WritePipeline::log_group(Records* group) {
  std::vector<Wal::Entry> entries;
  for (const auto& record : group->records)
    entries.push_back({record.kind, record.write_seq, record.block, record.count, record.view(), 0});
  // After a failed sync the group waits for the end of this process.
  if (!co_await wal_->append(&entries)) co_return;
  CHECK(group == &logging_.front() && entries.size() == group->records.size());
  for (const auto& entry : entries) {
    group->records.front().log_end = entry.end;
    logged_.push(group->pop());
  }
  logging_.pop_front();
  poke_.poke();
  log_poke_.poke();
}

void WritePipeline::take_group(Records* into) {
  while (!queue_.empty() && into->cost < group_bytes_max) into->push(queue_.pop());
}

Task<void> WritePipeline::run() {
  while (!stopped_) {
    if (!wal_) take_group(&logged_);
    if (cut_is_due() && uploader_.has_slot()) {
      cut();
    } else if (!logged_.empty()) {
      if (!co_await apply_logged(logged_.records.size())) co_return;
    } else {
      co_await poke_.wait_for(until_cut());
    }
  }
}

// The first `count` of them, each then acknowledged, in order.
Task<bool> WritePipeline::apply_logged(std::size_t count) {
  for (; count > 0; --count) {
    if (!co_await apply(logged_.records.front())) co_return false;
    auto record = logged_.pop();
    if (record.done) record.done(Status{});
  }
  log_poke_.poke();
  co_return true;
}

Task<bool> WritePipeline::apply(Record record) {
  while (!stopped_ && !has_room(record)) {
    if (uploader_.has_slot() && !builder_.empty())
      cut();
    else
      co_await poke_.wait_for(forever);
  }
  if (stopped_) co_return false;
  apply_now(record);
  co_return true;
}

bool WritePipeline::has_room(const Record& record) const {
  // A full map waits for its checkpoint, which begins with a cut.
  bool map_has_room =
      map_.changed_bytes() < map_changes_bytes_max() || (builder_.empty() && !map_.is_frozen());
  return map_has_room && builder_.has_room(record.data_bytes, tuning_.segment_bytes);
}

void WritePipeline::apply_now(const Record& record) {
  if (!open_object_) open_object_ = map_.add_object({start_.disk, cut_point_.epoch, cut_point_.seq + 1, 0});
  if (record.kind == WalKind::data) {
    auto data = record.view();
    std::vector<std::uint32_t> crcs(record.count);
    for (std::size_t i = 0; i < crcs.size(); ++i)
      crcs[i] = crc32c(data.subspan(i * block_bytes, block_bytes));
    auto data_block = builder_.add_data(record.write_seq, record.block, data, crcs);
    map_.set(record.block, crcs, *open_object_, data_block);
  } else {
    builder_.add_zeroes(record.write_seq, record.block, record.count);
    map_.clear(record.block, record.count);
  }
  acknowledged_write_seq_ = record.write_seq;
  applied_log_end_ = record.log_end;
  open_batch_.cost += record.cost();
  if (!open_batch_.since) open_batch_.since = access_.loop->now();
}

bool WritePipeline::cut_is_due() const {
  return !builder_.empty() && (cut_wanted_ || access_.loop->now() - *open_batch_.since >= tuning_.age_cut);
}

Duration WritePipeline::until_cut() const {
  if (builder_.empty() || !uploader_.has_slot()) return forever;
  return std::max<Duration>(*open_batch_.since + tuning_.age_cut - access_.loop->now(), 0ns);
}

void WritePipeline::cut() {
  auto made = builder_.cut(start_.disk, cut_point_, start_.log_id, applied_log_end_, access_.store->is_far());
  auto blocks = static_cast<std::uint32_t>(made.data_bytes / block_bytes);
  map_.complete_object(*std::exchange(open_object_, std::nullopt),
                       {made.data_offset, blocks, made.trims, made.is_packed});
  cut_point_ = made.point;
  cut_batches_.emplace(made.point.seq, std::exchange(open_batch_, {}));
  cut_wanted_ = false;
  auto bytes = made.data_bytes;
  uploader_.submit(std::move(made));
  events_.cut(cut_point_, bytes);
}

void WritePipeline::on_committed(const SegmentBuilder::Cut& cut) {
  committed_ = cut.point;
  auto batch = cut_batches_.extract(cut.point.seq);
  unsent_.give(batch.mapped().cost);
  if (wal_) scope_.spawn(wal_->trim(committed_.log_position));
  events_.committed(committed_);
  poke_.poke();
  changed_.notify_all();
}

Task<Status> WritePipeline::flush_to_store() {
  auto wanted = acknowledged_write_seq_;
  while (committed_.write_seq < wanted) {
    if (stopped_) co_return fail(*stopped_);
    if (cut_point_.write_seq < wanted) cut_wanted_ = true, poke_.poke();
    co_await changed_.wait();
  }
  co_return Status{};
}

Task<Status> WritePipeline::close() {
  is_closed_ = true;
  if (wal_) wal_->finish();
  auto has_records = [&] { return !queue_.empty() || !logging_.empty() || !logged_.empty(); };
  while (!stopped_ && (has_records() || !builder_.empty() || !uploader_.idle())) {
    cut_wanted_ = true, poke_.poke();
    co_await changed_.wait();
  }
  if (stopped_) co_return fail(*stopped_);
  co_return Status{};
}

Task<Status> WritePipeline::flush_to_log() {
  if (!wal_) co_return co_await flush_to_store();
  EBB_CO_CHECKED(co_await wal_->sync_through(applied_log_end_));
  co_return co_await wait_within_bound();
}

Task<Status> WritePipeline::wait_within_bound() {
  auto is_beyond = [this] {
    // Nobody knows how old it is what a former process left.
    return unsent_bytes() > tuning_.unsent_bytes_max || unsent_age() > tuning_.unsent_age_max ||
           committed_.write_seq < replayed_to_;
  };
  while (is_beyond()) {
    if (stopped_) co_return fail(*stopped_);
    cut_wanted_ = true, poke_.poke();
    co_await changed_.wait();
  }
  if (stopped_) co_return fail(*stopped_);
  co_return Status{};
}

void WritePipeline::stop(Error why) {
  if (stopped_) return;
  stopped_ = why;
  uploader_.stop();
  std::vector<Records*> waiting{&logged_};
  for (auto& group : logging_) waiting.push_back(&group);
  waiting.push_back(&queue_);
  for (auto* records : waiting) {
    for (auto& record : records->records) {
      if (auto done = std::exchange(record.done, nullptr)) done(fail(why));
    }
  }
  queue_ = {};
  log_poke_.poke();
  poke_.poke();
  changed_.notify_all();
  unsent_.wake_others();  // our own writes wait among them
}

ByteView WritePipeline::resident(const DataObject& object) const {
  // Cleaned objects of our epoch have numbers of their own.
  if (object.kind != ObjectKind::segment || object.disk != start_.disk || object.epoch != cut_point_.epoch)
    return {};
  if (object.seq == cut_point_.seq + 1) return builder_.data();
  const auto* cut = uploader_.find(object.seq);
  return cut ? ByteView(*cut->body).subspan(cut->data_offset) : ByteView();
}

Duration WritePipeline::unsent_age() const {
  std::optional<Instant> since = open_batch_.since;
  if (!cut_batches_.empty()) since = cut_batches_.begin()->second.since;
  return since ? access_.loop->now() - *since : Duration{0};
}

}  // namespace ebb::disk
