// Finds the sequential readers among the reads of one disk, and says how far to read ahead of each. Pure.
#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "base/bytes.h"

namespace ebb::disk {

struct ByteRange {
  std::uint64_t begin = 0, end = 0;
  bool operator==(const ByteRange&) const = default;
};

class StreamDetector {
 public:
  struct Limits {
    // Between the reader and the end of what is asked for. 8 MiB in 30 ms and what a transfer takes are 170
    // MB/s.
    std::uint64_t window_min = 128 * KiB, window_max = 16 * MiB;
    std::uint64_t step = 1 * MiB;  // at the full window, so much is asked for at once
    std::size_t streams = 8;
    std::uint64_t idle_reads_max = 256;  // of others, until a stream is forgotten
  };
  StreamDetector() = default;
  explicit StreamDetector(Limits limits) : limits_(limits) {}

  // The disk is read here. What is to be read ahead now, if anything.
  std::optional<ByteRange> on_read(std::uint64_t offset, std::uint64_t length);
  // It was not done: it will be asked for again.
  void give_back(ByteRange range);

 private:
  struct Stream {
    std::uint64_t next = 0;       // where the reader goes on
    std::uint64_t ahead_end = 0;  // up to here it was asked for
    std::uint64_t window = 0;     // 0: not known to be sequential
    std::uint64_t seen_at = 0;
  };
  Stream* find(std::uint64_t offset, std::uint64_t end);
  void begin(std::uint64_t end);

  Limits limits_;
  std::vector<Stream> streams_;
  std::uint64_t reads_ = 0;
};

}  // namespace ebb::disk
