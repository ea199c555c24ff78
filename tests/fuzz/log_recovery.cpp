// Recovery of a log from files of arbitrary bytes: it is refused, or it goes on as a log, and what was found
// in it is found again together with what is written from then on.
#include "disk/block_device.h"
#include "disk/log/wal.h"
#include "formats.h"
#include "metered.h"
#include "sim/run_in.h"
#include "sim/sim_files.h"

namespace ebb::fuzz {
namespace {

using namespace disk;

const LogChain chain{DiskId("d1"), PoolId("main"), "log-1", {}};
const std::string folder = "/log";
constexpr std::size_t files_max = 4;
constexpr std::uint64_t new_write_seq = 77;

// A host whose disk holds the log, and one process on it at a time.
class Host {
 public:
  explicit Host(const LogInput& log) {
    CHECK(drive_->make_dirs(folder));
    for (std::size_t i = 0; i < std::min(log.files.size(), files_max); ++i) {
      auto file = log.files[i];
      CHECK(drive_->replace(fmt::format("{}/{:06}.wal", folder, i + 1), Bytes(file.begin(), file.end())));
    }
    restart();
  }
  void restart() {
    if (process_) process_->kill();
    process_ = &world_.start_process("host", "program");
    files_ = &process_->make<sim::SimFiles>(*process_, drive_);
    trouble_ = &process_->make<Trouble>(process_->loop());
  }
  Result<LogScan> scan(std::uint64_t from) { return run(scan_log(files_, folder, chain, from)); }
  // Goes on after what was found, by one write.
  Status write_on(LogScan found) {
    auto& wal = process_->make<Wal>(process_->loop(), *files_, *trouble_, folder, chain, 64 * KiB);
    return run(write_one(&wal, std::move(found)));
  }

 private:
  template <class T>
  T run(Task<T> task) {
    auto done = sim::run_in(*process_, std::move(task));
    CHECK(done);
    return std::move(*done);
  }
  static Task<Status> write_one(Wal* wal, LogScan found) {
    EBB_CO_CHECKED(co_await wal->start(std::move(found)));
    Bytes data(block_bytes, std::byte{7});
    std::vector<Wal::Entry> entries{{WalKind::data, new_write_seq, 3, 1, data, 0}};
    EBB_CO_CHECKED(co_await wal->append(&entries));
    co_return co_await wal->sync_through(wal->end());
  }

  sim::SimWorld world_;
  std::shared_ptr<sim::SimDrive> drive_ = std::make_shared<sim::SimDrive>();
  sim::SimProcess* process_ = nullptr;
  sim::SimFiles* files_ = nullptr;
  Trouble* trouble_ = nullptr;
};

// In order, without overlap, from where the log is needed up to its end, and no larger than the files.
void check_records(const LogScan& scan, std::uint64_t from, std::size_t bytes) {
  auto least = from;
  std::size_t found_bytes = 0;
  for (const auto& [record, data] : scan.records) {
    CHECK(record.kind != WalKind::padding && data.size() == record.data_bytes);
    CHECK(record.position >= least && record.end() > record.position && record.end() <= scan.end);
    least = record.end();
    found_bytes += wal_record_bytes + data.size();
  }
  CHECK(found_bytes <= bytes);
}

}  // namespace

Verdict check_log(ByteView input) {
  Bytes bytes(input.begin(), input.end());
  auto log = split_log(bytes);
  Host host(log);
  auto scan = metered(256 * KiB + 16 * bytes.size(), [&] { return host.scan(log.from); });
  if (!scan) {
    CHECK(scan.error().code == Code::corrupt || scan.error().code == Code::invalid);
    return Verdict::refused;
  }
  check_records(*scan, log.from, bytes.size());
  auto records = scan->records;
  if (records.empty()) return Verdict::accepted;  // such a log is not gone on with
  CHECK(host.write_on(std::move(*scan)));
  host.restart();
  auto again = host.scan(log.from);
  CHECK(again && again->records.size() == records.size() + 1);
  CHECK(again->records.back().record.write_seq == new_write_seq);
  for (std::size_t i = 0; i < records.size(); ++i) {
    CHECK(again->records[i].record == records[i].record && again->records[i].data == records[i].data);
  }
  return Verdict::accepted;
}

}  // namespace ebb::fuzz
