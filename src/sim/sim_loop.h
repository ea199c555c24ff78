// Virtual time: one queue of events in one thread, the same order for the same seed. SimLoop is the clock and
// the test's own loop; each simulated process sees it through a PausableLoop, which can be stopped (SIGSTOP),
// continued, or closed for good (kill -9).
#pragma once
#include <functional>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "env/loop.h"

namespace ebb::sim {

struct SimLoopOptions {
  std::uint64_t seed = 1;
  // Events of different processes due at the same instant run in an order drawn from the seed; within a
  // process the order of Loop's contract is always kept.
  enum class Order { as_scheduled, shuffled } order = Order::as_scheduled;
  std::uint64_t events_max = 20'000'000;           // a run beyond it fails as a livelock
  std::uint64_t events_max_per_instant = 500'000;  // likewise, when virtual time stands still
};

class PausableLoop;

class SimLoop final : public Loop {
 public:
  explicit SimLoop(SimLoopOptions options = {});
  SimLoop(const SimLoop&) = delete;
  ~SimLoop() override;

  Instant now() const override { return now_; }
  WallMs wall_now() const override;
  void post(Callback callback) override;
  std::uint64_t call_at(Instant when, Callback callback) override;
  void cancel(std::uint64_t timer) override;
  Random& random() override { return random_; }

  // Runs one event; false when there is none.
  bool step();
  // Runs what is due within `duration`, then stands at its end. internal: the event budget is spent.
  Status run_for(Duration duration);
  // Runs until `done` holds (checked after each event). unavailable: not within `limit`, or nothing is left
  // to happen.
  Status run_until(const std::function<bool()>& done, Duration limit);

  std::uint64_t seed() const { return options_.seed; }
  std::uint64_t events() const { return events_; }
  // A hash over every event and note so far: equal for equal runs.
  std::uint64_t trace_hash() const { return trace_; }
  // Mixes `text` into the trace, and shows it to whoever listens.
  void note(std::string_view text);
  void listen(std::function<void(std::string_view)> listener) { listener_ = std::move(listener); }
  // The process whose event is being run; null between events and in the test's own.
  const PausableLoop* running() const { return running_; }

 private:
  friend class PausableLoop;
  struct Key {
    Instant when;
    std::uint64_t order;
    auto operator<=>(const Key&) const = default;
  };
  struct Event {
    std::uint64_t id;
    PausableLoop* lane;
    Callback callback;
  };
  std::uint64_t schedule(Instant when, PausableLoop* lane, Callback callback);
  void insert(Instant when, Event event);
  bool remove(std::uint64_t id);
  std::map<Key, Event>::iterator choose();
  void mix(std::uint64_t value);
  Status budget() const;

  SimLoopOptions options_;
  Random random_, order_random_;
  Instant now_{};
  std::uint64_t last_id_ = 0, last_order_ = 0, events_ = 0, events_this_instant_ = 0;
  std::uint64_t trace_ = 0x9e3779b97f4a7c15;
  std::map<Key, Event> queue_;
  std::unordered_map<std::uint64_t, Key> where_;
  std::function<void(std::string_view)> listener_;
  const PausableLoop* running_ = nullptr;
};

// Must live as long as anything may complete into it: the world keeps those of dead processes.
class PausableLoop final : public Loop {
 public:
  // Randomness follows from the seed and `name` alone, so that one process's draws do not disturb another's.
  PausableLoop(SimLoop& under, std::string name);
  PausableLoop(const PausableLoop&) = delete;
  ~PausableLoop() override { close(); }

  Instant now() const override { return under_.now(); }
  WallMs wall_now() const override { return under_.wall_now() + to_ms(wall_skew_); }
  void post(Callback callback) override;
  std::uint64_t call_at(Instant when, Callback callback) override;
  void cancel(std::uint64_t timer) override;
  Random& random() override { return random_; }

  // What falls due meanwhile is withheld, and delivered in order by resume().
  void pause() { paused_ = true; }
  void resume();
  // Nothing runs any more. drop() then destroys what was still to run; not from one of its own events.
  void close() { closed_ = true; }
  void drop();
  bool is_paused() const { return paused_; }
  bool is_closed() const { return closed_; }
  const std::string& name() const { return name_; }
  void set_wall_skew(Duration skew) { wall_skew_ = skew; }

 private:
  friend class SimLoop;
  SimLoop& under_;
  std::string name_;
  std::uint64_t name_hash_;
  Random random_;
  bool paused_ = false, closed_ = false;
  Duration wall_skew_{};
  std::vector<SimLoop::Event> withheld_;
};

// FNV-1a (Fowler, Noll, Vo), 64 bits: seeds and hashes that must be the same everywhere.
std::uint64_t fnv1a(std::string_view text, std::uint64_t seed = 0xcbf29ce484222325);

}  // namespace ebb::sim
