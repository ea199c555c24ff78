// A pool in memory, for commands that open one themselves.
#pragma once
#include "env/loop.h"
#include "env/object_store.h"

namespace ebb {

// Objects in memory; each request takes 1 ms.
class MemoryStore final : public ReclaimableStore, private StoreInspector {
 public:
  enum class Conditions { kept, ignored } conditions = Conditions::kept;
  bool answers = true;
  std::optional<StoreFinding> rules;  // what is found of its bucket's; absent: it has no bucket

  MemoryStore(Loop& loop, Conditions kind) : conditions(kind), loop_(loop) {}

  Task<Result<ObjectTag>> put(std::string key, SharedBytes body, PutCondition condition) override {
    co_await sleep_for(loop_, 1ms);
    if (!answers) co_return fail(Code::unavailable, "put: no answer");
    using Kind = PutCondition::Kind;
    auto found = objects_.find(key);
    bool exists = found != objects_.end();
    bool holds = condition.kind == Kind::none || (condition.kind == Kind::absent && !exists) ||
                 (condition.kind == Kind::match && exists && found->second.tag == condition.tag);
    if (!holds && conditions == Conditions::kept)
      co_return fail(Code::conflict, "the condition does not hold");
    ObjectTag tag{fmt::format("{}", ++puts_)};
    objects_[key] = {*body, tag};
    co_return tag;
  }
  Task<Status> remove(std::string key) override {
    objects_.erase(key);
    co_return Status{};
  }
  std::vector<std::string> keys(std::string_view prefix) const {
    std::vector<std::string> found;
    for (const auto& [key, object] : objects_)
      if (key.starts_with(prefix)) found.push_back(key);
    return found;
  }
  Task<Result<StoredObject>> get(std::string key) override {
    co_await sleep_for(loop_, 1ms);
    if (!answers) co_return fail(Code::unavailable, "get: no answer");
    if (!objects_.contains(key)) co_return fail(Code::not_found, "no such object");
    co_return objects_[key];
  }
  Task<Result<Bytes>> get_range(std::string key, std::uint64_t offset, std::size_t length) override {
    EBB_CO_TRY(object, co_await get(key));
    auto part = ByteView(object.body).subspan(std::min<std::size_t>(offset, object.body.size()));
    part = part.first(std::min(length, part.size()));
    co_return Bytes(part.begin(), part.end());
  }

  StoreInspector* inspector() override { return rules ? this : nullptr; }

 private:
  Task<StoreFinding> expiry() override { co_return *rules; }
  Task<StoreFinding> replication() override { co_return *rules; }

  Loop& loop_;
  std::map<std::string, StoredObject> objects_;
  int puts_ = 0;
};

}  // namespace ebb
