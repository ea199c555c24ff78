// ebb-diskd: the disk daemon of one worker. Reads its configuration, opens pools, serves disks over NBD.
#include <malloc.h>
#include <unistd.h>

#include "base/text.h"
#include "config/toml_table.h"
#include "disk/daemon.h"
#include "disk/nbd/align_layer.h"
#include "disk/nbd/nbd_server.h"
#include "platform/asio_offload.h"
#include "platform/daemon.h"
#include "platform/real_env.h"
#include "pools.h"

namespace ebb {
namespace {

constexpr const char* usage = R"(usage: ebb-diskd --config FILE

The disk daemon of one worker. FILE is TOML:
  worker    = "worker-1"                     the owner's name in the pool
  state_dir = "/var/lib/ebb/diskd"           logs of open disks: must survive a restart
  run_dir   = "/run/ebb/diskd"               sockets of served disks
  listen    = "unix:/run/ebb/diskd.sock"     where the agent asks
  vm_user   = "nobody"                       who besides us may use a served disk, when we are root
  log_level = "info"                         debug, info, warning, error
  memory    = "320MiB"                       for everything: the cache, maps, and writes on their way
  cache_memory = "64MiB"                     of it, for data of all disks: a fifth, unless given
  map_memory   = "64MiB"                     of it, for their maps: a fifth, unless given
  cache_disk   = "0"                         a file below state_dir for more of the cache, "16GiB"; 0: none
  settle    = "15s"                          between a take-over without a confirmed stop and serving
  [pools.main]
  url = "dir:/var/lib/ebb/pool"              or s3://BUCKET/PREFIX?endpoint=http://HOST:PORT
)";

struct Config {
  std::string worker, state_dir, run_dir, listen, vm_user;
  LogLevel log_level = LogLevel::info;
  Duration settle{};
  disk::MemoryShares memory;
  std::uint64_t cache_disk = 0;
  PoolConfigs pools;
};

Result<disk::MemoryShares> read_memory(TomlTable& file) {
  EBB_TRY(all, file.size("memory", 320 * MiB));
  if (all < disk::memory_bytes_min)
    return file.wrong("memory", fmt::format("is at least {}", format_size(disk::memory_bytes_min)));
  auto shares = disk::shares_of(all);
  EBB_TRY(cache, file.size("cache_memory", shares.cache));
  EBB_TRY(maps, file.size("map_memory", shares.maps));
  shares.cache = cache, shares.maps = maps;
  return shares;
}

Result<Config> read_config(const std::string& path) {
  EBB_TRY(file, TomlTable::load(path));
  EBB_TRY(worker, read_worker(file));
  EBB_TRY(state_dir, file.string("state_dir"));
  EBB_TRY(run_dir, file.string("run_dir"));
  EBB_TRY(listen, file.string("listen"));
  if (!listen.starts_with("unix:"))
    return file.wrong("listen", "must be unix:PATH: whoever connects may open any disk");
  EBB_TRY(vm_user, file.string("vm_user", "nobody"));
  EBB_TRY(level, read_log_level(file));
  EBB_TRY(settle, file.duration("settle", 15s));
  EBB_TRY(memory, read_memory(file));
  EBB_TRY(cache_disk, file.size("cache_disk", 0));
  EBB_TRY(pools, read_pools(file));
  EBB_CHECKED(file.finish());
  return Config{worker.str(), state_dir, run_dir, listen, vm_user, level, settle, memory, cache_disk, pools};
}

// A served disk on a unix socket of its own.
class NbdExport final : public disk::Published {
 public:
  static Result<std::unique_ptr<disk::Published>> make(RealEnv& env, Network& network,
                                                       const std::string& run_dir, const DiskId& id,
                                                       std::shared_ptr<disk::BlockDevice> device,
                                                       Logger log) {
    auto made = std::make_unique<NbdExport>();
    made->path_ = fmt::format("{}/{}.sock", run_dir, id);
    made->name_ = id.str();
    auto aligned = std::make_shared<disk::AlignLayer>(env.loop, std::move(device));
    disk::NbdExports exports;
    exports.lookup = [aligned,
                      name = made->name_](std::string asked) -> Result<std::shared_ptr<disk::BlockDevice>> {
      if (asked == name || asked.empty()) return aligned;
      return fail(Code::not_found, "this socket serves '{}'", name);
    };
    exports.list = [name = made->name_] { return std::vector{name}; };
    exports.log = log;
    auto listener = network.listen("unix:" + made->path_, [&env, exports](std::unique_ptr<Stream> stream) {
      return disk::serve_nbd(env.loop, std::move(stream), exports);
    });
    if (!listener) return fail(std::move(listener).error());
    made->listener_ = std::move(*listener);
    return made;
  }
  std::string socket() const override { return path_; }
  std::string export_name() const override { return name_; }

 private:
  std::string path_, name_;
  std::unique_ptr<Listener> listener_;
};

// Buffers go from thread to thread, and what one arena has given back no other one uses: with eight of them 64 of 168 MB were in
// use. The threads compress, compute checksums and wait for devices; they seldom allocate.
void share_one_heap() { mallopt(M_ARENA_MAX, 1); }

Status run(std::string path) {
  share_one_heap();
  EBB_TRY(config, read_config(path));
  Logger log(make_stderr_sink(config.log_level), "ebb-diskd");
  raise_open_files_limit();
  RealEnv env;
  if (auto ring = env.files.use_ring(); !ring)
    log.warning("{}: the logs of disks are written by threads, which takes longer", ring.error().message);
  EBB_CHECKED(run_until_done(env.loop, env.files.make_dirs(config.run_dir)));
  EBB_TRY(stores, run_until_done(env.loop, open_pools(env.loop, config.pools,
                                                      probing_opener(env.files, config.state_dir))));

  disk::DaemonOptions options;
  options.memory = {config.memory.cache, config.memory.maps};
  options.room = config.memory.room;
  options.cache_disk_bytes = config.cache_disk;
  AsioOffload threads(env.loop, 2);
  options.threads = &threads;
  options.state_dir = config.state_dir, options.worker = config.worker, options.settle = config.settle;
  for (auto& [id, store] : stores) options.pools[id] = store.get();
  // Machines run under a user of their own, which may use the disks served to it and nothing else of ours.
  SocketOptions sockets;
  if (geteuid() == 0) {
    EBB_TRY(uid, user_id(config.vm_user));
    sockets.unix_uid = uid;
  }
  SocketNetwork for_machines(env.loop, sockets);
  auto publish = [&](DiskId id, std::shared_ptr<disk::BlockDevice> device) {
    return NbdExport::make(env, for_machines, config.run_dir, id, std::move(device), log.named("nbd"));
  };
  disk::DiskDaemon daemon(env.loop, env.files, std::move(options), publish, log);
  EBB_CHECKED(run_until_done(env.loop, daemon.start()));
  EBB_TRY(server, env.http.serve(config.listen, daemon.handler(), 64 * KiB));
  env.loop.on_signal([&](int) {
    log.info("ending; disks stay open in their logs");
    env.loop.stop();
  });
  log.info("listening on {}", server->address());
  env.loop.run();
  return {};
}

}  // namespace
}  // namespace ebb

int main(int argc, char** argv) { return ebb::daemon_main(argc, argv, "ebb-diskd", ebb::usage, ebb::run); }
