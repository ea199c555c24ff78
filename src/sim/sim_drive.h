// The medium under a host's file system: what is written and what of it would survive a power cut. Owned by
// the test, it outlives the processes that use it. Synchronous; SimFiles adds time and faults.
//
// A write becomes durable by a sync of its file; the entry of a created file with that file's first sync;
// removals, renamings, folders and atomic replacements at once, as Files promises.
#pragma once
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/random.h"
#include "base/result.h"
#include "sim/sim_paged_bytes.h"

namespace ebb::sim {

// One unsynced change of a file.
struct UnsyncedWrite {
  std::uint64_t sequence = 0;  // over the whole drive
  std::uint64_t offset = 0;
  Bytes data;
  bool is_resize = false;  // to `offset` bytes
  bool is_lost = false;    // a sync that should have covered it failed: no later sync makes it durable
};

struct SimInode {
  std::string path;    // for messages
  PagedBytes seen;     // what a read returns now
  PagedBytes durable;  // what a power cut leaves at least
  std::vector<UnsyncedWrite> unsynced;
};

// What is left of unsynced writes after a power cut.
enum class PowerCut {
  lose_all,   // none of them
  lose_some,  // a subset drawn from the seed, in any order; single ones torn at 512-byte sectors
  keep_all,   // all of them: the drive had written everything, only the processes died
};

class SimDrive final {
 public:
  SimDrive();
  SimDrive(const SimDrive&) = delete;

  void power_cut(PowerCut how, Random& random);
  std::uint64_t power_cuts() const { return power_cuts_; }
  // Bytes it can hold; writes beyond it find no space left.
  void set_capacity(std::uint64_t bytes) { capacity_ = bytes; }
  std::uint64_t used() const;
  // The next `count` syncs of paths that contain `part` fail, and what they should have covered is lost at a
  // power cut.
  void fail_syncs(std::string part, std::uint32_t count) { failing_ = {std::move(part), count}; }
  // Flips a bit of a file's content, also of the durable one.
  Status corrupt(const std::string& path, std::uint64_t offset);
  std::uint64_t unsynced_writes() const;

  // The rest is for SimFiles.
  std::shared_ptr<SimInode> find(const std::string& path) const;
  Result<std::shared_ptr<SimInode>> create(const std::string& path);
  Status write(SimInode& inode, std::uint64_t offset, Bytes data);
  Status resize(SimInode& inode, std::uint64_t bytes);
  // The sequence that a sync starting now covers.
  std::uint64_t mark() const { return sequence_; }
  Status sync(const std::shared_ptr<SimInode>& inode, std::uint64_t up_to);
  Status replace(const std::string& path, Bytes data);
  Status rename(const std::string& from, const std::string& to);
  Status remove(const std::string& path);
  // Any of the sectors of a write that is under way.
  void write_some(SimInode& inode, std::uint64_t offset, ByteView data, Random& random);
  void remove_tree(const std::string& path);
  Result<std::vector<std::string>> list(const std::string& path) const;
  Status make_dirs(const std::string& path);
  bool try_lock(const std::string& path) { return locks_->insert(path).second; }
  std::shared_ptr<std::set<std::string>> locks() const { return locks_; }
  static std::string normalized(std::string_view path);

 private:
  using Names = std::map<std::string, std::shared_ptr<SimInode>>;
  Status check_parent(const std::string& path) const;
  Status check_space(std::uint64_t more) const;

  Names seen_, durable_;
  std::set<std::string> folders_;
  std::shared_ptr<std::set<std::string>> locks_ = std::make_shared<std::set<std::string>>();
  std::uint64_t power_cuts_ = 0;
  std::uint64_t sequence_ = 0, capacity_ = ~std::uint64_t{0};
  struct {
    std::string part;
    std::uint32_t left = 0;
  } failing_;
};

}  // namespace ebb::sim
