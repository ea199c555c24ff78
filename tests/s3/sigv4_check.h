// Verifies AWS Signature Version 4 in the Authorization header, as a server does. Written from AWS's
// description and not shared with the store's signer: a mistake in one must show against the other.
#pragma once
#include <vector>

#include "base/time.h"
#include "s3_request.h"

namespace ebb::s3test {

struct KnownKey {
  std::string access_key, secret_key, region;
  bool may_delete = true;
};

// Which of the keys does this request come from the owner of? Its body is not looked at: see check_payload.
Answer<const KnownKey*> check_signature(const Request& request, const std::vector<KnownKey>& keys,
                                        WallMs now);

struct Digests {
  std::string md5, sha256;  // hex
};
// Of a body; `sha256` only if the request's header promises one.
Digests digest_body(ByteView body, const std::string& promised_sha256);

// The hash that the signature covers is that of the body; Content-MD5, if given, too.
Answer<void> check_payload(const Request& request, const Digests& digests);

}  // namespace ebb::s3test
