// ebbd: the control plane of one cell. Reads its configuration, opens records and pools, serves the API.
#include <sys/stat.h>

#include <cstdio>

#include "base/text.h"
#include "control/control_plane.h"
#include "platform/asio_offload.h"
#include "platform/real_env.h"
#include "platform/toml_config.h"
#include "store/sqlite_store.h"

extern const char ebb_openapi[];

namespace ebb {
namespace {

constexpr const char* usage = R"(usage: ebbd --config FILE

The control plane of one cell. FILE is TOML:
  state_dir = "/var/lib/ebb/control"   records and tokens
  listen    = "127.0.0.1:7400"         loopback only, until there is TLS
  log_level = "info"                   debug, info, warning, error
  [pools.main]
  url           = "dir:/var/lib/ebb/pool"
  default_class = "remote"             of new disks: remote or local
  [liveness]
  silent = "10s"                       without a report, a worker takes nothing new
  suspect = "60s"                      and then is not waited for as a target

Tokens are made at the first start, in state_dir: operator.token (for ebb) and join.token (for agents).
)";

struct PoolConfig {
  std::string url;
  DiskClass default_class = DiskClass::remote;
};

struct Config {
  std::string state_dir, listen;
  LogLevel log_level = LogLevel::info;
  std::map<std::string, PoolConfig> pools;
  control::LivenessLimits liveness;
};

Result<Config> read_config(const std::string& path) {
  EBB_TRY(file, TomlTable::load(path));
  Config config;
  EBB_TRY(state_dir, file.string("state_dir"));
  EBB_TRY(listen, file.string("listen", "127.0.0.1:7400"));
  EBB_TRY(level, read_log_level(file));
  config.state_dir = state_dir, config.listen = listen, config.log_level = level;
  if (!listen.starts_with("127.") && !listen.starts_with("localhost:") && !listen.starts_with("[::1]:") && !listen.starts_with("unix:")) {
    return file.wrong("listen", "only a loopback address (127.0.0.1:PORT) or unix:PATH is possible: the API has no TLS yet, and tokens would travel in the clear");
  }
  EBB_TRY(pools, file.tables("pools"));
  for (const auto& [name, table] : pools) {
    PoolConfig pool;
    EBB_TRY(url, table.string("url"));
    EBB_TRY(default_class, table.string("default_class", "remote"));
    if (default_class != "remote" && default_class != "local") return table.wrong("default_class", "must be remote or local");
    pool.url = url, pool.default_class = default_class == "local" ? DiskClass::local : DiskClass::remote;
    if (!is_valid_name(name)) return file.wrong("pools", fmt::format("'{}' is no name for a pool: 1 to 63 of a-z, 0-9 and '-'", name));
    config.pools[name] = pool;
  }
  if (config.pools.empty()) return file.wrong("pools", "at least one pool is needed: [pools.main] with url = \"dir:/path\"");
  EBB_TRY(liveness, file.table("liveness"));
  EBB_TRY(silent, liveness.duration("silent", 10s));
  EBB_TRY(suspect, liveness.duration("suspect", 60s));
  if (suspect < silent) return liveness.wrong("suspect", "must not be shorter than silent");
  config.liveness = {silent, suspect};
  EBB_CHECKED(file.finish());
  return config;
}

// The token in `path`; made, readable by its owner alone, if it is not there.
Task<Result<std::string>> token_in(RealEnv& env, std::string path) {
  auto found = co_await env.files.read_all(path);
  if (found) {
    std::string token(as_text(*found));
    while (!token.empty() && (token.back() == '\n' || token.back() == ' ')) token.pop_back();
    if (token.size() < 16) co_return fail(Code::invalid, "{} holds no token of at least 16 characters: remove it, and a new one is made", path);
    co_return token;
  }
  if (found.error().code != Code::not_found) co_return fail(found.error());
  auto token = env.loop.random().token(40);
  const auto old_mask = umask(0077);
  auto written = co_await env.files.write_atomic(path, to_bytes(token + "\n"));
  umask(old_mask);
  EBB_CO_CHECKED(written);
  co_return token;
}

struct Opened {
  std::string operator_token, join_token;
  std::unique_ptr<SqliteStore> records;
  std::map<PoolId, std::unique_ptr<ObjectStore>> stores;
};

Task<Result<Opened>> open_all(RealEnv& env, Offload& threads, Config config) {
  Opened opened;
  EBB_CO_CHECKED(co_await env.files.make_dirs(config.state_dir));
  EBB_CO_TRY(records, SqliteStore::open(env.loop, threads, config.state_dir + "/records.db"));
  opened.records = std::move(records);
  EBB_CO_TRY(operator_token, co_await token_in(env, config.state_dir + "/operator.token"));
  EBB_CO_TRY(join_token, co_await token_in(env, config.state_dir + "/join.token"));
  opened.operator_token = operator_token, opened.join_token = join_token;
  for (const auto& [name, pool] : config.pools) {
    auto store = co_await open_object_store(env.loop, pool.url);
    if (!store) co_return fail(std::move(store).error().within("pool " + name));
    opened.stores[PoolId(name)] = std::move(*store);
  }
  co_return opened;
}

int report_failure(const Error& error) {
  std::fprintf(stderr, "ebbd: %s\n", error.message.c_str());
  return error.code == Code::invalid ? 2 : 1;
}

int run(const std::string& path) {
  auto config = read_config(path);
  if (!config) return report_failure(config.error());
  Logger log(make_stderr_sink(config->log_level), "ebbd");
  raise_open_files_limit();
  RealEnv env;
  AsioOffload threads(env.loop);

  auto opened = run_until_done(env.loop, open_all(env, threads, *config));
  if (!opened) return report_failure(opened.error());
  std::map<PoolId, control::Pool> pools;
  for (auto& [id, store] : opened->stores) pools[id] = {store.get(), config->pools.at(id.value).default_class};
  control::ControlPlane control(env.loop, *opened->records, std::move(pools),
                                {opened->operator_token, opened->join_token, ebb_openapi, config->liveness}, log);

  auto server = env.http.serve(config->listen, [&control](HttpRequest request) { return control.handle(std::move(request)); }, 8 * MiB);
  if (!server) return report_failure(server.error());
  auto started = run_until_done(env.loop, control.start());
  if (!started) return report_failure(started.error());
  log.info("listening on {}", (*server)->address());
  env.loop.on_signal([&](int) {
    log.info("ending");
    env.loop.stop();
  });
  env.loop.run();
  return 0;
}

}  // namespace
}  // namespace ebb

int main(int argc, char** argv) {
  using ebb::usage;
  const std::string_view first = argc > 1 ? argv[1] : "";
  if (argc == 2 && (first == "--help" || first == "-h")) return std::fputs(usage, stdout), 0;
  if (argc != 3 || first != "--config") return std::fputs(usage, stderr), 2;
  return ebb::run(argv[2]);
}
