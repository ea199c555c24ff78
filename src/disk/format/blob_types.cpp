#include "disk/format/blob_types.h"

#include "disk/format/limits.h"
#include "disk/format/wire.h"

namespace ebb::disk {
namespace {
constexpr auto blob_magic = magic_of("EBBBLOB1");
}

Bytes encode_blob_chunk(const std::string& id, std::uint64_t chunk, ByteView content) {
  Bytes out = begin_object(blob_magic);
  append_text(out, id);
  append_le(out, chunk);
  append(out, content);
  finish_object(out);
  return out;
}

Result<Bytes> decode_blob_chunk(ByteView object, const std::string& id, std::uint64_t chunk) {
  auto what = fmt::format("chunk {} of blob {}", chunk, id);
  EBB_TRY(body, open_object(object, blob_magic, what));
  WireReader in(body);
  auto said_id = in.text();
  auto said_chunk = in.number<std::uint64_t>();
  if (!in.fits() || said_id != id || said_chunk != chunk || in.left() > blob_chunk_bytes) {
    return fail(Code::corrupt, "{} is another's", what);
  }
  auto content = in.bytes(in.left());
  return Bytes(content.begin(), content.end());
}

}  // namespace ebb::disk
