// What a bucket's own rules (expiry, replication) mean for the objects of a pool in it. Pure.
#pragma once
#include <string>
#include <vector>

#include "env/object_store.h"
#include "platform/s3/curl_transport.h"

namespace ebb {

// Where the objects of a pool lie. `prefix` has no '/' at its ends; empty: the whole bucket.
struct PoolPlace {
  std::string bucket, prefix;
};

// Of the answer to GET ?lifecycle. A rule that removes only what probes leave is no trouble.
StoreFinding expiry_of(const CurlReply& reply, const PoolPlace& pool);

// Of the answer to GET ?replication: the buckets that objects of the pool are copied to. Error: what is not
// known.
Result<std::vector<std::string>> replication_targets(const CurlReply& reply, const PoolPlace& pool);

}  // namespace ebb
