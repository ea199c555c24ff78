// Takes requests of any offset and length, and makes whole blocks of them: partial blocks are read, changed
// and written under a lock on their range. One for each disk, shared by all its connections: two locks would
// not see each other.
#pragma once
#include <memory>

#include "disk/block_device.h"
#include "disk/nbd/range_lock.h"

namespace ebb::disk {

class AlignLayer final : public BlockDevice {
 public:
  // The size of `inner` is a multiple of block_bytes.
  AlignLayer(Loop& loop, std::shared_ptr<BlockDevice> inner) : inner_(std::move(inner)), lock_(loop) {}

  std::uint64_t size_bytes() const override { return inner_->size_bytes(); }
  bool is_read_only() const override { return inner_->is_read_only(); }
  // Ranges lie inside the disk; lengths may be 0 and, but for read and write, of any size.
  Task<Result<Bytes>> read(std::uint64_t offset, std::size_t length) override;
  Task<Result<Slices>> gather(std::uint64_t offset, std::size_t length) override;
  Task<Status> write(std::uint64_t offset, Bytes data) override;
  Task<Status> flush() override { return inner_->flush(); }
  // A hint: partial blocks keep their content.
  Task<Status> trim(std::uint64_t offset, std::uint64_t length) override;
  Task<Status> write_zeroes(std::uint64_t offset, std::uint64_t length, ZeroMode mode) override;
  // Only with a whole block in it: else it is read, changed and written like any write.
  bool zeroes_fast(std::uint64_t offset, std::uint64_t length) const override;
  Task<Result<std::vector<Extent>>> extents(std::uint64_t offset, std::uint64_t length) override;

 private:
  Task<Status> write_locked(std::uint64_t offset, Bytes data);
  Task<Result<Bytes>> read_blocks(std::uint64_t offset, std::uint64_t length);

  std::shared_ptr<BlockDevice> inner_;
  RangeLock lock_;
};

}  // namespace ebb::disk
