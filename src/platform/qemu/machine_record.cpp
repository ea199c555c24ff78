#include "platform/qemu/machine_record.h"

#include <cstdio>
#include <fcntl.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/text.h"
#include "platform/os_error.h"
#include "platform/qemu/console_log.h"
#include "platform/qemu/log_rotation.h"

namespace ebb::qemu {

Result<std::string> read_small_file(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return fail_os(errno, "read", path);
  std::string text;
  char buffer[4096];
  while (text.size() < MiB) {
    auto size = read(fd.get(), buffer, sizeof buffer);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return fail_os(errno, "read", path);
    if (size == 0) break;
    text.append(buffer, static_cast<std::size_t>(size));
  }
  return text;
}

Status write_small_file(const std::string& path, std::string_view text) {
  auto fresh = path + ".new";
  UniqueFd fd(open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd) return fail_os(errno, "write", fresh);
  auto written = write(fd.get(), text.data(), text.size());
  if (written != static_cast<ssize_t>(text.size()))
    return fail_os(written < 0 ? errno : ENOSPC, "write", fresh);
  if (std::rename(fresh.c_str(), path.c_str()) != 0) return fail_os(errno, "rename", fresh);
  return {};
}

namespace {

// However large it is.
std::string end_of(const std::string& path, std::size_t bytes_max) {
  auto fd = open_guest_file(path, O_RDONLY);
  if (!fd) return "";
  const auto size = lseek(fd.get(), 0, SEEK_END);
  if (size <= 0) return "";
  std::string text(std::min(static_cast<std::size_t>(size), bytes_max), '\0');
  const auto got = pread(fd.get(), text.data(), text.size(), size - static_cast<off_t>(text.size()));
  text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  return text;
}

}  // namespace

std::string last_words(const std::string& path) {
  constexpr std::size_t words_max = 400;
  return end_of(path, words_max);
}

std::string last_guest_words(const std::string& path) {
  constexpr std::size_t words_max = 1000;
  auto text = without_controls(end_of(path, words_max));
  // Not of the run before.
  if (const auto again = text.rfind(started_again); again != std::string::npos)
    text.erase(0, std::min(text.size(), text.find('\n', again) + 1));
  const auto first = text.find('\n');
  if (text.size() >= words_max / 2 && first != std::string::npos) text.erase(0, first + 1);
  return text;
}

Status save_record(const std::string& folder, const MachineRecord& record) {
  return write_small_file(folder + "/machine.json", json::write_text(record));
}

Status save_end(const std::string& folder, const MachineEnd& end) {
  return write_small_file(folder + "/end.json", json::write_text(end));
}

MachineEnd load_end(const std::string& folder) {
  auto text = read_small_file(folder + "/end.json");
  if (!text) return {};
  return json::read_text<MachineEnd>(*text).value_or(MachineEnd());
}

Result<MachineRecord> load_record(const std::string& folder) {
  auto path = folder + "/machine.json";
  EBB_TRY(text, read_small_file(path));
  EBB_TRY(value, json::parse(text));
  if (const auto* format = value.is_object() ? value.get_object().if_contains("format") : nullptr;
      !format || *format != record_format) {
    return fail(Code::invalid, "{} was written by another version of this program", path);
  }
  auto record = json::read<MachineRecord>(value);
  if (!record) return fail(std::move(record).error().within(path));
  return record;
}

}  // namespace ebb::qemu
