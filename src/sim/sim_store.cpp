#include "sim/sim_store.h"

#include "base/checksum.h"
#include "env/sync.h"

namespace ebb::sim {
namespace {

// As S3's ETag: follows from the content alone, so equal bodies have equal tags.
ObjectTag tag_of(const Bytes& body) { return {fmt::format("\"{:08x}-{}\"", crc32c(body), body.size())}; }

std::unexpected<Error> no_answer(std::string_view verb, const std::string& key) {
  return fail(Code::unavailable, "{} {}: no answer from the store", verb, key);
}

// What guests read: advice, overwritten as it changes, and removed.
bool is_advice(std::string_view key) { return key.ends_with("/hints"); }

}  // namespace

bool SimStore::is_immutable(std::string_view key) {
  if (is_advice(key)) return false;
  // The shape of a pool's keys; a pool may itself stand under a prefix.
  for (std::string_view kind : {"s/", "g/", "m/", "r/", "b/"})
    if (key.starts_with(kind) || key.contains("/" + std::string(kind))) return true;
  return false;
}

void SimStore::heal() {
  is_out_ = false;
  options_.refuse = options_.busy = options_.lose_request = options_.lose_reply = options_.delay =
      options_.repeat = 0;
}

const StoredObject* SimStore::peek(const std::string& key) const {
  auto found = objects_.find(key);
  return found == objects_.end() ? nullptr : &found->second;
}

std::vector<std::string> SimStore::keys(std::string_view prefix) const {
  std::vector<std::string> found;
  for (auto it = objects_.lower_bound(std::string(prefix));
       it != objects_.end() && it->first.starts_with(prefix); ++it)
    found.push_back(it->first);
  return found;
}

SimStore::Fate SimStore::draw(const std::string& from, bool is_put) {
  if (is_out_ || !world_.links().connected(from, std::string(host)))
    return world_.fault_random().chance(0.5) ? Fate::refused : Fate::request_lost;
  double at = world_.fault_random().unit();
  auto within = [&](double probability) { return (at -= probability) < 0; };
  if (within(options_.refuse)) return Fate::refused;
  if (within(options_.lose_request)) return Fate::request_lost;
  if (within(options_.lose_reply)) return Fate::reply_lost;
  if (is_put && within(options_.busy)) return Fate::busy;
  if (is_put && within(options_.delay)) return Fate::delayed;
  if (is_put && within(options_.repeat)) return Fate::repeated;
  return Fate::answered;
}

Result<ObjectTag> SimStore::apply(const std::string& key, const SharedBytes& body,
                                  const PutCondition& condition) {
  auto found = objects_.find(key);
  bool exists = found != objects_.end();
  bool holds = condition.kind == PutCondition::Kind::none ||
               (condition.kind == PutCondition::Kind::absent && !exists) ||
               (condition.kind == PutCondition::Kind::match && exists && found->second.tag == condition.tag);
  if (!holds) {
    world_.loop().note(fmt::format("store: {} not put: the condition does not hold", key));
    return fail(Code::conflict, "put {}: the condition does not hold", key);
  }
  if (exists && is_immutable(key) && found->second.body != *body)
    world_.violation(fmt::format("the immutable object {} was overwritten", key));
  auto tag = tag_of(*body);
  world_.loop().note(fmt::format("store: {} put, {}", key, tag.value));
  objects_[key] = StoredObject{*body, tag};
  ++puts_applied_;
  if (on_applied_) on_applied_(key, *body);
  return tag;
}

Task<Result<ObjectTag>> SimStoreClient::put(std::string key, SharedBytes body, PutCondition condition) {
  EBB_CO_CHECKED(check_object_key(key));
  key = prefix_ + key;
  auto& world = process_.world();
  auto& loop = world.loop();
  world.crash_points().pass(process_, "store.put before", key);
  co_await process_.stop_here_if_dead();

  using Fate = SimStore::Fate;
  OneShot<Result<ObjectTag>> shot(process_.loop());
  auto done = shot.completer();
  auto fate = store_.draw(process_.host(), true);
  auto arrival = loop.now() + world.vary(store_.options_.put / 2);
  auto answer = arrival + world.vary(store_.options_.put / 2);
  bool is_silent = fate == Fate::request_lost || fate == Fate::reply_lost || fate == Fate::delayed;
  if (is_silent) {
    answer = loop.now() + store_.options_.time_out;
    loop.call_at(answer, [done, key] { done(no_answer("put", key)); });
  }
  if (fate == Fate::delayed)
    arrival = answer + Duration(static_cast<Duration::rep>(world.fault_random().below(
                           static_cast<std::uint64_t>(store_.options_.late_max.count()) + 1)));
  // From here the request is on its way, whatever becomes of its sender.
  loop.call_at(arrival, [&store = store_, &loop, fate, answer, is_silent, done, key, body, condition] {
    Result<ObjectTag> outcome;
    switch (fate) {
      case Fate::refused:
        outcome = fail(Code::unavailable, "put {}: the store refuses the connection", key);
        break;
      case Fate::busy:
        outcome = fail(Code::busy, "put {}: another conditional request is under way", key);
        break;
      case Fate::request_lost:
        return;
      case Fate::reply_lost:
      case Fate::delayed:
      case Fate::answered:
        outcome = store.apply(key, body, condition);
        break;
      case Fate::repeated:
        outcome = store.apply(key, body, condition);
        outcome = store.apply(key, body, condition);
        break;
    }
    if (!is_silent) loop.call_at(answer, [done, outcome = std::move(outcome)] { done(outcome); });
  });
  auto outcome = co_await shot;
  world.crash_points().pass(process_, "store.put after", key);
  co_await process_.stop_here_if_dead();
  co_return outcome;
}

Status SimStore::apply_removal(const std::string& key) {
  if (!is_immutable(key) && !is_advice(key)) world_.violation(fmt::format("{} was removed", key));
  auto found = objects_.find(key);
  if (found == objects_.end()) return {};
  if (on_removed_) on_removed_(key, found->second.body);
  world_.loop().note(fmt::format("store: {} removed", key));
  objects_.erase(found);
  ++removals_applied_;
  return {};
}

Task<Status> SimStoreClient::remove(std::string key) {
  EBB_CO_CHECKED(check_object_key(key));
  key = prefix_ + key;
  auto& world = process_.world();
  auto& loop = world.loop();
  world.crash_points().pass(process_, "store.remove before", key);
  co_await process_.stop_here_if_dead();
  using Fate = SimStore::Fate;
  OneShot<Status> shot(process_.loop());
  auto done = shot.completer();
  auto fate = store_.draw(process_.host(), true);
  auto arrival = loop.now() + world.vary(store_.options_.get / 2);
  auto answer = arrival + world.vary(store_.options_.get / 2);
  bool is_silent = fate == Fate::request_lost || fate == Fate::reply_lost || fate == Fate::delayed;
  if (is_silent) {
    answer = loop.now() + store_.options_.time_out;
    loop.call_at(answer, [done, key] { done(Status(no_answer("remove", key))); });
  }
  if (fate == Fate::delayed)
    arrival = answer + Duration(static_cast<Duration::rep>(world.fault_random().below(
                           static_cast<std::uint64_t>(store_.options_.late_max.count()) + 1)));
  loop.call_at(arrival, [&store = store_, &loop, fate, answer, is_silent, done, key] {
    Status outcome;
    if (fate == Fate::request_lost) return;
    if (fate == Fate::refused || fate == Fate::busy)
      outcome = fail(Code::unavailable, "remove {}: the store refuses the connection", key);
    else
      outcome = store.apply_removal(key);
    if (!is_silent) loop.call_at(answer, [done, outcome] { done(outcome); });
  });
  auto outcome = co_await shot;
  world.crash_points().pass(process_, "store.remove after", key);
  co_await process_.stop_here_if_dead();
  co_return outcome;
}

Task<Result<StoredObject>> SimStoreClient::get(std::string key) {
  EBB_CO_CHECKED(check_object_key(key));
  key = prefix_ + key;
  auto& world = process_.world();
  auto& loop = world.loop();
  using Fate = SimStore::Fate;
  OneShot<Result<StoredObject>> shot(process_.loop());
  auto done = shot.completer();
  auto fate = store_.draw(process_.host(), false);
  auto arrival = loop.now() + world.vary(store_.options_.get / 2);
  auto answer = arrival + world.vary(store_.options_.get / 2);
  if (fate == Fate::request_lost || fate == Fate::reply_lost) {
    loop.call_at(loop.now() + store_.options_.time_out, [done, key] { done(no_answer("get", key)); });
  } else {
    loop.call_at(arrival, [&store = store_, &loop, fate, answer, done, key] {
      Result<StoredObject> outcome = fail(Code::not_found, "get {}: no such object", key);
      if (auto* object = store.peek(key)) outcome = *object;
      if (fate == Fate::refused)
        outcome = fail(Code::unavailable, "get {}: the store refuses the connection", key);
      loop.call_at(answer, [done, outcome = std::move(outcome)] { done(outcome); });
    });
  }
  co_return co_await shot;
}

Task<Result<Bytes>> SimStoreClient::get_range(std::string key, std::uint64_t offset, std::size_t length) {
  EBB_CO_TRY(object, co_await get(std::move(key)));
  if (offset >= object.body.size()) co_return Bytes{};
  auto part = ByteView(object.body).subspan(static_cast<std::size_t>(offset));
  part = part.first(std::min(length, part.size()));
  co_return Bytes(part.begin(), part.end());
}

}  // namespace ebb::sim
