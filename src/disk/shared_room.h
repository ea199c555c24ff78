// What all disks of a daemon share of the memory that cannot be fetched again: room for writes on their way to the
// store, and for what changed in maps since their last checkpoints.
#pragma once
#include "env/sync.h"

namespace ebb::disk {

class SharedRoom {
 public:
  struct Limits {
    std::size_t in_flight = 0, changes = 0;  // bytes
  };
  SharedRoom(Loop& loop, Limits limits) : limits_(limits), freed_(loop) {}
  SharedRoom(const SharedRoom&) = delete;

  // One disk's part of it; what it has taken goes back with it.
  class Share {
   public:
    explicit Share(std::shared_ptr<SharedRoom> room) : room_(std::move(room)) {
      if (room_) ++room_->disks_;
    }
    Share(const Share&) = delete;
    ~Share() {
      if (!room_) return;
      give(taken_);
      --room_->disks_;
    }
    void take(std::size_t bytes) {
      taken_ += bytes;
      if (room_) room_->in_flight_ += bytes;
    }
    void give(std::size_t bytes) {
      taken_ -= bytes;
      if (!room_) return;
      room_->in_flight_ -= bytes;
      room_->freed_.notify_all();
    }
    std::size_t taken() const { return taken_; }
    // A disk that has nothing in flight always gets on: what it waits for might never come.
    bool has_room(std::size_t bytes) const {
      return !room_ || taken_ == 0 || room_->in_flight_ + bytes <= room_->limits_.in_flight;
    }
    Task<void> wait_for_others() { co_await room_->freed_.wait(); }
    void wake_others() {
      if (room_) room_->freed_.notify_all();
    }
    // How much of its map a disk may change before it must have a checkpoint; `otherwise` if nothing is shared.
    std::size_t changes_max(std::size_t otherwise) const {
      constexpr std::size_t least = 1 << 20;
      return room_ ? std::max(least, room_->limits_.changes / room_->disks_) : otherwise;
    }

   private:
    std::shared_ptr<SharedRoom> room_;  // null: nothing is shared
    std::size_t taken_ = 0;
  };

 private:
  const Limits limits_;
  std::size_t in_flight_ = 0, disks_ = 0;
  Notify freed_;
};

}  // namespace ebb::disk
