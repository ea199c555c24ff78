#include "disk_fleet.h"

#include "disk/keys.h"
#include "disk/local_logs.h"
#include "disk/offline/rebuild.h"
#include "disk/offline/scrub.h"

namespace ebb::disk_sim {
namespace {

sim::SimStoreOptions quick_store() {
  sim::SimStoreOptions options;
  options.put = 8ms, options.get = 3ms, options.time_out = 300ms, options.late_max = 2s;
  return options;
}

sim::SimLoopOptions loop_options(std::uint64_t seed) {
  return {.seed = seed, .order = sim::SimLoopOptions::Order::shuffled};
}

class SimExport final : public disk::Published {
 public:
  explicit SimExport(std::string name) : name_(std::move(name)) {}
  std::string socket() const override { return "/run/ebb-nbd.sock"; }
  std::string export_name() const override { return name_; }

 private:
  std::string name_;
};

}  // namespace

disk::DiskTuning small_tuning() {
  disk::DiskTuning tuning;
  tuning.record_bytes = 16 * KiB;
  tuning.segment_bytes = 48 * KiB;
  tuning.window = 4;
  tuning.log_file_bytes = 40 * KiB;
  tuning.pending_bytes_max = 256 * KiB;
  tuning.age_cut = 200ms;
  tuning.checkpoint_segments = 5;
  tuning.detach_checkpoint_segments = 2;
  tuning.unsent_bytes_max = 128 * KiB;
  tuning.unsent_age_max = 6s;
  tuning.ownership_age_max = 1s;
  return tuning;
}

disk::DiskTuning tuning_of(const FleetOptions& options) {
  auto tuning = small_tuning();
  if (options.checkpoint_segments > 0) tuning.checkpoint_segments = options.checkpoint_segments;
  return tuning;
}

DiskFleet::DiskFleet(FleetOptions options)
    : world_(loop_options(options.seed)),
      store_(world_, quick_store()),
      tuning_(tuning_of(options)),
      oracle_(world_, store_, tuning_) {
  cache_disk_bytes_ = options.cache_disk_bytes;
  if (options.on_note) world_.loop().listen(std::move(options.on_note));
  store_.on_applied([this](const std::string& key, const Bytes& body) {
    if (key.starts_with("g/")) ++cleaned_;
    if (key.starts_with("s/")) remember_segment(key, body);
    oracle_.on_put(key, body);
  });
  store_.on_removed([this](const std::string& key, const Bytes& body) { oracle_.on_removed(key, body); });
  for (std::size_t i = 0; i < options.workers; ++i) workers_.push_back({fmt::format("worker-{}", i + 1)});
  reader_ = &world_.start_process("reader", "ebb-disk");
  auto& client = reader_->make<sim::SimStoreClient>(*reader_, store_);
  auto& trouble = reader_->make<disk::Trouble>(reader_->loop());
  reader_access_ = {&reader_->loop(), &client, &trouble};
  reading_ = &reader_->make<Scope>(reader_->loop());
}

// It may be reclaimed before somebody asks.
void DiskFleet::remember_segment(const std::string& key, const Bytes& body) {
  auto head_bytes = disk::log_object_head_bytes(body);
  if (!head_bytes || *head_bytes > body.size()) return;
  auto parts = split(key, '/');  // s/SHARD/DISK/EPOCH/SEQ
  auto hex = [](std::string_view text) { return std::stoull(std::string(text), nullptr, 16); };
  DiskEpoch epoch{hex(parts[3].substr(0, 12)), hex(parts[3].substr(13))};
  auto read = disk::decode_log_object(ByteView(body).first(*head_bytes), DiskId(std::string(parts[2])), epoch,
                                      hex(parts[4]));
  if (!read || !std::holds_alternative<disk::ReadSegment>(*read)) return;
  const auto& head = std::get<disk::ReadSegment>(*read).head;
  segments_put_[key] = {head.log_id, head.log_position};
}

Status DiskFleet::create_disk(const DiskId& disk, DiskClass disk_class, std::uint64_t blocks) {
  oracle_.add_disk(disk, disk_class, Content(blocks, 0));
  return admin<void>(
      [=](disk::PoolAdmin& a) { return a.create_empty_disk(disk, blocks * disk::block_bytes, disk_class); });
}

Status DiskFleet::import_image(const DiskId& disk, const Content& content) {
  oracle_.add_disk(disk, DiskClass::remote, content);
  auto& process = world_.start_process("control", "importer");
  auto& client = process.make<sim::SimStoreClient>(process, store_);
  auto& writer = process.make<disk::ImageWriter>(process.loop(), client, tuning_);
  auto steps = [](disk::ImageWriter* out, DiskId id, Content stamps) -> Task<Status> {
    EBB_CO_CHECKED(co_await out->begin(id, stamps.size() * disk::block_bytes));
    for (std::size_t b = 0; b < stamps.size(); ++b)
      EBB_CO_CHECKED(co_await out->write(b * disk::block_bytes, disk::testing::stamped(stamps[b], b)));
    co_return co_await out->finish();
  };
  auto done = sim::run_in(process, steps(&writer, disk, content));
  process.kill();
  return done ? std::move(*done) : Status(fail(Code::internal, "the import did not end"));
}

// ---- workers

void DiskFleet::boot(SimWorker& worker) {
  kill(worker);
  auto& process = world_.start_process(worker.name, "ebb-diskd");
  worker.process = &process;
  auto& files = process.make<sim::SimFiles>(process, worker.drive);
  auto& client = process.make<sim::SimStoreClient>(process, store_);
  disk::DaemonOptions options;
  options.state_dir = "/state", options.worker = worker.name, options.pools[pool_id] = &client;
  options.settle = 1500ms, options.watch_every = 300ms, options.reply_within = 100ms,
  options.tuning = tuning_;
  options.cache_disk_bytes = cache_disk_bytes_, options.hints_after = 700ms;
  // Smaller than the disks, so that the file is used.
  if (cache_disk_bytes_ > 0) options.memory = {256 * KiB, 64 * MiB};
  auto export_disk = [this, &worker](DiskId disk, Device device) {
    return publish(worker, disk, std::move(device));
  };
  worker.daemon = &process.make<disk::DiskDaemon>(process.loop(), files, std::move(options), export_disk,
                                                  world_.logger(worker.name));
  worker.scope = &process.make<Scope>(process.loop());
  worker.scope->spawn([](DiskFleet* fleet, disk::DiskDaemon* daemon, std::string name) -> Task<void> {
    auto started = co_await daemon->start();
    if (!started)
      fleet->world().violation(fmt::format("the daemon of {} does not start: {}", name, started.error()));
  }(this, worker.daemon, worker.name));
}

namespace {
std::uint64_t hits_of(const SimWorker& worker) {
  if (!worker.is_up() || !worker.daemon) return 0;
  auto stats = worker.daemon->memory().pieces->disk_stats();
  return stats ? stats->hits : 0;
}
}  // namespace

std::uint64_t DiskFleet::cache_disk_hits() const {
  auto hits = cache_disk_hits_;
  for (const auto& worker : workers_) hits += hits_of(worker);
  return hits;
}

void DiskFleet::kill(SimWorker& worker) {
  cache_disk_hits_ += hits_of(worker);
  if (worker.process) worker.process->kill();
  worker.daemon = nullptr, worker.scope = nullptr;
}

void DiskFleet::power_cut(SimWorker& worker, sim::PowerCut how) {
  kill(worker);
  world_.loop().note(fmt::format("{} loses power", worker.name));
  worker.drive->power_cut(how, world_.fault_random());
  oracle_.power_was_cut(worker.name);
}

void DiskFleet::replace_drive(SimWorker& worker) {
  kill(worker);
  world_.loop().note(fmt::format("{} is installed anew", worker.name));
  worker.drive = std::make_shared<sim::SimDrive>();
  oracle_.drive_was_replaced(worker.name);
}

void DiskFleet::pause(SimWorker& worker) {
  paused_[worker.process] = worker.daemon->status().disks;
  worker.process->pause();
}

void DiskFleet::resume(SimWorker& worker) {
  auto held = paused_.extract(worker.process);
  worker.process->resume();
  if (held.empty()) return;
  for (const auto& disk : held.mapped()) {
    const auto& head = oracle_.head(disk.disk);
    if (head && head->owner != worker.name && head->epoch.placement > disk.epoch) ++zombies_[disk.state];
  }
}

Result<std::unique_ptr<disk::Published>> DiskFleet::publish(SimWorker& worker, const DiskId& disk,
                                                            Device device) {
  if (disk.value.starts_with(rescue_prefix)) return std::make_unique<SimExport>(disk.value);
  auto status = status_of(worker, disk);
  if (!status) {
    world_.violation(fmt::format("{} serves {}, and its status does not name it", worker.name, disk));
    return std::make_unique<SimExport>(disk.value);
  }
  // Of a disk that has grown the same device is published anew, for its clients to see the size: no other turn begins.
  const disk::DiskEpoch epoch{status->epoch, status->incarnation};
  const std::pair<disk::DiskEpoch, const disk::BlockDevice*> turn{epoch, device.get()};
  auto& last = exported_[{worker.name, disk}];
  if (last == turn) return std::make_unique<SimExport>(disk.value);
  last = turn;
  auto& tenure = oracle_.served(disk, worker.name, epoch);
  world_.loop().note(fmt::format("{} serves {} in epoch {}", worker.name, disk, tenure.epoch.text()));
  if (on_served) on_served(worker, tenure, std::move(device));
  return std::make_unique<SimExport>(disk.value);
}

void DiskFleet::ask_open(SimWorker& worker, OpenDisk request) {
  if (!worker.is_up()) return;
  world_.loop().note(fmt::format("asked: {} opens {} in epoch {}{}", worker.name, request.disk, request.epoch,
                                 request.take_over ? ", taking over" : ""));
  worker.scope->spawn([](disk::DiskDaemon* daemon, OpenDisk wanted) -> Task<void> {
    (void)co_await daemon->open(std::move(wanted));
  }(worker.daemon, std::move(request)));
}

void DiskFleet::ask_seal(SimWorker& worker, const DiskId& disk, Epoch epoch) {
  if (!worker.is_up()) return;
  world_.loop().note(fmt::format("asked: {} seals {} in epoch {}", worker.name, disk, epoch));
  worker.scope->spawn([](disk::DiskDaemon* daemon, DiskRef ref) -> Task<void> {
    (void)co_await daemon->seal(std::move(ref));
  }(worker.daemon, {disk, pool_id, epoch}));
}

void DiskFleet::ask_standby(SimWorker& worker, const DiskId& disk, Epoch epoch) {
  if (!worker.is_up()) return;
  world_.loop().note(fmt::format("asked: {} is standby for {} in epoch {}", worker.name, disk, epoch));
  worker.scope->spawn([](disk::DiskDaemon* daemon, DiskRef ref) -> Task<void> {
    (void)co_await daemon->standby(std::move(ref));
  }(worker.daemon, {disk, pool_id, epoch}));
}

void DiskFleet::ask_close(SimWorker& worker, const DiskId& disk) {
  if (!worker.is_up()) return;
  world_.loop().note(fmt::format("asked: {} closes {}", worker.name, disk));
  worker.scope->spawn([](disk::DiskDaemon* daemon, DiskRef ref) -> Task<void> {
    (void)co_await daemon->close(std::move(ref));
  }(worker.daemon, {disk, pool_id, 0}));
}

std::optional<DiskStatus> DiskFleet::status_of(const SimWorker& worker, const DiskId& disk) {
  if (!worker.is_up()) return std::nullopt;
  for (auto& status : worker.daemon->status().disks) {
    if (status.disk == disk) return status;
  }
  return std::nullopt;
}

// ---- reclaim

void DiskFleet::begin_reclaim(const DiskId& disk) {
  if (!reclaimer_ || !reclaimer_->is_alive()) {
    reclaimer_ = &world_.start_process("control", "reclaim");
    auto& client = reclaimer_->make<sim::SimStoreClient>(*reclaimer_, store_);
    remover_ = &client;
    reclaim_access_ = {&reclaimer_->loop(), &client, &reclaimer_->make<disk::Trouble>(reclaimer_->loop())};
    reclaiming_ = &reclaimer_->make<Scope>(reclaimer_->loop());
  }
  // Two at a time on one disk may happen: an old control plane, and a new one.
  if (reclaiming_->size() < 3) reclaiming_->spawn(reclaim_in_background(disk));
}

Task<void> DiskFleet::reclaim_in_background(DiskId disk) {
  auto done = co_await disk::reclaim(reclaim_access_, remover_, disk);
  if (done) reclaimed_ += done->objects;
  bool may_fail = done || disk::is_transient(done.error().code) || done.error().code == Code::not_found;
  if (!may_fail) world_.violation(fmt::format("reclaim of {}: {}", disk, done.error()));
}

void DiskFleet::kill_reclaim() {
  if (reclaimer_) reclaimer_->kill();
}

void DiskFleet::pause_reclaim(bool is_paused) {
  if (!reclaimer_ || !reclaimer_->is_alive()) return;
  if (is_paused)
    reclaimer_->pause();
  else
    reclaimer_->resume();
}

// ---- the store alone

Task<Result<DiskFleet::Offline>> DiskFleet::read_offline(disk::StoreAccess access, DiskId disk) {
  Offline out;
  for (int tries = 1;; ++tries) {
    EBB_CO_TRY(view, co_await disk::open_offline(access, disk));
    auto bytes = co_await view.device->read(0, view.device->size_bytes());
    if (!bytes && bytes.error().code == Code::not_found && tries < 20)
      continue;  // cleaned and reclaimed meanwhile
    if (!bytes) co_return fail(std::move(bytes).error());
    out.head_epoch = view.head.head.epoch;
    // Nothing is written under a HEAD that is attaching, and the end of what was before may not be decided
    // yet: what was read is its predecessor's.
    if (view.head.head.state == disk::HeadState::attaching) --out.head_epoch.incarnation;
    EBB_CO_TRY(content, disk::testing::read_stamps(*bytes));
    out.content = std::move(content);
    break;
  }
  EBB_CO_TRY(scrubbed, co_await disk::scrub(access, disk));
  if (!scrubbed.bad.empty())
    co_return fail(Code::corrupt, "scrub: block {}: {}", scrubbed.bad[0].block, scrubbed.bad[0].what);
  EBB_CO_TRY(report, co_await disk::check_offline(access, disk));
  out.report = report;
  co_return out;
}

Result<DiskFleet::Offline> DiskFleet::offline(const DiskId& disk) {
  auto read = sim::run_in(*reader_, read_offline(reader_access_, disk));
  if (!read) return fail(Code::internal, "reading offline did not end");
  return std::move(*read);
}

Result<DiskFleet::Offline> DiskFleet::rebuilt(const DiskId& disk) {
  auto made = sim::run_in(*reader_, disk::rebuild(reader_access_, disk, small_tuning()));
  if (!made) return fail(Code::internal, "rebuilding did not end");
  if (!*made) return fail(std::move(*made).error());
  if ((*made)->bad_extents > 0)
    return fail(Code::corrupt, "block {}: {}", (*made)->bad[0].block, (*made)->bad[0].what);
  return offline(disk);
}

namespace {

Task<Result<DiskFleet::Root>> read_named(disk::StoreAccess access, DiskId disk, std::string name) {
  EBB_CO_TRY(at, co_await disk::read_head(access, disk));
  EBB_CO_TRY(page, co_await disk::read_roots(access, at.head));
  const auto* root = page.find(name);
  if (!root) co_return fail(Code::not_found, "there is no root '{}'", name);
  auto head = at.head;
  head.checkpoint = root->checkpoint, head.size_bytes = root->size_bytes;
  head.lineage.clear();
  disk::LogCache cache;
  disk::DiskMemory memory;
  EBB_CO_TRY(loaded, co_await disk::load_map(access, head, &cache, memory.pages));
  disk::ImageDevice device(access, std::move(loaded), head.size_bytes, std::move(memory));
  EBB_CO_TRY(bytes, co_await device.read(0, head.size_bytes));
  EBB_CO_TRY(content, disk::testing::read_stamps(bytes));
  co_return DiskFleet::Root{root->checkpoint.position, std::move(content)};
}

}  // namespace

// At once, by a reader of its own whom no fault meets.
Result<DiskFleet::Root> DiskFleet::read_root(const DiskId& disk, const std::string& name) {
  auto read = sim::run_in(*reader_, read_named(reader_access_, disk, name), 3s);
  if (!read) return fail(Code::internal, "reading a root did not end");
  return std::move(*read);
}

void DiskFleet::begin_offline_check(const DiskId& disk) {
  if (reading_->size() < 4) reading_->spawn(check_in_background(disk));
}

Task<void> DiskFleet::check_in_background(DiskId disk) {
  auto least = oracle_.stored_by_now(disk);
  auto found = co_await read_offline(reader_access_, disk);
  ++offline_checks_;
  if (!found)
    world_.violation(fmt::format("{} cannot be read offline: {}", disk, found.error()));
  else
    oracle_.read_offline(disk, found->head_epoch, found->content, least);
}

// ---- logs that lie on workers

// By log: up to which position its records stand in segments of the disk, fenced off ones not counted.
std::map<std::string, std::uint64_t> DiskFleet::stored_positions(const DiskId& disk) const {
  std::map<std::string, std::uint64_t> positions;
  for (const auto& [epoch, seal] : oracle_.seals(disk)) {
    for (std::uint64_t seq = 1; seq <= seal; ++seq) {
      auto segment = segments_put_.find(disk::segment_key(disk, epoch, seq));
      if (segment == segments_put_.end()) continue;
      auto& position = positions[segment->second.log_id];
      position = std::max(position, segment->second.log_position);
    }
  }
  return positions;
}

// Whether the disk's history still tells what the store has of an epoch. With the root that kept what was there before a restore
// goes all that was known of the epochs until then: a log of theirs is kept, whatever the store has.
static bool is_known_to(const Result<disk::RootsPage>& page, const DiskEpoch& epoch) {
  return page && std::ranges::none_of(page->restores, [&](const auto& restore) {
           const bool is_kept = std::ranges::any_of(
               page->roots, [&](const auto& root) { return root.name == restore.kept_as; });
           return !is_kept && epoch <= restore.epoch;
         });
}

void DiskFleet::check_logs(const DiskId& disk) {
  const auto page = admin<disk::RootsPage>([=](disk::PoolAdmin& pool) { return pool.read_roots(disk); });
  const auto positions = stored_positions(disk);
  const auto with_orphans = oracle_.workers_with_orphans(disk);
  for (auto& worker : workers_) {
    auto unsent = worker.daemon->status().unsent_logs;
    const bool is_reported = std::find(unsent.begin(), unsent.end(), disk) != unsent.end();
    if (with_orphans.contains(worker.name) && !is_reported)
      world_.violation(fmt::format(
          "{} has forgotten writes to {} that its guest was told of and the store lacks", worker.name, disk));
    auto& files = worker.process->make<sim::SimFiles>(*worker.process, worker.drive);
    auto logs = sim::run_in(*worker.process, disk::list_logs(&files, fmt::format("/state/disks/{}", disk)));
    if (!logs || !*logs) {
      world_.violation(fmt::format("the logs of {} on {} cannot be listed", disk, worker.name));
      continue;
    }
    if (is_reported && (*logs)->empty())
      world_.violation(fmt::format("{} reports a log of {}, and there is none", worker.name, disk));
    for (const auto& log : **logs) {
      auto stored = positions.contains(log.chain.log_id) ? positions.at(log.chain.log_id) : 0;
      auto scan = sim::run_in(*worker.process, disk::scan_log(&files, log.folder, log.chain, stored));
      if (!scan || !*scan)
        world_.violation(fmt::format("the log {} of {} on {} is damaged: {}", log.chain.log_id, disk,
                                     worker.name, scan ? scan->error().message : "no answer"));
      else if ((*scan)->records.empty() && is_known_to(page, log.chain.openers.back().epoch))
        world_.violation(fmt::format("{} keeps the log {} of {}, of which the store has everything",
                                     worker.name, log.chain.log_id, disk));
    }
  }
}

bool DiskFleet::rescue(SimWorker& worker, const OrphanLog& log, Random& random) {
  auto page = admin<disk::RootsPage>([=](disk::PoolAdmin& pool) { return pool.read_roots(log.disk); });
  if (!page) return false;
  const auto bytes = oracle_.initial(log.disk).size() * disk::block_bytes;
  const auto disk_class = oracle_.class_of(log.disk);
  for (const auto& root : page->roots) {
    if (!root.name.starts_with("cut-")) continue;
    const DiskId into(fmt::format("{}{}", rescue_prefix, ++rescue_forks_));
    auto forked = admin<bool>([=](disk::PoolAdmin& pool) -> Task<Result<bool>> {
      EBB_CO_CHECKED(co_await pool.create_fork(log.disk, into, bytes, disk_class, root.name));
      co_return true;
    });
    if (!forked) {
      world_.violation(fmt::format("{}@{} cannot be forked: {}", log.disk, root.name, forked.error()));
      return false;
    }
    bool was_power_cut = false;
    if (auto done = rescue_into(worker, log, into, random, was_power_cut); done) {
      auto kept = offline(into);
      if (!kept)
        world_.violation(fmt::format("{} cannot be read: {}", into, kept.error()));
      else
        oracle_.check_rescued(log.disk, worker.name, log.epoch, kept->content);
      return true;
    } else if (done.error().code == Code::not_found && was_power_cut) {
      return false;  // it had not been synced
    } else if (done.error().code != Code::conflict) {
      world_.violation(fmt::format("{} cannot write its log of {} into {}: {}", worker.name, log.disk, into,
                                   done.error()));
      return false;
    }
  }
  return false;
}

Status DiskFleet::rescue_into(SimWorker& worker, const OrphanLog& log, const DiskId& into, Random& random,
                              bool& was_power_cut) {
  const RescueLog wish{log.disk, pool_id, log.log_id, into, 1, oracle_.class_of(log.disk)};
  for (int asked = 0, deaths = 0; asked < 200; ++asked) {
    if (deaths < 3 && random.chance(0.3)) {
      ++deaths;
      worker.scope->spawn([](disk::DiskDaemon* daemon, RescueLog w) -> Task<void> {
        (void)co_await daemon->rescue(std::move(w));
      }(worker.daemon, wish));
      (void)run_for(Duration(static_cast<std::int64_t>(random.below(60'000'000))));
      kill(worker);
      if (random.chance(0.3)) power_cut(worker, sim::PowerCut::lose_some), was_power_cut = true;
      boot(worker);
      (void)run_for(100ms);
    }
    auto done = sim::run_in(*worker.process, worker.daemon->rescue(wish));
    if (done && *done) return {};
    if (done && done->error().code != Code::unavailable) return fail(done->error());
  }
  return fail(Code::internal, "no end");
}

std::uint64_t DiskFleet::state_hash() const {
  auto hash = sim::fnv1a(fmt::format("{}", world_.loop().trace_hash()));
  for (const auto& key : store_.keys("")) hash = sim::fnv1a(key + store_.peek(key)->tag.value, hash);
  return hash;
}

}  // namespace ebb::disk_sim
