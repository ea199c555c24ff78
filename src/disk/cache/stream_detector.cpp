#include "disk/cache/stream_detector.h"

#include <algorithm>

namespace ebb::disk {
namespace {
// Requests of one reader that has several in flight arrive a little out of order.
constexpr std::uint64_t early_max = 512 * KiB, late_max = 2 * MiB;
}  // namespace

StreamDetector::Stream* StreamDetector::find(std::uint64_t offset, std::uint64_t end) {
  for (auto& stream : streams_) {
    if (stream.window == 0 ? offset == stream.next
                           : offset <= stream.next + early_max && end + late_max > stream.next)
      return &stream;
  }
  return nullptr;
}

void StreamDetector::begin(std::uint64_t end) {
  if (streams_.size() >= limits_.streams) {
    // Those that are no streams yet go first.
    auto key = [](const Stream& s) { return std::pair(s.window > 0, s.seen_at); };
    auto oldest =
        std::min_element(streams_.begin(), streams_.end(), [&](auto& a, auto& b) { return key(a) < key(b); });
    streams_.erase(oldest);
  }
  streams_.push_back({end, end, 0, reads_});
}

std::optional<ByteRange> StreamDetector::on_read(std::uint64_t offset, std::uint64_t length) {
  ++reads_;
  std::erase_if(streams_, [&](const Stream& s) { return reads_ - s.seen_at > limits_.idle_reads_max; });
  auto end = offset + length;
  auto* stream = find(offset, end);
  if (!stream) {
    begin(end);
    return std::nullopt;
  }
  if (end <= stream->next) return std::nullopt;
  stream->next = end, stream->seen_at = reads_;
  stream->window = std::max(stream->window, limits_.window_min);
  auto from = std::max(stream->ahead_end, stream->next), to = stream->next + stream->window;
  if (to < from + std::min(stream->window / 2, limits_.step)) return std::nullopt;
  stream->ahead_end = to;
  stream->window = std::min(stream->window * 2, limits_.window_max);
  return ByteRange{from, to};
}

void StreamDetector::give_back(ByteRange range) {
  for (auto& stream : streams_) {
    bool is_its_own = stream.ahead_end >= range.end && stream.next <= range.end;
    if (is_its_own) stream.ahead_end = std::max(stream.next, std::min(stream.ahead_end, range.begin));
  }
}

}  // namespace ebb::disk
