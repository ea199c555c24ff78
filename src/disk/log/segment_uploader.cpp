#include "disk/log/segment_uploader.h"

#include "disk/keys.h"
#include "disk/log_objects.h"
#include "disk/object_data.h"

namespace ebb::disk {

SegmentUploader::SegmentUploader(StoreAccess access, DiskId disk, std::uint64_t window, Events events)
    : access_(access),
      disk_(std::move(disk)),
      window_(window),
      events_(std::move(events)),
      scope_(*access.loop) {}

void SegmentUploader::submit(SegmentBuilder::Cut cut) {
  auto seq = cut.point.seq;
  auto key = segment_key(disk_, cut.point.epoch, seq);
  auto body = cut.body;
  auto packed_from = cut.is_packed ? cut.data_offset : 0;
  in_flight_.emplace(seq, InFlight{std::move(cut), false});
  scope_.spawn(upload(seq, std::move(key), std::move(body), packed_from));
}

const SegmentBuilder::Cut* SegmentUploader::find(std::uint64_t seq) const {
  auto it = in_flight_.find(seq);
  return it == in_flight_.end() ? nullptr : &it->second.cut;
}

// `packed_from`: where data begins that is stored packed; 0: nothing is. The bytes are made once, before the first PUT.
Task<void> SegmentUploader::upload(std::uint64_t seq, std::string key, SharedBytes body,
                                   std::size_t packed_from) {
  if (packed_from > 0) body = co_await pack_object(access_, std::move(body), packed_from);
  auto put = co_await access_.put_once(key, body);
  if (put == StoreAccess::Put::other) {
    auto error = co_await why_lost(key, in_flight_.at(seq).cut.point.epoch, seq);
    events_.lost(std::move(error));
    co_return;
  }
  in_flight_.at(seq).is_stored = true;
  commit_run();
}

// The remote state is the longest contiguous run: a stored segment above a gap counts for nothing yet.
void SegmentUploader::commit_run() {
  while (!in_flight_.empty() && in_flight_.begin()->second.is_stored) {
    auto cut = std::move(in_flight_.begin()->second.cut);
    in_flight_.erase(in_flight_.begin());
    events_.committed(cut);
  }
}

Task<Error> SegmentUploader::why_lost(std::string key, DiskEpoch epoch, std::uint64_t seq) {
  auto object = co_await read_log_object(access_, disk_, epoch, seq);
  if (object && std::holds_alternative<Fence>(*object)) {
    const auto& fence = std::get<Fence>(*object);
    co_return Error{
        Code::fenced, fmt::format("{} took over as epoch {}", fence.by_owner, fence.by_epoch.text()), {}};
  }
  co_return Error{Code::corrupt, fmt::format("{} holds what this process did not write", key), {}};
}

}  // namespace ebb::disk
