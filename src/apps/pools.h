// Pools as the daemons take them: a folder or a bucket, refused if it breaks a promise that disks rest on.
#pragma once
#include <memory>
#include <string>

#include "env/object_store.h"
#include "platform/asio_loop.h"

namespace ebb {

// invalid: the URL is wrong, or the store is; the message says what. One that does not answer now is taken,
// with a warning on stderr: it was probed when the pool was set up, and a restart must not wait for the end
// of an outage.
Task<Result<std::unique_ptr<ReclaimableStore>>> open_probed_pool(AsioLoop& loop, std::string url);
// The same, asked but a few times: for a worker's programs, whose restarts guests wait for.
Task<Result<std::unique_ptr<ReclaimableStore>>> open_known_pool(AsioLoop& loop, std::string url);

}  // namespace ebb
