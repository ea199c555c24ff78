// Any pool by its URL: a folder (dir:/PATH) or an S3 bucket (s3://BUCKET/PREFIX?...).
#pragma once
#include <memory>
#include <string>

#include "env/object_store.h"
#include "platform/asio_loop.h"

namespace ebb {

// Sends nothing to an S3 store yet.
Task<Result<std::unique_ptr<ReclaimableStore>>> open_pool_store(AsioLoop& loop, std::string url);

}  // namespace ebb
