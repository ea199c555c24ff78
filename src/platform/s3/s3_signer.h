// AWS Signature Version 4: what makes a request ours. Pure: time is passed in; held to AWS's published
// vectors.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/time.h"
#include "platform/s3/s3_credentials.h"

namespace ebb {

using HeaderList = std::vector<std::pair<std::string, std::string>>;

struct RequestToSign {
  std::string method = "GET";
  std::string path = "/";  // percent-encoded, as it is sent
  std::string query;       // sorted by name, each with a '=', percent-encoded
  HeaderList headers;      // lower-case names; all of them are signed; host and x-amz-date are among them
  std::string payload_hash;
};

class S3Signer final {
 public:
  explicit S3Signer(std::string region, std::string service = "s3")
      : region_(std::move(region)), service_(std::move(service)) {}
  // The value of the header Authorization.
  std::string authorization(RequestToSign request, const S3Keys& keys, WallMs now);

 private:
  const std::string& key_of(const S3Keys& keys, const std::string& day);

  std::string region_, service_;
  // The derived key of one day: four HMACs that are the same for each request of it.
  std::string day_, secret_, key_;
};

// 20130524T000000Z
std::string amz_date(WallMs now);
// SHA-256 in lower-case hex.
std::string payload_hash(ByteView body);

}  // namespace ebb
