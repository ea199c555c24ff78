#include "disk/offline/offline.h"

#include "base/checksum.h"
#include "disk/keys.h"
#include "disk/object_data.h"

namespace ebb::disk {

namespace {

Task<Result<OfflineView>> open_under(StoreAccess access, HeadAt at) {
  LogCache cache;
  EBB_CO_TRY(followed, co_await follow_unsealed(access, at.head, &cache));
  DiskMemory memory;
  EBB_CO_TRY(loaded, co_await load_map(access, followed, &cache, memory.pages));
  OfflineView view;
  view.device =
      std::make_unique<ImageDevice>(access, std::move(loaded), at.head.size_bytes, std::move(memory));
  view.head = std::move(at);
  view.followed = std::move(followed);
  co_return view;
}

// All of one segment, also what later writes have covered.
Task<Status> check_segment(StoreAccess access, DiskId disk, DiskEpoch epoch, std::uint64_t seq) {
  EBB_CO_TRY(object, co_await read_log_object(access, disk, epoch, seq));
  if (!std::holds_alternative<ReadSegment>(object))
    co_return fail(Code::corrupt, "a fence stands in the place of segment {}/{}/{}", disk, epoch.text(), seq);
  const auto& segment = std::get<ReadSegment>(object);
  EBB_CO_TRY(whole, co_await access.get(segment_key(disk, epoch, seq)));
  const auto data = data_of_object(whole.body, segment.data_offset, segment.head.is_packed,
                                   segment.head.crcs.size() * block_bytes);
  if (data.size() != segment.head.crcs.size() * block_bytes)
    co_return fail(Code::corrupt, "segment {}/{}/{} has a wrong length", disk, epoch.text(), seq);
  for (std::size_t i = 0; i < segment.head.crcs.size(); ++i) {
    if (crc32c(ByteView(data).subspan(i * block_bytes, block_bytes)) == segment.head.crcs[i]) continue;
    co_return fail(Code::corrupt, "segment {}/{}/{}: block {} of its data has a wrong checksum", disk,
                   epoch.text(), seq, i);
  }
  co_return Status{};
}

Task<Result<CheckReport>> check_under(StoreAccess access, HeadAt at) {
  const auto disk = at.head.disk;
  EBB_CO_TRY(view, co_await open_under(access, std::move(at)));
  CheckReport report;
  const auto& head = view.followed;
  for (const auto& end : head.lineage) {
    bool goes_on =
        head.checkpoint && head.checkpoint->disk == disk && head.checkpoint->position.epoch == end.epoch;
    for (auto seq = goes_on ? head.checkpoint->position.seq + 1 : 1; seq <= end.seq; ++seq) {
      EBB_CO_CHECKED(co_await check_segment(access, disk, end.epoch, seq));
      ++report.segments;
    }
  }
  constexpr std::uint64_t step = 4 * MiB;
  for (std::uint64_t offset = 0; offset < view.device->size_bytes(); offset += step) {
    auto length = std::min(step, view.device->size_bytes() - offset);
    EBB_CO_TRY(extents, co_await view.device->extents(offset, length));
    for (const auto& extent : extents) {
      if (extent.is_hole) {
        report.hole_bytes += extent.length;
        continue;
      }
      EBB_CO_TRY(data, co_await view.device->read(extent.offset, extent.length));
      report.data_bytes += data.size();
    }
  }
  EBB_CO_TRY(roots, co_await read_roots(access, head));
  (void)roots;
  co_return report;
}

}  // namespace

Task<Result<OfflineView>> open_offline(StoreAccess access, DiskId disk) {
  return under_one_head<OfflineView>(access, std::move(disk),
                                     [access](HeadAt at) { return open_under(access, std::move(at)); });
}

Task<Result<CheckReport>> check_offline(StoreAccess access, DiskId disk) {
  return under_one_head<CheckReport>(access, std::move(disk),
                                     [access](HeadAt at) { return check_under(access, std::move(at)); });
}

}  // namespace ebb::disk
