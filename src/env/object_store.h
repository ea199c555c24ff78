// A pool of immutable objects, as S3 offers it, with the two conditions that our protocols need.
// Keys are '/'-separated printable ASCII. Bodies are small (a segment is about 8 MiB).
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "env/task.h"

namespace ebb {

inline constexpr std::string_view reserved_key_part = ".ebb";  // a pool in a folder has files of its own
// 1 to 1024 bytes of printable ASCII in '/'-separated parts, none of them empty, ".", "..", ".ebb" or over
// 255 bytes.
Status check_object_key(std::string_view key);

// Names one version of one object's content; equal contents may have equal tags, so bodies that take part in
// compare-and-set carry a fresh nonce.
struct ObjectTag {
  std::string value;
  bool operator==(const ObjectTag&) const = default;
};

struct PutCondition {
  enum class Kind { none, absent, match } kind = Kind::none;
  ObjectTag tag;  // for match
  static PutCondition always() { return {}; }
  static PutCondition if_absent() { return {Kind::absent, {}}; }
  static PutCondition if_match(ObjectTag tag) { return {Kind::match, std::move(tag)}; }
};

struct StoredObject {
  Bytes body;
  ObjectTag tag;
};

using SharedBytes = std::shared_ptr<const Bytes>;

class ObjectStore {
 public:
  virtual ~ObjectStore() = default;
  // Atomic and durable when it succeeds. conflict: the condition did not hold - or did, and an earlier try of
  // our own won: after conflict, busy or unavailable the caller reads back and compares.
  virtual Task<Result<ObjectTag>> put(std::string key, SharedBytes body, PutCondition condition) = 0;
  // not_found is a positive answer: the store said that there is no such object.
  virtual Task<Result<StoredObject>> get(std::string key) = 0;
  // `length` bytes from `offset`; fewer only at the object's end.
  virtual Task<Result<Bytes>> get_range(std::string key, std::uint64_t offset, std::size_t length) = 0;
  // Bytes travel to it, so that fewer of them are worth a processor's time.
  virtual bool is_far() const { return true; }
};

// Apart from the store, because few may: workers get none.
class ObjectRemover {
 public:
  virtual ~ObjectRemover() = default;
  // The object is gone; fine if there was none. invalid: these credentials may not.
  virtual Task<Status> remove(std::string key) = 0;
};

// What an administrator has set up that changes objects, or does not.
struct StoreFinding {
  enum class Kind { harmless, harmful, unknown } kind = Kind::harmless;
  std::string text;  // unless harmless: why
  static StoreFinding harmful(std::string text) { return {Kind::harmful, std::move(text)}; }
  static StoreFinding unknown(std::string text) { return {Kind::unknown, std::move(text)}; }
};

class StoreInspector {
 public:
  virtual ~StoreInspector() = default;
  // Does the store remove objects by itself?
  virtual Task<StoreFinding> expiry() = 0;
  // Do the writes of another store arrive in this one, past its conditions?
  virtual Task<StoreFinding> replication() = 0;
};

// A pool as it was opened.
class ReclaimableStore : public ObjectStore, public ObjectRemover {
 public:
  // Null: only requests change what is stored.
  virtual StoreInspector* inspector() { return nullptr; }
};

}  // namespace ebb
