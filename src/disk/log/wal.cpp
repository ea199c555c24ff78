#include "disk/log/wal.h"

#include "base/check.h"

namespace ebb::disk {
namespace {

constexpr std::size_t kept_buffer_bytes_max = 256 * KiB;

std::size_t padded_bytes(const std::vector<Wal::Entry>& entries) {
  std::size_t bytes = 0;
  for (const auto& entry : entries) bytes += wal_record_bytes + entry.data.size();
  return BlockBuffer::round_up(bytes);
}

}  // namespace

Wal::Wal(Loop& loop, Files& files, Trouble& trouble, std::string folder, LogChain chain,
         std::uint64_t file_bytes_max)
    : loop_(loop),
      files_(files),
      trouble_(trouble),
      folder_(std::move(folder)),
      chain_(std::move(chain)),
      log_files_(loop, files, folder_, file_bytes_max),
      file_bytes_max_(file_bytes_max),
      turn_(loop),
      written_(loop),
      synced_changed_(loop) {}

Task<Status> Wal::start(LogScan scan) {
  // What an earlier process left in the device was acknowledged to the guest; a later file may only follow
  // synced bytes.
  for (const auto& old : scan.files) {
    EBB_CO_TRY(file, co_await files_.open(log_files_.path(old.number), OpenMode::read_write));
    EBB_CO_CHECKED(co_await file->sync());
    live_.push_back({old, 0});
  }
  taken_ = end_ = synced_ = scan.end;
  EBB_CO_CHECKED(co_await log_files_.start());
  co_return co_await begin_file();
}

// The caller has the turn, or is the only one: `taken_` stays.
Task<Status> Wal::begin_file() {
  auto number = live_.empty() ? 1 : live_.back().file.number + 1;
  auto seed = static_cast<std::uint32_t>(loop_.random().next());
  EBB_CO_TRY(begun, co_await log_files_.begin({chain_.disk, chain_.log_id, number, taken_, seed}, settle()));
  file_ = std::move(begun.file);
  file_bytes_ = wal_file_header_bytes;
  seed_ = seed;
  live_.push_back({{number, taken_}, begun.bytes});
  co_return Status{};
}

// A file is left when it is full; one that would grow, as soon as there is one that was written ahead.
bool Wal::leaves_file(std::size_t bytes) const {
  if (file_bytes_ == wal_file_header_bytes) return false;  // an append that is larger than any file
  auto end = file_bytes_ + bytes;
  return end > file_bytes_max_ || (end > live_.back().bytes && log_files_.has_spare());
}

Task<Status> Wal::make_room(std::size_t bytes) {
  if (leaves_file(bytes)) {
    for (Backoff backoff(loop_);;) {
      auto begun = co_await begin_file();
      if (begun) break;
      if (broken_) co_return fail(*broken_);
      trouble_.failed("the log", begun.error());
      co_await backoff.wait();
    }
  }
  log_files_.make_ahead();
  co_return Status{};
}

Wal::Place Wal::take_place(std::vector<Entry>& entries, BlockBuffer& into, std::size_t bytes) {
  Place place{file_, file_bytes_, taken_, taken_};
  auto room = into.first(bytes);
  for (auto& entry : entries) {
    WalRecord record{entry.kind,
                     place.end,
                     synced_,
                     entry.write_seq,
                     entry.block,
                     entry.count,
                     static_cast<std::uint32_t>(entry.data.size())};
    room = write_record(room, record, entry.data, seed_);
    place.end = entry.end = record.end();
  }
  if (!room.empty()) {
    WalRecord padding{WalKind::padding,
                      place.end,
                      synced_,
                      0,
                      0,
                      0,
                      static_cast<std::uint32_t>(room.size() - wal_record_bytes)};
    write_record(room, padding, {}, seed_);
    place.end = entries.back().end = padding.end();
  }
  taken_ = place.end;
  file_bytes_ += bytes;
  live_.back().bytes = std::max(live_.back().bytes, file_bytes_);
  return place;
}

Task<Status> Wal::append(std::vector<Entry>* entries) {
  if (entries->empty()) co_return Status{};
  auto bytes = padded_bytes(*entries);
  std::optional turn(co_await turn_.lock());
  EBB_CO_CHECKED(co_await make_room(bytes));
  // Another append may still use it, or one whose task was destroyed.
  if (!buffer_ || buffer_.use_count() > 1 || buffer_->capacity() < bytes)
    buffer_ = std::make_shared<BlockBuffer>(bytes);
  auto buffer = buffer_;
  if (buffer->capacity() > kept_buffer_bytes_max) buffer_.reset();
  auto place = take_place(*entries, *buffer, bytes);
  turn.reset();
  for (Backoff backoff(loop_);;) {
    if (broken_) co_return fail(*broken_);
    auto written = co_await place.file->write(place.offset, buffer, bytes);
    if (written) break;
    trouble_.failed("the log", written.error());  // the same bytes in the same place, until it takes them
    co_await backoff.wait();
  }
  // What lies above a gap is not in the log.
  while (end_ < place.begin) {
    if (broken_) co_return fail(*broken_);
    co_await written_.wait();
  }
  if (broken_) co_return fail(*broken_);
  trouble_.ended();
  end_ = place.end;
  written_.notify_all();
  co_return Status{};
}

Task<Status> Wal::settle() {
  while (end_ < taken_) {
    if (broken_) co_return fail(*broken_);
    co_await written_.wait();
  }
  co_return co_await sync_through(taken_);
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
    written_.notify_all();
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
  while (live_.size() > 1 && live_[1].file.position <= trim_to_) {
    auto old = live_.front();
    live_.pop_front();
    co_await log_files_.retire(old.file.number, old.bytes);
  }
  is_trimming_ = false;
}

}  // namespace ebb::disk
