// Locks ranges of a disk: overlapping ranges are granted one after the other, in the order in which they were
// asked for.
#pragma once
#include <cstdint>
#include <list>
#include <memory>

#include "env/sync.h"

namespace ebb::disk {

class RangeLock {
  struct Entry {
    std::uint64_t begin, end;
    std::size_t blockers = 0;         // earlier entries that overlap
    std::vector<Entry*> blocked;      // later entries that overlap
    std::function<void(bool)> grant;  // set while it waits
  };
  struct State {
    std::list<Entry> entries;
  };

 public:
  class [[nodiscard]] Guard {
   public:
    Guard(Guard&& other) noexcept = default;
    Guard& operator=(Guard&& other) = delete;
    ~Guard();

   private:
    friend RangeLock;
    Guard(std::shared_ptr<State> state, std::list<Entry>::iterator entry)
        : state_(std::move(state)), entry_(entry) {}
    std::shared_ptr<State> state_;
    std::list<Entry>::iterator entry_;
  };

  explicit RangeLock(Loop& loop) : loop_(loop) {}
  // Takes its place when the task starts. Destroying the task gives the place up.
  Task<Guard> lock(std::uint64_t begin, std::uint64_t end);
  std::size_t size() const { return state_->entries.size(); }

 private:
  Loop& loop_;
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

}  // namespace ebb::disk
