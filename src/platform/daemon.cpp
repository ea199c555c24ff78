#include "platform/daemon.h"

#include <csignal>
#include <cstdio>
#include <cstring>

namespace ebb {

int daemon_main(int argc, char** argv, const char* name, const char* usage,
                std::function<Status(std::string)> run) {
  auto is = [&](int at, const char* word) { return at < argc && std::strcmp(argv[at], word) == 0; };
  if (argc == 2 && (is(1, "--help") || is(1, "-h"))) return std::fputs(usage, stdout), 0;
  if (argc != 3 || !is(1, "--config")) return std::fputs(usage, stderr), 2;
  std::signal(SIGPIPE, SIG_IGN);  // a reader that has gone is an error of a write, not our end
  auto ended = run(argv[2]);
  if (ended) return 0;
  std::fprintf(stderr, "%s: %s\n", name, ended.error().message.c_str());
  return ended.error().code == Code::invalid ? 2 : 1;
}

std::optional<std::string> take_option(int& argc, char** argv, const char* name) {
  for (int i = 1; i + 1 < argc; ++i) {
    if (std::strcmp(argv[i], name) != 0) continue;
    std::string value = argv[i + 1];
    std::copy(argv + i + 2, argv + argc, argv + i);
    argc -= 2;
    return value;
  }
  return std::nullopt;
}

Result<WorkerId> read_worker(const TomlTable& file) {
  EBB_TRY(name, file.string("worker"));
  if (!is_valid_name(name)) return file.wrong("worker", "must be 1 to 63 of a-z, 0-9 and '-'");
  return WorkerId(name);
}

Result<PoolConfigs> read_pools(const TomlTable& file) {
  EBB_TRY(tables, file.tables("pools"));
  PoolConfigs pools;
  for (const auto& [name, table] : tables) {
    if (!is_valid_name(name))
      return file.wrong("pools",
                        fmt::format("'{}' is no name for a pool: 1 to 63 of a-z, 0-9 and '-'", name));
    EBB_TRY(url, table.string("url"));
    pools.emplace(PoolId(name), PoolConfig{url, table});
  }
  if (pools.empty())
    return file.wrong("pools", "at least one pool is needed: [pools.main] with url = \"dir:/path\"");
  return pools;
}

Task<Result<PoolStores>> open_pools(AsioLoop& loop, PoolConfigs pools, PoolOpener opener) {
  PoolStores stores;
  for (const auto& [id, pool] : pools) {
    auto store = co_await opener(loop, pool.url);
    if (!store) co_return fail(std::move(store).error().within("pool " + id.str()));
    stores[id] = std::move(*store);
  }
  co_return stores;
}

}  // namespace ebb
