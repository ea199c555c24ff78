#include "disk/format/pool_format.h"

#include "disk/format/text_object.h"

namespace ebb::disk {
namespace {
constexpr std::string_view word = "ebb-format";
}

Bytes encode(const PoolFormat& format) { return write_text_object(word, format); }

Result<PoolFormat> decode_pool_format(ByteView object) {
  EBB_TRY(format, read_text_object<PoolFormat>(object, word, "the pool's format"));
  if (format.shards != pool_shards)
    return fail(Code::invalid, "the pool has {} shards; this program knows {}", format.shards, pool_shards);
  return format;
}

}  // namespace ebb::disk
