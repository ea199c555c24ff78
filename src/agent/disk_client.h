// The disk daemon's verbs over its unix socket, and what it was last heard to say about each disk.
#pragma once
#include "env/http.h"
#include "env/sync.h"
#include "model/disk_daemon_types.h"

namespace ebb::agent {

class DiskClient final {
 public:
  DiskClient(Loop& loop, Http& http, std::string address)
      : loop_(loop), http_(http), address_(std::move(address)) {}

  // Each asks once; the daemon answers within a second or so with the state it has reached by then.
  Task<Result<DiskStatus>> open(OpenDisk request) {
    return ask("/open", json::write_text(request), request.disk);
  }
  Task<Result<DiskStatus>> standby(DiskRef ref) { return ask("/standby", json::write_text(ref), ref.disk); }
  Task<Result<DiskStatus>> hint(DiskRef ref) { return ask("/hint", json::write_text(ref), ref.disk); }
  Task<Result<DiskStatus>> seal(DiskRef ref) { return ask("/seal", json::write_text(ref), ref.disk); }
  Task<Result<DiskStatus>> resize(ResizeDisk request) {
    return ask("/resize", json::write_text(request), request.disk);
  }
  Task<Status> close(DiskRef ref);
  // conflict, invalid: it will not be made. Everything else: ask again.
  Task<Result<SnapshotMade>> snapshot(MakeSnapshot request);
  // conflict, corrupt, fenced, invalid, not_found: it cannot be done. Everything else: ask again.
  Task<Status> rescue(RescueLog request);
  Task<Status> refresh();

  // As of the last answer; everything here is a memory.
  const DaemonStatus& last() const { return last_; }
  const DiskStatus* find(const DiskId& disk) const;
  bool is_up() const { return is_up_; }
  // last() is of a daemon that has answered ever since: what is not in it is not there.
  bool has_told() const { return is_up_ && has_told_; }
  // last() was true at this time or later; absent: never heard.
  std::optional<Instant> heard_at() const { return heard_at_; }

 private:
  Task<Result<DiskStatus>> ask(std::string verb, std::string body, DiskId disk);
  Task<Result<HttpResponse>> request(HttpRequest request);
  void remember(const DiskStatus& status);
  void drop(const DiskId& disk);
  void doubt_logs_of(const DiskId& disk);

  Loop& loop_;
  Http& http_;
  std::string address_;
  DaemonStatus last_;
  std::optional<Instant> heard_at_;
  std::uint64_t verbs_ = 0;  // answered: a status asked for before a verb's answer is older than that answer
  bool is_up_ = false, has_told_ = false;
};

// Whether the daemon owns or serves the disk in this state.
bool holds_lease(DiskSeen state);
bool serves(const DiskStatus& status);
// Whether there is more to say than that time has passed and that bytes come and go.
bool is_news(const DaemonStatus& before, const DaemonStatus& after);

// The error that a reply carries, by its code; for a reply that is no ErrorBody, by its HTTP status.
Error error_of(const HttpResponse& response, std::string_view doing);

}  // namespace ebb::agent
