#include "pools.h"

#include "disk/pool_probe.h"
#include "platform/s3/pool_store.h"

namespace ebb {

Task<Result<std::unique_ptr<ObjectStore>>> open_probed_pool(AsioLoop& loop, std::string url) {
  EBB_CO_TRY(store, co_await open_pool_store(loop, std::move(url)));
  EBB_CO_CHECKED(co_await disk::require_good_pool(loop, *store));
  co_return std::move(store);
}

}  // namespace ebb
