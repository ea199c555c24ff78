#include "platform/qemu/log_rotation.h"

#include <charconv>
#include <cstdio>
#include <fcntl.h>
#include <filesystem>
#include <map>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

#include "platform/os_error.h"
#include "platform/qemu/machine_record.h"

namespace ebb::qemu {
namespace fs = std::filesystem;
namespace {

bool is_log(const fs::path& path) {
  auto name = path.filename().string();
  return name.ends_with(".log") || name.ends_with(".log.1") || name.ends_with(".log.cut");
}

constexpr std::size_t folders_of_one_max = 8;

// Of "<vm>.<epoch>.<wall ms>".
long long time_in(const std::string& folder_name) {
  long long at = 0;
  const auto dot = folder_name.rfind('.');
  if (dot != std::string::npos)
    std::from_chars(folder_name.data() + dot + 1, folder_name.data() + folder_name.size(), at);
  return at;
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
      return fail_os(errno, "write", older_name(path));
    from += static_cast<std::uint64_t>(size);
  }
  return {};
}

Status write_whole(const std::string& path, const std::string& text) {
  UniqueFd file(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!file) return fail_os(errno, "make", path);
  const auto written = write(file.get(), text.data(), text.size());
  if (written != static_cast<ssize_t>(text.size()))
    return fail_os(written < 0 ? errno : ENOSPC, "write", path);
  return {};
}

std::uint64_t size_of(const UniqueFd& fd) {
  struct stat info{};
  return fstat(fd.get(), &info) == 0 ? static_cast<std::uint64_t>(info.st_size) : 0;
}

}  // namespace

std::string older_name(const std::string& log) { return log + ".1"; }
std::string cut_name(const std::string& log) { return log + ".cut"; }

Result<std::uint64_t> bytes_cut(const std::string& log) {
  std::uint64_t bytes = 0;
  const auto text = read_small_file(cut_name(log));
  if (!text && text.error().code != Code::not_found) return fail(text.error());
  if (text) std::from_chars(text->data(), text->data() + text->size(), bytes);
  return bytes;
}

UniqueFd open_guest_file(const std::string& path, int flags) {
  return UniqueFd(open(path.c_str(), flags | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC));
}

// The older one and the count are complete before the current one is emptied. An end between that and their last renames shows
// some bytes twice.
Status rotate_log(const std::string& path, std::uint64_t bytes_max) {
  struct stat info{};
  if (stat(path.c_str(), &info) != 0 || static_cast<std::uint64_t>(info.st_size) <= bytes_max) return {};
  auto log = open_guest_file(path, O_RDWR);
  if (!log) return fail_os(errno, "open", path);
  const auto fresh = older_name(path) + ".new";
  UniqueFd older(open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!older) return fail_os(errno, "open", fresh);
  EBB_TRY(cut, bytes_cut(path));
  auto size = size_of(log);
  auto copied = size > bytes_max ? size - bytes_max : 0;
  // What comes meanwhile is taken along, twice at most: whoever writes faster than we copy has no claim to all of it.
  for (int rounds = 0; rounds < 2 && copied < size; ++rounds) {
    EBB_CHECKED(copy_range(log, older, copied, size, path));
    copied = size;
    size = std::min(size_of(log), copied + bytes_max);
  }
  const auto count = cut_name(path) + ".new";
  EBB_CHECKED(write_whole(count, std::to_string(cut + copied)));
  if (ftruncate(log.get(), 0) != 0) return fail_os(errno, "truncate", path);
  for (const auto& [from, to] : {std::pair(count, cut_name(path)), std::pair(fresh, older_name(path))})
    if (std::rename(from.c_str(), to.c_str()) != 0) return fail_os(errno, "rename", from);
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
  const bool has_logs = std::ranges::any_of(fs::directory_iterator(folder, error),
                                            [](const auto& entry) { return is_log(entry.path()); });
  if (!has_logs) return {};
  auto target = fs::path(archive) / name;
  fs::create_directories(target, error);
  if (error) return fail_os(error.value(), "make", target.string());
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    std::error_code ignored;  // a log that is lost is no reason to keep the machine
    if (is_log(entry.path())) fs::rename(entry.path(), target / entry.path().filename(), ignored);
  }
  // The oldest go first, by the time in their names; of one VM more than a few, so that a crash loop leaves the others' alone.
  std::map<std::string, std::map<long long, fs::path>> by_vm;
  std::map<std::pair<long long, std::string>, fs::path> all;
  for (const auto& entry : fs::directory_iterator(archive, error)) {
    const auto folder_name = entry.path().filename().string();
    const auto at = time_in(folder_name);
    by_vm[folder_name.substr(0, folder_name.find('.'))][at] = entry.path();
    all[{at, folder_name}] = entry.path();
  }
  auto remove = [&](const fs::path& path) {
    fs::remove_all(path, error);
    all.erase({time_in(path.filename().string()), path.filename().string()});
  };
  for (auto& [vm, folders] : by_vm) {
    for (; folders.size() > folders_of_one_max; folders.erase(folders.begin()))
      remove(folders.begin()->second);
  }
  while (all.size() > folders_max) remove(fs::path(all.begin()->second));
  return {};
}

}  // namespace ebb::qemu
