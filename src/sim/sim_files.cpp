#include "sim/sim_files.h"

#include "env/sync.h"

namespace ebb::sim {
namespace {

// Carries out `change` somewhere within `typical`, unless the process is killed before: at the start or at
// the end of the wait, as the seed has it. A paused process's request goes on: it is the kernel's.
// `if_dead`: instead, when it was.
template <class T>
Task<T> in_kernel(SimProcess& process, Duration typical, std::function<T()> change,
                  std::function<void()> if_dead = {}) {
  auto& world = process.world();
  OneShot<T> shot(process.loop());
  std::optional<T> early;
  if (world.fault_random().chance(0.5)) early.emplace(change());
  world.loop().call_at(world.loop().now() + world.vary(typical),
                       [&process, done = shot.completer(), early = std::move(early),
                        change = std::move(change), if_dead = std::move(if_dead)]() mutable {
                         if (!process.is_alive()) {
                           if (if_dead && !early) if_dead();
                           return;
                         }
                         done(early ? std::move(*early) : change());
                       });
  co_return co_await shot;
}

// A change with its two crash points.
Task<Status> changing(SimProcess& process, std::string kind, std::string path, Duration typical,
                      std::function<Status()> change, std::function<void()> if_dead = {}) {
  auto& points = process.world().crash_points();
  points.pass(process, kind + " before", path);
  co_await process.stop_here_if_dead();
  auto status = co_await in_kernel<Status>(process, typical, std::move(change), std::move(if_dead));
  points.pass(process, kind + " after", path);
  co_await process.stop_here_if_dead();
  co_return status;
}

class SimFile final : public File {
 public:
  SimFile(SimProcess& process, std::shared_ptr<SimDrive> drive, std::shared_ptr<SimInode> inode,
          OpenMode mode, SimFilesOptions options)
      : process_(process),
        drive_(std::move(drive)),
        inode_(std::move(inode)),
        mode_(mode),
        options_(options) {}

  Task<Result<Bytes>> read(std::uint64_t offset, std::size_t length) override {
    return in_kernel<Result<Bytes>>(process_, options_.read, [inode = inode_, offset, length] {
      return inode->seen.read(offset, length);
    });
  }
  Task<Status> write(std::uint64_t offset, Bytes data) override {
    if (mode_ == OpenMode::read) co_return fail(Code::invalid, "{}: opened for reading", inode_->path);
    co_return co_await changing(process_, "file.write", inode_->path, options_.write,
                                [drive = drive_, inode = inode_, offset, data = std::move(data)]() mutable {
                                  return drive->write(*inode, offset, std::move(data));
                                });
  }
  Task<Status> sync() override {
    // Only what had been written when the sync was asked for is covered.
    return changing(
        process_, "file.sync", inode_->path, options_.sync,
        [drive = drive_, inode = inode_, up_to = drive_->mark()] { return drive->sync(inode, up_to); });
  }
  Task<Result<std::uint64_t>> size() override { co_return inode_->seen.size(); }
  Task<Status> resize(std::uint64_t bytes) override {
    return changing(process_, "file.write", inode_->path, options_.write,
                    [drive = drive_, inode = inode_, bytes] { return drive->resize(*inode, bytes); });
  }

 private:
  SimProcess& process_;
  std::shared_ptr<SimDrive> drive_;
  std::shared_ptr<SimInode> inode_;
  OpenMode mode_;
  SimFilesOptions options_;
};

class SimDirectFile final : public DirectFile {
 public:
  SimDirectFile(SimProcess& process, std::shared_ptr<SimDrive> drive, std::shared_ptr<SimInode> inode,
                OpenMode mode, SimFilesOptions options)
      : process_(process),
        drive_(std::move(drive)),
        inode_(std::move(inode)),
        mode_(mode),
        options_(options) {}

  Task<Result<std::size_t>> read(std::uint64_t offset, std::shared_ptr<BlockBuffer> into,
                                 std::size_t length) override {
    if (!fits(offset, *into, length)) co_return not_whole();
    co_return co_await in_kernel<Result<std::size_t>>(process_, options_.read,
                                                      [inode = inode_, offset, into, length] {
                                                        auto found = inode->seen.read(offset, length);
                                                        std::ranges::copy(found, into->first(length).begin());
                                                        return found.size();
                                                      });
  }
  Task<Status> write(std::uint64_t offset, std::shared_ptr<const BlockBuffer> data,
                     std::size_t length) override {
    if (!fits(offset, *data, length)) co_return not_whole();
    if (mode_ == OpenMode::read) co_return fail(Code::invalid, "{}: opened for reading", inode_->path);
    auto bytes = data->first(length);
    auto& random = process_.world().fault_random();
    // A device takes the sectors of a write in any order; the process may die between any two.
    if (random.chance(0.5)) drive_->write_some(*inode_, offset, bytes, random);
    auto change = [drive = drive_, inode = inode_, offset, data, bytes] {
      return drive->write(*inode, offset, Bytes(bytes.begin(), bytes.end()));
    };
    co_return co_await changing(process_, "file.write", inode_->path, options_.direct_write, change,
                                [drive = drive_, world = &process_.world(), late_max = options_.late_max,
                                 change] { write_late(*world, drive, late_max, change); });
  }
  Task<Status> sync() override {
    return changing(
        process_, "file.sync", inode_->path, options_.sync,
        [drive = drive_, inode = inode_, up_to = drive_->mark()] { return drive->sync(inode, up_to); });
  }

 private:
  // The device has it, and nobody waits for it any more.
  static void write_late(SimWorld& world, std::shared_ptr<SimDrive> drive, Duration late_max,
                         std::function<Status()> change) {
    auto& random = world.fault_random();
    if (random.chance(0.5)) return;
    auto late =
        Duration(static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(late_max.count()))));
    world.loop().call_at(world.loop().now() + late, [drive, cuts = drive->power_cuts(), change] {
      if (drive->power_cuts() == cuts) (void)change();
    });
  }
  static bool fits(std::uint64_t offset, const BlockBuffer& buffer, std::size_t length) {
    return offset % BlockBuffer::block_bytes == 0 && length % BlockBuffer::block_bytes == 0 && length > 0 &&
           length <= buffer.capacity();
  }
  std::unexpected<Error> not_whole() const {
    return fail(Code::invalid, "{}: not whole blocks", inode_->path);
  }

  SimProcess& process_;
  std::shared_ptr<SimDrive> drive_;
  std::shared_ptr<SimInode> inode_;
  OpenMode mode_;
  SimFilesOptions options_;
};

class SimFileLock final : public FileLock {
 public:
  SimFileLock(std::shared_ptr<std::set<std::string>> locks, std::string path)
      : locks_(std::move(locks)), path_(std::move(path)) {}
  ~SimFileLock() override { locks_->erase(path_); }

 private:
  std::shared_ptr<std::set<std::string>> locks_;
  std::string path_;
};

}  // namespace

Task<Result<std::shared_ptr<SimInode>>> SimFiles::find_or_create(std::string path, OpenMode mode) {
  auto inode = drive_->find(path);
  if (inode) co_return inode;
  if (mode != OpenMode::create) co_return fail(Code::not_found, "{}: no such file", path);
  auto made = std::make_shared<std::shared_ptr<SimInode>>();
  EBB_CO_CHECKED(
      co_await changing(process_, "file.create", path, options_.write, [drive = drive_, path, made] {
        auto created = drive->create(path);
        if (!created) return Status(fail(std::move(created).error()));
        *made = *created;
        return Status{};
      }));
  co_return *made;
}

Task<Result<std::unique_ptr<File>>> SimFiles::open(std::string path, OpenMode mode) {
  EBB_CO_TRY(inode, co_await find_or_create(SimDrive::normalized(path), mode));
  co_return std::make_unique<SimFile>(process_, drive_, inode, mode, options_);
}

Task<Result<std::unique_ptr<DirectFile>>> SimFiles::open_direct(std::string path, OpenMode mode) {
  EBB_CO_TRY(inode, co_await find_or_create(SimDrive::normalized(path), mode));
  co_return std::make_unique<SimDirectFile>(process_, drive_, inode, mode, options_);
}

Task<Result<Bytes>> SimFiles::read_all(std::string path) {
  return in_kernel<Result<Bytes>>(process_, options_.read,
                                  [drive = drive_, path = SimDrive::normalized(path)]() -> Result<Bytes> {
                                    auto inode = drive->find(path);
                                    if (!inode) return fail(Code::not_found, "{}: no such file", path);
                                    return inode->seen.read(0, static_cast<std::size_t>(inode->seen.size()));
                                  });
}

Task<Status> SimFiles::write_atomic(std::string path, Bytes data) {
  path = SimDrive::normalized(path);
  return changing(process_, "file.replace", path, options_.sync,
                  [drive = drive_, path, data = std::move(data)] { return drive->replace(path, data); });
}

Task<Status> SimFiles::rename(std::string from, std::string to) {
  from = SimDrive::normalized(from), to = SimDrive::normalized(to);
  return changing(process_, "file.rename", from, options_.sync,
                  [drive = drive_, from, to] { return drive->rename(from, to); });
}

Task<Status> SimFiles::remove(std::string path) {
  path = SimDrive::normalized(path);
  return changing(process_, "file.remove", path, options_.sync,
                  [drive = drive_, path] { return drive->remove(path); });
}

Task<Status> SimFiles::remove_tree(std::string path) {
  path = SimDrive::normalized(path);
  return changing(process_, "file.remove", path, options_.sync, [drive = drive_, path] {
    drive->remove_tree(path);
    return Status{};
  });
}

Task<Result<std::vector<std::string>>> SimFiles::list(std::string path) {
  return in_kernel<Result<std::vector<std::string>>>(
      process_, options_.read,
      [drive = drive_, path = SimDrive::normalized(path)] { return drive->list(path); });
}

Task<Status> SimFiles::make_dirs(std::string path) {
  path = SimDrive::normalized(path);
  return changing(process_, "file.create", path, options_.sync,
                  [drive = drive_, path] { return drive->make_dirs(path); });
}

Task<Result<std::unique_ptr<FileLock>>> SimFiles::lock(std::string path) {
  path = SimDrive::normalized(path);
  if (!drive_->try_lock(path)) co_return fail(Code::busy, "{}: another process holds it", path);
  co_return std::make_unique<SimFileLock>(drive_->locks(), path);
}

}  // namespace ebb::sim
