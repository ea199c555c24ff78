// An object store in virtual time that behaves as badly as real ones may: requests that are applied although
// no answer came, applied long after their sender gave up - or died -, or retried below us so that success
// comes back as conflict. Shared by all; each process has a SimStoreClient. Crash points: "store.put
// before|after", subject: the key.
#pragma once
#include "env/object_store.h"
#include "sim/sim_world.h"

namespace ebb::sim {

struct SimStoreOptions {
  Duration put = 30ms, get = 10ms;  // typical; the seed varies them
  Duration time_out = 5s;           // after which a request without an answer is `unavailable`
  Duration late_max = 20s;          // how long after that a delayed put may still be applied
  // Probabilities for each request.
  double refuse = 0;        // unavailable at once, not applied
  double busy = 0;          // a put answered busy, not applied (409 ConditionalRequestConflict)
  double lose_request = 0;  // no answer, not applied
  double lose_reply = 0;    // no answer, applied
  double delay = 0;         // no answer; a put is applied after its caller was told so
  double repeat = 0;        // applied, then once more: a condition no longer holds the second time
};

class SimStore final {
 public:
  static constexpr std::string_view host = "store";  // its name in SimLinks

  explicit SimStore(SimWorld& world, SimStoreOptions options = {}) : world_(world), options_(options) {}
  SimStore(const SimStore&) = delete;

  SimStoreOptions& options() { return options_; }
  void set_outage(bool is_out) { is_out_ = is_out; }
  // No faults from here on (act two); what was delayed still arrives.
  void heal();

  // For checkers: what is stored now, without time or faults.
  const StoredObject* peek(const std::string& key) const;
  std::vector<std::string> keys(std::string_view prefix) const;
  // Called after each put that was applied.
  void on_applied(std::function<void(const std::string& key, const Bytes& body)> callback) {
    on_applied_ = std::move(callback);
  }
  // Called before each removal of something that is there.
  void on_removed(std::function<void(const std::string& key, const Bytes& body)> callback) {
    on_removed_ = std::move(callback);
  }
  std::uint64_t puts_applied() const { return puts_applied_; }
  std::uint64_t removals_applied() const { return removals_applied_; }
  // Keys whose objects never change; overwriting one with other bytes is a violation.
  static bool is_immutable(std::string_view key);

 private:
  friend class SimStoreClient;
  enum class Fate { answered, refused, busy, request_lost, reply_lost, delayed, repeated };
  Fate draw(const std::string& from, bool is_put);
  Result<ObjectTag> apply(const std::string& key, const SharedBytes& body, const PutCondition& condition);
  Status apply_removal(const std::string& key);

  SimWorld& world_;
  SimStoreOptions options_;
  bool is_out_ = false;
  std::uint64_t puts_applied_ = 0, removals_applied_ = 0;
  std::function<void(const std::string&, const Bytes&)> on_applied_, on_removed_;
  std::map<std::string, StoredObject> objects_;
};

class SimStoreClient final : public ReclaimableStore {
 public:
  // All keys are put under `prefix` ("pool-1/"), if one is given.
  SimStoreClient(SimProcess& process, SimStore& store, std::string prefix = {})
      : process_(process), store_(store), prefix_(std::move(prefix)) {}

  Task<Result<ObjectTag>> put(std::string key, SharedBytes body, PutCondition condition) override;
  Task<Result<StoredObject>> get(std::string key) override;
  Task<Result<Bytes>> get_range(std::string key, std::uint64_t offset, std::size_t length) override;
  // Crash points: "store.remove before|after".
  Task<Status> remove(std::string key) override;

 private:
  SimProcess& process_;
  SimStore& store_;
  std::string prefix_;
};

}  // namespace ebb::sim
