#include "platform/qemu/machine_record.h"

#include <cstdio>
#include <fcntl.h>
#include <unistd.h>

#include "base/bytes.h"
#include "platform/os_error.h"

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

std::string last_words(const std::string& path) {
  auto text = read_small_file(path);
  if (!text) return "";
  while (!text->empty() && text->back() == '\n') text->pop_back();
  constexpr std::size_t words_max = 400;
  if (text->size() > words_max) text->erase(0, text->size() - words_max);
  return *text;
}

Status save_record(const std::string& folder, const MachineRecord& record) {
  return write_small_file(folder + "/machine.json", json::write_text(record));
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
