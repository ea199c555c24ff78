// Files of one process on a simulated drive. Requests take time drawn from the seed; a request in flight when
// its process is killed has happened or never will; but a direct write may also happen in part, or later,
// while another process uses the file. Crash points: "file.write|sync|replace|rename|remove|create
// before|after".
#pragma once
#include "env/files.h"
#include "sim/sim_drive.h"
#include "sim/sim_world.h"

namespace ebb::sim {

struct SimFilesOptions {
  Duration read = 100us, write = 30us, direct_write = 60us, sync = 300us;
  Duration late_max = 100ms;  // of direct writes whose process has died
};

class SimFiles final : public Files {
 public:
  SimFiles(SimProcess& process, std::shared_ptr<SimDrive> drive, SimFilesOptions options = {})
      : process_(process), drive_(std::move(drive)), options_(options) {}

  Task<Result<std::unique_ptr<File>>> open(std::string path, OpenMode mode) override;
  Task<Result<std::unique_ptr<DirectFile>>> open_direct(std::string path, OpenMode mode) override;
  Task<Result<Bytes>> read_all(std::string path) override;
  Task<Status> write_atomic(std::string path, Bytes data) override;
  Task<Status> rename(std::string from, std::string to) override;
  Task<Status> remove(std::string path) override;
  Task<Status> remove_tree(std::string path) override;
  Task<Result<std::vector<std::string>>> list(std::string path) override;
  Task<Status> make_dirs(std::string path) override;
  Task<Result<std::unique_ptr<FileLock>>> lock(std::string path) override;

 private:
  Task<Result<std::shared_ptr<SimInode>>> find_or_create(std::string path, OpenMode mode);

  SimProcess& process_;
  std::shared_ptr<SimDrive> drive_;
  SimFilesOptions options_;
};

}  // namespace ebb::sim
