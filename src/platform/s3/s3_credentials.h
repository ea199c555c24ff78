// Keys for S3: from the environment, from a file, or from the machine that we run on (IMDSv2).
// Keys never appear in a message or a log.
#pragma once
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "env/task.h"
#include "platform/asio_loop.h"
#include "platform/s3/s3_url.h"

namespace ebb {

class CurlTransport;

struct S3Keys {
  std::string access_key, secret_key;
  std::string session_token;  // empty: none
  std::optional<WallMs> expires;
  bool operator==(const S3Keys&) const = default;
};

class S3Credentials {
 public:
  virtual ~S3Credentials() = default;
  // Keys that are good now. unavailable: they cannot be had at the moment.
  virtual Task<Result<S3Keys>> keys() = 0;
  // The store refused them as expired, unknown or wrong: the next keys() looks again.
  virtual void forget() = 0;
};

using Variables = std::map<std::string, std::string>;
// AWS_* of this process.
Variables aws_variables();

struct S3KeyLimits {
  Duration renew_before = 5min;  // AWS has new keys at least so long before the old ones end
  Duration ask_again = 30s;      // between tries to renew keys that are still good
};

// `transport` outlives the result; the metadata service is asked through it.
std::unique_ptr<S3Credentials> make_s3_credentials(AsioLoop& loop, CurlTransport& transport, const S3Url& url,
                                                   Variables variables, S3KeyLimits limits = {});

// The pure parts.
Result<S3Keys> keys_from_environment(const Variables& variables);
// INI as ~/.aws/credentials; `path` is for messages.
Result<S3Keys> keys_from_ini(std::string_view text, std::string_view path,
                             std::string_view profile = "default");
Result<S3Keys> keys_from_instance(std::string_view json);
// "2026-11-23T16:14:46Z"
std::optional<WallMs> parse_utc_time(std::string_view text);

}  // namespace ebb
