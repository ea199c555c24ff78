#include "pools.h"

#include <cstdio>

#include "disk/pool_probe.h"
#include "env/scope.h"
#include "platform/s3/pool_store.h"

namespace ebb {
namespace {

constexpr Duration patience = 10s;  // a daemon that restarts during an outage has guests that wait for it

Task<Result<std::unique_ptr<ReclaimableStore>>> open_pool(AsioLoop& loop, std::string url,
                                                          disk::ProbeEffort effort) {
  EBB_CO_TRY(store, co_await open_pool_store(loop, url));
  auto probed = co_await with_timeout(loop, disk::require_good_pool(loop, *store, effort), patience);
  if (probed && *probed) co_return std::move(store);
  auto why = probed
                 ? probed->error()
                 : Error{Code::unavailable, fmt::format("no answer within {} s", to_ms(patience) / 1000), {}};
  if (why.code != Code::unavailable) co_return fail(std::move(why));
  std::fprintf(stderr, "warning: pool %s cannot be probed now, and is used as it is: %s\n", url.c_str(),
               why.message.c_str());
  co_return std::move(store);
}

}  // namespace

Task<Result<std::unique_ptr<ReclaimableStore>>> open_probed_pool(AsioLoop& loop, std::string url) {
  return open_pool(loop, std::move(url), {});
}

Task<Result<std::unique_ptr<ReclaimableStore>>> open_known_pool(AsioLoop& loop, std::string url) {
  return open_pool(loop, std::move(url), {2, 2});
}

}  // namespace ebb
