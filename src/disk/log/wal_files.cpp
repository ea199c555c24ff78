#include "disk/log/wal_files.h"

#include <charconv>

namespace ebb::disk {
namespace {

constexpr std::size_t spares_max = 2;
constexpr std::uint64_t piece_bytes = 1 * MiB;  // of what is written ahead
constexpr Duration pause_after_failure = 10s;
constexpr std::string_view spare_prefix = "spare-";

std::optional<std::uint64_t> spare_number(std::string_view name) {
  if (!name.starts_with(spare_prefix)) return std::nullopt;
  std::uint64_t number = 0;
  auto digits = name.substr(spare_prefix.size());
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return number;
}

}  // namespace

WalFiles::WalFiles(Loop& loop, Files& files, std::string folder, std::uint64_t file_bytes_max)
    : loop_(loop),
      files_(files),
      folder_(std::move(folder)),
      file_bytes_max_(BlockBuffer::round_up(file_bytes_max)),
      next_bytes_(
          BlockBuffer::round_up(std::max<std::uint64_t>(file_bytes_max_ / 8, 2 * wal_file_header_bytes))),
      making_(loop) {}

Task<Status> WalFiles::start() {
  EBB_CO_TRY(names, co_await files_.list(folder_));
  for (const auto& name : names) {
    auto number = spare_number(name);
    if (!number) continue;
    last_spare_ = std::max(last_spare_, *number);
    // Not used: the device may still have a write for it, of the process that died, and a name says nothing
    // to that.
    EBB_CO_CHECKED(co_await files_.remove(fmt::format("{}/{}", folder_, name)));
  }
  co_return Status{};
}

std::string WalFiles::path(std::uint64_t number) const {
  return fmt::format("{}/{:06}.wal", folder_, number);
}

std::string WalFiles::new_spare_path() {
  return fmt::format("{}/{}{:06}", folder_, spare_prefix, ++last_spare_);
}

// Its bytes are 0 if there was none: then it is an empty file that does not exist yet.
WalFiles::Spare WalFiles::take_spare() {
  if (spares_.empty()) return {new_spare_path(), 0};
  auto largest = std::max_element(spares_.begin(), spares_.end(),
                                  [](const Spare& a, const Spare& b) { return a.bytes < b.bytes; });
  auto spare = std::move(*largest);
  spares_.erase(largest);
  return spare;
}

Task<Result<WalFiles::Begun>> WalFiles::begin(WalFileHeader header, Task<Status> before_name) {
  auto spare = take_spare();
  auto file = co_await name_spare(spare, header, std::move(before_name));
  if (!file) {
    // To be tried again with the same one; or it was renamed after all, and the next try finds that.
    if (spare.bytes > 0 && file.error().code != Code::not_found) {
      spares_.push_back(spare);
    } else {
      (void)co_await files_.remove(spare.path);
    }
    co_return fail(std::move(file).error());
  }
  co_return Begun{std::move(*file), std::max<std::uint64_t>(spare.bytes, wal_file_header_bytes)};
}

Task<Result<std::shared_ptr<DirectFile>>> WalFiles::name_spare(Spare spare, WalFileHeader header,
                                                               Task<Status> before_name) {
  auto mode = spare.bytes > 0 ? OpenMode::read_write : OpenMode::create;
  EBB_CO_TRY(opened, co_await files_.open_direct(spare.path, mode));
  std::shared_ptr<DirectFile> file = std::move(opened);
  std::vector<Task<Status>> side_by_side;
  side_by_side.push_back(write_header(file, header));
  side_by_side.push_back(std::move(before_name));
  for (auto& done : co_await when_all(loop_, std::move(side_by_side))) EBB_CO_CHECKED(std::move(done));
  auto name = path(header.number);
  auto named = co_await files_.rename(spare.path, name);
  if (!named && named.error().code == Code::conflict) {
    // Of an earlier try that failed halfway, or was cut short: it never had a record.
    EBB_CO_CHECKED(co_await files_.remove(name));
    named = co_await files_.rename(spare.path, name);
  }
  EBB_CO_CHECKED(named);
  co_return file;
}

Task<Status> WalFiles::write_header(std::shared_ptr<DirectFile> file, WalFileHeader header) {
  auto block = std::make_shared<BlockBuffer>(wal_file_header_bytes);
  std::ranges::copy(encode(header), block->first(wal_file_header_bytes).begin());
  EBB_CO_CHECKED(co_await file->write(0, block, wal_file_header_bytes));
  co_return co_await file->sync();
}

Task<void> WalFiles::retire(std::uint64_t number, std::uint64_t bytes) {
  if (bytes >= file_bytes_max_ / 4 * 3 && spares_.size() < spares_max) {
    auto spare = new_spare_path();
    if (co_await files_.rename(path(number), spare)) {
      spares_.push_back({spare, std::min(bytes, file_bytes_max_)});
      co_return;
    }
  }
  // A file that stays is only read once more.
  (void)co_await files_.remove(path(number));
}

void WalFiles::make_ahead() {
  if (is_making_ || has_spare()) return;
  is_making_ = true;
  making_.spawn(make_spare());
}

Task<void> WalFiles::make_spare() {
  Spare spare{new_spare_path(), next_bytes_};
  auto made = co_await write_zeroes(spare.path, spare.bytes);
  if (made) {
    next_bytes_ = std::min(file_bytes_max_, spare.bytes * 2);
    spares_.push_back(std::move(spare));
  } else {
    // The log goes on without, in files that grow.
    (void)co_await files_.remove(spare.path);
    co_await sleep_for(loop_, pause_after_failure);
  }
  is_making_ = false;
}

Task<Status> WalFiles::write_zeroes(std::string path, std::uint64_t bytes) {
  auto zeroes = std::make_shared<BlockBuffer>(std::min(bytes, piece_bytes));
  std::ranges::fill(zeroes->first(zeroes->capacity()), std::byte{0});
  EBB_CO_TRY(file, co_await files_.open_direct(path, OpenMode::create));
  for (std::uint64_t at = 0; at < bytes; at += zeroes->capacity()) {
    auto length = static_cast<std::size_t>(std::min<std::uint64_t>(zeroes->capacity(), bytes - at));
    EBB_CO_CHECKED(co_await file->write(at, zeroes, length));
  }
  co_return co_await file->sync();
}

}  // namespace ebb::disk
