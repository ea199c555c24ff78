#include "platform/qemu/log_rotation.h"

#include <fcntl.h>
#include <filesystem>
#include <set>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

#include "platform/os_error.h"

namespace ebb::qemu {
namespace fs = std::filesystem;
namespace {

bool is_log(const fs::path& path) {
  auto name = path.filename().string();
  return name.ends_with(".log") || name.ends_with(".log.1");
}

// Copies [from, to) of one file to the end of another.
Status copy_range(const UniqueFd& source, const UniqueFd& target, std::uint64_t from, std::uint64_t to,
                  const std::string& path) {
  std::vector<char> buffer(256 * 1024);
  while (from < to) {
    auto wanted = std::min<std::uint64_t>(buffer.size(), to - from);
    auto size = pread(source.get(), buffer.data(), wanted, static_cast<off_t>(from));
    if (size <= 0) return fail_os(size < 0 ? errno : EIO, "read", path);
    if (write(target.get(), buffer.data(), static_cast<std::size_t>(size)) != size)
      return fail_os(errno, "write", path + ".1");
    from += static_cast<std::uint64_t>(size);
  }
  return {};
}

std::uint64_t size_of(const UniqueFd& fd) {
  struct stat info{};
  return fstat(fd.get(), &info) == 0 ? static_cast<std::uint64_t>(info.st_size) : 0;
}

}  // namespace

Status rotate_log(const std::string& path, std::uint64_t bytes_max) {
  struct stat info{};
  if (stat(path.c_str(), &info) != 0 || static_cast<std::uint64_t>(info.st_size) <= bytes_max) return {};
  UniqueFd log(open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!log) return fail_os(errno, "open", path);
  UniqueFd older(open((path + ".1").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!older) return fail_os(errno, "open", path + ".1");
  auto size = size_of(log);
  auto copied = size > bytes_max ? size - bytes_max : 0;
  while (copied < size) {
    EBB_CHECKED(copy_range(log, older, copied, size, path));
    copied = size;
    size = std::max(copied, size_of(log));
  }
  if (ftruncate(log.get(), 0) != 0) return fail_os(errno, "truncate", path);
  return {};
}

Status rotate_logs(const std::string& folder, std::uint64_t bytes_max) {
  Status first;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (!entry.path().filename().string().ends_with(".log")) continue;
    if (auto status = rotate_log(entry.path().string(), bytes_max); !status && first) first = status;
  }
  return first;
}

Status archive_logs(const std::string& folder, const std::string& archive, const std::string& name,
                    std::size_t folders_max) {
  std::error_code error;
  auto target = fs::path(archive) / name;
  fs::create_directories(target, error);
  if (error) return fail_os(error.value(), "make", target.string());
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    std::error_code ignored;  // a log that is lost is no reason to keep the machine
    if (is_log(entry.path())) fs::rename(entry.path(), target / entry.path().filename(), ignored);
  }
  std::set<std::pair<fs::file_time_type, fs::path>> folders;
  for (const auto& entry : fs::directory_iterator(archive, error))
    folders.emplace(entry.last_write_time(error), entry.path());
  while (folders.size() > folders_max) {
    fs::remove_all(folders.begin()->second, error);
    folders.erase(folders.begin());
  }
  return {};
}

}  // namespace ebb::qemu
