#include "sim/sim_loop.h"

#include "base/text.h"

namespace ebb::sim {

std::uint64_t fnv1a(std::string_view text, std::uint64_t seed) {
  for (char c : text) seed = (seed ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return seed;
}

SimLoop::SimLoop(SimLoopOptions options)
    : options_(options), random_(options.seed), order_random_(fnv1a("order", options.seed)) {}

SimLoop::~SimLoop() {
  // What is destroyed here may cancel timers or post: the queue must already look empty.
  auto ending = std::move(queue_);
  queue_.clear();
  where_.clear();
  ending.clear();
}

WallMs SimLoop::wall_now() const {
  constexpr WallMs start = 1'790'000'000'000;  // a day in 2026, the same in every run
  return start + to_ms(now_.time_since_epoch());
}

void SimLoop::post(Callback callback) { schedule(now_, nullptr, std::move(callback)); }

std::uint64_t SimLoop::call_at(Instant when, Callback callback) {
  return schedule(when, nullptr, std::move(callback));
}

void SimLoop::cancel(std::uint64_t timer) { remove(timer); }

std::uint64_t SimLoop::schedule(Instant when, PausableLoop* lane, Callback callback) {
  auto id = ++last_id_;
  insert(std::max(when, now_), Event{id, lane, std::move(callback)});
  return id;
}

void SimLoop::insert(Instant when, Event event) {
  Key key{when, ++last_order_};
  where_.emplace(event.id, key);
  queue_.emplace(key, std::move(event));
}

bool SimLoop::remove(std::uint64_t id) {
  auto found = where_.find(id);
  if (found == where_.end()) return false;
  auto node = queue_.extract(found->second);
  where_.erase(found);
  return !node.empty();  // the callback dies here, after the books are in order
}

void SimLoop::mix(std::uint64_t value) {
  trace_ = (trace_ ^ value) * 0xbf58476d1ce4e5b9;
  trace_ ^= trace_ >> 29;
}

void SimLoop::note(std::string_view text) {
  mix(fnv1a(text));
  if (listener_) listener_(text);
}

std::map<SimLoop::Key, SimLoop::Event>::iterator SimLoop::choose() {
  if (options_.order == SimLoopOptions::Order::as_scheduled) return queue_.begin();
  // The first event of each process due now is a candidate.
  constexpr std::size_t candidates_max = 16;
  std::vector<std::map<Key, Event>::iterator> candidates;
  for (auto it = queue_.begin(); it != queue_.end() && it->first.when == queue_.begin()->first.when; ++it) {
    auto same = [&](auto& c) { return c->second.lane == it->second.lane; };
    if (std::ranges::none_of(candidates, same)) candidates.push_back(it);
    if (candidates.size() == candidates_max) break;
  }
  return candidates[order_random_.below(candidates.size())];
}

bool SimLoop::step() {
  if (queue_.empty()) return false;
  auto chosen = choose();
  auto when = chosen->first.when;
  auto event = std::move(chosen->second);
  queue_.erase(chosen);
  where_.erase(event.id);
  if (when != now_) events_this_instant_ = 0;
  now_ = when;
  ++events_, ++events_this_instant_;
  auto* lane = event.lane;
  if (lane && lane->closed_) return true;
  if (lane && lane->paused_) {
    lane->withheld_.push_back(std::move(event));
    return true;
  }
  mix(static_cast<std::uint64_t>(when.time_since_epoch().count()));
  mix(lane ? lane->name_hash_ : 1);
  running_ = lane;
  event.callback();
  running_ = nullptr;
  return true;
}

Status SimLoop::budget() const {
  if (events_ > options_.events_max)
    return fail(Code::internal, "livelock: {} events by {} of virtual time", events_,
                format_duration(now_.time_since_epoch()));
  if (events_this_instant_ > options_.events_max_per_instant)
    return fail(Code::internal, "livelock: virtual time stands still at {} after {} events",
                format_duration(now_.time_since_epoch()), events_this_instant_);
  return {};
}

Status SimLoop::run_for(Duration duration) {
  auto end = now_ + duration;
  while (!queue_.empty() && queue_.begin()->first.when <= end) {
    step();
    EBB_CHECKED(budget());
  }
  now_ = end;
  return {};
}

Status SimLoop::run_until(const std::function<bool()>& done, Duration limit) {
  auto end = now_ + limit;
  while (!done()) {
    if (queue_.empty()) return fail(Code::unavailable, "nothing is left to happen");
    if (queue_.begin()->first.when > end) {
      now_ = end;
      return fail(Code::unavailable, "not within {} of virtual time", format_duration(limit));
    }
    step();
    EBB_CHECKED(budget());
  }
  return {};
}

PausableLoop::PausableLoop(SimLoop& under, std::string name)
    : under_(under), name_(std::move(name)), name_hash_(fnv1a(name_)), random_(fnv1a(name_, under.seed())) {}

void PausableLoop::post(Callback callback) { call_at(under_.now(), std::move(callback)); }

std::uint64_t PausableLoop::call_at(Instant when, Callback callback) {
  if (closed_) return 0;
  return under_.schedule(when, this, std::move(callback));
}

void PausableLoop::cancel(std::uint64_t timer) {
  if (under_.remove(timer)) return;
  auto found = std::ranges::find(withheld_, timer, &SimLoop::Event::id);
  if (found == withheld_.end()) return;
  auto dying = std::move(*found);
  withheld_.erase(found);
}

void PausableLoop::resume() {
  if (!std::exchange(paused_, false)) return;
  for (auto& event : std::exchange(withheld_, {})) under_.insert(under_.now(), std::move(event));
}

void PausableLoop::drop() {
  CHECK(closed_);
  std::vector<SimLoop::Event> dying = std::exchange(withheld_, {});
  for (auto it = under_.queue_.begin(); it != under_.queue_.end();) {
    if (it->second.lane != this) {
      ++it;
      continue;
    }
    under_.where_.erase(it->second.id);
    dying.push_back(std::move(it->second));
    it = under_.queue_.erase(it);
  }
}

}  // namespace ebb::sim
