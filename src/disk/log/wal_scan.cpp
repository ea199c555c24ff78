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

// Whether a record that is right in itself, anywhere above a break at `position`, says that more than the
// break had been synced. Only one that says that it lies where it lies counts: others are of the file's
// earlier lives, or in the data of a guest.
bool has_synced_beyond(ByteView rest, std::uint64_t position) {
  for (std::size_t at = 0; at + wal_record_bytes <= rest.size(); at += wal_record_bytes) {
    if (!may_lie_at(rest.subspan(at), position + at)) continue;
    auto found = find_record(rest.subspan(at));
    if (found && found->record.synced > position) return true;
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

namespace {

struct FoundFile {
  std::uint64_t number = 0;
  std::string path;
  WalFileHeader header;
};

Task<Result<std::vector<FoundFile>>> find_files(Files* files, std::string folder) {
  EBB_CO_TRY(names, co_await files->list(folder));
  std::vector<FoundFile> found;
  for (const auto& name : names) {
    if (auto number = number_of(name)) found.push_back({*number, fmt::format("{}/{}", folder, name), {}});
  }
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.number < b.number; });
  for (std::size_t i = 0; i < found.size(); ++i) {
    EBB_CO_TRY(file, co_await files->open(found[i].path, OpenMode::read));
    EBB_CO_TRY(start, co_await file->read(0, wal_file_header_bytes));
    EBB_CO_TRY(size, co_await file->size());
    auto header = decode_wal_file_header(start);
    // The newest file may have been cut short while it was made, before it had any record.
    bool was_being_made = i + 1 == found.size() && size <= wal_file_header_bytes;
    if (!header && was_being_made) {
      found.pop_back();
      break;
    }
    if (!header) co_return fail(std::move(header).error().within(found[i].path));
    found[i].header = *header;
  }
  co_return found;
}

// Where the file after `i` begins.
std::uint64_t limit_of(const std::vector<FoundFile>& found, std::size_t i) {
  return i + 1 < found.size() ? found[i + 1].header.position : ~std::uint64_t{0};
}

}  // namespace

Task<Result<LogScan>> scan_log(Files* files, std::string folder, LogChain chain, std::uint64_t from) {
  EBB_CO_TRY(found, co_await find_files(files, folder));
  LogScan scan;
  std::size_t i = 0;
  // What lies wholly below is not needed: it may have been trimmed, in part.
  for (; i < found.size() && limit_of(found, i) <= from; ++i)
    scan.files.push_back({found[i].number, found[i].header.position});
  if (i < found.size()) scan.end = found[i].header.position;
  if (scan.end > from) {
    co_return fail(Code::corrupt, "{}: the log begins at {}, and is needed from {}: it is kept", folder,
                   scan.end, from);
  }
  for (; i < found.size(); ++i) {
    const auto& [number, path, header] = found[i];
    if (header.position != scan.end) {
      co_return fail(
          Code::corrupt,
          "{}: the log before it ends at {}, and it begins at {}: synced bytes are damaged; the log is kept",
          path, scan.end, header.position);
    }
    EBB_CO_TRY(bytes, co_await files->read_all(found[i].path));
    auto limit = limit_of(found, i);
    auto file = scan_file(bytes, chain, from, limit, scan.records);
    if (!file) co_return fail(std::move(file).error().within(found[i].path));
    if (file->end < limit && has_synced_beyond(file->rest, file->end)) {
      co_return fail(Code::corrupt,
                     "{}: damaged at position {}, below bytes that had been synced; the log is kept",
                     found[i].path, file->end);
    }
    scan.files.push_back({found[i].number, file->file.position});
    scan.end = file->end;
  }
  co_return scan;
}

Task<Status> sync_log(Files* files, std::string folder) {
  EBB_CO_TRY(names, co_await files->list(folder));
  for (const auto& name : names) {
    if (!number_of(name)) continue;
    EBB_CO_TRY(file, co_await files->open(fmt::format("{}/{}", folder, name), OpenMode::read_write));
    EBB_CO_CHECKED(co_await file->sync());
  }
  co_return Status{};
}

}  // namespace ebb::disk
