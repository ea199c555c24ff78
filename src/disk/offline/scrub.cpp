#include "disk/offline/scrub.h"

#include "disk/keys.h"
#include "disk/offline/offline.h"

namespace ebb::disk {
namespace {

constexpr std::uint64_t window_blocks = 16 << 20;  // 64 GiB of disk at a time
constexpr std::uint64_t step_blocks = 16 * blocks_per_page;

bool is_damage(const Error& error) { return error.code == Code::corrupt || error.code == Code::not_found; }

struct Seen {
  std::vector<MapPiece> pieces;
  std::vector<BadExtent> unreadable;  // where a page of the map is damaged or gone
};

Task<Result<Seen>> look_at(BlockMap& map, std::uint64_t block, std::uint64_t count) {
  auto found = co_await map.find(block, count);
  Seen seen;
  if (found) {
    seen.pieces = std::move(*found);
    co_return seen;
  }
  if (!is_damage(found.error())) co_return fail(std::move(found).error());
  if (count <= blocks_per_page) {
    seen.unreadable = {{block, count, "its page of the map cannot be read: " + found.error().message}};
    co_return seen;
  }
  for (const auto end = block + count; block < end; block += blocks_per_page) {
    EBB_CO_TRY(page, co_await look_at(map, block, std::min<std::uint64_t>(end - block, blocks_per_page)));
    std::ranges::move(page.pieces, std::back_inserter(seen.pieces));
    std::ranges::move(page.unreadable, std::back_inserter(seen.unreadable));
  }
  co_return seen;
}

class Scrub {
 public:
  Scrub(StoreAccess access, HeadAt at) : access_(access), head_(std::move(at.head)), claims_(access) {}

  Task<Result<ScrubReport>> run() {
    EBB_CO_CHECKED(co_await check_disk());
    EBB_CO_TRY(page, co_await read_roots(access_, head_));
    for (const auto& named : page.roots) EBB_CO_CHECKED(co_await check_root(named));
    if (is_something_gone_ || claims_.is_something_gone()) {  // or cleaned away meanwhile?
      EBB_CO_TRY(now, co_await read_head(access_, head_.disk));
      if (now.head.nonce != head_.nonce)
        co_return fail(Code::not_found, "disk '{}' was cleaned meanwhile", head_.disk);
    }
    report_.objects = claims_.objects().size();
    report_.data_bytes = claims_.data_bytes();
    report_.bad = bad_.first(), report_.bad_extents = bad_.count();
    co_return std::move(report_);
  }

 private:
  Task<Status> check_disk() {
    LogCache cache;
    EBB_CO_TRY(followed, co_await follow_unsealed(access_, head_, &cache));
    std::optional<CheckpointRoot> root;
    if (followed.checkpoint) {
      EBB_CO_TRY(read, co_await read_checkpoint_root(access_, *followed.checkpoint, &cache));
      root = std::move(read);
      co_await check_copies(*followed.checkpoint, "");
    }
    DiskMemory memory;
    EBB_CO_TRY(loaded, co_await load_map(access_, followed, &cache, memory.pages));
    EBB_CO_CHECKED(co_await claims_.gather(root ? &*root : nullptr, followed));
    const auto blocks = loaded.map->size_blocks();
    for (std::uint64_t at = 0; at < blocks; at += window_blocks)
      EBB_CO_CHECKED(co_await compare(*loaded.map, at, std::min(blocks - at, window_blocks)));
    co_return Status{};
  }

  // One of them is enough to read the disk by, and nobody would notice that the other one is gone.
  Task<void> check_copies(CheckpointRef ref, std::string whose) {
    for (auto key_of : {checkpoint_root_key, checkpoint_root_copy_key}) {
      auto copy = co_await read_root_at(access_, key_of(ref.disk, ref.epoch, ref.number), ref);
      if (copy) continue;
      is_something_gone_ |= copy.error().code == Code::not_found;
      bad_.add(0, fmt::format("{}one of the two copies of the checkpoint's root: {}; the other one serves",
                              whose, copy.error().message));
    }
  }

  // The map of now against what the objects say: of all that is said of a block the newest counts.
  Task<Status> compare(BlockMap& map, std::uint64_t begin, std::uint64_t length) {
    const auto newest = claims_.newest(begin, length);
    auto newest_of = [&](std::uint64_t block) -> const ObjectClaims::Claim* {
      auto number = newest[block - begin];
      return number > 0 ? &claims_.claim(number) : nullptr;
    };
    for (auto at = begin; at < begin + length; at += step_blocks) {
      EBB_CO_TRY(seen, co_await look_at(map, at, std::min(step_blocks, begin + length - at)));
      is_something_gone_ |= !seen.unreadable.empty();
      for (const auto& piece : seen.pieces) {
        const auto why = piece.object ? why_not(*piece.object) : std::nullopt;
        for (std::uint64_t i = 0; i < piece.count; ++i) judge(piece, i, newest_of(piece.block + i), why);
      }
      for (const auto& page : seen.unreadable)
        for (auto block = page.block; block < page.block + page.count; ++block)
          judge_without_map(block, newest_of(block), page.what);
    }
    co_return Status{};
  }

  // `why`: its object cannot be read.
  void judge(const MapPiece& piece, std::uint64_t i, const ObjectClaims::Claim* c,
             const std::optional<std::string>& why) {
    const bool is_data = c && c->kind == ExtentKind::data;
    auto block = piece.block + i;
    if (piece.object) report_.live_bytes += block_bytes;
    if (!piece.object) {
      if (is_data)
        bad_.add(block, fmt::format("the map says that it is empty, and {} holds data for it", name_of(*c)));
      return;
    }
    if (why) return bad_.add(block, fmt::format("{}: {}", text_of(*piece.object), *why));
    if (!is_data)
      return bad_.add(block, fmt::format("the map names {}, and no object holds newer data for it",
                                         text_of(*piece.object)));
    auto data_block = c->data_block_of(block);
    if (claims_.objects()[c->object].crcs[data_block] != piece.crcs[i])
      return bad_.add(block, fmt::format("the map names {}, and {} holds newer data", text_of(*piece.object),
                                         name_of(*c)));
    if (claims_.is_damaged(c->object, data_block)) bad_.add(block, damage_of(c->object, data_block));
  }

  void judge_without_map(std::uint64_t block, const ObjectClaims::Claim* c, const std::string& why) {
    const bool is_data = c && c->kind == ExtentKind::data;
    if (is_data) report_.live_bytes += block_bytes;
    const bool is_damaged = is_data && claims_.is_damaged(c->object, c->data_block_of(block));
    bad_.add(block, is_damaged ? damage_of(c->object, c->data_block_of(block)) : why);
  }

  // What a snapshot, or the branch that a restore left behind, holds: its map against the objects that it names.
  Task<Status> check_root(const NamedRoot& named) {
    const auto whose = fmt::format("snapshot '{}': ", named.name);
    ++report_.roots;
    if (head_.checkpoint != named.checkpoint) co_await check_copies(named.checkpoint, whose);
    auto root = co_await read_checkpoint_root(access_, named.checkpoint, nullptr);
    if (!root && !is_damage(root.error())) co_return fail(std::move(root).error());
    if (!root) {
      is_something_gone_ = true;
      bad_.add(0, whose + root.error().message);
      co_return Status{};
    }
    EBB_CO_CHECKED(co_await claims_.read_also(*root));
    BlockMap map(access_, DiskMemory().pages, named.size_bytes);
    map.start_from(std::move(*root));
    for (std::uint64_t at = 0; at < map.size_blocks(); at += step_blocks) {
      EBB_CO_TRY(seen, co_await look_at(map, at, std::min(step_blocks, map.size_blocks() - at)));
      is_something_gone_ |= !seen.unreadable.empty();
      for (const auto& piece : seen.pieces)
        if (piece.object) judge_of_root(piece, whose);
      for (const auto& page : seen.unreadable)
        for (auto block = page.block; block < page.block + page.count; ++block)
          bad_.add(block, whose + page.what);
    }
    co_return Status{};
  }

  void judge_of_root(const MapPiece& piece, const std::string& whose) {
    const auto index = claims_.index_of(*piece.object);
    const auto lost = why_not(*piece.object);
    for (std::uint64_t i = 0; i < piece.count; ++i) {
      const auto data_block = piece.data_block + static_cast<std::uint32_t>(i);
      if (lost) {
        bad_.add(piece.block + i, fmt::format("{}{}: {}", whose, text_of(*piece.object), *lost));
      } else if (const auto& crcs = claims_.objects()[*index].crcs;
                 data_block >= crcs.size() || crcs[data_block] != piece.crcs[i]) {
        bad_.add(piece.block + i, fmt::format("{}the map names {}, which holds something else", whose,
                                              text_of(*piece.object)));
      } else if (claims_.is_damaged(*index, data_block)) {
        bad_.add(piece.block + i, whose + damage_of(*index, data_block));
      }
    }
  }

  // Why that object cannot be read by what the map says of it; nothing if it can.
  std::optional<std::string> why_not(const DataObject& object) const {
    const auto index = claims_.index_of(object);
    if (!index) return "is none of the objects that the checkpoint names";
    if (auto it = claims_.lost().find(*index); it != claims_.lost().end()) return it->second;
    if (claims_.objects()[*index].object != object) return "is stored otherwise than the map says";
    return std::nullopt;
  }

  std::string damage_of(std::uint32_t object, std::uint32_t data_block) const {
    return fmt::format("block {} of the data of {} has a wrong checksum", data_block,
                       text_of(claims_.objects()[object].object));
  }

  std::string name_of(const ObjectClaims::Claim& claim) const {
    return text_of(claims_.objects()[claim.object].object);
  }

  StoreAccess access_;
  Head head_;
  ObjectClaims claims_;
  BadExtents bad_;
  bool is_something_gone_ = false;  // which cleaning and reclaim may do as well
  ScrubReport report_;
};

Task<Result<ScrubReport>> scrub_under(StoreAccess access, HeadAt at) {
  Scrub work(access, std::move(at));
  co_return co_await work.run();
}

}  // namespace

Task<Result<ScrubReport>> scrub(StoreAccess access, DiskId disk) {
  return under_one_head<ScrubReport>(access, std::move(disk),
                                     [access](HeadAt at) { return scrub_under(access, std::move(at)); });
}

}  // namespace ebb::disk
