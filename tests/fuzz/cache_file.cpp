// The cache's file with arbitrary bytes in its header, its index and its slots: whatever is found in it has the
// checksum that an entry of this cache gives, it is found again by the next process, and the cache goes on.
#include "base/checksum.h"
#include "disk/cache/disk_tier.h"
#include "formats.h"
#include "metered.h"
#include "sim/run_in.h"
#include "sim/sim_files.h"

namespace ebb::fuzz {
namespace {

using namespace disk;

const std::string path = "/cache";
constexpr std::uint64_t file_bytes = cache_header_bytes + piece_bytes + 3 * (piece_bytes + cache_entry_bytes);
const PieceKey new_key{{~0ull, 77}, 5};

Bytes file_of(const CacheInput& input) {
  const CacheLayout layout{input.slots, {}};
  Bytes file(layout.slot_offset(input.slots));
  std::ranges::copy(input.header, file.begin());
  std::ranges::copy(input.index, file.begin() + cache_header_bytes);
  std::ranges::copy(input.data, file.begin() + static_cast<std::ptrdiff_t>(layout.slot_offset(0)));
  return file;
}

// A host whose disk holds the file, and one process on it at a time.
class Host {
 public:
  explicit Host(Bytes file) { CHECK(drive_->replace(path, std::move(file))); }
  void restart() {
    if (process_) process_->kill();
    process_ = &world_.start_process("host", "program");
    auto& files = process_->make<sim::SimFiles>(*process_, drive_);
    tier_ = &process_->make<DiskTier>(process_->loop(), files, DiskTier::Options(path, file_bytes),
                                      world_.logger("cache"));
    tier_->start();
    CHECK(world_.loop().run_until([&] { return tier_->stats().is_ready; }, 1s));
  }
  SharedBytes read(const PieceKey& key) {
    auto got = sim::run_in(*process_, tier_->read({key}));
    CHECK(got && got->size() == 1);
    return got->front();
  }
  void admit(const PieceKey& key, SharedBytes bytes) {
    tier_->admit(key, std::move(bytes));
    CHECK(world_.loop().run_until([&] { return tier_->has(key); }, 1s));
  }
  DiskTier::Stats stats() const { return tier_->stats(); }

 private:
  sim::SimWorld world_;
  std::shared_ptr<sim::SimDrive> drive_ = std::make_shared<sim::SimDrive>();
  sim::SimProcess* process_ = nullptr;
  DiskTier* tier_ = nullptr;
};

std::vector<CacheEntry> entries_of(const CacheInput& input, const CacheLayout& layout) {
  std::vector<CacheEntry> found;
  for (std::uint32_t slot = 0; slot < input.slots; ++slot) {
    auto bytes = ByteView(input.index).subspan(slot * cache_entry_bytes, cache_entry_bytes);
    auto entry = decode_entry(bytes, layout, slot);
    if (!entry) continue;
    Bytes written;
    append_entry(written, layout, slot, *entry);
    CHECK(std::ranges::equal(written, bytes));
    CHECK(!decode_entry(bytes, layout, slot + 1) &&
          !decode_entry(bytes, {layout.slots, layout.token + "x"}, slot));
    found.push_back(*entry);
  }
  return found;
}

void check_found(Host& host, const std::vector<CacheEntry>& entries) {
  std::vector<SharedBytes> pieces;
  for (const auto& entry : entries) {
    pieces.push_back(host.read(entry.key));
    if (!pieces.back()) continue;
    CHECK(std::ranges::any_of(entries, [&](const CacheEntry& e) {
      return e.key == entry.key && e.length == pieces.back()->size() && e.crc == crc32c(*pieces.back());
    }));
  }
  host.restart();
  for (std::size_t i = 0; i < entries.size(); ++i) {
    auto again = host.read(entries[i].key);
    CHECK(!pieces[i] || (again && *again == *pieces[i]));
  }
}

}  // namespace

// As many as there is room for, so that each is one that the program would use.
std::uint32_t cache_slots_of_inputs() { return cache_slots(file_bytes); }

Verdict check_cache_file(ByteView input) {
  Bytes bytes(input.begin(), input.end());
  auto parts = split_cache_file(bytes);
  auto layout = metered(64 * KiB + 16 * bytes.size(), [&] { return decode_cache_layout(parts.header); });
  if (layout) {
    auto again = decode_cache_layout(encode(*layout));
    CHECK(again && *again == *layout);
  }
  const bool is_ours = layout && layout->slots == parts.slots;
  Host host(file_of(parts));
  metered(512 * KiB, [&] { return host.restart(), true; });
  if (is_ours) check_found(host, entries_of(parts, *layout));
  auto piece = std::make_shared<const Bytes>(piece_bytes, std::byte{7});
  host.admit(new_key, piece);
  auto kept = host.read(new_key);
  CHECK(kept && *kept == *piece && host.stats().faults == 0);
  return is_ours ? Verdict::accepted : Verdict::refused;
}

}  // namespace ebb::fuzz
