// Keeps the wishes on this worker's own disk: what is acted on has been written before.
#pragma once
#include "agent/wish_step.h"
#include "env/files.h"
#include "env/sync.h"

namespace ebb::agent {

class WishStore final {
 public:
  WishStore(Loop& loop, Files& files, std::string folder)
      : files_(files), folder_(std::move(folder)), saving_(loop) {}

  // Locks the folder and reads what is there. busy: another agent runs on it. invalid: it is of a newer
  // version.
  Task<Status> open();
  const Wishes& wishes() const { return wishes_; }
  // Durable when it ends well; on failure the wishes stay as they were.
  Task<Status> save(Wishes next);
  // Nothing of this VM is left here. Ignored if it has been asked for again meanwhile.
  Task<Status> forget(VmId vm);

 private:
  std::string path() const { return folder_ + "/wishes.json"; }
  Task<Status> write(Wishes next);
  Files& files_;
  std::string folder_;
  std::unique_ptr<FileLock> lock_;
  AsyncMutex saving_;
  Wishes wishes_;
};

}  // namespace ebb::agent
