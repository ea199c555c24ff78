// How the engine asks a store: transient faults are waited out, visibly; unknown outcomes are read back.
#pragma once
#include <optional>
#include <string>

#include "env/loop.h"
#include "env/object_store.h"
#include "env/offload.h"

namespace ebb::disk {

// Whether the same request may succeed later. Everything else is an answer.
inline bool is_transient(Code code) {
  return code == Code::unavailable || code == Code::busy || code == Code::internal || code == Code::conflict;
}

// What a disk waits for, for people: the last trouble and since when it lasts.
class Trouble {
 public:
  explicit Trouble(Loop& loop) : loop_(loop) {}
  void failed(std::string_view what, const Error& error);
  void ended() { since_.reset(); }
  // "the store: connection refused, since 2026-11-23T03:12:40Z"; empty if all is well.
  std::string text() const;

 private:
  Loop& loop_;
  std::optional<WallMs> since_;
  std::string text_;
};

// Waits between tries: 20 ms, doubling to 2 s, with jitter.
class Backoff {
 public:
  explicit Backoff(Loop& loop) : loop_(loop) {}
  Task<void> wait();

 private:
  Loop& loop_;
  Duration next_ = 20ms;
};

// What the store refuses (Code::invalid: a wrong key, no such bucket) is an answer for whoever can tell it to an operator. A guest
// can tell nobody, and would take it for a broken disk: it waits until the operator has mended it.
enum class OnRefusal { fail, wait };

// A store with the loop and the trouble that belong to one disk. Cheap to copy; what it refers to outlives
// it.
struct StoreAccess {
  Loop* loop = nullptr;
  ObjectStore* store = nullptr;
  Trouble* trouble = nullptr;
  Offload* threads = nullptr;              // for what takes a processor long; null: it is done in place
  OnRefusal on_refusal = OnRefusal::fail;  // of reads

  // The same, for what guests read.
  StoreAccess for_guests() const {
    auto access = *this;
    access.on_refusal = OnRefusal::wait;
    return access;
  }

  // Until there is an answer: bytes, or a definite error (not_found, invalid, corrupt).
  Task<Result<StoredObject>> get(std::string key) const;
  Task<Result<Bytes>> get_range(std::string key, std::uint64_t offset, std::size_t length) const;

  enum class Put {
    stored,
    other
  };  // ours is there (from this try or an earlier one), or the place holds other bytes
  // Create-if-absent until decided, always with the same bytes.
  Task<Put> put_once(std::string key, SharedBytes body) const;

 private:
  bool is_waited_out(Code code) const;
};

}  // namespace ebb::disk
