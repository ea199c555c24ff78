#include "platform/direct_file.h"

#include <unistd.h>

#include "platform/os_error.h"
#include "platform/posix_calls.h"

namespace ebb {
namespace {

// Shared with calls under way, which outlive the tasks that began them and perhaps the file.
struct Open {
  Open(UniqueFd f, std::string p) : fd(std::move(f)), path(std::move(p)) {}
  UniqueFd fd;
  std::string path;
};
using SharedOpen = std::shared_ptr<const Open>;

Status check_whole(const Open& open, std::uint64_t offset, const BlockBuffer& buffer, std::size_t length) {
  constexpr auto block = BlockBuffer::block_bytes;
  if (offset % block == 0 && length % block == 0 && length > 0 && length <= buffer.capacity()) return {};
  return fail(Code::invalid, "{}: {} bytes at {} are not whole blocks of their buffer", open.path, length,
              offset);
}

int result_of(ssize_t count) { return count < 0 ? -errno : static_cast<int>(count); }

class PosixDirectFile final : public DirectFile {
 public:
  PosixDirectFile(AsioLoop& loop, Uring* ring, SharedOpen open)
      : loop_(loop), ring_(ring), open_(std::move(open)) {}

  Task<Result<std::size_t>> read(std::uint64_t offset, std::shared_ptr<BlockBuffer> into,
                                 std::size_t length) override {
    auto file = open_;
    EBB_CO_CHECKED(check_whole(*file, offset, *into, length));
    std::size_t done = 0;
    while (done < length) {
      auto count = co_await read_once(offset + done, into, done, length);
      if (count == -EINTR) continue;
      if (count < 0) co_return fail_os(-count, "read", file->path);
      done += static_cast<std::size_t>(count);
      if (count == 0 || done % BlockBuffer::block_bytes != 0) break;  // the end of the file
    }
    co_return done;
  }
  Task<Status> write(std::uint64_t offset, std::shared_ptr<const BlockBuffer> data,
                     std::size_t length) override {
    auto file = open_;
    EBB_CO_CHECKED(check_whole(*file, offset, *data, length));
    std::size_t done = 0;
    while (done < length) {
      auto count = co_await write_once(offset + done, data, done, length);
      if (count == -EINTR) continue;
      if (count < 0) co_return fail_os(-count, "write", file->path);
      // What follows a short write begins at a whole block.
      auto written = static_cast<std::size_t>(count);
      if (done + written < length) written = written / BlockBuffer::block_bytes * BlockBuffer::block_bytes;
      if (written == 0) co_return fail_os(EIO, "write", file->path);
      done += written;
    }
    co_return Status{};
  }
  Task<Status> sync() override {
    auto file = open_;
    if (!ring_)
      co_return co_await blocking(loop_, [file] { return posix::sync_data(file->fd.get(), file->path); });
    auto failed = co_await ring_->sync_data(file->fd.get(), file);
    if (failed < 0) co_return fail_os(-failed, "sync", file->path);
    co_return Status{};
  }

 private:
  using Kept = std::pair<SharedOpen, std::shared_ptr<const BlockBuffer>>;

  Task<int> read_once(std::uint64_t offset, std::shared_ptr<BlockBuffer> into, std::size_t from,
                      std::size_t to) {
    auto room = into->first(to).subspan(from);
    auto kept = std::make_shared<const Kept>(open_, into);
    if (ring_) return ring_->read(open_->fd.get(), offset, room, kept);
    return blocking(loop_, [kept, offset, room] {
      return result_of(::pread(kept->first->fd.get(), room.data(), room.size(), static_cast<off_t>(offset)));
    });
  }
  Task<int> write_once(std::uint64_t offset, std::shared_ptr<const BlockBuffer> data, std::size_t from,
                       std::size_t to) {
    auto part = data->first(to).subspan(from);
    auto kept = std::make_shared<const Kept>(open_, data);
    if (ring_) return ring_->write(open_->fd.get(), offset, part, kept);
    return blocking(loop_, [kept, offset, part] {
      return result_of(::pwrite(kept->first->fd.get(), part.data(), part.size(), static_cast<off_t>(offset)));
    });
  }

  AsioLoop& loop_;
  Uring* ring_;
  SharedOpen open_;
};

Result<SharedOpen> open_now(const std::string& path, OpenMode mode) {
  EBB_TRY(fd, posix::open_file(path, mode));
  // Through the page cache the promises are the same: a sync writes what lies there.
  (void)posix::make_direct(fd.get());
  return std::make_shared<const Open>(std::move(fd), path);
}

}  // namespace

Task<Result<std::unique_ptr<DirectFile>>> open_direct_file(AsioLoop* loop, Uring* ring, std::string path,
                                                           OpenMode mode) {
  EBB_CO_TRY(open, co_await blocking(*loop, [path, mode] { return open_now(path, mode); }));
  co_return std::make_unique<PosixDirectFile>(*loop, ring, std::move(open));
}

}  // namespace ebb
