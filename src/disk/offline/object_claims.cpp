#include "disk/offline/object_claims.h"

#include "base/checksum.h"
#include "disk/block_device.h"
#include "disk/format/cleaned_types.h"
#include "disk/keys.h"
#include "disk/log_objects.h"
#include "disk/object_data.h"

namespace ebb::disk {
namespace {

struct Decoded {
  std::vector<SegmentExtent> extents;
  std::vector<std::uint32_t> crcs;
  std::uint32_t data_offset = 0;
  bool is_packed = false;
  std::string previous, chain;  // of a segment
};

Result<Decoded> decode(const DataObject& object, ByteView body) {
  if (object.kind == ObjectKind::cleaned) {
    EBB_TRY(bytes, cleaned_head_bytes(body));
    if (bytes > body.size()) return fail(Code::corrupt, "ends within its head");
    EBB_TRY(cleaned, decode_cleaned(body.first(bytes), object.disk, object.epoch, object.seq));
    return Decoded{std::move(cleaned.head.extents),
                   std::move(cleaned.head.crcs),
                   cleaned.data_offset,
                   cleaned.head.is_packed,
                   {},
                   {}};
  }
  EBB_TRY(bytes, log_object_head_bytes(body));
  if (bytes > body.size()) return fail(Code::corrupt, "ends within its head");
  EBB_TRY(found, decode_log_object(body.first(bytes), object.disk, object.epoch, object.seq));
  auto* segment = std::get_if<ReadSegment>(&found);
  if (!segment) return fail(Code::corrupt, "a fence stands in its place");
  return Decoded{std::move(segment->head.extents), std::move(segment->head.crcs), segment->data_offset,
                 segment->head.is_packed,          segment->head.previous,        segment->chain};
}

}  // namespace

void BadExtents::add(std::uint64_t block, std::string what) {
  if (!bad_.empty()) {
    auto& last = bad_.back();
    if (last.block + last.count == block && last.what == what) {
      ++last.count;
      return;
    }
  }
  ++count_;
  if (bad_.size() < bad_extents_max) bad_.push_back({block, 1, std::move(what)});
}

void ObjectClaims::add(const DataObject& object) {
  index_.emplace(data_object_key(object), static_cast<std::uint32_t>(objects_.size()));
  objects_.push_back({object, {}, {}});
}

std::optional<std::uint32_t> ObjectClaims::index_of(const DataObject& object) const {
  auto it = index_.find(data_object_key(object));
  return it == index_.end() ? std::nullopt : std::optional(it->second);
}

Task<Status> ObjectClaims::gather(const CheckpointRoot* root, Head followed) {
  LogPoint from;
  if (root) {
    for (const auto& o : root->objects) add(o.object);
    if (root->disk == followed.disk) from = root->position;
  }
  const auto of_root = objects_.size();
  for (const auto& end : followed.lineage)
    for (auto seq = end.epoch == from.epoch ? from.seq + 1 : 1; seq <= end.seq; ++seq)
      add({followed.disk, end.epoch, seq, 0});
  auto chain = root ? root->position.chain : std::string();
  for (std::uint32_t i = 0; i < objects_.size(); ++i)
    EBB_CO_CHECKED(
        co_await read_object(i, followed.size_bytes / block_bytes, i < of_root ? nullptr : &chain));
  std::ranges::sort(claims_, {}, [](const Claim& c) { return std::tuple(c.write_seq, c.object, c.block); });
  co_return Status{};
}

Task<Status> ObjectClaims::read_also(const CheckpointRoot& root) {
  std::vector<DataObject> missing;
  for (const auto& o : root.objects)
    if (!index_of(o.object)) missing.push_back(o.object);
  for (const auto& object : missing) {
    add(object);
    EBB_CO_CHECKED(co_await read_object(static_cast<std::uint32_t>(objects_.size()) - 1,
                                        root.size_bytes / block_bytes, nullptr, Says::is_left_out));
  }
  co_return Status{};
}

Task<Status> ObjectClaims::read_object(std::uint32_t index, std::uint64_t disk_blocks, std::string* chain,
                                       Says says) {
  const auto object = objects_[index].object;
  auto body = co_await access_.get(data_object_key(object));
  if (!body && body.error().code == Code::not_found) {
    lost_[index] = "is not there", is_something_gone_ = true;
    co_return Status{};
  }
  EBB_CO_TRY(whole, std::move(body));
  auto read = decode(object, whole.body);
  if (!read) {
    lost_[index] = read.error().message;
    co_return Status{};
  }
  auto& [extents, crcs, data_offset, is_packed, previous, own_chain] = *read;
  if (chain) {
    if (previous != *chain) {
      lost_[index] = "does not follow the one before it";
      co_return Status{};
    }
    *chain = own_chain;
  }
  const auto data = data_of_object(whole.body, data_offset, is_packed, crcs.size() * block_bytes);
  for (std::uint32_t i = 0; i < crcs.size(); ++i) {
    auto at = std::size_t{i} * block_bytes;
    bool is_good =
        at + block_bytes <= data.size() && crc32c(ByteView(data).subspan(at, block_bytes)) == crcs[i];
    if (!is_good) damaged_.insert((std::uint64_t{index} << 32) | i);
  }
  data_bytes_ += crcs.size() * block_bytes;
  auto& known = objects_[index];
  known.size = {data_offset, static_cast<std::uint32_t>(crcs.size()), 0, is_packed};
  for (const auto& e : extents) {
    if (e.block > disk_blocks || e.count > disk_blocks - e.block)
      co_return fail(Code::corrupt, "{} writes beyond the end of the disk", text_of(object));
    if (says == Says::counts) claims_.push_back({e.write_seq, e.block, e.count, index, e.data_block, e.kind});
    known.size.trims += e.kind == ExtentKind::zeroes;
  }
  known.object.data_offset = data_offset, known.object.is_packed = is_packed;
  known.crcs = std::move(crcs);
  co_return Status{};
}

// Claims are painted over each other, oldest first.
std::vector<std::uint32_t> ObjectClaims::newest(std::uint64_t begin, std::uint64_t length) const {
  std::vector<std::uint32_t> out(length, 0);
  for (std::uint32_t i = 0; i < claims_.size(); ++i) {
    const auto& c = claims_[i];
    auto from = std::max(c.block, begin), to = std::min(c.block + c.count, begin + length);
    for (auto block = from; block < to; ++block) out[block - begin] = i + 1;
  }
  return out;
}

}  // namespace ebb::disk
