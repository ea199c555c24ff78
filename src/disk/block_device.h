// The one interface of every block layer, asynchronous and free of NBD's vocabulary. A layer implements what
// it changes and hands the rest on. Requests may overlap in time; a layer must order overlapping writes as
// they were issued.
#pragma once
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "disk/slices.h"
#include "env/task.h"

namespace ebb::disk {

inline constexpr std::uint64_t block_bytes = 4096;

// Whether a range that reads as zeroes must keep its space (we never preallocate: a hint only).
enum class ZeroMode { may_unmap, keep_space };

struct Extent {
  std::uint64_t offset = 0, length = 0;
  bool is_hole = false;  // reads as zeroes and holds no data
  bool operator==(const Extent&) const = default;
};

class BlockDevice {
 public:
  virtual ~BlockDevice() = default;
  virtual std::uint64_t size_bytes() const = 0;
  virtual bool is_read_only() const = 0;
  // Offsets and lengths are multiples of block_bytes and inside the disk, lengths at most 32 MiB and above 0
  // (AlignLayer makes any request so).
  virtual Task<Result<Bytes>> read(std::uint64_t offset, std::size_t length) = 0;
  // The same, without a copy where a layer can.
  virtual Task<Result<Slices>> gather(std::uint64_t offset, std::size_t length) {
    EBB_CO_TRY(data, co_await read(offset, length));
    co_return Slices(std::move(data));
  }
  // Ends when the data would survive the death of this process; durable after the next flush.
  virtual Task<Status> write(std::uint64_t offset, Bytes data) = 0;
  // Everything whose write had ended before the call is durable as the disk's class promises.
  virtual Task<Status> flush() = 0;
  virtual Task<Status> trim(std::uint64_t offset, std::uint64_t length) = 0;
  virtual Task<Status> write_zeroes(std::uint64_t offset, std::uint64_t length, ZeroMode mode) = 0;
  // Whether write_zeroes of the range costs less than writing as many bytes.
  virtual bool zeroes_fast(std::uint64_t /*offset*/, std::uint64_t /*length*/) const { return true; }
  // Covers the range in order, without gaps.
  virtual Task<Result<std::vector<Extent>>> extents(std::uint64_t offset, std::uint64_t length) = 0;
};

}  // namespace ebb::disk
