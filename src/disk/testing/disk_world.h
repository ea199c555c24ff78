// A pool and a few workers with their disk daemons, in virtual time.
#pragma once
#include <gtest/gtest.h>

#include "disk/daemon.h"
#include "disk/offline/offline.h"
#include "disk/pool_admin.h"
#include "disk/testing/history.h"
#include "disk/testing/round_counter.h"
#include "sim/run_in.h"
#include "sim/sim_files.h"
#include "sim/sim_store.h"

namespace ebb::disk::testing {

inline const DiskId disk_id("d1");
inline const PoolId pool_id("main");
inline constexpr std::uint64_t disk_blocks = 96;

inline DiskTuning small_tuning() {
  DiskTuning tuning;
  tuning.segment_bytes = 48 * KiB;
  tuning.window = 4;
  tuning.log_file_bytes = 40 * KiB;
  tuning.pending_bytes_max = 256 * KiB;
  tuning.age_cut = 200ms;
  tuning.checkpoint_segments = 5;
  tuning.detach_checkpoint_segments = 2;
  return tuning;
}

struct SimWorker {
  std::string name;
  std::shared_ptr<sim::SimDrive> drive = std::make_shared<sim::SimDrive>();
  sim::SimProcess* process = nullptr;
  DiskDaemon* daemon = nullptr;
};

class DiskWorld {
 public:
  explicit DiskWorld(std::uint64_t seed = 1, sim::SimStoreOptions store_options = quick_store())
      : world({.seed = seed}), store(world, store_options) {
    world.loop().listen([this](std::string_view line) {
      trace.push_back(fmt::format("{} {}", to_ms(world.loop().now().time_since_epoch()), line));
    });
  }
  static sim::SimStoreOptions quick_store() {
    sim::SimStoreOptions options;
    options.put = 8ms, options.get = 3ms, options.time_out = 300ms, options.late_max = 2s;
    return options;
  }

  Status create_disk(DiskClass c = DiskClass::remote, DiskId id = disk_id,
                     std::uint64_t blocks = disk_blocks) {
    return admin<Status>([=](PoolAdmin& a) { return a.create_empty_disk(id, blocks * block_bytes, c); });
  }
  // Runs one administrative task in a process of its own.
  template <class T>
  T admin(std::function<Task<T>(PoolAdmin&)> task) {
    auto& process = world.start_process("control", "admin");
    auto& client = process.make<sim::SimStoreClient>(process, store);
    auto& pool_admin = process.make<PoolAdmin>(process.loop(), client);
    auto result = sim::run_in(process, task(pool_admin));
    process.kill();
    EXPECT_TRUE(result) << "did not end";
    return result ? std::move(*result) : T(fail(Code::internal, "did not end"));
  }
  // With the store itself, and with the control plane's right to remove, in a process of its own.
  template <class T>
  Result<T> apart(std::function<Task<Result<T>>(StoreAccess, ObjectRemover*)> task) {
    auto& process = world.start_process("control", "apart");
    auto& client = process.make<sim::SimStoreClient>(process, store);
    auto& trouble = process.make<Trouble>(process.loop());
    auto done = sim::run_in(process, task({&process.loop(), &client, &trouble}, &client));
    process.kill();
    return done ? std::move(*done) : fail(Code::internal, "did not end");
  }

  // A fresh process on the worker's drive; the daemon's own start runs in it.
  Status boot(SimWorker& worker) {
    begin_boot(worker);
    auto started = sim::run_in(*worker.process, worker.daemon->start());
    return started ? *started : Status(fail(Code::internal, "did not end"));
  }
  void begin_boot(SimWorker& worker) {
    if (worker.process) worker.process->kill();
    worker.process = &world.start_process(worker.name, "ebb-diskd");
    auto& files = worker.process->make<sim::SimFiles>(*worker.process, worker.drive);
    auto& client = worker.process->make<sim::SimStoreClient>(*worker.process, store);
    DaemonOptions options;
    options.state_dir = "/state", options.worker = worker.name, options.pools[pool_id] = &client;
    if (rounds)
      options.pools[pool_id] = &worker.process->make<CountedStore>(worker.process->loop(), client, *rounds);
    if (wrap_store) options.pools[pool_id] = wrap_store(*worker.process, client);
    options.settle = settle, options.tuning = tuning, options.room = room;
    options.cache_disk_bytes = cache_disk_bytes;
    if (cache_disk_bytes > 0) options.memory = {512 * KiB, 64 * MiB};  // so that the file is used
    worker.daemon = &worker.process->make<DiskDaemon>(worker.process->loop(), files, std::move(options),
                                                      Publish{}, world.logger(worker.name));
  }
  Result<DiskStatus> call(SimWorker& worker, Task<Result<DiskStatus>> verb) {
    auto result = sim::run_in(*worker.process, std::move(verb));
    return result ? std::move(*result) : fail(Code::internal, "did not end");
  }
  OpenDisk open_request(Epoch epoch, bool take_over = false, DiskId id = disk_id) const {
    return {id, pool_id, epoch, disk_class, false, take_over};
  }
  // Opens and waits until the disk is served, or refused.
  Result<DiskStatus> open(SimWorker& worker, Epoch epoch, bool take_over = false, DiskId id = disk_id) {
    auto status = call(worker, worker.daemon->open(open_request(epoch, take_over, id)));
    return status ? wait_open(worker, id) : status;
  }
  Result<DiskStatus> wait_open(SimWorker& worker, DiskId id = disk_id) {
    (void)world.loop().run_until(
        [&] {
          return !worker.process->is_alive() ||
                 state_of(worker, id).value_or(DiskSeen::opening) != DiskSeen::opening;
        },
        10min);
    for (auto& s : worker.daemon->status().disks) {
      if (s.disk == id)
        return s.state == DiskSeen::open || s.state == DiskSeen::sealed
                   ? Result<DiskStatus>(s)
                   : fail(Code::fenced, "{}: {}", json::name_of(s.state), s.error + s.waiting_for);
    }
    return fail(Code::not_found, "no such disk");
  }
  static std::optional<DiskSeen> state_of(const SimWorker& worker, DiskId id = disk_id) {
    for (auto& s : worker.daemon->status().disks) {
      if (s.disk == id) return s.state;
    }
    return std::nullopt;
  }
  Result<DiskStatus> seal(SimWorker& worker, Epoch epoch, DiskId id = disk_id) {
    auto sealed = call(worker, worker.daemon->seal({id, pool_id, epoch}));
    if (!sealed) return sealed;
    (void)world.loop().run_until([&] { return state_of(worker, id) != DiskSeen::sealing; }, 10min);
    return call(worker, worker.daemon->seal({id, pool_id, epoch}));
  }
  Result<Content> read_all(SimWorker& worker, DiskId id = disk_id) {
    auto device = worker.daemon->device(id);
    if (!device) return fail(Code::not_found, "not served");
    auto read = sim::run_in(*worker.process, read_all_stamps(device));
    return read ? std::move(*read) : fail(Code::unavailable, "did not end");
  }
  // What the store alone says.
  Result<Content> read_offline(DiskId id = disk_id) {
    auto& process = world.start_process("reader", "ebb-disk");
    auto& client = process.make<sim::SimStoreClient>(process, store);
    auto& trouble = process.make<Trouble>(process.loop());
    StoreAccess access{&process.loop(), &client, &trouble};
    auto content = sim::run_in(process, offline_stamps(access, id));
    process.kill();
    return content ? std::move(*content) : fail(Code::unavailable, "did not end");
  }
  static Task<Result<Content>> offline_stamps(StoreAccess access, DiskId id) {
    EBB_CO_TRY(view, co_await open_offline(access, id));
    EBB_CO_TRY(bytes, co_await view.device->read(0, view.device->size_bytes()));
    co_return read_stamps(bytes);
  }

  // Small requests, for tests that tell a story.
  Status write(SimWorker& worker, std::uint64_t block, Stamp stamp, DiskId id = disk_id) {
    return io(
        worker, [=](BlockDevice& d) { return d.write(block * block_bytes, stamped(stamp, block)); }, id);
  }
  Status flush(SimWorker& worker, DiskId id = disk_id) {
    return io(worker, [](BlockDevice& d) { return d.flush(); }, id);
  }
  // unavailable: not answered within a minute.
  Status io(SimWorker& worker, std::function<Task<Status>(BlockDevice&)> request, DiskId id = disk_id,
            Duration limit = 1min) {
    auto device = worker.daemon->device(id);
    if (!device) return fail(Code::not_found, "not served");
    auto done = sim::run_in(*worker.process, request(*device), limit);
    return done ? *done : Status(fail(Code::unavailable, "not answered"));
  }
  void run_for(Duration duration) { ASSERT_TRUE(world.loop().run_for(duration)); }
  std::string last_lines(std::size_t count = 60) const {
    std::string out;
    for (auto i = trace.size() - std::min(trace.size(), count); i < trace.size(); ++i) out += trace[i] + "\n";
    return out;
  }

  std::vector<std::string> trace;
  sim::SimWorld world;
  sim::SimStore store;
  // Of daemons booted from now on:
  Rounds* rounds = nullptr;
  std::function<ObjectStore*(sim::SimProcess&, ObjectStore&)> wrap_store;
  std::uint64_t cache_disk_bytes = 0;
  std::optional<SharedRoom::Limits> room;
  DiskTuning tuning = small_tuning();
  DiskClass disk_class = DiskClass::remote;
  Duration settle = 1s;
};

}  // namespace ebb::disk::testing
