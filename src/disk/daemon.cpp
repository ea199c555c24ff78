#include "disk/daemon.h"

#include "disk/daemon_metrics.h"
#include "model/api_types.h"

namespace ebb::disk {
namespace {
constexpr std::string_view state_kind = "ebb-diskd-state ", state_version = "ebb-diskd-state 1\n";
// What is told of a disk whose daemon can no longer be asked.
static_assert(DiskTuning{}.unsent_bytes_max == LossBound{}.bytes);
static_assert(DiskTuning{}.unsent_age_max == std::chrono::milliseconds(LossBound{}.age_ms));
}  // namespace

DiskDaemon::DiskDaemon(Loop& loop, Files& files, DaemonOptions options, Publish publish, Logger log)
    : loop_(loop),
      files_(files),
      options_(std::move(options)),
      publish_(std::move(publish)),
      log_(std::move(log)),
      run_(fresh_token(loop)),
      rescuer_(loop, options_, log_.named("rescue")),
      scope_(loop) {
  if (options_.room) options_.memory.room = std::make_shared<SharedRoom>(loop, *options_.room);
}

Task<Status> DiskDaemon::start() {
  EBB_CO_CHECKED(co_await check_state_folder());
  co_await begin_cache();
  EBB_CO_CHECKED(co_await find_disks());
  scope_.spawn(watch_heads());
  co_return Status{};
}

Task<Status> DiskDaemon::check_state_folder() {
  const auto& dir = options_.state_dir;
  EBB_CO_CHECKED(co_await files_.make_dirs(dir));
  auto lock = co_await files_.lock(dir + "/lock");
  if (!lock)
    co_return fail(
        std::move(lock).error().within(fmt::format("another ebb-diskd may be running on {}", dir)));
  lock_ = std::move(*lock);
  EBB_CO_CHECKED(co_await check_version(dir + "/version"));
  co_return co_await files_.make_dirs(dir + "/disks");
}

// A folder that is not ours, or of a newer version, is left as it is.
Task<Status> DiskDaemon::check_version(std::string path) {
  auto version = co_await files_.read_all(path);
  if (!version && version.error().code == Code::not_found)
    co_return co_await files_.write_atomic(path, to_bytes(state_version));
  if (!version) co_return fail(std::move(version).error());
  auto said = as_text(*version);
  if (said == state_version) co_return Status{};
  if (!said.starts_with(state_kind)) co_return fail(Code::invalid, "{} is not that of a state folder", path);
  said = said.substr(state_kind.size(), 20);
  co_return fail(Code::invalid,
                 "{} was written by a newer version of this program (format {}; this one knows {}): install "
                 "that version",
                 path, said.substr(0, said.find('\n')),
                 state_version.substr(state_kind.size(), state_version.size() - 1 - state_kind.size()));
}

Task<void> DiskDaemon::begin_cache() {
  auto path = options_.state_dir + "/cache";
  if (options_.cache_disk_bytes > 0)
    options_.memory.pieces->add_disk(loop_, files_, DiskTier::Options(path, options_.cache_disk_bytes),
                                     log_.named("cache"));
  else
    (void)co_await files_.remove(path);  // of a former configuration
}

Task<Status> DiskDaemon::find_disks() {
  EBB_CO_TRY(names, co_await files_.list(options_.state_dir + "/disks"));
  for (const auto& name : names) EBB_CO_CHECKED(co_await find_disk(name));
  co_return Status{};
}

// One that cannot be opened by itself keeps no other from it: it waits until somebody asks for it.
Task<Status> DiskDaemon::find_disk(std::string name) {
  auto folder = fmt::format("{}/disks/{}", options_.state_dir, name);
  if (auto bytes = co_await files_.read_all(folder + "/open")) {
    auto opened = open_again(name, *bytes);
    if (opened) co_return Status{};
    log_.warning("{}/open: {}; the disk is not opened before it is asked for", folder, opened.error());
  }
  auto logs = co_await list_logs(&files_, folder);
  if (!logs) co_return fail(std::move(logs).error());
  if (logs->empty()) co_return Status{};
  auto served = disk_of(DiskId(name), logs->front().chain.pool);
  if (served) {
    (*served)->expect_logs();
  } else {
    log_.warning("{}: a log lies here, and its pool is not configured: {}", name, served.error());
    out_of_reach_.emplace_back(name);
  }
  co_return Status{};
}

Status DiskDaemon::open_again(const std::string& name, ByteView open_record) {
  EBB_TRY(record, read_text_object<OpenRecord>(open_record, "ebb-open", "it"));
  if (record.request.disk.str() != name)
    return fail(Code::corrupt, "it names disk '{}'", record.request.disk);
  EBB_TRY(served, disk_of(record.request.disk, record.request.pool));
  served->expect_logs();
  scope_.spawn([](ServedDisk* disk, OpenDisk request) -> Task<void> {
    (void)co_await disk->open(std::move(request), ServedDisk::Start::after_restart);
  }(served, record.request));
  return {};
}

Result<ServedDisk*> DiskDaemon::disk_of(const DiskId& disk, const PoolId& pool) {
  if (!is_valid_name(disk.str())) return fail_field("disk", "'{}' is no valid name for a disk", disk);
  auto store = options_.pools.find(pool);
  if (store == options_.pools.end())
    return fail_field("pool", "pool '{}' is not configured on this worker", pool);
  auto& slot = disks_[disk];
  if (slot && slot->pool() != pool)
    return fail_field("pool", "disk '{}' is in pool '{}'", disk, slot->pool());
  if (!slot) {
    DiskEnv env{&loop_, &files_, &options_, &publish_, options_.memory, log_};
    slot = std::make_unique<ServedDisk>(std::move(env), disk, pool, *store->second);
  }
  return slot.get();
}

Task<Result<DiskStatus>> DiskDaemon::open(OpenDisk request) {
  EBB_CO_TRY(disk, disk_of(request.disk, request.pool));
  co_return co_await disk->open(std::move(request));
}

Task<Result<DiskStatus>> DiskDaemon::standby(DiskRef ref) {
  EBB_CO_TRY(disk, disk_of(ref.disk, ref.pool));
  co_return co_await disk->standby(ref.epoch);
}

Task<Result<DiskStatus>> DiskDaemon::seal(DiskRef ref) {
  EBB_CO_TRY(disk, disk_of(ref.disk, ref.pool));
  co_return co_await disk->seal(ref.epoch);
}

Result<DiskStatus> DiskDaemon::hint(DiskRef ref) {
  EBB_TRY(disk, disk_of(ref.disk, ref.pool));
  return disk->hint(ref.epoch);
}

Task<Result<DiskStatus>> DiskDaemon::close(DiskRef ref) {
  EBB_CO_TRY(disk, disk_of(ref.disk, ref.pool));
  // Whoever had it before has nothing to close any more; 0: readers have no epoch.
  const bool is_somebody_elses = ref.epoch != 0 && disk->status().epoch > ref.epoch;
  if (is_somebody_elses) co_return disk->status();
  co_return co_await disk->close();
}

Task<Result<SnapshotMade>> DiskDaemon::snapshot(MakeSnapshot request) {
  EBB_CO_TRY(disk, disk_of(request.disk, request.pool));
  co_return co_await disk->snapshot(std::move(request));
}

Task<Result<DiskStatus>> DiskDaemon::resize(ResizeDisk request) {
  EBB_CO_TRY(disk, disk_of(request.disk, request.pool));
  co_return co_await disk->resize(std::move(request));
}

Task<Result<DiskStatus>> DiskDaemon::rescue(RescueLog request) {
  EBB_CO_TRY(from, disk_of(request.disk, request.pool));
  EBB_CO_TRY(into, disk_of(request.into, request.pool));
  co_return co_await rescuer_.rescue(from, into, std::move(request));
}

// Disks stay in the table once known: a verb may be under way in any of them.
Task<void> DiskDaemon::watch_heads() {
  for (;;) {
    std::vector<DiskId> ids;
    ids.reserve(disks_.size());
    for (const auto& [id, disk] : disks_) ids.push_back(id);
    Scope round(loop_);
    for (const auto& id : ids) round.spawn(disks_.at(id)->watch());
    co_await round.join();
    co_await sleep_for(loop_, options_.watch_every);
  }
}

DaemonStatus DiskDaemon::status() const {
  DaemonStatus out;
  out.run = run_;
  for (const auto& [id, disk] : disks_) {
    if (disk->is_known()) out.disks.push_back(disk->status());
    if (disk->has_unsent_log()) out.unsent_logs.push_back(id);
    if (disk->has_unread_log()) out.unread_logs.push_back(id);
    std::ranges::move(disk->orphan_logs(), std::back_inserter(out.orphan_logs));
  }
  for (auto* logs : {&out.unsent_logs, &out.unread_logs})
    std::ranges::copy(out_of_reach_, std::back_inserter(*logs));
  return out;
}

std::shared_ptr<BlockDevice> DiskDaemon::device(const DiskId& disk) const {
  auto it = disks_.find(disk);
  return it == disks_.end() ? nullptr : it->second->device();
}

// ---- HTTP

namespace {

int http_status(Code code) {
  switch (code) {
    case Code::not_found:
      return 404;
    case Code::conflict:
    case Code::fenced:
      return 409;
    case Code::busy:
    case Code::unavailable:
      return 503;
    case Code::invalid:
      return 400;
    case Code::corrupt:
    case Code::internal:
      return 500;
  }
  return 500;
}

HttpResponse json_reply(int status, std::string body) {
  return {status, {{"content-type", "application/json"}}, std::move(body), {}};
}

HttpResponse error_reply(const Error& error) {
  ErrorBody body{std::string(to_string(error.code)), error.message, {}};
  if (!error.field.empty()) body.field = error.field;
  return json_reply(http_status(error.code), json::write_text(body));
}

}  // namespace

HttpHandler DiskDaemon::handler() {
  return [this](HttpRequest request) { return answer(std::move(request)); };
}

Task<HttpResponse> DiskDaemon::answer(HttpRequest request) {
  if (request.target == "/status") {
    if (request.method != "GET")
      co_return json_reply(405, json::write_text(ErrorBody{"invalid", "use GET", {}}));
    co_return json_reply(200, json::write_text(status()));
  }
  if (request.target == "/metrics" && request.method == "GET")
    co_return HttpResponse{
        200, {{"content-type", "text/plain; version=0.0.4"}}, metrics_text(status(), options_.memory), {}};
  constexpr std::string_view verbs[] = {"/open",  "/standby",  "/hint",   "/seal",
                                        "/close", "/snapshot", "/resize", "/rescue"};
  if (std::ranges::find(verbs, request.target) == std::end(verbs)) {
    auto there = fmt::format("there are {}, /status and /metrics", fmt::join(verbs, ", "));
    co_return json_reply(404, json::write_text(ErrorBody{"not_found", there, {}}));
  }
  if (request.method != "POST")
    co_return json_reply(405, json::write_text(ErrorBody{"invalid", "use POST", {}}));
  if (request.target == "/snapshot") {
    auto wish = json::read_text<MakeSnapshot>(request.body);
    if (!wish) co_return error_reply(wish.error());
    auto made = co_await snapshot(std::move(*wish));
    if (!made) co_return error_reply(made.error());
    co_return json_reply(200, json::write_text(*made));
  }
  auto done = co_await carry_out(request.target, std::move(request.body));
  if (!done) co_return error_reply(done.error());
  co_return json_reply(200, json::write_text(*done));
}

Task<Result<DiskStatus>> DiskDaemon::carry_out(std::string verb, std::string body) {
  if (verb == "/open") {
    EBB_CO_TRY(request, json::read_text<OpenDisk>(body));
    co_return co_await open(std::move(request));
  }
  if (verb == "/resize") {
    EBB_CO_TRY(request, json::read_text<ResizeDisk>(body));
    co_return co_await resize(std::move(request));
  }
  if (verb == "/rescue") {
    EBB_CO_TRY(request, json::read_text<RescueLog>(body));
    co_return co_await rescue(std::move(request));
  }
  EBB_CO_TRY(ref, json::read_text<DiskRef>(body));
  if (verb == "/standby") co_return co_await standby(std::move(ref));
  if (verb == "/hint") co_return hint(std::move(ref));
  if (verb == "/seal") co_return co_await seal(std::move(ref));
  co_return co_await close(std::move(ref));
}

}  // namespace ebb::disk
