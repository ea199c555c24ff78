#include "sim/sim_drive.h"

#include <functional>

#include "base/text.h"

namespace ebb::sim {
namespace {

void apply(PagedBytes& to, const UnsyncedWrite& write) {
  if (write.is_resize) {
    to.resize(write.offset);
  } else {
    to.write(write.offset, write.data);
  }
}

// Some of the sectors of one write.
using OnSectors = std::function<void(std::uint64_t offset, ByteView data)>;
void for_some_sectors(std::uint64_t offset, ByteView data, Random& random, const OnSectors& on_sectors) {
  constexpr std::size_t sector = 512;
  while (!data.empty()) {
    auto part = std::min(data.size(), sector - static_cast<std::size_t>(offset % sector));
    if (random.chance(0.5)) on_sectors(offset, data.first(part));
    offset += part;
    data = data.subspan(part);
  }
}

std::string parent_of(const std::string& path) {
  auto slash = path.rfind('/');
  return slash == std::string::npos || slash == 0 ? "/" : path.substr(0, slash);
}

bool is_below(const std::string& path, const std::string& folder) {
  return path == folder || (path.starts_with(folder) && (folder == "/" || path[folder.size()] == '/'));
}

}  // namespace

SimDrive::SimDrive() { folders_.insert("/"); }

std::string SimDrive::normalized(std::string_view path) {
  std::string out;
  for (auto part : split(path, '/'))
    if (!part.empty() && part != ".") out += "/" + std::string(part);
  return out.empty() ? "/" : out;
}

void SimDrive::power_cut(PowerCut how, Random& random) {
  ++power_cuts_;
  if (how == PowerCut::keep_all) durable_ = seen_;
  if (how == PowerCut::lose_some)
    for (auto& [path, inode] : seen_)
      if (!durable_.contains(path) && random.chance(0.5)) durable_[path] = inode;
  std::set<SimInode*> done;
  for (auto& [path, inode] : durable_) {
    if (!done.insert(inode.get()).second) continue;
    for (auto& write : inode->unsynced) {
      bool keep = how == PowerCut::keep_all || (how == PowerCut::lose_some && random.chance(0.5));
      if (keep && how == PowerCut::lose_some && !write.is_resize && random.chance(0.3)) {
        for_some_sectors(write.offset, write.data, random, [&inode](std::uint64_t offset, ByteView data) {
          inode->durable.write(offset, data);
        });
      } else if (keep) {
        apply(inode->durable, write);
      }
    }
    inode->unsynced.clear();
    inode->seen = inode->durable;
  }
  seen_ = durable_;
  // Handles of processes that are still to be destroyed must not release locks taken after the cut.
  locks_ = std::make_shared<std::set<std::string>>();
}

std::uint64_t SimDrive::used() const {
  std::uint64_t sum = 0;
  for (auto& [path, inode] : seen_) sum += inode->seen.allocated();
  return sum;
}

Status SimDrive::corrupt(const std::string& path, std::uint64_t offset) {
  auto inode = find(normalized(path));
  if (!inode || offset >= inode->seen.size()) return fail(Code::not_found, "{}: no byte {}", path, offset);
  for (auto* content : {&inode->seen, &inode->durable}) {
    auto byte = content->read(offset, 1);
    if (byte.empty()) continue;
    byte[0] ^= std::byte{0x10};
    content->write(offset, byte);
  }
  return {};
}

std::uint64_t SimDrive::unsynced_writes() const {
  std::uint64_t sum = 0;
  for (auto& [path, inode] : seen_) sum += inode->unsynced.size();
  return sum;
}

std::shared_ptr<SimInode> SimDrive::find(const std::string& path) const {
  auto found = seen_.find(path);
  return found == seen_.end() ? nullptr : found->second;
}

Status SimDrive::check_parent(const std::string& path) const {
  if (!folders_.contains(parent_of(path)))
    return fail(Code::not_found, "{}: no such folder", parent_of(path));
  return {};
}

Status SimDrive::check_space(std::uint64_t more) const {
  if (capacity_ == ~std::uint64_t{0} || used() + more <= capacity_) return {};
  return fail(Code::busy, "no space left on device");
}

Result<std::shared_ptr<SimInode>> SimDrive::create(const std::string& path) {
  if (auto found = find(path)) return found;
  EBB_CHECKED(check_parent(path));
  if (folders_.contains(path)) return fail(Code::invalid, "{}: is a folder", path);
  auto inode = std::make_shared<SimInode>();
  inode->path = path;
  return seen_[path] = inode;
}

Status SimDrive::write(SimInode& inode, std::uint64_t offset, Bytes data) {
  EBB_CHECKED(check_space(data.size()));
  inode.seen.write(offset, data);
  inode.unsynced.push_back({++sequence_, offset, std::move(data)});
  return {};
}

Status SimDrive::resize(SimInode& inode, std::uint64_t bytes) {
  inode.seen.resize(bytes);
  inode.unsynced.push_back({.sequence = ++sequence_, .offset = bytes, .data = {}, .is_resize = true});
  return {};
}

Status SimDrive::sync(const std::shared_ptr<SimInode>& inode, std::uint64_t up_to) {
  if (failing_.left > 0 && inode->path.contains(failing_.part)) {
    --failing_.left;
    for (auto& write : inode->unsynced) write.is_lost |= write.sequence <= up_to;
    return fail(Code::unavailable, "{}: sync: input/output error", inode->path);
  }
  std::vector<UnsyncedWrite> left;
  for (auto& write : inode->unsynced) {
    if (write.is_lost || write.sequence > up_to) {
      left.push_back(std::move(write));
    } else {
      apply(inode->durable, write);
    }
  }
  inode->unsynced = std::move(left);
  for (auto& [path, named] : seen_)
    if (named == inode) durable_[path] = inode;
  return {};
}

Status SimDrive::replace(const std::string& path, Bytes data) {
  EBB_CHECKED(check_parent(path));
  EBB_CHECKED(check_space(data.size()));
  auto inode = std::make_shared<SimInode>();
  inode->path = path;
  inode->seen.write(0, data);
  inode->durable = inode->seen;
  seen_[path] = durable_[path] = inode;
  return {};
}

Status SimDrive::rename(const std::string& from, const std::string& to) {
  auto inode = find(from);
  if (!inode) return fail(Code::not_found, "{}: no such file", from);
  EBB_CHECKED(check_parent(to));
  if (find(to) || folders_.contains(to)) return fail(Code::conflict, "{}: is there already", to);
  for (auto* names : {&seen_, &durable_}) {
    names->erase(from);
    (*names)[to] = inode;
  }
  inode->path = to;
  return {};
}

void SimDrive::write_some(SimInode& inode, std::uint64_t offset, ByteView data, Random& random) {
  for_some_sectors(offset, data, random, [&](std::uint64_t at, ByteView sector) {
    (void)write(inode, at, Bytes(sector.begin(), sector.end()));
  });
}

Status SimDrive::remove(const std::string& path) {
  durable_.erase(path);
  if (seen_.erase(path) == 0) return fail(Code::not_found, "{}: no such file", path);
  return {};
}

void SimDrive::remove_tree(const std::string& path) {
  auto below = [&](auto& item) { return is_below(item.first, path); };
  std::erase_if(seen_, below);
  std::erase_if(durable_, below);
  std::erase_if(folders_, [&](auto& folder) { return folder != "/" && is_below(folder, path); });
}

Result<std::vector<std::string>> SimDrive::list(const std::string& path) const {
  if (!folders_.contains(path)) return fail(Code::not_found, "{}: no such folder", path);
  std::set<std::string> names;
  auto add = [&](const std::string& item) {
    if (item != "/" && parent_of(item) == path) names.insert(item.substr(item.rfind('/') + 1));
  };
  for (auto& [item, inode] : seen_) add(item);
  for (auto& folder : folders_) add(folder);
  return std::vector(names.begin(), names.end());
}

Status SimDrive::make_dirs(const std::string& path) {
  for (std::string at = path; at != "/"; at = parent_of(at)) {
    if (find(at)) return fail(Code::invalid, "{}: is a file", at);
    folders_.insert(at);
  }
  return {};
}

}  // namespace ebb::sim
