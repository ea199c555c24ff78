#include "disk/offline/scrub.h"

#include "disk/keys.h"
#include "disk/offline/offline.h"

namespace ebb::disk {
namespace {

constexpr std::uint64_t window_blocks = 16 << 20;  // 64 GiB of disk at a time

class Scrub {
 public:
  Scrub(StoreAccess access, HeadAt at) : access_(access), head_(std::move(at.head)), claims_(access) {}

  Task<Result<ScrubReport>> run() {
    LogCache cache;
    EBB_CO_TRY(followed, co_await follow_unsealed(access_, head_, &cache));
    std::optional<CheckpointRoot> root;
    if (followed.checkpoint) {
      EBB_CO_TRY(read, co_await read_checkpoint_root(access_, *followed.checkpoint, &cache));
      root = std::move(read);
      EBB_CO_CHECKED(co_await check_copies(*followed.checkpoint));
    }
    DiskMemory memory;
    EBB_CO_TRY(loaded, co_await load_map(access_, followed, &cache, memory.pages));
    EBB_CO_CHECKED(co_await claims_.gather(root ? &*root : nullptr, followed));
    if (!claims_.lost().empty()) {  // or cleaned away meanwhile?
      EBB_CO_TRY(now, co_await read_head(access_, head_.disk));
      if (now.head.nonce != head_.nonce)
        co_return fail(Code::not_found, "disk '{}' was cleaned meanwhile", head_.disk);
    }
    report_.objects = claims_.objects().size();
    report_.data_bytes = claims_.data_bytes();
    for (std::uint64_t at = 0; at < loaded.map->size_blocks(); at += window_blocks)
      EBB_CO_CHECKED(
          co_await compare(*loaded.map, at, std::min(loaded.map->size_blocks() - at, window_blocks)));
    report_.bad = bad_.first(), report_.bad_extents = bad_.count();
    co_return std::move(report_);
  }

 private:
  // One of them is enough to read the disk by, and nobody would notice that the other one is gone.
  Task<Status> check_copies(CheckpointRef ref) {
    for (auto key_of : {checkpoint_root_key, checkpoint_root_copy_key}) {
      auto copy = co_await read_root_at(access_, key_of(ref.disk, ref.epoch, ref.number), ref);
      if (!copy)
        bad_.add(0, fmt::format("one of the two copies of the checkpoint's root: {}; the other one serves",
                                copy.error().message));
    }
    co_return Status{};
  }

  Task<Status> compare(BlockMap& map, std::uint64_t begin, std::uint64_t length) {
    auto newest = claims_.newest(begin, length);
    constexpr std::uint64_t step = 16 * blocks_per_page;
    for (auto at = begin; at < begin + length; at += step) {
      EBB_CO_TRY(pieces, co_await map.find(at, std::min(step, begin + length - at)));
      for (const auto& piece : pieces)
        for (std::uint64_t i = 0; i < piece.count; ++i) judge(piece, i, newest[piece.block + i - begin]);
    }
    co_return Status{};
  }

  void judge(const MapPiece& piece, std::uint64_t i, std::uint32_t claim) {
    const auto* c = claim > 0 ? &claims_.claim(claim) : nullptr;
    const bool is_data = c && c->kind == ExtentKind::data;
    auto block = piece.block + i;
    if (piece.object) report_.live_bytes += block_bytes;
    if (!piece.object) {
      if (is_data)
        bad_.add(block, fmt::format("the map says that it is empty, and {} holds data for it", name_of(*c)));
      return;
    }
    if (auto lost = claims_.lost_why(*piece.object); !lost.empty())
      return bad_.add(block, fmt::format("{}: {}", text_of(*piece.object), lost));
    if (!is_data)
      return bad_.add(block, fmt::format("the map names {}, and no object holds newer data for it",
                                         text_of(*piece.object)));
    auto data_block = c->data_block_of(block);
    if (claims_.objects()[c->object].crcs[data_block] != piece.crcs[i])
      return bad_.add(block, fmt::format("the map names {}, and {} holds newer data", text_of(*piece.object),
                                         name_of(*c)));
    if (claims_.is_damaged(c->object, data_block))
      bad_.add(block,
               fmt::format("block {} of the data of {} has a wrong checksum", data_block, name_of(*c)));
  }

  std::string name_of(const ObjectClaims::Claim& claim) const {
    return text_of(claims_.objects()[claim.object].object);
  }

  StoreAccess access_;
  Head head_;
  ObjectClaims claims_;
  BadExtents bad_;
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
