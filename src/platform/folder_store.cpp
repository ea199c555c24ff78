#include "platform/folder_store.h"

#include <atomic>
#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <mutex>
#include <openssl/evp.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/checksum.h"
#include "base/text.h"
#include "platform/os_error.h"
#include "platform/posix_calls.h"

namespace ebb {
namespace {

constexpr int lock_files = 64;
// What is so large is seldom read again soon (what is read is kept by the cache of disks): in the page cache it would cost
// a copy, a delayed write, and memory that belongs to VMs.
constexpr std::size_t direct_bytes_min = 256 * KiB;

std::string digest_of(ByteView bytes) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  CHECK(EVP_Digest(bytes.data(), bytes.size(), digest, &length, EVP_sha256(), nullptr) == 1);
  return to_hex({reinterpret_cast<const char*>(digest), length});
}

// What takes part in compare-and-set is small; of segments only the pipeline's own checksums matter.
std::string tag_of(ByteView body) {
  constexpr std::size_t hashed_bytes_max = 64 * KiB;
  if (body.size() <= hashed_bytes_max) return digest_of(body);
  return fmt::format("{:08x}-{}", crc32c(body), body.size());
}

// The pool's folder. Used from the loop's threads, several at a time; outlives calls under way.
//
// The folder that was opened is held and worked in, whatever its path names later: where a file system is not
// mounted, an empty folder would look like an empty pool, and what is put there would be lost.
class Folder {
 public:
  explicit Folder(std::string root) : root_(std::move(root)) {}

  Status open() {
    EBB_CHECKED(posix::make_folders(root_));
    held_ = UniqueFd(::open(root_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!held_ || fstat(held_.get(), &identity_) != 0) return fail_os(errno, "open", root_);
    base_ = fmt::format("/proc/self/fd/{}", held_.get());
    return inside([this] { return prepare(); });
  }

  Result<ObjectTag> put(const std::string& key, ByteView body, const PutCondition& condition) {
    return inside([&] { return put_inside(key, body, condition); });
  }
  Result<Bytes> get(const std::string& key) {
    return inside([&] { return get_inside(key); });
  }
  Result<Bytes> get_range(const std::string& key, std::uint64_t offset, std::size_t length) {
    return inside([&] { return get_range_inside(key, offset, length); });
  }
  Status remove(const std::string& key) {
    return inside([&] { return remove_inside(key); });
  }

 private:
  struct OpenObject {
    UniqueFd fd;
    std::size_t bytes;
  };
  struct Temporary {
    UniqueFd fd;  // locked while in use, so that others leave it alone
    std::string path;
  };

  template <class Act>
  auto inside(Act act) -> decltype(act()) {
    struct stat now{};
    bool is_there = stat(root_.c_str(), &now) == 0;
    if (!is_there || now.st_dev != identity_.st_dev || now.st_ino != identity_.st_ino)
      return fail(Code::unavailable, "the pool's folder {} {}: is its file system mounted?", root_,
                  is_there ? "is another one than before" : "is gone");
    auto done = act();
    if (!done) name_root(done.error().message);
    return done;
  }

  void name_root(std::string& message) const {
    for (std::size_t at; (at = message.find(base_)) != std::string::npos;)
      message.replace(at, base_.size(), root_);
  }

  Status prepare() const {
    struct statfs info{};
    if (statfs(base_.c_str(), &info) != 0) return fail_os(errno, "examine", root_);
    if (auto why = why_not_a_pool(static_cast<long>(info.f_type)); !why.empty()) {
      return fail(Code::invalid,
                  "{} cannot hold a pool: {}. Use a folder on a local file system (ext4, XFS, Btrfs), or an "
                  "S3 bucket",
                  root_, why);
    }
    EBB_CHECKED(posix::make_folders(temporary_folder()));
    EBB_CHECKED(posix::make_folders(lock_folder()));
    remove_leftovers();
    return {};
  }

  Result<ObjectTag> put_inside(const std::string& key, ByteView body, const PutCondition& condition) {
    EBB_CHECKED(check_object_key(key));
    auto path = path_of(key);
    EBB_CHECKED(make_parents(path));
    ObjectTag tag{tag_of(body)};
    EBB_TRY(temporary, write_temporary(body));
    auto published = condition.kind == PutCondition::Kind::absent
                         ? link_new(temporary.path, path, key)
                         : replace(temporary.path, path, key, condition);
    ::unlink(temporary.path.c_str());  // gone already after a rename
    if (!published) return std::unexpected(std::move(published).error());
    return tag;
  }

  Result<Bytes> get_inside(const std::string& key) const {
    EBB_CHECKED(check_object_key(key));
    EBB_TRY(file, open_object(key));
    EBB_TRY(body, read(file, 0, file.bytes, path_of(key)));
    // Objects are replaced as a whole, never changed: a short read means that somebody else cut the file.
    if (body.size() != file.bytes)
      return fail(Code::corrupt, "{} became shorter while it was read", path_of(key));
    return body;
  }

  Result<Bytes> get_range_inside(const std::string& key, std::uint64_t offset, std::size_t length) const {
    EBB_CHECKED(check_object_key(key));
    EBB_TRY(file, open_object(key));
    if (offset >= file.bytes) return Bytes{};
    return read(file, offset, static_cast<std::size_t>(std::min<std::uint64_t>(length, file.bytes - offset)),
                path_of(key));
  }

  static Result<Bytes> read(const OpenObject& file, std::uint64_t offset, std::size_t length,
                            const std::string& path) {
    bool is_direct = length >= direct_bytes_min && posix::make_direct(file.fd.get());
    return is_direct ? posix::read_past_cache(file.fd.get(), offset, length, path)
                     : posix::read_at(file.fd.get(), offset, length, path);
  }

  // Folders stay: another process may be about to put something there.
  Status remove_inside(const std::string& key) const {
    EBB_CHECKED(check_object_key(key));
    EBB_TRY(lock, lock_key(key));
    auto path = path_of(key);
    if (::unlink(path.c_str()) == 0) return posix::sync_folder(posix::parent_of(path));
    if (errno == ENOENT || errno == ENOTDIR || errno == EISDIR) return {};
    return fail_os(errno, "remove", path);
  }

  std::string path_of(const std::string& key) const { return base_ + "/" + key; }
  std::string temporary_folder() const { return fmt::format("{}/{}/tmp", base_, reserved_key_part); }
  std::string lock_folder() const { return fmt::format("{}/{}/locks", base_, reserved_key_part); }

  Result<OpenObject> open_object(const std::string& key) const {
    auto path = path_of(key);
    UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    // ENOTDIR: a part of the key is an object itself, so there is no object of this name.
    if (!fd && (errno == ENOENT || errno == ENOTDIR))
      return fail(Code::not_found, "no object {} in {}", key, root_);
    if (!fd) return fail_os(errno, "open", path);
    struct stat info{};
    if (fstat(fd.get(), &info) != 0) return fail_os(errno, "stat", path);
    if (!S_ISREG(info.st_mode)) return fail(Code::not_found, "no object {} in {}", key, root_);
    return OpenObject{std::move(fd), static_cast<std::size_t>(info.st_size)};
  }

  // Folders that another process made may not be durable yet: each is synced once by each process.
  Status make_parents(const std::string& path) {
    auto folder = posix::parent_of(path);
    {
      std::lock_guard guard(mutex_);
      if (durable_.contains(folder)) return {};
    }
    EBB_CHECKED(posix::make_folders(folder));
    for (auto at = folder; at.size() > base_.size(); at = posix::parent_of(at)) {
      EBB_CHECKED(posix::sync_folder(posix::parent_of(at)));
    }
    std::lock_guard guard(mutex_);
    if (durable_.size() >= durable_max) durable_.clear();
    durable_.insert(folder);
    return {};
  }

  Result<Temporary> write_temporary(ByteView body) const {
    static std::atomic<std::uint64_t> last{0};
    for (;;) {
      Temporary out{UniqueFd(), fmt::format("{}/{}-{}", temporary_folder(), getpid(), ++last)};
      out.fd = UniqueFd(::open(out.path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
      if (!out.fd && errno == EEXIST) continue;  // left by an earlier process of our number
      if (!out.fd) return fail_os(errno, "create", out.path);
      struct stat info{};
      // Somebody who cleans up may have taken it between the two calls.
      if (flock(out.fd.get(), LOCK_EX | LOCK_NB) != 0 || fstat(out.fd.get(), &info) != 0 ||
          info.st_nlink == 0)
        continue;
      bool is_direct = body.size() >= direct_bytes_min && posix::make_direct(out.fd.get());
      auto written = is_direct ? posix::write_past_cache(out.fd.get(), body, out.path)
                               : posix::write_at(out.fd.get(), 0, body, out.path);
      if (written) written = posix::sync_data(out.fd.get(), out.path);
      if (written) return out;
      ::unlink(out.path.c_str());
      return std::unexpected(std::move(written).error());
    }
  }

  // link(2) fails if the name exists: of all racing writers one wins.
  Status link_new(const std::string& temporary, const std::string& path, const std::string& key) const {
    if (::link(temporary.c_str(), path.c_str()) != 0) {
      if (errno != EEXIST) return fail_os(errno, "link", path);
      // Whoever learns that the object exists may build on it, so it must not vanish in a power cut.
      EBB_CHECKED(posix::sync_folder(posix::parent_of(path)));
      return fail(Code::conflict, "object {} exists", key);
    }
    return posix::sync_folder(posix::parent_of(path));
  }

  // Unconditional puts take the lock too: else one could slip in between a comparison and its rename.
  Status replace(const std::string& temporary, const std::string& path, const std::string& key,
                 const PutCondition& condition) const {
    EBB_TRY(lock, lock_key(key));
    if (condition.kind == PutCondition::Kind::match) {
      auto current = get_inside(key);
      if (!current && current.error().code == Code::not_found)
        return fail(Code::conflict, "object {} does not exist", key);
      if (!current) return std::unexpected(std::move(current).error());
      if (tag_of(*current) != condition.tag.value)
        return fail(Code::conflict, "object {} was changed by somebody else", key);
    }
    if (::rename(temporary.c_str(), path.c_str()) != 0) return fail_os(errno, "replace", path);
    return posix::sync_folder(posix::parent_of(path));
  }

  Result<UniqueFd> lock_key(const std::string& key) const {
    auto path = fmt::format("{}/{}", lock_folder(),
                            std::stoul(digest_of(as_bytes(key)).substr(0, 4), nullptr, 16) % lock_files);
    UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
    if (!fd) return fail_os(errno, "open", path);
    int locked;
    do locked = flock(fd.get(), LOCK_EX);
    while (locked != 0 && errno == EINTR);
    if (locked != 0) return fail_os(errno, "lock", path);
    return fd;
  }

  // Unfinished objects of killed processes: nobody holds their lock.
  void remove_leftovers() const {
    auto folder = temporary_folder();
    std::unique_ptr<DIR, int (*)(DIR*)> entries(opendir(folder.c_str()), closedir);
    if (!entries) return;
    while (const dirent* entry = readdir(entries.get())) {
      if (entry->d_name[0] == '.') continue;
      auto path = folder + "/" + entry->d_name;
      UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
      if (fd && flock(fd.get(), LOCK_EX | LOCK_NB) == 0) ::unlink(path.c_str());
    }
  }

  static constexpr std::size_t durable_max = 4096;
  const std::string root_;  // as configured
  std::string base_;        // a path to the folder that is held
  UniqueFd held_;
  struct stat identity_{};
  std::mutex mutex_;
  std::set<std::string> durable_;  // folders whose names are synced up to the root
};

class FolderStore final : public ReclaimableStore {
 public:
  FolderStore(AsioLoop& loop, std::shared_ptr<Folder> folder) : loop_(loop), folder_(std::move(folder)) {}

  bool is_far() const override { return false; }

  Task<Result<ObjectTag>> put(std::string key, SharedBytes body, PutCondition condition) override {
    return blocking(loop_, [folder = folder_, key = std::move(key), body = std::move(body),
                            condition = std::move(condition)] { return folder->put(key, *body, condition); });
  }
  Task<Result<StoredObject>> get(std::string key) override {
    return blocking(loop_, [folder = folder_, key = std::move(key)]() -> Result<StoredObject> {
      EBB_TRY(body, folder->get(key));
      auto tag = tag_of(body);
      return StoredObject{std::move(body), {std::move(tag)}};
    });
  }
  Task<Result<Bytes>> get_range(std::string key, std::uint64_t offset, std::size_t length) override {
    return blocking(loop_, [folder = folder_, key = std::move(key), offset, length] {
      return folder->get_range(key, offset, length);
    });
  }
  Task<Status> remove(std::string key) override {
    return blocking(loop_, [folder = folder_, key = std::move(key)] { return folder->remove(key); });
  }

 private:
  AsioLoop& loop_;
  std::shared_ptr<Folder> folder_;
};

}  // namespace

std::string why_not_a_pool(long type) {
  constexpr long xfs = 0x58465342, zfs = 0x2fc12fc1, bcachefs = 0xca451a4e, jfs = 0x3153464a;
  static const std::set<long> good{
      EXT4_SUPER_MAGIC, xfs, BTRFS_SUPER_MAGIC, F2FS_SUPER_MAGIC, OVERLAYFS_SUPER_MAGIC, TMPFS_MAGIC, zfs,
      bcachefs,         jfs, RAMFS_MAGIC};
  static const std::map<long, std::string_view> bad{
      {NFS_SUPER_MAGIC, "NFS"},       {SMB_SUPER_MAGIC, "SMB"},
      {CIFS_SUPER_MAGIC, "SMB/CIFS"}, {SMB2_SUPER_MAGIC, "SMB2"},
      {FUSE_SUPER_MAGIC, "FUSE"},     {V9FS_MAGIC, "9p"},
      {AFS_SUPER_MAGIC, "AFS"},       {AFS_FS_MAGIC, "AFS"},
      {CEPH_SUPER_MAGIC, "CephFS"},   {CODA_SUPER_MAGIC, "Coda"},
      {NCP_SUPER_MAGIC, "NCP"},       {OCFS2_SUPER_MAGIC, "OCFS2"},
      {0x01161970, "GFS2"},           {0x0bd00bd0, "Lustre"},
      {0x47504653, "GPFS"},           {0x786f4256, "a VirtualBox share"},
      {0xbacbacbc, "a VMware share"}, {MSDOS_SUPER_MAGIC, "FAT"},
      {0x2011bab0, "exFAT"}};
  if (good.contains(type)) return "";
  if (auto found = bad.find(type); found != bad.end()) {
    return fmt::format(
        "its file system is {}, which does not promise atomic create-if-absent and locks that all see",
        found->second);
  }
  return fmt::format("its file system (type {:#x}) is not known to promise atomic, durable changes",
                     static_cast<unsigned long>(type));
}

Task<Result<std::unique_ptr<ReclaimableStore>>> open_folder_store(AsioLoop& loop, std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  auto folder = std::make_shared<Folder>(std::move(path));
  EBB_CO_CHECKED(co_await blocking(loop, [folder] { return folder->open(); }));
  co_return std::make_unique<FolderStore>(loop, folder);
}

Task<Result<std::unique_ptr<ReclaimableStore>>> open_object_store(AsioLoop& loop, std::string url) {
  constexpr std::string_view scheme = "dir:";
  if (!url.starts_with(scheme) || !url.substr(scheme.size()).starts_with('/')) {
    co_return fail(Code::invalid, "'{}' is no pool URL that this version knows: use dir:/ABSOLUTE/PATH", url);
  }
  co_return co_await open_folder_store(loop, url.substr(scheme.size()));
}

}  // namespace ebb
