// How many requests to a store depend on each other: the longest chain of which each began after another had
// been answered.
#pragma once
#include <algorithm>
#include <vector>

#include "env/loop.h"
#include "env/object_store.h"

namespace ebb::disk::testing {

struct Rounds {
  std::vector<std::pair<Instant, int>> answered;  // when, and at which depth
  int requests = 0;
  int begin(Instant now) {
    ++requests;
    int depth = 0;
    for (const auto& [at, d] : answered)
      if (at <= now) depth = std::max(depth, d);
    return depth + 1;
  }
  int deepest() const {
    int depth = 0;
    for (const auto& [at, d] : answered) depth = std::max(depth, d);
    return depth;
  }
};

class CountedStore final : public ObjectStore {
 public:
  CountedStore(Loop& loop, ObjectStore& store, Rounds& rounds)
      : loop_(loop), store_(store), rounds_(rounds) {}
  Task<Result<ObjectTag>> put(std::string key, SharedBytes body, PutCondition condition) override {
    return counted(store_.put(std::move(key), std::move(body), std::move(condition)));
  }
  Task<Result<StoredObject>> get(std::string key) override { return counted(store_.get(std::move(key))); }
  Task<Result<Bytes>> get_range(std::string key, std::uint64_t offset, std::size_t length) override {
    return counted(store_.get_range(std::move(key), offset, length));
  }

 private:
  template <class T>
  Task<T> counted(Task<T> request) {
    auto depth = rounds_.begin(loop_.now());
    auto answer = co_await std::move(request);
    rounds_.answered.emplace_back(loop_.now(), depth);
    co_return answer;
  }
  Loop& loop_;
  ObjectStore& store_;
  Rounds& rounds_;
};

}  // namespace ebb::disk::testing
