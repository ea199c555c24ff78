// Reading a log back: which records are whole, where it ends, and whether that end can be true.
#include "disk/format/text_object.h"
#include "disk/log/wal.h"

namespace ebb::disk {
namespace {

std::string chain_path(const std::string& folder) { return folder + "/chain"; }

std::optional<std::uint64_t> number_of(std::string_view name) {
  if (name.size() < 10 || !name.ends_with(".wal")) return std::nullopt;
  auto digits = name.substr(0, name.size() - 4);
  if (digits.size() > 12 || digits.find_first_not_of("0123456789") != std::string_view::npos)
    return std::nullopt;
  return std::stoull(std::string(digits));
}

// Whether a record that is right in itself, anywhere above a break, says that more than the break had been
// synced.
bool has_synced_beyond(ByteView rest, std::uint64_t position) {
  for (std::size_t at = 0; at + wal_record_bytes <= rest.size(); at += 4) {
    auto found = find_record(rest.subspan(at));
    if (found && found->record.position > position && found->record.synced > position) return true;
  }
  return false;
}

Result<WalFileHeader> header_of(ByteView file) {
  return decode_wal_file_header(file.first(std::min(file.size(), wal_file_header_bytes)));
}

struct FileScan {
  WalFile file;
  std::uint64_t end = 0;  // position after the last good record
  ByteView rest;          // what follows it in the file
};

// `limit`: where the next file begins. Its writer had decided that the log ended there; a write that was
// still in flight then may have landed above.
Result<FileScan> scan_file(ByteView bytes, const LogChain& chain, std::uint64_t from, std::uint64_t limit,
                           std::vector<ReplayRecord>& out) {
  EBB_TRY(header, header_of(bytes));
  if (header.disk != chain.disk || header.log_id != chain.log_id)
    return fail(Code::corrupt, "a log file is of another log");
  FileScan scan{{header.number, header.position}, header.position, bytes.subspan(wal_file_header_bytes)};
  auto seed = header.seed;
  for (;;) {
    auto found = find_record(scan.rest);
    if (scan.end >= limit || !found || found->seed != seed || found->record.position != scan.end) return scan;
    if (found->record.kind != WalKind::padding && found->record.position >= from) {
      out.push_back({found->record, Bytes(found->data.begin(), found->data.end())});
    }
    seed = found->crc;
    scan.end = found->record.end();
    scan.rest = scan.rest.subspan(wal_record_bytes + found->data.size());
  }
}

}  // namespace

Task<Result<LogChain>> read_chain(Files* files, std::string folder) {
  EBB_CO_TRY(bytes, co_await files->read_all(chain_path(folder)));
  co_return read_text_object<LogChain>(bytes, "ebb-chain", chain_path(folder));
}

Task<Status> write_chain(Files* files, std::string folder, LogChain chain) {
  co_return co_await files->write_atomic(chain_path(folder), write_text_object("ebb-chain", chain));
}

Task<Result<LogScan>> scan_log(Files* files, std::string folder, LogChain chain, std::uint64_t from) {
  EBB_CO_TRY(names, co_await files->list(folder));
  std::vector<std::pair<std::uint64_t, std::string>> found;
  for (const auto& name : names) {
    if (auto number = number_of(name)) found.emplace_back(*number, fmt::format("{}/{}", folder, name));
  }
  std::sort(found.begin(), found.end());
  // The newest file may have been cut short while it was made; everything before it was synced.
  std::vector<Bytes> bytes(found.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    EBB_CO_TRY(content, co_await files->read_all(found[i].second));
    bytes[i] = std::move(content);
  }
  if (!bytes.empty() && bytes.back().size() <= wal_file_header_bytes && !header_of(bytes.back()))
    bytes.pop_back(), found.pop_back();

  LogScan scan;
  for (std::size_t i = 0; i < found.size(); ++i) {
    auto next = i + 1 < found.size() ? header_of(bytes[i + 1])
                                     : Result<WalFileHeader>(WalFileHeader{{}, {}, 0, ~std::uint64_t{0}, 0});
    if (!next) co_return fail(std::move(next).error().within(found[i + 1].second));
    auto file = scan_file(bytes[i], chain, from, next->position, scan.records);
    if (!file) co_return fail(std::move(file).error().within(found[i].second));
    if (scan.files.empty())
      scan.start = file->file.position;
    else if (file->file.position != scan.end) {
      co_return fail(
          Code::corrupt,
          "{}: the log before it ends at {}, and it begins at {}: synced bytes are damaged; the log is kept",
          found[i].second, scan.end, file->file.position);
    }
    if (file->end < next->position && has_synced_beyond(file->rest, file->end)) {
      co_return fail(Code::corrupt,
                     "{}: damaged at position {}, below bytes that had been synced; the log is kept",
                     found[i].second, file->end);
    }
    scan.files.push_back({found[i].first, file->file.position});
    scan.end = file->end;
  }
  co_return scan;
}

}  // namespace ebb::disk
