// The guest of one tenure: stamped writes, trims, write-zeroes, flushes and reads, overlapping and at the
// same time, until the device refuses or everything is over.
#pragma once
#include "disk_fleet.h"

namespace ebb::disk_sim {

struct WorkPlan {
  std::uint64_t seed = 1;
  Duration pause = 20ms;  // between two requests, at most
  double flush = 0.15, burst = 0.2, read = 0.05;
};

// What guests of a whole run share. Outlives them.
struct GuestHouse {
  Oracle* oracle = nullptr;
  sim::SimWorld* world = nullptr;
  Stamp last_stamp = 0;  // stamps are never used twice
  bool is_calm = false;  // act two: no more than the store can take
  bool is_over = false;  // flush, and end
  std::function<std::optional<DiskStatus>(const Tenure&)> status{};  // as its daemon tells it now
  std::set<const Tenure*> at_rest{};  // ended with everything acknowledged and flushed
};

// Lives in the daemon's process, as the far end of an NBD connection.
class Guest final {
 public:
  Guest(Loop& loop, GuestHouse& house, Tenure& tenure, Device device, WorkPlan plan);
  Guest(const Guest&) = delete;

 private:
  Task<void> live();
  Op draw();
  // What the disk may hold the first of without the rest: its records.
  std::vector<Op> parts_of(const Op& op) const;
  // `index`: of its first part.
  Task<void> write_one(Op op, std::size_t index, double dice);
  Task<void> write_through(Op op, std::size_t index);
  Task<Status> change(Op op, double dice);
  Task<void> flush_one();
  Task<Status> flush();
  void refused(std::string_view request, const Error& error);
  void check_bound();
  Task<void> read_one(std::uint64_t block, std::uint64_t count);
  std::vector<std::size_t> settled(std::uint64_t block, std::uint64_t count) const;

  Loop& loop_;
  GuestHouse& house_;
  Tenure& tenure_;
  Device device_;
  WorkPlan plan_;
  Random random_;
  bool is_refused_ = false;
  Content content_;                            // as issued
  std::vector<std::size_t> issued_, written_;  // by block: the last op issued there, and acknowledged
  Scope in_flight_, life_;
};

}  // namespace ebb::disk_sim
