// A disk in a sparse file, for tests that kill the server: what was acknowledged is in the page cache, and
// stays.
#pragma once
#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disk/block_device.h"

namespace ebb::disk::testing {

class FileDevice final : public BlockDevice {
 public:
  static Result<std::shared_ptr<FileDevice>> open(const std::string& path, std::uint64_t size) {
    int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return fail(Code::invalid, "open {}: {}", path, std::strerror(errno));
    auto device = std::make_shared<FileDevice>(fd, size);
    if (::ftruncate(fd, static_cast<off_t>(size)) != 0)
      return fail(Code::invalid, "size of {}: {}", path, std::strerror(errno));
    return device;
  }
  FileDevice(int fd, std::uint64_t size) : fd_(fd), size_(size) {}
  FileDevice(const FileDevice&) = delete;
  ~FileDevice() override { ::close(fd_); }

  std::uint64_t size_bytes() const override { return size_; }
  bool is_read_only() const override { return false; }
  Task<Result<Bytes>> read(std::uint64_t offset, std::size_t length) override {
    Bytes out(length);
    if (::pread(fd_, out.data(), length, static_cast<off_t>(offset)) != static_cast<ssize_t>(length))
      co_return fail(Code::unavailable, "read: {}", std::strerror(errno));
    co_return out;
  }
  Task<Status> write(std::uint64_t offset, Bytes data) override {
    if (::pwrite(fd_, data.data(), data.size(), static_cast<off_t>(offset)) !=
        static_cast<ssize_t>(data.size()))
      co_return fail(Code::unavailable, "write: {}", std::strerror(errno));
    co_return Status{};
  }
  Task<Status> flush() override { co_return Status{}; }  // the machine lives on
  Task<Status> trim(std::uint64_t offset, std::uint64_t length) override {
    co_return allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
  }
  Task<Status> write_zeroes(std::uint64_t offset, std::uint64_t length, ZeroMode) override {
    co_return allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
  }
  Task<Result<std::vector<Extent>>> extents(std::uint64_t offset, std::uint64_t length) override {
    std::vector<Extent> out;
    for (auto at = offset, end = offset + length; at < end;) {
      bool is_hole = seek(at, SEEK_DATA) > at;
      auto stop = std::min(end, seek(at, is_hole ? SEEK_DATA : SEEK_HOLE));
      out.push_back({at, stop - at, is_hole});
      at = stop;
    }
    co_return out;
  }

 private:
  Status allocate(int mode, std::uint64_t offset, std::uint64_t length) {
    if (::fallocate(fd_, mode, static_cast<off_t>(offset), static_cast<off_t>(length)) == 0) return {};
    return fail(Code::unavailable, "fallocate: {}", std::strerror(errno));
  }
  // The end of the disk if there is none.
  std::uint64_t seek(std::uint64_t from, int what) const {
    auto found = ::lseek(fd_, static_cast<off_t>(from), what);
    return found < 0 ? size_ : static_cast<std::uint64_t>(found);
  }
  const int fd_;
  const std::uint64_t size_;
};

}  // namespace ebb::disk::testing
