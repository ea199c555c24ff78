// A store whose client stops before one of its requests until it is let go: the whole client, or only that
// request.
#pragma once
#include <functional>
#include <string>

#include "env/loop.h"
#include "env/object_store.h"
#include "env/sync.h"

namespace ebb::disk::testing {

class GatedStore final : public ReclaimableStore {
 public:
  using Stops = std::function<bool(std::uint64_t nth)>;  // from 0
  GatedStore(Loop& loop, ReclaimableStore& store, Stops stops)
      : store_(store), stops_(std::move(stops)), opened_(loop) {}

  // From now on requests for such keys wait, and only they.
  void stop_only(std::function<bool(const std::string& key)> which) { which_ = std::move(which); }
  // The same of writes only.
  void stop_only_puts(std::function<bool(const std::string& key)> which) {
    which_ = std::move(which), only_puts_ = true;
  }
  bool has_stopped() const { return has_stopped_; }
  void open() { has_stopped_ = false, stops_ = {}, which_ = {}, only_puts_ = false, opened_.notify_all(); }

  Task<Result<ObjectTag>> put(std::string key, SharedBytes body, PutCondition condition) override {
    co_await pass(key, Kind::put);
    co_return co_await store_.put(std::move(key), std::move(body), std::move(condition));
  }
  Task<Result<StoredObject>> get(std::string key) override {
    co_await pass(key);
    co_return co_await store_.get(std::move(key));
  }
  // Not counted: reclaim asks so for many keys in a row whether they are there, and decides nothing between.
  Task<Result<Bytes>> get_range(std::string key, std::uint64_t offset, std::size_t length) override {
    return store_.get_range(std::move(key), offset, length);
  }
  Task<Status> remove(std::string key) override {
    co_await pass(key);
    co_return co_await store_.remove(std::move(key));
  }

 private:
  enum class Kind { put, other };
  Task<void> pass(std::string key, Kind kind = Kind::other) {
    if (which_) {
      if (only_puts_ && kind != Kind::put) co_return;
      while (which_ && which_(key)) has_stopped_ = true, co_await opened_.wait();
      co_return;
    }
    if (stops_ && stops_(requests_++)) has_stopped_ = true;
    while (has_stopped_) co_await opened_.wait();
  }

  ReclaimableStore& store_;
  Stops stops_;
  std::function<bool(const std::string& key)> which_;
  Notify opened_;
  std::uint64_t requests_ = 0;
  bool has_stopped_ = false, only_puts_ = false;
};

}  // namespace ebb::disk::testing
