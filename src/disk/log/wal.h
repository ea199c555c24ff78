// The write-ahead log of one disk on this worker. A write is acknowledged when its record is with the device;
// the tail of this log is the upload queue, and it is trimmed only at what the store has committed. Each
// append is a whole number of blocks, so that no block is written twice: a torn one cannot take synced bytes
// along.
#pragma once
#include <deque>

#include "disk/format/head_types.h"
#include "disk/format/wal_types.h"
#include "disk/log/wal_files.h"
#include "disk/store_access.h"
#include "env/files.h"
#include "env/sync.h"

namespace ebb::disk {

// Who opened the log, in order; synced before that epoch may serve.
struct ChainLink {
  DiskEpoch epoch;
  std::string opener;
  bool operator==(const ChainLink&) const = default;
};
BOOST_DESCRIBE_STRUCT(ChainLink, (), (epoch, opener))

struct LogChain {
  DiskId disk;
  PoolId pool;
  std::string log_id;
  std::vector<ChainLink> openers;
  bool operator==(const LogChain&) const = default;
};
BOOST_DESCRIBE_STRUCT(LogChain, (), (disk, pool, log_id, openers))

Task<Result<LogChain>> read_chain(Files* files, std::string folder);
Task<Status> write_chain(Files* files, std::string folder, LogChain chain);

struct WalFile {
  std::uint64_t number = 0;
  std::uint64_t position = 0;
};

struct ReplayRecord {
  WalRecord record;
  Bytes data;
};

struct LogScan {
  std::vector<WalFile> files;
  std::uint64_t end = 0;              // position after the last record
  std::vector<ReplayRecord> records;  // data and zeroes from the asked position on
};

// Reads what is there. A torn tail ends the log; corrupt: damage below what had been synced, or a gap.
Task<Result<LogScan>> scan_log(Files* files, std::string folder, LogChain chain, std::uint64_t from);
// What was found there is found again after a power cut. Nobody is writing it.
Task<Status> sync_log(Files* files, std::string folder);

class Wal {
 public:
  struct Entry {
    WalKind kind = WalKind::data;
    std::uint64_t write_seq = 0;
    std::uint64_t block = 0;
    std::uint32_t count = 0;
    ByteView data;          // outlives append
    std::uint64_t end = 0;  // out: the position after it, and after what pads the append
  };

  // A file has at most `file_bytes_max` bytes, or one append.
  Wal(Loop& loop, Files& files, Trouble& trouble, std::string folder, LogChain chain,
      std::uint64_t file_bytes_max);
  // Goes on after what `scan` found, in a new file; everything found is synced first.
  Task<Status> start(LogScan scan);
  const std::string& log_id() const { return chain_.log_id; }
  const std::string& folder() const { return folder_; }
  std::uint64_t end() const { return end_; }

  // Hands the records to the device. Several may be called one after the other and be under way together: they take their
  // places in the order of the calls, and end in it. Waits, visibly, while the file system refuses. internal: a sync has
  // failed, nothing may be believed of this log any more.
  Task<Status> append(std::vector<Entry>* entries);
  // Everything below `position` survives a power cut; concurrent callers share a sync.
  Task<Status> sync_through(std::uint64_t position);
  // The store has everything below `position`: files that lie wholly below it go.
  Task<void> trim(std::uint64_t position);
  // Nothing more will be appended.
  void finish() { log_files_.finish(); }

 private:
  struct LiveFile {
    WalFile file;
    std::uint64_t bytes = 0;  // written ahead; 0: not known
  };
  Task<Status> begin_file();
  Task<Status> make_room(std::size_t bytes);
  bool leaves_file(std::size_t bytes) const;
  struct Place {
    std::shared_ptr<DirectFile> file;
    std::uint64_t offset = 0;
    std::uint64_t begin = 0, end = 0;  // positions
  };
  // The records, padded, in `into`, with the next place of the log.
  Place take_place(std::vector<Entry>& entries, BlockBuffer& into, std::size_t bytes);
  // All that has a place is written, and synced.
  Task<Status> settle();
  Task<Status> sync_now();

  Loop& loop_;
  Files& files_;
  Trouble& trouble_;
  std::string folder_;
  LogChain chain_;
  WalFiles log_files_;
  std::deque<LiveFile> live_;  // the last one is written
  std::shared_ptr<DirectFile> file_;
  std::shared_ptr<BlockBuffer> buffer_;  // used again, when it is free
  std::uint64_t file_bytes_max_, file_bytes_ = 0;
  std::uint32_t seed_ = 0;
  std::uint64_t taken_ = 0;  // the places of appends under way end here
  std::uint64_t end_ = 0,
                synced_ = 0;  // of what has been written, without a gap; and of that, what was synced
  std::uint64_t trim_to_ = 0;
  bool is_syncing_ = false, is_trimming_ = false;
  std::optional<Error> broken_;
  AsyncMutex turn_;
  Notify written_, synced_changed_;
};

}  // namespace ebb::disk
