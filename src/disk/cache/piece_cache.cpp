#include "disk/cache/piece_cache.h"

#include "disk/keys.h"

namespace ebb::disk {
namespace {
constexpr std::uint32_t request_pieces_max = 1 * MiB / piece_bytes;

PieceKey key_at(ObjectName name, std::uint32_t piece) { return {name, piece}; }
}  // namespace

void PieceCache::add_disk(Loop& loop, Files& files, DiskTier::Options options, Logger log) {
  options.queue_bytes_max =
      std::min(options.queue_bytes_max, std::max<std::size_t>(memory_.bytes_max() / 4, 4 * piece_bytes));
  disk_ = std::make_unique<DiskTier>(loop, files, std::move(options), std::move(log));
  disk_->start();
}

std::unique_ptr<PieceCache::AheadRoom> PieceCache::take_room_ahead(std::uint64_t bytes, Instant now) {
  return memory_.ahead_room(ahead_in_flight_, now) < bytes ? nullptr
                                                           : std::make_unique<AheadRoom>(this, bytes);
}

// Stands in the table of flights while it lives. It travels with the task that fetches: should that end
// early, or never begin, whoever waits takes over.
struct PieceCache::Lead {
  Lead(PieceCache* cache, Loop& loop, const PieceRange& range, ObjectName name)
      : cache_(*cache),
        first_(range.first),
        end_(range.end),
        name_(name),
        flight(std::make_shared<Flight>(loop, range.first)) {
    for (auto piece = first_; piece < end_; ++piece) cache_.flights_[key_at(name_, piece)] = flight;
  }
  Lead(const Lead&) = delete;
  ~Lead() {
    for (auto piece = first_; piece < end_; ++piece) {
      auto it = cache_.flights_.find(key_at(name_, piece));
      if (it != cache_.flights_.end() && it->second == flight) cache_.flights_.erase(it);
    }
    flight->is_over = true;
    flight->ended.notify_all();
  }

 private:
  PieceCache& cache_;
  std::uint32_t first_, end_;
  ObjectName name_;

 public:
  const std::shared_ptr<Flight> flight;
};

Task<Result<PieceCache::Pieces>> PieceCache::read(StoreAccess access, PieceRange range, ReadFor purpose) {
  const auto name = names_.name_of(range.object);
  Pieces pieces(range.end - range.first);
  std::vector<bool> is_there(pieces.size());
  const bool is_used = purpose == ReadFor::use || purpose == ReadFor::refresh;
  for (bool is_first = true;; is_first = false) {
    // Before the next suspension all that is missing is either waited for or led by us.
    std::vector<Wait> waits;
    std::vector<Task<Result<Pieces>>> leads;
    std::vector<PieceRange> led;
    for (std::uint32_t i = 0; i < pieces.size(); ++i) {
      if (is_there[i]) continue;
      auto key = key_at(name, range.first + i);
      if (purpose == ReadFor::refresh) {
        if (is_first) memory_.drop(key);
        if (is_first && disk_) disk_->drop(key);
      } else if (is_used) {
        pieces[i] = memory_.use(key);
        is_there[i] = pieces[i] != nullptr;
        stats_.memory_hits += is_there[i];
      } else {
        is_there[i] = memory_.has(key) || (purpose == ReadFor::warming && disk_ && disk_->has(key));
      }
      if (is_there[i]) continue;
      if (auto it = flights_.find(key); it != flights_.end() && purpose != ReadFor::refresh) {
        if (is_used) waits.push_back({i, it->second});
        if (!is_used) is_there[i] = true;
      } else if (!led.empty() && led.back().end == range.first + i) {
        ++led.back().end;
      } else {
        led.push_back({range.object, range.first + i, range.first + i + 1});
      }
    }
    std::vector<PieceRange> parts;
    for (const auto& missing : led) {
      for (auto& part : split(missing, name)) parts.push_back(std::move(part));
    }
    for (const auto& part : parts)
      leads.push_back(
          lead(access, part, name, purpose, std::make_unique<Lead>(this, *access.loop, part, name)));
    if (leads.empty() && waits.empty()) co_return pieces;

    auto fetched =
        leads.size() == 1 ? std::vector<Result<Pieces>>{} : co_await when_all(*access.loop, std::move(leads));
    if (fetched.empty() && leads.size() == 1) fetched.push_back(co_await std::move(leads[0]));
    for (std::size_t p = 0; p < parts.size(); ++p) {
      if (!fetched[p]) co_return fail(std::move(fetched[p]).error());
      for (auto piece = parts[p].first; piece < parts[p].end; ++piece) {
        pieces[piece - range.first] = (*fetched[p])[piece - parts[p].first];
        is_there[piece - range.first] = true;
      }
    }
    for (auto& [at, flight] : waits) {
      ++stats_.waits;
      while (!flight->is_over) co_await flight->ended.wait();
      if (!flight->result) continue;
      if (!*flight->result) co_return fail(flight->result->error());
      (void)memory_.use(key_at(name, range.first + static_cast<std::uint32_t>(at)));
      pieces[at] = (**flight->result)[range.first + at - flight->first];
      is_there[at] = true;
    }
  }
}

// Runs of what our disk has and of what it has not, none longer than a request.
std::vector<PieceRange> PieceCache::split(const PieceRange& missing, ObjectName name) const {
  std::vector<PieceRange> out;
  bool was_on_disk = false;
  for (auto piece = missing.first; piece < missing.end; ++piece) {
    bool is_on_disk = disk_ && disk_->has(key_at(name, piece));
    bool goes_on = !out.empty() && is_on_disk == was_on_disk && piece - out.back().first < request_pieces_max;
    if (goes_on)
      out.back().end = piece + 1;
    else
      out.push_back({missing.object, piece, piece + 1});
    was_on_disk = is_on_disk;
  }
  return out;
}

Task<Result<PieceCache::Pieces>> PieceCache::lead(StoreAccess access, PieceRange range, ObjectName name,
                                                  ReadFor purpose, std::unique_ptr<Lead> lead) {
  const auto standing = std::move(lead);  // ends with the body, not with the frame
  auto fetched = co_await fetch(access, range, name, purpose);
  standing->flight->result = fetched;
  co_return fetched;
}

Task<Result<PieceCache::Pieces>> PieceCache::fetch(StoreAccess access, PieceRange range, ObjectName name,
                                                   ReadFor purpose) {
  Pieces pieces(range.end - range.first);
  if (disk_ && disk_->has(key_at(name, range.first))) {
    std::vector<PieceKey> keys;
    for (auto piece = range.first; piece < range.end; ++piece) keys.push_back(key_at(name, piece));
    pieces = co_await disk_->read(std::move(keys));
  }
  for (std::uint32_t i = 0; i < pieces.size(); ++i) {
    if (pieces[i]) continue;
    auto run_end = i + 1;
    while (run_end < pieces.size() && !pieces[run_end]) ++run_end;
    stats_.misses += run_end - i;
    PieceRange run{range.object, range.first + i, range.first + run_end};
    if (purpose == ReadFor::later) stats_.ahead_bytes += run.bytes();
    if (purpose == ReadFor::warming) stats_.warmed_bytes += run.bytes();
    if (purpose == ReadFor::refresh) ++stats_.refreshed;
    EBB_CO_TRY(fetched, co_await fetch_from_store(access, run));
    std::move(fetched.begin(), fetched.end(), pieces.begin() + i);
  }
  for (std::uint32_t i = 0; i < pieces.size(); ++i)
    keep(key_at(name, range.first + i), pieces[i], purpose, access.loop->now());
  co_return pieces;
}

Task<Result<PieceCache::Pieces>> PieceCache::fetch_from_store(StoreAccess access, PieceRange range) {
  ++stats_.fetches;
  auto got =
      co_await read_object_data(access, range.object, range.first * piece_bytes, range.bytes(), &tables_);
  if (!got)  // gone is for the map to explain: it may lie elsewhere now
    co_return fail(got.error().code == Code::not_found ? Code::not_found : Code::corrupt, "{}: {}",
                   text_of(range.object), got.error().message);
  stats_.fetched_bytes += got->size();
  Pieces pieces;
  for (auto piece = range.first; piece < range.end; ++piece) {
    auto rest =
        ByteView(*got).subspan(std::min<std::size_t>(got->size(), (piece - range.first) * piece_bytes));
    auto bytes = rest.first(std::min<std::size_t>(rest.size(), piece_bytes));
    pieces.push_back(std::make_shared<const Bytes>(bytes.begin(), bytes.end()));
  }
  co_return pieces;
}

void PieceCache::keep(const PieceKey& key, const SharedBytes& bytes, ReadFor purpose, Instant now) {
  if (bytes->empty()) return;
  std::vector<MemoryTier::Fifo::Item> left;
  switch (purpose) {
    case ReadFor::use:
    case ReadFor::refresh:
      left = memory_.add(key, bytes);
      break;
    case ReadFor::later:
      left = memory_.add_ahead(key, bytes, now);
      break;
    case ReadFor::warming:
      // The disk is the place for it: what serves guests now stays in memory.
      if (!disk_) left = memory_.add(key, bytes, CacheQueue::main);
      break;
  }
  if (!disk_) return;
  disk_->admit(key, bytes, purpose == ReadFor::warming ? CacheQueue::main : CacheQueue::probation);
  // Nobody asked the disk for it while it was in memory.
  for (auto& item : left) disk_->admit(item.key, std::move(item.value), CacheQueue::main);
}

std::uint64_t PieceCache::warming_bytes_max() const {
  auto stats = disk_stats();
  return stats && stats->is_ready ? stats->bytes_max / 4 : memory_.bytes_max() / 2;
}

PieceCache::Stats PieceCache::stats() const {
  auto out = stats_;
  out.ahead_unused_bytes = memory_.ahead_unused_bytes();
  return out;
}

std::optional<DiskTier::Stats> PieceCache::disk_stats() const {
  return disk_ ? std::optional(disk_->stats()) : std::nullopt;
}

}  // namespace ebb::disk
