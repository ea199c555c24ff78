// One string that describes a pool in an S3 bucket:
//   s3://BUCKET[/PREFIX]?endpoint=http://HOST:PORT&region=us-east-1&style=path|host
//                       &credentials=env|instance|/path/to/file&ca=/path/to/file
// Values are percent-encoded where they hold '&', '%' or '+'.
#pragma once
#include <optional>
#include <string>

#include "base/result.h"

namespace ebb {

struct S3Url {
  enum class Style { path, host };  // where the bucket stands: in the path, or before the host
  enum class Credentials { automatic, environment, instance, file };
  std::string bucket, prefix;          // the prefix has no '/' at its ends; empty: none
  std::string scheme = "https", host;  // host[:port], as it stands in the header Host
  std::string region = "us-east-1";
  Style style = Style::host;
  Credentials credentials = Credentials::automatic;  // the environment if it has keys, else the instance
  std::string credentials_file, ca_file;
  bool operator==(const S3Url&) const = default;

  // The host that requests go to, with the bucket where that stands before it.
  std::string request_host() const { return style == Style::host ? bucket + "." + host : host; }
  // The path of `key`, percent-encoded as it is signed and sent.
  std::string path_of(std::string_view key) const;
};

// Error::field is the part that is wrong.
Result<S3Url> parse_s3_url(std::string_view text);

// As AWS encodes a path: all but unreserved characters and '/', in upper-case hex.
std::string encode_s3_path(std::string_view path);

}  // namespace ebb
