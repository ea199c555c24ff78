#include "disk/cache/disk_tier.h"

#include "base/checksum.h"
#include "disk/attach/head_store.h"

namespace ebb::disk {
namespace {
constexpr std::size_t batch_pieces = 16;
constexpr Duration said_again_after = 10min;
// Pages that nobody syncs pile up, and then a sync of a log waits for them.
constexpr std::size_t unsynced_bytes_max = 16 * MiB;
}  // namespace

DiskTier::DiskTier(Loop& loop, Files& files, Options options, Logger log)
    : loop_(loop),
      files_(files),
      options_(std::move(options)),
      log_(std::move(log)),
      items_(cache_slots(options_.bytes_max), cache_slots(options_.bytes_max)),
      read_ended_(loop),
      poke_(loop),
      scope_(loop) {
  layout_.slots = cache_slots(options_.bytes_max);
}

// One line for all that fail within a while.
void DiskTier::fault(std::string_view doing, const Error& error) {
  ++stats_.faults;
  if (fault_said_at_ && loop_.now() - *fault_said_at_ < said_again_after) return;
  fault_said_at_ = loop_.now();
  log_.warning("{}: {}: {}; what it held is read from the store", options_.path, doing, error);
}

Task<void> DiskTier::run() {
  for (;;) {
    auto opened = co_await open();
    if (opened) break;
    fault("opening", opened.error());
    file_ = nullptr, stats_.is_ready = false;
    co_await sleep_for(loop_, options_.again_after);
  }
  co_await write_on();
}

// ---- opening

Task<Status> DiskTier::open() {
  items_.clear(), free_.clear();
  EBB_CO_TRY(opened, co_await files_.open(options_.path, OpenMode::create));
  std::shared_ptr<File> file = std::move(opened);
  EBB_CO_TRY(header, co_await file->read(0, cache_header_bytes));
  EBB_CO_TRY(size, co_await file->size());
  file_ = file;
  auto layout = decode_cache_layout(header);
  bool is_ours = layout && layout->slots == layout_.slots && size >= layout_.slot_offset(layout_.slots);
  if (is_ours) {
    layout_ = std::move(*layout);
    EBB_CO_CHECKED(co_await read_index());
  } else {
    if (!header.empty())
      log_.info("{}: no cache of {} pieces; it begins empty", options_.path, layout_.slots);
    EBB_CO_CHECKED(co_await begin_anew());
  }
  stats_.is_ready = true;
  co_return Status{};
}

Task<Status> DiskTier::begin_anew() {
  auto file = file_;
  layout_.token = fresh_token(loop_);
  EBB_CO_CHECKED(co_await file->resize(0));  // gives back what lay there
  EBB_CO_CHECKED(co_await file->resize(layout_.slot_offset(layout_.slots)));
  EBB_CO_CHECKED(co_await file->write(0, encode(layout_)));
  for (auto slot = layout_.slots; slot > 0; --slot) free_.push_back(slot - 1);
  co_return Status{};
}

// What was kept when it ended counts as proven: a scan right after a restart pushes nothing out.
Task<Status> DiskTier::read_index() {
  constexpr std::uint32_t slots_at_once = 256 * KiB / cache_entry_bytes;
  auto file = file_;
  std::vector<std::uint32_t> empty;
  for (std::uint32_t first = 0; first < layout_.slots; first += slots_at_once) {
    auto count = std::min(slots_at_once, layout_.slots - first);
    EBB_CO_TRY(bytes, co_await file->read(layout_.entry_offset(first), count * cache_entry_bytes));
    for (std::uint32_t i = 0; i < count; ++i) {
      auto rest = ByteView(bytes).subspan(std::min<std::size_t>(bytes.size(), i * cache_entry_bytes));
      auto entry = decode_entry(rest.first(std::min(rest.size(), cache_entry_bytes)), layout_, first + i);
      if (entry && !items_.find(entry->key))
        items_.add(entry->key, {first + i, entry->length, entry->crc}, 1, Fifo::Queue::main);
      else
        empty.push_back(first + i);
    }
  }
  free_.insert(free_.begin(), empty.rbegin(), empty.rend());
  co_return Status{};
}

// ---- writing

void DiskTier::admit(const PieceKey& key, SharedBytes bytes, CacheQueue queue) {
  if (!stats_.is_ready || bytes->empty() || has(key)) return;
  if (is_paused_ || queue_bytes_ + bytes->size() > options_.queue_bytes_max) {
    ++stats_.not_kept;
    return;
  }
  queue_bytes_ += bytes->size();
  queue_.push_back({key, std::move(bytes), queue});
  poke_.poke();
}

Task<void> DiskTier::write_on() {
  for (;;) {
    while (queue_.empty()) co_await poke_.wait_for(1min);
    auto batch = place_batch();
    auto written = co_await write_batch(&batch);
    if (written) continue;
    fault("writing", written.error());
    for (const auto& placed : batch) free_.push_back(placed.kept.slot);
    queue_.clear(), queue_bytes_ = 0;
    is_paused_ = true;
    co_await sleep_for(loop_, options_.again_after);
    is_paused_ = false;
  }
}

// Takes the next pieces from the queue and makes room for them. They are found only once they are written.
std::vector<DiskTier::Placed> DiskTier::place_batch() {
  std::vector<Placed> batch;
  while (!queue_.empty() && batch.size() < batch_pieces) {
    auto piece = std::move(queue_.front());
    queue_.pop_front();
    queue_bytes_ -= piece.bytes->size();
    auto is_same = [&](const Placed& other) { return other.piece.key == piece.key; };
    if (has(piece.key) || std::any_of(batch.begin(), batch.end(), is_same)) continue;
    if (free_.empty() && items_.size() > 0) {
      for (auto& left : items_.shrink(items_.weight() - 1)) free_.push_back(left.value.slot);
    }
    if (free_.empty()) break;
    auto slot = free_.back();
    free_.pop_back();
    auto crc = crc32c(*piece.bytes);
    auto length = static_cast<std::uint32_t>(piece.bytes->size());
    batch.push_back({std::move(piece), {slot, length, crc}});
  }
  std::sort(batch.begin(), batch.end(),
            [](const Placed& a, const Placed& b) { return a.kept.slot < b.kept.slot; });
  return batch;
}

// What was written has left `batch`.
Task<Status> DiskTier::write_batch(std::vector<Placed>* batch) {
  while (!batch->empty()) {
    std::size_t count = 1;
    while (count < batch->size() && (*batch)[count].kept.slot == batch->front().kept.slot + count) ++count;
    EBB_CO_CHECKED(co_await write_span(Span(*batch).first(count)));
    for (const auto& [piece, kept] : Span(*batch).first(count)) items_.add(piece.key, kept, 1, piece.queue);
    batch->erase(batch->begin(), batch->begin() + static_cast<std::ptrdiff_t>(count));
    stats_.written += count;
  }
  if (unsynced_bytes_ < unsynced_bytes_max) co_return Status{};
  auto file = file_;
  EBB_CO_CHECKED(co_await file->sync());
  unsynced_bytes_ = 0;
  co_return Status{};
}

Task<Status> DiskTier::write_span(Span span) {
  auto file = file_;
  Bytes data, entries;
  data.reserve(span.size() * piece_bytes);
  const auto first = span[0].kept.slot;
  for (const auto& [piece, kept] : span) {
    data.resize((kept.slot - first) * piece_bytes);
    append(data, *piece.bytes);
    append_entry(entries, layout_, kept.slot, {piece.key, kept.length, kept.crc});
  }
  unsynced_bytes_ += data.size();
  EBB_CO_CHECKED(co_await file->write(layout_.slot_offset(first), std::move(data)));
  co_return co_await file->write(layout_.entry_offset(first), std::move(entries));
}

void DiskTier::drop(const PieceKey& key) {
  if (auto kept = items_.remove(key)) free_.push_back(kept->slot);
  std::erase_if(queue_, [&](const Waiting& piece) {
    if (piece.key != key) return false;
    queue_bytes_ -= piece.bytes->size();
    return true;
  });
}

// ---- reading

// One call of the disk. It lasts until the disk has answered, whoever still waits for it.
struct DiskTier::Turn {
  explicit Turn(DiskTier* tier) : tier_(*tier) { ++tier_.reading_; }
  Turn(const Turn&) = delete;
  ~Turn() {
    --tier_.reading_;
    tier_.read_ended_.notify_all();
  }

 private:
  DiskTier& tier_;
};

// After a read that was too slow; and on, while all calls hang.
bool DiskTier::is_resting() {
  if (rests_until_ && loop_.now() >= *rests_until_ && reading_ < options_.reads_at_once) rests_until_.reset();
  return rests_until_.has_value();
}

Task<std::vector<SharedBytes>> DiskTier::read(std::vector<PieceKey> keys) {
  std::vector<SharedBytes> out(keys.size());
  std::vector<Task<std::optional<std::vector<SharedBytes>>>> reads;
  std::vector<std::size_t> read_at;
  if (!file_ || is_resting()) co_return out;
  for (std::size_t from = 0; from < keys.size();) {
    const auto* first = items_.find(keys[from]);
    if (!first || reads_ + reads.size() >= options_.reads_max) {
      ++from;
      continue;
    }
    std::vector<Kept> kept{*first};
    auto to = from + 1;
    for (; to < keys.size(); ++to) {
      const auto* next = items_.find(keys[to]);
      if (!next || next->slot != kept.back().slot + 1) break;
      kept.push_back(*next);
    }
    for (auto i = from; i < to; ++i) items_.use(keys[i]);
    std::vector<PieceKey> run(keys.begin() + static_cast<std::ptrdiff_t>(from),
                              keys.begin() + static_cast<std::ptrdiff_t>(to));
    reads.push_back(with_timeout(loop_, read_in_turn(std::move(run), std::move(kept)), options_.read_within));
    read_at.push_back(from);
    from = to;
  }
  if (reads.empty()) co_return out;
  auto results = co_await when_all(loop_, std::move(reads));
  for (std::size_t i = 0; i < results.size(); ++i) {
    if (!results[i]) {
      ++stats_.too_slow;
      rests_until_ = loop_.now() + options_.rest_after_slow;
      continue;
    }
    std::move(results[i]->begin(), results[i]->end(), out.begin() + static_cast<std::ptrdiff_t>(read_at[i]));
  }
  for (const auto& piece : out) stats_.hits += piece != nullptr;
  co_return out;
}

Task<std::vector<SharedBytes>> DiskTier::read_in_turn(std::vector<PieceKey> keys, std::vector<Kept> kept) {
  struct Count {
    std::size_t& reads;
    explicit Count(std::size_t& r) : reads(r) { ++reads; }
    Count(const Count&) = delete;
    ~Count() { --reads; }
  } count(reads_);
  while (reading_ >= options_.reads_at_once) co_await read_ended_.wait();
  // The call goes on when nobody waits for it any more: what hangs must be counted until it ends.
  co_return co_await run_in(loop_, scope_,
                            read_slots(std::move(keys), std::move(kept), std::make_unique<Turn>(this)));
}

Task<std::vector<SharedBytes>> DiskTier::read_slots(std::vector<PieceKey> keys, std::vector<Kept> kept,
                                                    std::unique_ptr<Turn> turn) {
  const auto standing = std::move(turn);  // ends with the body, not with the frame
  auto file = file_;
  std::vector<SharedBytes> out(keys.size());
  if (!file) co_return out;
  auto length = (kept.size() - 1) * piece_bytes + kept.back().length;
  auto bytes = co_await file->read(layout_.slot_offset(kept[0].slot), length);
  if (!bytes) {
    fault("reading", bytes.error());
    for (const auto& key : keys) drop(key);
    co_return out;
  }
  for (std::size_t i = 0; i < keys.size(); ++i) {
    auto rest = ByteView(*bytes).subspan(std::min<std::size_t>(bytes->size(), i * piece_bytes));
    out[i] = checked(keys[i], kept[i], rest.first(std::min<std::size_t>(rest.size(), kept[i].length)));
  }
  co_return out;
}

SharedBytes DiskTier::checked(const PieceKey& key, const Kept& kept, ByteView bytes) {
  if (bytes.size() == kept.length && crc32c(bytes) == kept.crc)
    return std::make_shared<const Bytes>(bytes.begin(), bytes.end());
  // Else another piece came into its slot while it was read.
  const auto* now = items_.find(key);
  if (now && now->slot == kept.slot && now->crc == kept.crc) {
    ++stats_.damaged;
    drop(key);
  }
  return nullptr;
}

DiskTier::Stats DiskTier::stats() const {
  auto out = stats_;
  out.is_ready = file_ != nullptr && stats_.is_ready;
  out.bytes = items_.size() * piece_bytes;
  out.bytes_max = std::uint64_t{layout_.slots} * piece_bytes;
  return out;
}

}  // namespace ebb::disk
