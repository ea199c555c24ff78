// Carries cut segments to the store: several at a time, committed strictly in order. The uploaded object's
// place is the fence check: whoever took over has put a fence there.
#pragma once
#include <functional>
#include <map>

#include "disk/log/segment_builder.h"
#include "disk/store_access.h"
#include "env/scope.h"

namespace ebb::disk {

class SegmentUploader {
 public:
  struct Events {
    std::function<void(const SegmentBuilder::Cut&)> committed;  // in order, each once
    std::function<void(Error)> lost;  // fenced, or something that we did not write is there
  };
  SegmentUploader(StoreAccess access, DiskId disk, std::uint64_t window, Events events);

  // A place in the window of segments that may be in flight above the last committed one.
  bool has_slot() const { return in_flight_.size() < window_; }
  bool idle() const { return in_flight_.empty(); }
  void submit(SegmentBuilder::Cut cut);
  // Bodies on their way, by sequence: their blocks are read from here.
  const SegmentBuilder::Cut* find(std::uint64_t seq) const;
  // Nothing is sent and no event comes from now on.
  void stop() { scope_.cancel(); }

 private:
  struct InFlight {
    SegmentBuilder::Cut cut;
    bool is_stored = false;
  };
  Task<void> upload(std::uint64_t seq, std::string key, SharedBytes body, std::size_t packed_from);
  Task<Error> why_lost(std::string key, DiskEpoch epoch, std::uint64_t seq);
  void commit_run();

  StoreAccess access_;
  DiskId disk_;
  std::uint64_t window_;
  Events events_;
  std::map<std::uint64_t, InFlight> in_flight_;
  Scope scope_;
};

}  // namespace ebb::disk
