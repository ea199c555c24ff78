#include "disk/scrub.h"

#include <unordered_set>

#include "base/checksum.h"
#include "disk/attach/load_map.h"
#include "disk/disk_memory.h"
#include "disk/format/cleaned_types.h"
#include "disk/keys.h"
#include "disk/log_objects.h"
#include "disk/offline.h"

namespace ebb::disk {
namespace {

constexpr std::uint64_t window_blocks = 16 << 20;  // 64 GiB of disk at a time

class Scrub {
 public:
  Scrub(StoreAccess access, HeadAt at) : access_(access), head_(std::move(at.head)) {}

  Task<Result<ScrubReport>> run() {
    LogCache cache;
    EBB_CO_TRY(followed, co_await follow_unsealed(access_, head_, &cache));
    EBB_CO_CHECKED(co_await find_objects(followed));
    DiskMemory memory;
    EBB_CO_TRY(loaded, co_await load_map(access_, followed, &cache, memory.pages));
    for (std::uint32_t i = 0; i < objects_.size(); ++i) EBB_CO_CHECKED(co_await read_object(i));
    if (!lost_.empty()) {  // or cleaned away meanwhile?
      EBB_CO_TRY(now, co_await read_head(access_, head_.disk));
      if (now.head.nonce != head_.nonce) co_return fail(Code::not_found, "disk '{}' was cleaned meanwhile", head_.disk);
    }
    report_.objects = objects_.size();
    std::ranges::sort(claims_, {}, [](const Claim& c) { return std::tuple(c.write_seq, c.object, c.block); });
    for (std::uint64_t at = 0; at < loaded.map->size_blocks(); at += window_blocks)
      EBB_CO_CHECKED(co_await compare(*loaded.map, at, std::min(loaded.map->size_blocks() - at, window_blocks)));
    co_return std::move(report_);
  }

 private:
  struct Claim {  // what one object says about some blocks
    std::uint64_t write_seq = 0, block = 0;
    std::uint32_t count = 0, object = 0, data_block = 0;
    ExtentKind kind = ExtentKind::data;
  };

  Task<Status> find_objects(Head followed) {
    LogPoint from;
    if (followed.checkpoint) {
      EBB_CO_TRY(root, co_await read_checkpoint_root(access_, *followed.checkpoint, nullptr));
      for (const auto& o : root.objects) objects_.push_back(o.object);
      if (root.disk == followed.disk) from = root.position;
    }
    for (const auto& end : followed.lineage)
      for (auto seq = end.epoch == from.epoch ? from.seq + 1 : 1; seq <= end.seq; ++seq)
        objects_.push_back({followed.disk, end.epoch, seq, 0});
    crcs_.resize(objects_.size());
    co_return Status{};
  }

  Task<Status> read_object(std::uint32_t index) {
    const auto object = objects_[index];
    auto body = co_await access_.get(data_object_key(object));
    if (!body && body.error().code == Code::not_found) {
      lost_[index] = "is not there";
      co_return Status{};
    }
    EBB_CO_TRY(whole, std::move(body));
    auto read = decode(object, whole.body);
    if (!read) {
      lost_[index] = read.error().message;
      co_return Status{};
    }
    auto& [extents, crcs, data_offset] = *read;
    auto data = ByteView(whole.body).subspan(std::min<std::size_t>(whole.body.size(), data_offset));
    for (std::uint32_t i = 0; i < crcs.size(); ++i) {
      auto at = std::size_t{i} * block_bytes;
      bool is_good = at + block_bytes <= data.size() && crc32c(data.subspan(at, block_bytes)) == crcs[i];
      if (!is_good) damaged_.insert((std::uint64_t{index} << 32) | i);
    }
    report_.data_bytes += crcs.size() * block_bytes;
    for (const auto& e : extents) claims_.push_back({e.write_seq, e.block, e.count, index, e.data_block, e.kind});
    crcs_[index] = std::move(crcs);
    co_return Status{};
  }

  struct Decoded {
    std::vector<SegmentExtent> extents;
    std::vector<std::uint32_t> crcs;
    std::uint32_t data_offset = 0;
  };
  static Result<Decoded> decode(const DataObject& object, ByteView body) {
    if (object.kind == ObjectKind::cleaned) {
      EBB_TRY(bytes, cleaned_head_bytes(body));
      if (bytes > body.size()) return fail(Code::corrupt, "ends within its head");
      EBB_TRY(cleaned, decode_cleaned(body.first(bytes), object.disk, object.epoch, object.seq));
      return Decoded{std::move(cleaned.head.extents), std::move(cleaned.head.crcs), cleaned.data_offset};
    }
    EBB_TRY(bytes, log_object_head_bytes(body));
    if (bytes > body.size()) return fail(Code::corrupt, "ends within its head");
    EBB_TRY(found, decode_log_object(body.first(bytes), object.disk, object.epoch, object.seq));
    auto* segment = std::get_if<ReadSegment>(&found);
    if (!segment) return fail(Code::corrupt, "a fence stands in its place");
    return Decoded{std::move(segment->head.extents), std::move(segment->head.crcs), segment->data_offset};
  }

  // Claims are painted over each other, oldest first; what is on top must be what the map says.
  Task<Status> compare(BlockMap& map, std::uint64_t begin, std::uint64_t length) {
    std::vector<std::uint32_t> newest(length, 0);  // 1 + index of the claim
    for (std::uint32_t i = 0; i < claims_.size(); ++i) {
      const auto& c = claims_[i];
      auto from = std::max(c.block, begin), to = std::min(c.block + c.count, begin + length);
      for (auto block = from; block < to; ++block) newest[block - begin] = i + 1;
    }
    constexpr std::uint64_t step = 16 * blocks_per_page;
    for (auto at = begin; at < begin + length; at += step) {
      EBB_CO_TRY(pieces, co_await map.find(at, std::min(step, begin + length - at)));
      for (const auto& piece : pieces)
        for (std::uint64_t i = 0; i < piece.count; ++i)
          judge(piece, i, newest[piece.block + i - begin]);
    }
    co_return Status{};
  }

  void judge(const MapPiece& piece, std::uint64_t i, std::uint32_t claim) {
    const auto* c = claim > 0 ? &claims_[claim - 1] : nullptr;
    const bool is_data = c && c->kind == ExtentKind::data;
    auto block = piece.block + i;
    if (piece.object) report_.live_bytes += block_bytes;
    if (!piece.object) {
      if (is_data) bad(block, fmt::format("the map says that it is empty, and {} holds data for it", text_of(objects_[c->object])));
      return;
    }
    if (auto lost = lost_why(*piece.object); !lost.empty())
      return bad(block, fmt::format("{}: {}", text_of(*piece.object), lost));
    if (!is_data)
      return bad(block, fmt::format("the map names {}, and no object holds newer data for it", text_of(*piece.object)));
    auto data_block = c->data_block + static_cast<std::uint32_t>(block - c->block);
    if (crcs_[c->object][data_block] != piece.crcs[i])
      return bad(block, fmt::format("the map names {}, and {} holds newer data", text_of(*piece.object), text_of(objects_[c->object])));
    if (damaged_.contains((std::uint64_t{c->object} << 32) | data_block))
      bad(block, fmt::format("block {} of the data of {} has a wrong checksum", data_block, text_of(objects_[c->object])));
  }

  std::string lost_why(const DataObject& object) const {
    for (const auto& [index, why] : lost_) {
      const auto& o = objects_[index];
      if (o.seq == object.seq && o.kind == object.kind && o.epoch == object.epoch && o.disk == object.disk) return why;
    }
    return {};
  }

  void bad(std::uint64_t block, std::string what) {
    if (!report_.bad.empty()) {
      auto& last = report_.bad.back();
      if (last.block + last.count == block && last.what == what) {
        ++last.count;
        return;
      }
    }
    ++report_.bad_extents;
    if (report_.bad.size() < bad_extents_max) report_.bad.push_back({block, 1, std::move(what)});
  }

  StoreAccess access_;
  Head head_;
  std::vector<DataObject> objects_;
  std::vector<std::vector<std::uint32_t>> crcs_;  // of each object's data blocks
  std::map<std::uint32_t, std::string> lost_;     // by index: cannot be read, and why
  std::unordered_set<std::uint64_t> damaged_;     // object << 32 | block of its data
  std::vector<Claim> claims_;
  ScrubReport report_;
};

Task<Result<ScrubReport>> scrub_under(StoreAccess access, HeadAt at) {
  Scrub work(access, std::move(at));
  co_return co_await work.run();
}

}  // namespace

Task<Result<ScrubReport>> scrub(StoreAccess access, DiskId disk) {
  return under_one_head<ScrubReport>(access, std::move(disk), [access](HeadAt at) { return scrub_under(access, std::move(at)); });
}

}  // namespace ebb::disk
