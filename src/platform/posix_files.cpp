#include "platform/posix_files.h"

#include <atomic>
#include <dirent.h>
#include <fcntl.h>
#include <filesystem>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "platform/direct_file.h"
#include "platform/os_error.h"
#include "platform/posix_calls.h"

namespace ebb {
namespace {

class PosixFile final : public File {
 public:
  PosixFile(AsioLoop& loop, UniqueFd fd, std::string path)
      : loop_(loop), open_(std::make_shared<Open>(std::move(fd), std::move(path))) {}

  Task<Result<Bytes>> read(std::uint64_t offset, std::size_t length) override {
    return blocking(loop_, [file = open_, offset, length] {
      return posix::read_at(file->fd.get(), offset, length, file->path);
    });
  }
  Task<Status> write(std::uint64_t offset, Bytes data) override {
    return blocking(loop_, [file = open_, offset, bytes = std::move(data)] {
      return posix::write_at(file->fd.get(), offset, bytes, file->path);
    });
  }
  Task<Status> sync() override {
    return blocking(loop_, [file = open_] { return posix::sync_data(file->fd.get(), file->path); });
  }
  Task<Result<std::uint64_t>> size() override {
    return blocking(loop_, [file = open_]() -> Result<std::uint64_t> {
      struct stat info{};
      if (fstat(file->fd.get(), &info) != 0) return fail_os(errno, "stat", file->path);
      return static_cast<std::uint64_t>(info.st_size);
    });
  }
  Task<Status> resize(std::uint64_t bytes) override {
    return blocking(loop_, [file = open_, bytes]() -> Status {
      if (ftruncate(file->fd.get(), static_cast<off_t>(bytes)) != 0)
        return fail_os(errno, "resize", file->path);
      return {};
    });
  }

 private:
  // Shared with calls under way, which outlive the tasks that began them and perhaps this File.
  struct Open {
    Open(UniqueFd f, std::string p) : fd(std::move(f)), path(std::move(p)) {}
    UniqueFd fd;
    std::string path;
  };
  AsioLoop& loop_;
  std::shared_ptr<Open> open_;
};

class PosixLock final : public FileLock {
 public:
  explicit PosixLock(UniqueFd fd) : fd_(std::move(fd)) {}

 private:
  UniqueFd fd_;
};

Result<Bytes> read_all_now(const std::string& path) {
  EBB_TRY(fd, posix::open_file(path, OpenMode::read));
  Bytes all;
  constexpr std::size_t piece = 1 * MiB;  // files in /proc tell no size
  for (;;) {
    EBB_TRY(more, posix::read_at(fd.get(), all.size(), piece, path));
    append(all, more);
    if (more.size() < piece) return all;
  }
}

// Files that a killed write_atomic leaves; list() does not show them.
constexpr std::string_view temporary_mark = ".ebb-tmp-";

bool is_temporary(std::string_view name) {
  return name.starts_with('.') && name.find(temporary_mark) != name.npos;
}

std::string temporary_of(const std::string& path) {
  static std::atomic<std::uint64_t> last{0};
  auto slash = path.rfind('/');
  auto name_at = slash == std::string::npos ? 0 : slash + 1;
  return fmt::format("{}.{}{}{}-{}", path.substr(0, name_at), path.substr(name_at), temporary_mark, getpid(),
                     ++last);
}

Status write_atomic_now(const std::string& path, ByteView data) {
  auto temporary = temporary_of(path);
  auto written = [&]() -> Status {
    UniqueFd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    if (!fd) return fail_os(errno, "create", temporary);
    EBB_CHECKED(posix::write_at(fd.get(), 0, data, path));
    EBB_CHECKED(posix::sync_data(fd.get(), path));
    if (::rename(temporary.c_str(), path.c_str()) != 0) return fail_os(errno, "replace", path);
    return {};
  }();
  if (!written) {
    ::unlink(temporary.c_str());
    return written;
  }
  return posix::sync_folder(posix::parent_of(path));
}

Result<std::vector<std::string>> list_now(const std::string& path) {
  std::unique_ptr<DIR, int (*)(DIR*)> folder(opendir(path.c_str()), closedir);
  if (!folder) return fail_os(errno, "list", path);
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    const dirent* entry = readdir(folder.get());
    if (!entry) break;
    std::string name = entry->d_name;
    if (name != "." && name != ".." && !is_temporary(name)) names.push_back(std::move(name));
  }
  if (errno != 0) return fail_os(errno, "list", path);
  std::sort(names.begin(), names.end());
  return names;
}

Status remove_tree_now(const std::string& path) {
  std::error_code error;
  std::filesystem::remove_all(path, error);
  if (error) return fail_os(error.value(), "remove", path);
  auto synced = posix::sync_folder(posix::parent_of(path));
  if (!synced && synced.error().code == Code::not_found) return {};  // its parent never was
  return synced;
}

Result<UniqueFd> lock_now(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (!fd) return fail_os(errno, "open", path);
  if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) return fail(Code::busy, "{} is locked by another process", path);
    return fail_os(errno, "lock", path);
  }
  return fd;
}

}  // namespace

Status PosixFiles::use_ring() {
  EBB_TRY(ring, Uring::make(loop_));
  ring_ = std::move(ring);
  return {};
}

Task<Result<std::unique_ptr<File>>> PosixFiles::open(std::string path, OpenMode mode) {
  EBB_CO_TRY(fd, co_await blocking(loop_, [path, mode] { return posix::open_file(path, mode); }));
  co_return std::make_unique<PosixFile>(loop_, std::move(fd), std::move(path));
}

Task<Result<std::unique_ptr<DirectFile>>> PosixFiles::open_direct(std::string path, OpenMode mode) {
  return open_direct_file(&loop_, ring_.get(), std::move(path), mode);
}

Task<Result<Bytes>> PosixFiles::read_all(std::string path) {
  return blocking(loop_, [path = std::move(path)] { return read_all_now(path); });
}

Task<Status> PosixFiles::write_atomic(std::string path, Bytes data) {
  return blocking(
      loop_, [path = std::move(path), bytes = std::move(data)] { return write_atomic_now(path, bytes); });
}

Task<Status> PosixFiles::rename(std::string from, std::string to) {
  return blocking(loop_,
                  [from = std::move(from), to = std::move(to)] { return posix::rename_file(from, to); });
}

Task<Status> PosixFiles::remove(std::string path) {
  return blocking(loop_, [path = std::move(path)]() -> Status {
    if (::unlink(path.c_str()) != 0) return fail_os(errno, "remove", path);
    return posix::sync_folder(posix::parent_of(path));
  });
}

Task<Status> PosixFiles::remove_tree(std::string path) {
  return blocking(loop_, [path = std::move(path)] { return remove_tree_now(path); });
}

Task<Result<std::vector<std::string>>> PosixFiles::list(std::string path) {
  return blocking(loop_, [path = std::move(path)] { return list_now(path); });
}

Task<Status> PosixFiles::make_dirs(std::string path) {
  return blocking(loop_, [path = std::move(path)] { return posix::make_folders(path); });
}

Task<Result<std::unique_ptr<FileLock>>> PosixFiles::lock(std::string path) {
  EBB_CO_TRY(fd, co_await blocking(loop_, [path = std::move(path)] { return lock_now(path); }));
  co_return std::make_unique<PosixLock>(std::move(fd));
}

}  // namespace ebb
