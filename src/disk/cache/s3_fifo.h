// Which of many things stay when there is room for few: S3-FIFO (Yang, Zhang, Qiu, Yue, Rashmi: "FIFO queues
// are all you need for cache eviction", SOSP 2023). What is new stays in a tenth of the room until it was
// used again; so what is read once, however much of it, pushes out nothing that is in use.
#pragma once
#include <deque>
#include <list>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/check.h"

namespace ebb::disk {

enum class CacheQueue { probation, main };

template <class Key, class Value, class Hash>
class S3Fifo {
 public:
  using Queue = CacheQueue;
  struct Item {
    Key key;
    Value value;
    std::size_t weight = 0;
    Queue queue = Queue::probation;
    int uses = 0;  // since it came into its queue, at most uses_max
  };

  // `ghosts_max`: how many of those that left are remembered; who comes back in time was pushed out too
  // early.
  S3Fifo(std::size_t weight_max, std::size_t ghosts_max) : weight_max_(weight_max), ghosts_max_(ghosts_max) {}

  // Only looks.
  const Value* find(const Key& key) const {
    auto it = items_.find(key);
    return it == items_.end() ? nullptr : &it->second->value;
  }
  void use(const Key& key) {
    auto it = items_.find(key);
    if (it != items_.end()) it->second->uses = std::min(it->second->uses + 1, uses_max);
  }
  // `key` is not in it. What is over the limit then leaves by shrink().
  void add(Key key, Value value, std::size_t weight, Queue queue = Queue::probation) {
    CHECK(!items_.contains(key));
    if (ghosts_.erase(Hash{}(key)) > 0) queue = Queue::main;
    insert({std::move(key), std::move(value), weight, queue, 0});
  }
  // What has to leave so that the rest weighs at most `to`.
  std::vector<Item> shrink(std::size_t to) {
    std::vector<Item> left;
    while (weight() > to) {
      bool is_probation =
          !probation_.items.empty() && (probation_.weight * 10 >= weight_max_ || main_.items.empty());
      if (auto item = is_probation ? leave_probation() : leave_main()) left.push_back(std::move(*item));
    }
    return left;
  }
  std::optional<Value> remove(const Key& key) {
    auto it = items_.find(key);
    if (it == items_.end()) return std::nullopt;
    return take(it->second).value;
  }
  void clear() {
    items_.clear(), ghosts_.clear(), ghost_ages_.clear();
    probation_ = {}, main_ = {};
  }

  std::size_t weight() const { return probation_.weight + main_.weight; }
  std::size_t size() const { return items_.size(); }
  // Those that proved themselves first, in each queue the newest first.
  std::vector<Key> keys() const {
    std::vector<Key> out;
    out.reserve(items_.size());
    for (const auto* from : {&main_, &probation_}) {
      for (const auto& item : from->items) out.push_back(item.key);
    }
    return out;
  }

 private:
  static constexpr int uses_max = 3;
  using Items = std::list<Item>;
  struct Fifo {
    Items items;  // newest first
    std::size_t weight = 0;
  };
  Fifo& fifo(Queue queue) { return queue == Queue::main ? main_ : probation_; }

  void insert(Item item) {
    auto& to = fifo(item.queue);
    to.weight += item.weight;
    to.items.push_front(std::move(item));
    items_[to.items.front().key] = to.items.begin();
  }
  Item take(typename Items::iterator at) {
    auto& from = fifo(at->queue);
    Item item = std::move(*at);
    from.weight -= item.weight;
    from.items.erase(at);
    items_.erase(item.key);
    return item;
  }
  // Used more than once while it was new: it stays.
  std::optional<Item> leave_probation() {
    auto item = take(std::prev(probation_.items.end()));
    if (item.uses > 1) {
      item.queue = Queue::main, item.uses = 0;
      insert(std::move(item));
      return std::nullopt;
    }
    remember(item.key);
    return item;
  }
  // Each use since the last time gives it one more round.
  std::optional<Item> leave_main() {
    auto item = take(std::prev(main_.items.end()));
    if (item.uses == 0) return item;
    --item.uses;
    insert(std::move(item));
    return std::nullopt;
  }
  void remember(const Key& key) {
    auto hash = Hash{}(key);
    if (ghosts_.insert(hash).second) ghost_ages_.push_back(hash);
    while (ghost_ages_.size() > ghosts_max_) {
      ghosts_.erase(ghost_ages_.front());
      ghost_ages_.pop_front();
    }
  }

  std::size_t weight_max_, ghosts_max_;
  Fifo probation_, main_;
  std::unordered_map<Key, typename Items::iterator, Hash> items_;
  std::unordered_set<std::size_t> ghosts_;  // hashes
  std::deque<std::size_t> ghost_ages_;      // oldest first; may hold some that came back
};

}  // namespace ebb::disk
