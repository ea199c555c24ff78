// The objects of our S3 test server, in memory or in a folder. A put becomes visible in one synchronous step
// on the loop, so that all operations on a key are strictly serializable.
#pragma once
#include "platform/asio_loop.h"
#include "platform/os_error.h"
#include "s3_request.h"

namespace ebb::s3test {

// One version of one object. In a folder its file stays readable after the next version has replaced it.
struct Version {
  std::string etag;  // hex, unquoted
  std::uint64_t size = 0;
  WallMs modified = 0;
  SharedBytes bytes;               // in memory
  std::shared_ptr<UniqueFd> file;  // in a folder, when opened
  std::uint64_t body_offset = 0;
};
using SharedVersion = std::shared_ptr<const Version>;

enum class IfMatchTags { either, quoted, unquoted };  // how If-Match must write the tag

struct Conditions {
  const std::string* if_match = nullptr;
  const std::string* if_none_match = nullptr;
};
// Against the current version, nullptr if there is none.
Answer<void> check_conditions(const Version* current, const Conditions& conditions, IfMatchTags tags);

struct Listed {
  std::string name;       // key, or common prefix
  SharedVersion version;  // nullptr: a common prefix
};
struct ListRequest {
  std::string prefix, delimiter, after;
  std::size_t max_keys = 1000;
};
struct Listing {
  std::vector<Listed> entries;
  bool is_truncated = false;
};

class Objects final {
 public:
  // `folder` "": in memory. invalid: the folder holds something else.
  static Result<std::unique_ptr<Objects>> open(AsioLoop& loop, std::string folder);

  bool has_bucket(const std::string& bucket) const { return buckets_.contains(bucket); }
  Status create_bucket(const std::string& bucket);

  SharedVersion find(const std::string& bucket, const std::string& key) const;
  // The version before the current one; nullptr: none, or it was deleted.
  SharedVersion find_previous(const std::string& bucket, const std::string& key) const;
  Listing list(const std::string& bucket, const ListRequest& request) const;
  std::size_t size() const;

  // A body that is written but not visible yet.
  struct Prepared {
    Version version;
    std::string temporary;  // in a folder
  };
  Task<Result<Prepared>> prepare(std::string bucket, std::string key, SharedBytes body, std::string etag);
  // The caller checks conditions and calls this without a wait in between.
  Result<SharedVersion> publish(const std::string& bucket, const std::string& key, Prepared prepared);
  void discard(const Prepared& prepared);
  Status remove(const std::string& bucket, const std::string& key);

  Task<Result<SharedBytes>> read(SharedVersion version, std::uint64_t offset, std::uint64_t length);

 private:
  struct Entry {
    SharedVersion current, previous;
  };
  Objects(AsioLoop& loop, std::string folder) : loop_(loop), folder_(std::move(folder)) {}
  Status load();
  Status load_object(const std::string& path);
  std::string path_of(const std::string& bucket, const std::string& key) const;

  AsioLoop& loop_;
  const std::string folder_;
  std::uint64_t last_temporary_ = 0;
  std::map<std::string, std::map<std::string, Entry>> buckets_;
};

}  // namespace ebb::s3test
