// The witness: appends numbered records to its disk, makes each durable, and only then says so on its port.
// What it said must be on the disk for ever after; witness-check holds the disk against the port's log.
// Invariant: a number is reported only after fdatasync returned for it, and nothing is written after a fault.
#include "witness.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <string>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

#include "port.h"
#include "record_store.h"

namespace ebb::guest {
namespace {

// Opens the channel named on the command line, or the port; -1 as long as there is none.
int open_channel(const std::string& report) {
  if (!report.empty()) return open(report.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  const auto path = find_port("ebb.witness");
  return path ? open_port(*path, O_WRONLY) : -1;
}

// The report channel. It never waits: a number that cannot be written now is replaced by the next one; other
// lines are kept, in order, until the host takes them.
class Channel final {
 public:
  Channel(const std::string& report, std::uint32_t boot_id) : report_(report), fd_(open_channel(report)) {
    char text[16];
    std::snprintf(text, sizeof text, "C %08x\n", boot_id);
    boot_line_ = text;
  }

  void say(std::string line) {
    if (!latest_.empty()) kept_.push_back(std::move(latest_));
    latest_.clear();
    kept_.push_back(std::move(line));
    flush();
  }
  void say_number(char kind, std::uint64_t n) {
    char text[64];
    const char* boot_line = kind == 'D' ? boot_line_.c_str() : "";
    std::snprintf(text, sizeof text, "%s%c %llu\n", boot_line, kind, static_cast<unsigned long long>(n));
    latest_ = text;
    flush();
  }
  void flush() {
    if (fd_ < 0 && ++flushes_ <= looks_max) fd_ = open_channel(report_);
    while (!kept_.empty() && put(kept_.front())) kept_.erase(kept_.begin());
    if (kept_.empty() && !latest_.empty() && put(latest_)) latest_.clear();
  }
  bool empty() const { return fd_ < 0 || (kept_.empty() && latest_.empty()); }

 private:
  // Ports take a line as a whole or not at all.
  bool put(const std::string& line) {
    return fd_ >= 0 && write(fd_, line.data(), line.size()) == static_cast<ssize_t>(line.size());
  }

  // The port may appear a moment after us, but a guest without one must not look for it for ever.
  static constexpr unsigned looks_max = 500;

  const std::string report_;
  int fd_;
  unsigned flushes_ = 0;
  std::string boot_line_;
  std::vector<std::string> kept_;
  std::string latest_;
};

class RecordFile final : public RecordStore {
 public:
  std::string open_and_verify(const std::string& path) override;
  std::string append(const Writer& writer) override;

 private:
  std::string verify(std::uint64_t bytes);
  std::string cut_off_after(std::uint64_t count);

  int fd_ = -1;
};

std::string failure(const char* what) { return std::string(what) + ": " + std::strerror(errno); }

std::string RecordFile::open_and_verify(const std::string& path) {
  fd_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd_ < 0) return failure("open");
  struct stat info{};
  if (fstat(fd_, &info) != 0) return failure("stat");
  if (info.st_size > 0) return verify(static_cast<std::uint64_t>(info.st_size));
  // A new file exists only once its directory is durable too.
  const std::string folder = path.substr(0, path.rfind('/') + 1);
  const int folder_fd = open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder_fd < 0 || fsync(fd_) != 0 || fsync(folder_fd) != 0) return failure("create");
  close(folder_fd);
  return "";
}

std::string RecordFile::verify(std::uint64_t bytes) {
  std::vector<Record> batch(2048);
  RecordWalk walk;
  const std::uint64_t whole = bytes / sizeof(Record);
  for (std::uint64_t at = 0; at < whole;) {
    const std::size_t wanted = static_cast<std::size_t>(std::min<std::uint64_t>(batch.size(), whole - at));
    const ssize_t got =
        pread(fd_, batch.data(), wanted * sizeof(Record), static_cast<off_t>(at * sizeof(Record)));
    if (got < static_cast<ssize_t>(sizeof(Record))) return failure("read");
    const std::size_t records = static_cast<std::size_t>(got) / sizeof(Record);
    for (std::size_t i = 0; i < records; ++i, ++at) {
      const RecordFault fault = walk.next(batch[i]);
      if (fault == RecordFault::none) {
        count_ = at + 1;
        continue;
      }
      const bool torn = at + 1 == whole && bytes % sizeof(Record) == 0 && is_torn(fault);
      if (!torn) return std::string("record ") + fault_name(fault);
    }
  }
  last_writer_ = walk.last_writer();
  return count_ * sizeof(Record) == bytes ? "" : cut_off_after(count_);
}

// The last write of a killed machine may be there in part. It was never reported, so it may go.
std::string RecordFile::cut_off_after(std::uint64_t count) {
  if (ftruncate(fd_, static_cast<off_t>(count * sizeof(Record))) != 0 || fdatasync(fd_) != 0)
    return failure("truncate");
  return "";
}

std::string RecordFile::append(const Writer& writer) {
  const Record record = make_record(count_ + 1, writer);
  const ssize_t put = pwrite(fd_, &record, sizeof record, static_cast<off_t>(count_ * sizeof record));
  if (put != static_cast<ssize_t>(sizeof record)) {
    full_ = put >= 0 || errno == ENOSPC;
    return full_ ? "full" : failure("write");
  }
  // After a failed fdatasync the page cache says nothing about the disk: never try again.
  if (fdatasync(fd_) != 0) {
    full_ = errno == ENOSPC;
    return full_ ? "full" : failure("fdatasync");
  }
  ++count_;
  return "";
}

// No blocking read of randomness: an emulated machine has little at boot, and unique is enough.
std::uint32_t random_boot_id() {
  std::uint32_t id = 0;
  if (getrandom(&id, sizeof id, GRND_INSECURE) != static_cast<ssize_t>(sizeof id)) id = 0;
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return id ^ static_cast<std::uint32_t>(now.tv_nsec) ^ static_cast<std::uint32_t>(now.tv_sec << 10);
}

// SIGTERM is blocked and taken here only, so it never interrupts a record.
enum class Wake { time_is_up, terminated };
Wake sleep_for(long ms) {
  sigset_t terminate;
  sigemptyset(&terminate);
  sigaddset(&terminate, SIGTERM);
  const timespec duration{ms / 1000, (ms % 1000) * 1'000'000};
  return sigtimedwait(&terminate, nullptr, &duration) == SIGTERM ? Wake::terminated : Wake::time_is_up;
}

class Witness final {
 public:
  Witness(const WitnessOptions& options, Status& status, int changed_fd)
      : options_(options),
        boot_id_(random_boot_id()),
        channel_(options.report, boot_id_),
        status_(status),
        changed_fd_(changed_fd) {}

  int run() {
    if (options_.records.empty()) {
      count();
    } else {
      write_records();
    }
    return drain_channel();
  }

 private:
  void enter(WitnessState state) {
    status_.state = state;
    const std::uint64_t one = 1;
    if (changed_fd_ >= 0 && write(changed_fd_, &one, sizeof one) < 0) std::perror("witness: nobody listens");
  }

  void write_records() {
    std::unique_ptr<RecordStore> store = std::make_unique<RecordFile>();
    if (options_.store == "sqlite") store = make_record_table();
    if (!store) return give_up(RecordFile(), "this guest was built without SQLite");
    RecordStore& file = *store;
    std::string fault = file.open_and_verify(options_.records);
    const Writer writer{file.last_writer().boot + 1, boot_id_, make_tag(options_.tag)};
    if (fault.empty()) begin(writer, file.count() + 1);
    for (std::uint64_t done = 0; fault.empty(); ++done) {
      if (options_.stop_after > 0 && done == options_.stop_after) return;
      if (done > 0 && sleep_for(options_.pause_ms) == Wake::terminated) return;
      fault = file.append(writer);
      if (fault.empty()) report_durable(file.count(), done == 0);
    }
    give_up(file, fault);
  }

  void begin(const Writer& writer, std::uint64_t first) {
    status_.boot = writer.boot;
    status_.last = first - 1;
    char text[64];
    // The empty line ends what a kill may have left of the line before.
    std::snprintf(text, sizeof text, "\nB %u %llu %08x\n", writer.boot,
                  static_cast<unsigned long long>(first), boot_id_);
    channel_.say(text);
  }

  void report_durable(std::uint64_t n, bool first_of_boot) {
    channel_.say_number('D', n);
    status_.last = n;
    if (first_of_boot) enter(WitnessState::writing);
  }

  void give_up(const RecordStore& file, const std::string& fault) {
    if (file.is_full()) {
      channel_.say("F " + std::to_string(file.count()) + "\n");
    } else {
      channel_.say("BAD " + std::to_string(file.count() + 1) + " " + fault + "\n");
    }
    std::fprintf(stderr, "witness: stopped after record %llu: %s\n",
                 static_cast<unsigned long long>(file.count()), fault.c_str());
    enter(file.is_full() ? WitnessState::full : WitnessState::bad);
    if (options_.stop_after > 0) return;
    while (sleep_for(100) != Wake::terminated) channel_.flush();
  }

  void count() {
    for (std::uint64_t n = 1; options_.stop_after == 0 || n <= options_.stop_after; ++n) {
      channel_.say_number('S', n);
      status_.last = n;
      if (n == 1) enter(WitnessState::counting);
      if (sleep_for(options_.pause_ms) == Wake::terminated) return;
    }
  }

  // The host may be slow to take the last number; it gets a moment, and then the guest stops all the same.
  int drain_channel() {
    constexpr int tries_max = 50;
    for (int tries = 0; !channel_.empty() && tries < tries_max; ++tries) {
      sleep_for(1);
      channel_.flush();
    }
    return status_.state == WitnessState::bad ? 1 : 0;
  }

  const WitnessOptions options_;
  const std::uint32_t boot_id_;
  Channel channel_;
  Status& status_;
  const int changed_fd_;
};

}  // namespace

int run_witness(const WitnessOptions& options, Status& status, int changed_fd) {
  sigset_t terminate;
  sigemptyset(&terminate);
  sigaddset(&terminate, SIGTERM);
  sigprocmask(SIG_BLOCK, &terminate, nullptr);
  return Witness(options, status, changed_fd).run();
}

}  // namespace ebb::guest
