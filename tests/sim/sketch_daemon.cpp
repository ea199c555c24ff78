#include "sketch_daemon.h"

#include <charconv>

#include "base/text.h"
#include "disk/keys.h"

namespace ebb::fleet_sim {
namespace {

SharedBytes shared(Bytes bytes) { return std::make_shared<const Bytes>(std::move(bytes)); }

bool is_held(disk::HeadState state) {
  return state == disk::HeadState::attaching || state == disk::HeadState::attached;
}

std::uint64_t number_of(std::string_view text) {
  std::uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

}  // namespace

Task<Result<disk::Head>> SketchDaemon::change_head(DiskId disk,
                                                   std::function<Result<disk::Head>(disk::Head)> change) {
  std::string last_nonce;
  while (true) {
    auto stored = co_await pool_.get(disk::head_key(disk));
    if (!stored && stored.error().code == Code::not_found) co_return fail(stored.error());
    if (!stored) {
      co_await sleep_for(loop_, 200ms);
      continue;
    }
    EBB_CO_TRY(head, disk::decode_head(stored->body, disk));
    if (!last_nonce.empty() && head.nonce == last_nonce) co_return head;  // an earlier try of ours is in
    EBB_CO_TRY(next, change(head));
    next.nonce = last_nonce = loop_.random().token(16);
    auto put =
        co_await pool_.put(disk::head_key(disk), shared(encode(next)), PutCondition::if_match(stored->tag));
    if (put) co_return next;
    co_await sleep_for(loop_, 50ms);
  }
}

Task<Result<SketchDaemon::OpenState>> SketchDaemon::claim(OpenDisk wish) {
  auto replaces = std::make_shared<bool>(false);
  auto change = [this, wish, replaces](disk::Head head) -> Result<disk::Head> {
    if (head.state == disk::HeadState::deleted) return fail(Code::not_found, "{} is deleted", wish.disk);
    const bool foreign = is_held(head.state) && head.owner != worker_;
    if (head.epoch.placement > wish.epoch || (foreign && head.epoch.placement == wish.epoch))
      return fail(Code::fenced, "HEAD of {} names {} under epoch {}", wish.disk, head.owner,
                  head.epoch.text());
    if (foreign && !wish.take_over)
      return fail(Code::conflict, "{} is attached to {}", wish.disk, head.owner);
    *replaces = foreign;
    head.epoch = {wish.epoch, head.epoch.placement == wish.epoch ? head.epoch.incarnation + 1 : 1};
    head.owner = worker_, head.opener = loop_.random().token(8);
    head.state = disk::HeadState::attached;
    disk::LogPoint own;
    own.epoch = head.epoch, own.opener = head.opener;
    head.unsealed = {own};
    return head;
  };
  attached_.insert(wish.disk);
  EBB_CO_TRY(head, co_await change_head(wish.disk, change));
  EBB_CO_CHECKED(co_await change_log(wish.disk, head.epoch, true, std::nullopt));
  if (*replaces) co_await sleep_for(loop_, 15s);  // longer than a cut-off owner needs to pause
  OpenState state;
  state.epoch = head.epoch, state.is_writable = true;
  state.status = {.disk = wish.disk,
                  .pool = wish.pool,
                  .epoch = wish.epoch,
                  .incarnation = head.epoch.incarnation,
                  .state = DiskSeen::open,
                  .nbd_socket = "sketch",
                  .nbd_export = wish.disk.value,
                  .size_bytes = head.size_bytes,
                  .owner_age_ms = {},
                  .waiting_for = {},
                  .error = {}};
  co_return state;
}

Task<Result<DiskStatus>> SketchDaemon::open(OpenDisk wish) {
  auto found = open_.find(wish.disk);
  if (found != open_.end() && found->second.status.epoch == wish.epoch &&
      found->second.status.state == DiskSeen::open)
    co_return found->second.status;
  if (wish.read_only) {
    OpenState reading;
    reading.status.disk = wish.disk, reading.status.epoch = wish.epoch,
    reading.status.state = DiskSeen::reading;
    reading.status.nbd_export = wish.disk.value;
    co_return (open_[wish.disk] = reading).status;
  }
  auto claimed = co_await claim(wish);
  if (!claimed) {
    auto& state = open_[wish.disk];
    state = {};
    state.status.disk = wish.disk, state.status.epoch = wish.epoch;
    state.status.state = claimed.error().code == Code::fenced ? DiskSeen::fenced : DiskSeen::failed;
    state.status.error = claimed.error().message;
    co_return fail(claimed.error());
  }
  co_return (open_[wish.disk] = *claimed).status;
}

Task<Result<DiskStatus>> SketchDaemon::seal(DiskRef ref) {
  auto found = open_.find(ref.disk);
  if (found != open_.end() && !found->second.is_writable) co_return co_await close(ref);
  if (found != open_.end()) found->second.is_writable = false, found->second.status.state = DiskSeen::sealing;
  auto change = [this, ref](disk::Head head) -> Result<disk::Head> {
    if (head.owner != worker_ || !is_held(head.state))
      return fail(Code::fenced, "{} is not ours: {} under epoch {}", ref.disk, head.owner, head.epoch.text());
    head.state = disk::HeadState::detached_clean;
    return head;
  };
  auto head = co_await change_head(ref.disk, change);
  DiskStatus sealed;
  sealed.disk = ref.disk, sealed.epoch = ref.epoch, sealed.state = DiskSeen::sealed;
  open_.erase(ref.disk);
  // Not ours any more, or detached before: either way nothing of it is held here.
  if (!head && head.error().code != Code::fenced && head.error().code != Code::not_found)
    co_return fail(head.error());
  attached_.erase(ref.disk);
  co_return sealed;
}

Task<Result<DiskStatus>> SketchDaemon::close(DiskRef ref) {
  open_.erase(ref.disk);
  DiskStatus closed;
  closed.disk = ref.disk, closed.epoch = ref.epoch, closed.state = DiskSeen::sealed;
  co_return closed;
}

DaemonStatus SketchDaemon::status() const {
  DaemonStatus status;
  for (const auto& [id, state] : open_) status.disks.push_back(state.status);
  for (const auto& id : attached_) {
    if (open_.contains(id)) continue;
    DiskStatus left;  // by a daemon before this one
    left.disk = id, left.pool = PoolId("pool-1"), left.state = DiskSeen::failed;
    status.disks.push_back(left);
  }
  return status;
}

Task<Result<SketchDaemon::Log>> SketchDaemon::read_log(DiskId disk) {
  Log log;
  auto stored = co_await pool_.get(fmt::format("sketch/{}", disk));
  if (!stored && stored.error().code == Code::not_found) co_return log;
  if (!stored) co_return fail(stored.error());
  auto lines = split(as_text(stored->body), '\n');
  log.epoch = lines.at(0), log.nonce = lines.at(1), log.tag = stored->tag;
  for (std::size_t i = 2; i < lines.size(); ++i) {
    auto space = lines[i].find(' ');
    log.records.push_back({number_of(lines[i].substr(0, space)), number_of(lines[i].substr(space + 1))});
  }
  co_return log;
}

Task<Status> SketchDaemon::change_log(DiskId disk, disk::DiskEpoch epoch, bool is_claim,
                                      std::optional<sim::GuestRecord> record) {
  std::string nonce;
  while (true) {
    auto log = co_await read_log(disk);
    if (!log) {
      co_await sleep_for(loop_, 200ms);
      continue;
    }
    if (!nonce.empty() && log->nonce == nonce) co_return Status{};
    auto dot = log->epoch.find('.');
    disk::DiskEpoch at{number_of(log->epoch), dot == std::string::npos
                                                  ? 0
                                                  : number_of(std::string_view(log->epoch).substr(dot + 1))};
    if (at > epoch || (at != epoch && !is_claim))
      co_return fail(Code::fenced, "{} belongs to epoch {}", disk, at.text());
    nonce = loop_.random().token(16);
    if (record && record->number == log->records.size() + 1)
      log->records.push_back(*record);
    else if (record && (record->number > log->records.size() || log->records[record->number - 1] != *record))
      co_return fail(Code::corrupt, "record {} after {}", record->number, log->records.size());
    std::string text = epoch.text() + "\n" + nonce;
    for (auto& r : log->records) text += fmt::format("\n{} {}", r.number, r.boot);
    auto condition = log->tag.value.empty() ? PutCondition::if_absent() : PutCondition::if_match(log->tag);
    auto put = co_await pool_.put(fmt::format("sketch/{}", disk), shared(to_bytes(text)), condition);
    if (put) co_return Status{};
    co_await sleep_for(loop_, 50ms);
  }
}

AsyncMutex& SketchDaemon::turn_at(const DiskId& disk) {
  auto& turn = turns_[disk];
  if (!turn) turn = std::make_unique<AsyncMutex>(loop_);
  return *turn;
}

Task<Status> SketchDaemon::append(DiskId disk, sim::GuestRecord record) {
  auto turn = co_await turn_at(disk).lock();
  auto found = open_.find(disk);
  if (found == open_.end() || !found->second.is_writable)
    co_return fail(Code::unavailable, "{} is not served", disk);
  auto status = co_await change_log(disk, found->second.epoch, false, record);
  found = open_.find(disk);
  if (!status && status.error().code == Code::fenced && found != open_.end())
    found->second.is_writable = false, found->second.status.state = DiskSeen::fenced;
  co_return status;
}

Task<Result<std::vector<sim::GuestRecord>>> SketchDaemon::read(DiskId disk) {
  auto turn = co_await turn_at(disk).lock();
  while (true) {
    auto found = open_.find(disk);
    if (found == open_.end() || !found->second.is_writable)
      co_return fail(Code::unavailable, "{} is not served", disk);
    auto log = co_await read_log(disk);
    if (log) co_return log->records;
    co_await sleep_for(loop_, 200ms);
  }
}

}  // namespace ebb::fleet_sim
