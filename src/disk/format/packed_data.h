// The data of an object in frames of 16 KiB, each compressed (zstd) where that makes it smaller: head, one block with a table of
// the frames, frames. Every block has its checksum in the head, so a frame or a table that is damaged needs no error of its own: what
// cannot be unpacked reads as zeroes, and whoever compares finds each block that is wrong.
#pragma once
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace ebb::disk {

inline constexpr std::size_t frame_bytes = 16 * KiB, frame_table_bytes = 4096;

// By a sample of it: whether a quarter at least is saved.
bool is_worth_packing(ByteView data);
// What follows the head in the object.
Bytes pack(ByteView data);

struct FrameTable {
  std::size_t data_bytes = 0;
  std::vector<std::uint32_t> begins;  // of each frame behind the table, and where the last one ends
  std::size_t count() const { return begins.empty() ? 0 : begins.size() - 1; }
  std::size_t bytes_of(std::size_t frame) const {
    return std::min(frame_bytes, data_bytes - frame * frame_bytes);
  }
  bool operator==(const FrameTable&) const = default;
};
// `block`: the first bytes behind the head. corrupt: it is no table.
Result<FrameTable> decode_frame_table(ByteView block);
// Frames [first, end) of the table, unpacked; `stored`: the bytes where they lie, perhaps cut short.
Bytes unpack(const FrameTable& table, std::size_t first, std::size_t end, ByteView stored);
// All of it, from what follows the head. `data_bytes`: as the head has it.
Bytes unpack_all(ByteView packed, std::size_t data_bytes);

}  // namespace ebb::disk
