// Chunks of blobs: kernels and initial RAM disks.
#pragma once
#include <string>

#include "base/bytes.h"
#include "base/result.h"

namespace ebb::disk {

Bytes encode_blob_chunk(const std::string& id, std::uint64_t chunk, ByteView content);
Result<Bytes> decode_blob_chunk(ByteView object, const std::string& id, std::uint64_t chunk);

}  // namespace ebb::disk
