#include "platform/qemu/console_log.h"

#include <charconv>
#include <fcntl.h>
#include <filesystem>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"
#include "platform/os_error.h"
#include "platform/qemu/log_rotation.h"
#include "platform/qemu/machine_record.h"
#include "platform/qemu/qemu_command.h"

namespace ebb::qemu {
namespace fs = std::filesystem;
namespace {

// A file that holds the bytes from `begin` to `end` of a console.
struct Extent {
  UniqueFd file;
  std::uint64_t begin = 0, end = 0;
};

Result<Extent> open_extent(const std::string& path) {
  Extent extent{open_guest_file(path, O_RDONLY)};
  if (!extent.file) return fail_os(errno, "open", path);
  struct stat info{};
  if (fstat(extent.file.get(), &info) != 0) return fail_os(errno, "look at", path);
  extent.end = static_cast<std::uint64_t>(info.st_size);
  return extent;
}

// The older file ends where the current one begins.
struct Log {
  Extent older, current;
  std::uint64_t begin() const { return older.file ? older.begin : current.begin; }
  std::uint64_t end() const { return current.end; }
};

Result<Log> open_log(const std::string& folder) {
  const auto path = fmt::format("{}/{}", folder, console_log_name);
  Log log;
  EBB_TRY(current, open_extent(path));
  log.current = std::move(current);
  EBB_TRY(cut, bytes_cut(path));
  log.current.begin += cut, log.current.end += cut;
  if (auto older = open_extent(older_name(path))) {
    log.older = std::move(*older);
    log.older.begin = cut - std::min(cut, log.older.end);
    log.older.end = cut;
  }
  return log;
}

Result<std::string> read_at(const Log& log, std::uint64_t position, std::size_t bytes_max) {
  const auto& from = position < log.current.begin ? log.older : log.current;
  std::string bytes(static_cast<std::size_t>(std::min<std::uint64_t>(bytes_max, from.end - position)), '\0');
  const auto got =
      pread(from.file.get(), bytes.data(), bytes.size(), static_cast<off_t>(position - from.begin));
  if (got < 0) return fail_os(errno, "read", "a console's log");
  bytes.resize(static_cast<std::size_t>(got));
  return bytes;
}

// Where the last `lines` lines begin; one that has not ended counts.
Result<std::uint64_t> find_tail(const Log& log, std::uint32_t lines) {
  constexpr std::uint64_t step = 64 * 1024, bytes_max = 4 * 1024 * 1024;
  auto at = log.end();
  const auto begin = std::max(log.begin(), at - std::min(at, bytes_max));
  if (lines == 0) return at;
  std::uint32_t ends = 0;
  while (at > begin) {
    const auto floor = std::max(begin, at > log.current.begin ? log.current.begin : log.begin());
    const auto from = std::max(floor, at > step ? at - step : 0);
    EBB_TRY(bytes, read_at(log, from, static_cast<std::size_t>(at - from)));
    for (auto i = bytes.size(); i-- > 0;) {
      const bool is_last = from + i + 1 == log.end();  // its end begins no further line
      if (bytes[i] == '\n' && !is_last && ++ends == lines) return from + i + 1;
    }
    at = from;
  }
  return begin;
}

}  // namespace

Result<ConsolePiece> read_console_log(const std::string& folder, ConsoleFrom from, std::size_t bytes_max) {
  EBB_TRY(log, open_log(folder));
  auto position = from.position.value_or(log.begin());
  if (!from.position && from.lines) {
    EBB_TRY(tail, find_tail(log, *from.lines));
    position = tail;
  }
  if (position > log.end())
    position = log.current.begin;  // it was begun anew behind our back: better twice than not at all
  position = std::max(position, log.begin());
  EBB_TRY(bytes, read_at(log, position, bytes_max));
  return ConsolePiece{position, std::move(bytes), log.end()};
}

std::string archive_name(const VmId& vm, std::uint64_t epoch, WallMs now) {
  return fmt::format("{}.{}.{}", vm, epoch, now);
}

std::optional<std::string> find_archived_console(const std::string& archive, const VmId& vm,
                                                 std::uint64_t epoch) {
  const auto prefix = fmt::format("{}.{}.", vm, epoch);
  std::optional<std::pair<WallMs, std::string>> latest;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(archive, error)) {
    const auto name = entry.path().filename().string();
    if (!name.starts_with(prefix) || !fs::exists(entry.path() / console_log_name, error)) continue;
    WallMs at = 0;
    std::from_chars(name.data() + prefix.size(), name.data() + name.size(), at);
    if (!latest || at > latest->first) latest.emplace(at, entry.path().string());
  }
  return latest ? std::optional(latest->second) : std::nullopt;
}

Result<bool> bring_console_back(const std::string& archive, const VmId& vm, std::uint64_t epoch, WallMs now,
                                const std::string& folder, std::optional<ConsoleOwner> owner) {
  const auto from = find_archived_console(archive, vm, epoch);
  if (!from) return false;
  const fs::path old = *from, fresh = folder;
  // The log itself last: where it lies, the others do.
  for (const auto& name :
       {cut_name(console_log_name), older_name(console_log_name), std::string(console_log_name)}) {
    std::error_code error;
    fs::rename(old / name, fresh / name, error);
    if (error && error != std::errc::no_such_file_or_directory)
      return fail_os(error.value(), "move", (old / name).string());
  }
  const auto path = (fresh / console_log_name).string();
  auto log = open_guest_file(path, O_WRONLY | O_APPEND);
  if (!log || (owner && fchown(log.get(), owner->uid, owner->gid) != 0))
    return fail_os(errno, "give away", path);
  const auto line = fmt::format("\r\n{}{}]\r\n", started_again, format_time(now));
  [[maybe_unused]] const auto written =
      write(log.get(), line.data(), line.size());  // on a full disk it is missing
  return true;
}

}  // namespace ebb::qemu
