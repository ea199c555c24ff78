#include "platform/posix_calls.h"

#include <cstdio>
#include <fcntl.h>
#include <linux/stat.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "platform/os_error.h"

namespace ebb::posix {
namespace {

// What goes past the page cache goes in pieces of this size, one after the other: a device serves requests in turn, and the log of a
// disk, whose small writes a guest waits for, may share it. With 1 MiB the log waited 4 ms instead of 2 in a tenth of all writes.
constexpr std::size_t piece_bytes = 128 * KiB;

// Whether our blocks suit what the file system asks of direct requests; one that does not say is believed.
bool takes_our_blocks(int fd) {
  struct statx info{};
  if (syscall(SYS_statx, fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &info) != 0) return true;
  if ((info.stx_mask & STATX_DIOALIGN) == 0) return true;
  auto fits = [](std::uint32_t align) { return align > 0 && BlockBuffer::block_bytes % align == 0; };
  return fits(info.stx_dio_mem_align) && fits(info.stx_dio_offset_align);
}

}  // namespace

bool make_direct(int fd) {
  int flags = fcntl(fd, F_GETFL);
  return flags >= 0 && takes_our_blocks(fd) && fcntl(fd, F_SETFL, flags | O_DIRECT) == 0;
}

Status write_past_cache(int fd, ByteView data, const std::string& path) {
  BlockBuffer piece(piece_bytes);
  auto size = static_cast<off_t>(data.size());
  for (std::uint64_t at = 0; !data.empty();) {
    auto part = std::min(data.size(), piece.capacity());
    auto blocks = piece.first(BlockBuffer::round_up(part));
    std::memcpy(blocks.data(), data.data(), part);
    std::memset(blocks.data() + part, 0, blocks.size() - part);
    auto count = ::pwrite(fd, blocks.data(), blocks.size(), static_cast<off_t>(at));
    if (count != static_cast<ssize_t>(blocks.size())) {
      // A full file system takes a part; what is wrong is said best about a request that may be of any
      // length.
      (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_DIRECT);
      return write_at(fd, at, data, path);
    }
    at += part;
    data = data.subspan(part);
  }
  if (size % static_cast<off_t>(BlockBuffer::block_bytes) != 0 && ::ftruncate(fd, size) != 0)
    return fail_os(errno, "resize", path);
  return {};
}

Result<Bytes> read_at(int fd, std::uint64_t offset, std::size_t length, const std::string& path) {
  Bytes data(length);
  std::size_t done = 0;
  while (done < length) {
    auto count = ::pread(fd, data.data() + done, length - done, static_cast<off_t>(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail_os(errno, "read", path);
    if (count == 0) break;
    done += static_cast<std::size_t>(count);
  }
  data.resize(done);
  return data;
}

Result<Bytes> read_past_cache(int fd, std::uint64_t offset, std::size_t length, const std::string& path) {
  Bytes data;
  data.reserve(length);
  auto at = offset / BlockBuffer::block_bytes * BlockBuffer::block_bytes;
  BlockBuffer piece(std::min<std::uint64_t>(piece_bytes, offset + length - at));
  while (data.size() < length) {
    auto wanted = std::min<std::uint64_t>(piece.capacity(), BlockBuffer::round_up(offset + length - at));
    auto count = ::pread(fd, piece.first(wanted).data(), wanted, static_cast<off_t>(at));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EINVAL) {  // not of this file system after all
      (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_DIRECT);
      return read_at(fd, offset, length, path);
    }
    if (count < 0) return fail_os(errno, "read", path);
    auto found = ByteView(piece.first(static_cast<std::size_t>(count)));
    found = found.subspan(std::min<std::uint64_t>(offset + data.size() - at, found.size()));
    append(data, found.first(std::min(found.size(), length - data.size())));
    if (count == 0 || count % BlockBuffer::block_bytes != 0) break;  // the end of the file
    at += static_cast<std::size_t>(count);
  }
  return data;
}

Status write_at(int fd, std::uint64_t offset, ByteView data, const std::string& path) {
  while (!data.empty()) {
    auto count = ::pwrite(fd, data.data(), data.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail_os(errno, "write", path);
    data = data.subspan(static_cast<std::size_t>(count));
    offset += static_cast<std::uint64_t>(count);
  }
  return {};
}

Status sync_data(int fd, const std::string& path) {
  if (::fdatasync(fd) != 0) return fail_os(errno, "sync", path);
  return {};
}

Result<UniqueFd> open_file(const std::string& path, OpenMode mode) {
  int flags = (mode == OpenMode::read ? O_RDONLY : O_RDWR) | O_CLOEXEC;
  UniqueFd fd(::open(path.c_str(), flags));
  if (!fd && errno == ENOENT && mode == OpenMode::create) {
    fd = UniqueFd(::open(path.c_str(), flags | O_CREAT, 0644));
    // The name must be as durable as the bytes that sync() will promise.
    if (fd) EBB_CHECKED(sync_folder(parent_of(path)));
  }
  if (!fd) return fail_os(errno, "open", path);
  struct stat info{};
  if (fstat(fd.get(), &info) == 0 && S_ISDIR(info.st_mode)) return fail_os(EISDIR, "open", path);
  return fd;
}

Status sync_folder(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return fail_os(errno, "open", path);
  if (::fsync(fd.get()) != 0) return fail_os(errno, "sync", path);
  return {};
}

Status rename_file(const std::string& from, const std::string& to) {
  auto failed = ::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE);
  // Not every file system knows how to spare a file; ours are written by one process.
  if (failed != 0 && (errno == EINVAL || errno == ENOSYS)) {
    struct stat info{};
    bool is_free = ::lstat(to.c_str(), &info) != 0 && errno == ENOENT;
    if (!is_free) return fail_os(EEXIST, fmt::format("rename {} to", from), to);
    failed = ::rename(from.c_str(), to.c_str());
  }
  if (failed != 0) return fail_os(errno, fmt::format("rename {} to", from), to);
  return sync_folder(parent_of(to));
}

Status make_folders(const std::string& path) {
  struct stat info{};
  if (::stat(path.c_str(), &info) == 0) {
    if (S_ISDIR(info.st_mode)) return {};
    return fail_os(ENOTDIR, "make folder", path);
  }
  auto parent = parent_of(path);
  if (parent != path) EBB_CHECKED(make_folders(parent));
  if (::mkdir(path.c_str(), 0755) != 0 && errno != EEXIST) return fail_os(errno, "make folder", path);
  return sync_folder(parent);
}

std::string parent_of(const std::string& path) {
  auto end = path.find_last_not_of('/');
  if (end == std::string::npos) return path.empty() ? "." : "/";
  auto slash = path.rfind('/', end);
  if (slash == std::string::npos) return ".";
  auto last = path.find_last_not_of('/', slash);
  return last == std::string::npos ? "/" : path.substr(0, last + 1);
}

}  // namespace ebb::posix
