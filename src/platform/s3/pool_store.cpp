#include "platform/s3/pool_store.h"

#include "platform/folder_store.h"
#include "platform/s3/s3_store.h"

namespace ebb {

Task<Result<std::unique_ptr<ReclaimableStore>>> open_pool_store(AsioLoop& loop, std::string url) {
  if (url.starts_with("dir:")) co_return co_await open_object_store(loop, std::move(url));
  if (!url.starts_with("s3:"))
    co_return fail_field(
        "url", "'{}' is no pool URL: use dir:/ABSOLUTE/PATH or s3://BUCKET/PREFIX?endpoint=...", url);
  EBB_CO_TRY(parsed, parse_s3_url(url));
  auto variables = aws_variables();
  using enum S3Url::Credentials;
  bool has_keys = variables.contains("AWS_ACCESS_KEY_ID");
  if (parsed.credentials == environment || (parsed.credentials == automatic && has_keys))
    EBB_CO_CHECKED(keys_from_environment(variables));
  co_return std::make_unique<S3Store>(loop, std::move(parsed), std::move(variables));
}

}  // namespace ebb
