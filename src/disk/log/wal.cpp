#include "disk/log/wal.h"

#include "base/check.h"

namespace ebb::disk {
namespace {

std::string file_path(const std::string& folder, std::uint64_t number) {
  return fmt::format("{}/{:06}.wal", folder, number);
}

}  // namespace

Wal::Wal(Loop& loop, Files& files, Trouble& trouble, std::string folder, LogChain chain,
         std::uint64_t file_bytes_max)
    : loop_(loop),
      files_(files),
      trouble_(trouble),
      folder_(std::move(folder)),
      chain_(std::move(chain)),
      file_bytes_max_(file_bytes_max),
      synced_changed_(loop) {}

Task<Status> Wal::start(LogScan scan) {
  // What an earlier process left in the kernel was acknowledged to the guest; a later file may only follow
  // synced bytes.
  for (const auto& old : scan.files) {
    EBB_CO_TRY(file, co_await files_.open(file_path(folder_, old.number), OpenMode::read_write));
    EBB_CO_CHECKED(co_await file->sync());
  }
  live_.assign(scan.files.begin(), scan.files.end());
  end_ = synced_ = scan.end;
  co_return co_await begin_file();
}

Task<Status> Wal::begin_file() {
  WalFileHeader header{chain_.disk, chain_.log_id, live_.empty() ? 1 : live_.back().number + 1, end_, 0};
  header.seed = static_cast<std::uint32_t>(loop_.random().next());
  EBB_CO_TRY(file, co_await files_.open(file_path(folder_, header.number), OpenMode::create));
  EBB_CO_CHECKED(co_await file->resize(0));
  EBB_CO_CHECKED(co_await file->write(0, encode(header)));
  EBB_CO_CHECKED(co_await file->sync());
  file_ = std::move(file);
  file_bytes_ = wal_file_header_bytes;
  seed_ = header.seed;
  live_.push_back({header.number, header.position});
  co_return Status{};
}

Task<Status> Wal::append(std::vector<Entry>* entries) {
  for (Backoff backoff(loop_); file_bytes_ > file_bytes_max_;) {
    EBB_CO_CHECKED(co_await sync_through(end_));
    auto begun = co_await begin_file();
    if (begun) break;
    trouble_.failed("the log", begun.error());
    co_await backoff.wait();
  }
  Bytes bytes;
  auto seed = seed_;
  auto position = end_;
  for (auto& entry : *entries) {
    WalRecord record{entry.kind,
                     position,
                     synced_,
                     entry.write_seq,
                     entry.block,
                     entry.count,
                     static_cast<std::uint32_t>(entry.data.size())};
    append_record(bytes, record, entry.data, seed);
    position = entry.end = record.end();
  }
  for (Backoff backoff(loop_);;) {
    if (broken_) co_return fail(*broken_);
    auto file = file_;
    auto written = co_await file->write(file_bytes_, bytes);
    if (written) break;
    trouble_.failed("the log", written.error());  // the same bytes in the same place, until it takes them
    co_await backoff.wait();
  }
  trouble_.ended();
  seed_ = seed;
  file_bytes_ += bytes.size();
  end_ = position;
  co_return Status{};
}

Task<Status> Wal::sync_through(std::uint64_t position) {
  while (synced_ < position) {
    if (broken_) co_return fail(*broken_);
    if (is_syncing_)
      co_await synced_changed_.wait();
    else
      EBB_CO_CHECKED(co_await sync_now());
  }
  co_return Status{};
}

Task<Status> Wal::sync_now() {
  struct Syncing {
    Wal& wal;
    explicit Syncing(Wal& w) : wal(w) { wal.is_syncing_ = true; }
    ~Syncing() { wal.is_syncing_ = false, wal.synced_changed_.notify_all(); }
  } syncing(*this);
  auto upto = end_;
  auto file = file_;
  auto synced = co_await file->sync();
  if (!synced) {
    broken_ =
        Error{Code::internal, fmt::format("the log could not be synced: {}", synced.error().message), {}};
    trouble_.failed("the log", *broken_);
    co_return fail(*broken_);
  }
  synced_ = std::max(synced_, upto);
  co_return Status{};
}

Task<void> Wal::trim(std::uint64_t position) {
  trim_to_ = std::max(trim_to_, position);
  if (is_trimming_) co_return;
  is_trimming_ = true;
  // One after the other, oldest first: what is left must have no gap.
  while (live_.size() > 1 && live_[1].position <= trim_to_) {
    auto number = live_.front().number;
    live_.pop_front();
    // A file that stays is only read once more.
    (void)co_await files_.remove(file_path(folder_, number));
  }
  is_trimming_ = false;
}

}  // namespace ebb::disk
