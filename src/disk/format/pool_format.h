// The object `format`, which says how the keys of a pool are made.
#pragma once
#include "base/bytes.h"
#include "base/json.h"
#include "base/time.h"

namespace ebb::disk {

inline constexpr std::uint32_t pool_shards = 256;  // of which keys.h makes its names

struct PoolFormat {
  std::uint32_t shards = pool_shards;
  WallMs created_at = 0;
  bool operator==(const PoolFormat&) const = default;
};
BOOST_DESCRIBE_STRUCT(PoolFormat, (), (shards, created_at))

Bytes encode(const PoolFormat& format);
// invalid: made by a newer version, or with another number of shards.
Result<PoolFormat> decode_pool_format(ByteView object);

}  // namespace ebb::disk
