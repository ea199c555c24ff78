// The files of one log. A new one is made of a spare: written ahead with zeroes, or left over from trimming,
// so that its syncs change nothing of the file system's own; and a log's file has its header, synced, before
// it has its name.
#pragma once
#include <string>
#include <vector>

#include "disk/format/wal_types.h"
#include "env/files.h"
#include "env/scope.h"

namespace ebb::disk {

class WalFiles final {
 public:
  struct Begun {
    std::shared_ptr<DirectFile> file;
    std::uint64_t bytes = 0;  // written ahead; more makes it grow
  };

  WalFiles(Loop& loop, Files& files, std::string folder, std::uint64_t file_bytes_max);
  // Removes the spares that a former process left.
  Task<Status> start();
  std::string path(std::uint64_t number) const;

  // The next file of the log, made of the largest spare; of an empty file if there is none. No file of that
  // number has records. It has its name only once `before_name` has ended well, which runs while the header is
  // written.
  Task<Result<Begun>> begin(WalFileHeader header, Task<Status> before_name);
  // A file that the log needs no more becomes a spare, or goes. `bytes`: that it has been written with; 0:
  // not known.
  Task<void> retire(std::uint64_t number, std::uint64_t bytes);
  bool has_spare() const { return !spares_.empty(); }
  // Makes a spare in the background, unless there is one.
  void make_ahead();
  // Nothing is made any more.
  void finish() { making_.cancel(); }

 private:
  struct Spare {
    std::string path;
    std::uint64_t bytes = 0;
  };
  std::string new_spare_path();
  Spare take_spare();
  Task<Result<std::shared_ptr<DirectFile>>> name_spare(Spare spare, WalFileHeader header,
                                                       Task<Status> before_name);
  Task<Status> write_header(std::shared_ptr<DirectFile> file, WalFileHeader header);
  Task<void> make_spare();
  Task<Status> write_zeroes(std::string path, std::uint64_t bytes);

  Loop& loop_;
  Files& files_;
  std::string folder_;
  std::uint64_t file_bytes_max_;
  std::uint64_t next_bytes_;  // of the next spare that is made: a log that is little used takes little
  std::uint64_t last_spare_ = 0;
  std::vector<Spare> spares_;
  bool is_making_ = false;
  Scope making_;
};

}  // namespace ebb::disk
