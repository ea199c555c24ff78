#include "s3_objects.h"

#include <fcntl.h>
#include <filesystem>
#include <unistd.h>

#include "base/json.h"
#include "base/sha256.h"
#include "platform/posix_calls.h"

namespace ebb::s3test {
namespace {

// A file of an object: one line of JSON, then the body.
struct FileHead {
  std::string bucket, key, etag;
  std::int64_t modified = 0;
};
BOOST_DESCRIBE_STRUCT(FileHead, (), (bucket, key, etag, modified))
constexpr std::size_t head_bytes_max = 8 * KiB;
constexpr std::string_view bucket_suffix = ".bucket", object_suffix = ".object", temporary_suffix = ".tmp";

std::string unquoted(const std::string& tag) {
  bool is_quoted = tag.size() >= 2 && tag.front() == '"' && tag.back() == '"';
  return is_quoted ? tag.substr(1, tag.size() - 2) : tag;
}

bool matches(const Version& version, const std::string& tag, IfMatchTags tags) {
  if (tag == "*") return true;
  bool is_quoted = tag.starts_with('"');
  if (tags == IfMatchTags::quoted && !is_quoted) return false;
  if (tags == IfMatchTags::unquoted && is_quoted) return false;
  return unquoted(tag) == version.etag;
}

Status write_file(const std::string& path, std::string_view head, ByteView body) {
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!fd) return fail_os(errno, "create", path);
  EBB_CHECKED(posix::write_at(fd.get(), 0, as_bytes(head), path));
  EBB_CHECKED(posix::write_at(fd.get(), head.size(), body, path));
  return posix::sync_data(fd.get(), path);
}

}  // namespace

Answer<void> check_conditions(const Version* current, const Conditions& conditions, IfMatchTags tags) {
  auto failed =
      Refusal{412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold"};
  if (conditions.if_match) {
    if (!current) return std::unexpected(Refusal{404, "NoSuchKey", "The specified key does not exist."});
    if (!matches(*current, *conditions.if_match, tags)) return std::unexpected(failed);
  }
  if (conditions.if_none_match && current &&
      matches(*current, *conditions.if_none_match, IfMatchTags::either))
    return std::unexpected(failed);
  return {};
}

Result<std::unique_ptr<Objects>> Objects::open(AsioLoop& loop, std::string folder) {
  std::unique_ptr<Objects> objects(new Objects(loop, std::move(folder)));
  if (!objects->folder_.empty()) EBB_CHECKED(objects->load());
  return objects;
}

Status Objects::load() {
  EBB_CHECKED(posix::make_folders(folder_));
  std::error_code error;
  std::vector<std::string> found;
  for (const auto& entry : std::filesystem::directory_iterator(folder_, error)) found.push_back(entry.path());
  if (error) return fail(Code::unavailable, "read folder {}: {}", folder_, error.message());
  for (const auto& path : found) {
    if (path.ends_with(bucket_suffix)) {
      auto name = std::filesystem::path(path).stem().string();
      buckets_[name];
    } else if (path.ends_with(temporary_suffix)) {
      ::unlink(path.c_str());  // of a put that was never answered
    } else if (path.ends_with(object_suffix)) {
      EBB_CHECKED(load_object(path));
    } else {
      return fail(Code::invalid, "{} is no file of ours: give the server a folder of its own", path);
    }
  }
  return {};
}

Status Objects::load_object(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return fail_os(errno, "open", path);
  EBB_TRY(bytes, posix::read_at(fd.get(), 0, head_bytes_max, path));
  auto text = as_text(bytes);
  auto end = text.find('\n');
  if (end == text.npos) return fail(Code::corrupt, "{} has no head", path);
  EBB_TRY(head, json::read_text<FileHead>(text.substr(0, end)));
  Version version;
  version.etag = head.etag, version.modified = head.modified, version.body_offset = end + 1;
  version.size = std::filesystem::file_size(path) - version.body_offset;
  buckets_[head.bucket][head.key].current = std::make_shared<const Version>(std::move(version));
  return {};
}

Status Objects::create_bucket(const std::string& bucket) {
  if (!folder_.empty())
    EBB_CHECKED(write_file(fmt::format("{}/{}{}", folder_, bucket, bucket_suffix), "", {}));
  buckets_[bucket];
  return {};
}

// Keys may be longer than file names.
std::string Objects::path_of(const std::string& bucket, const std::string& key) const {
  Sha256 hash;
  hash.add(as_bytes(bucket + "/" + key));
  return fmt::format("{}/{}{}", folder_, hash.hex(), object_suffix);
}

SharedVersion Objects::find(const std::string& bucket, const std::string& key) const {
  auto in = buckets_.find(bucket);
  if (in == buckets_.end()) return nullptr;
  auto at = in->second.find(key);
  if (at == in->second.end() || !at->second.current) return nullptr;
  if (folder_.empty()) return at->second.current;
  auto opened = *at->second.current;
  opened.file = std::make_shared<UniqueFd>(::open(path_of(bucket, key).c_str(), O_RDONLY | O_CLOEXEC));
  return std::make_shared<const Version>(std::move(opened));
}

SharedVersion Objects::find_previous(const std::string& bucket, const std::string& key) const {
  auto in = buckets_.find(bucket);
  if (in == buckets_.end()) return nullptr;
  auto at = in->second.find(key);
  return at == in->second.end() ? nullptr : at->second.previous;
}

Listing Objects::list(const std::string& bucket, const ListRequest& request) const {
  Listing out;
  auto in = buckets_.find(bucket);
  if (in == buckets_.end() || request.max_keys == 0) return out;
  for (auto at = in->second.lower_bound(request.prefix);
       at != in->second.end() && at->first.starts_with(request.prefix); ++at) {
    const auto& [key, entry] = *at;
    if (!entry.current) continue;
    auto cut = request.delimiter.empty() ? key.npos : key.find(request.delimiter, request.prefix.size());
    auto name = cut == key.npos ? key : key.substr(0, cut + request.delimiter.size());
    if (name <= request.after && !request.after.empty()) continue;
    if (!out.entries.empty() && out.entries.back().name == name) continue;
    if (out.entries.size() == request.max_keys) {
      out.is_truncated = true;
      return out;
    }
    out.entries.push_back({name, cut == key.npos ? entry.current : nullptr});
  }
  return out;
}

std::size_t Objects::size() const {
  std::size_t count = 0;
  for (const auto& [name, keys] : buckets_)
    for (const auto& [key, entry] : keys) count += entry.current ? 1 : 0;
  return count;
}

Task<Result<Objects::Prepared>> Objects::prepare(std::string bucket, std::string key, SharedBytes body,
                                                 std::string etag) {
  Prepared out;
  out.version.etag = std::move(etag), out.version.size = body->size(),
  out.version.modified = loop_.wall_now();
  if (folder_.empty()) {
    out.version.bytes = std::move(body);
    co_return out;
  }
  auto head = json::write_text(FileHead{bucket, key, out.version.etag, out.version.modified}) + "\n";
  out.version.body_offset = head.size();
  out.temporary = fmt::format("{}/{}{}", folder_, ++last_temporary_, temporary_suffix);
  EBB_CO_CHECKED(
      co_await blocking(loop_, [path = out.temporary, head, body] { return write_file(path, head, *body); }));
  co_return out;
}

Result<SharedVersion> Objects::publish(const std::string& bucket, const std::string& key, Prepared prepared) {
  SharedVersion previous = find(bucket, key);  // with its file open, which is about to lose its name
  if (!folder_.empty() && ::rename(prepared.temporary.c_str(), path_of(bucket, key).c_str()) != 0)
    return fail_os(errno, "rename", prepared.temporary);
  auto& entry = buckets_[bucket][key];
  entry.previous = std::move(previous);
  entry.current = std::make_shared<const Version>(std::move(prepared.version));
  return entry.current;
}

void Objects::discard(const Prepared& prepared) {
  if (!prepared.temporary.empty()) ::unlink(prepared.temporary.c_str());
}

Status Objects::remove(const std::string& bucket, const std::string& key) {
  auto previous = find(bucket, key);
  if (!previous) return {};
  if (!folder_.empty() && ::unlink(path_of(bucket, key).c_str()) != 0)
    return fail_os(errno, "remove", path_of(bucket, key));
  auto& entry = buckets_[bucket][key];
  entry.previous = std::move(previous);
  entry.current = nullptr;
  return {};
}

Task<Result<SharedBytes>> Objects::read(SharedVersion version, std::uint64_t offset, std::uint64_t length) {
  auto bytes = co_await blocking(loop_, [version, offset, length] {
    return posix::read_at(version->file->get(), version->body_offset + offset,
                          static_cast<std::size_t>(length), "an object's file");
  });
  if (!bytes) co_return std::unexpected(std::move(bytes).error());
  co_return std::make_shared<const Bytes>(std::move(*bytes));
}

}  // namespace ebb::s3test
