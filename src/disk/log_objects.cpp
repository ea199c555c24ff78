#include "disk/log_objects.h"

#include "disk/keys.h"

namespace ebb::disk {
namespace {
// Enough for the head of most segments: 8 MiB in extents of 4 KiB take 72 KiB.
constexpr std::size_t first_read_bytes = 80 * KiB;
}  // namespace

const ReadSegment* LogCache::find(DiskEpoch epoch, std::uint64_t seq) const {
  auto it = segments_.find({epoch, seq});
  return it == segments_.end() ? nullptr : &it->second;
}

void LogCache::add(const ReadSegment& segment) {
  segments_.insert_or_assign({segment.head.epoch, segment.head.seq}, segment);
}

const CheckpointRoot* LogCache::find_root(const CheckpointRef& ref) const {
  return root_ && root_->first == ref ? &root_->second : nullptr;
}

void LogCache::add_root(const CheckpointRef& ref, CheckpointRoot root) { root_ = {ref, std::move(root)}; }

Task<Result<LogObject>> read_log_object(StoreAccess access, DiskId disk, DiskEpoch epoch, std::uint64_t seq) {
  auto key = segment_key(disk, epoch, seq);
  EBB_CO_TRY(start, co_await access.get_range(key, 0, first_read_bytes));
  auto head_bytes = log_object_head_bytes(start);
  if (!head_bytes) co_return fail(std::move(head_bytes).error().within(key));
  if (*head_bytes > start.size()) {
    EBB_CO_TRY(rest, co_await access.get_range(key, start.size(), *head_bytes - start.size()));
    append(start, rest);
  }
  if (*head_bytes > start.size()) co_return fail(Code::corrupt, "{} ends within its head", key);
  co_return decode_log_object(ByteView(start).first(*head_bytes), disk, epoch, seq);
}

}  // namespace ebb::disk
