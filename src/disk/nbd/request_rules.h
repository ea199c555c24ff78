// What a request may ask, before anything is done: pure, so that every rule of the protocol can be read here.
#pragma once
#include <string>
#include <vector>

#include "disk/block_device.h"
#include "disk/nbd/nbd_protocol.h"

namespace ebb::disk::nbd {

struct Request {
  std::uint16_t flags = 0, command = 0;
  std::uint64_t cookie = 0, offset = 0;
  std::uint32_t length = 0;
  Bytes data;  // of a write
  bool has(CommandFlag flag) const { return flags & flag; }
};

Request parse_request(ByteView header);

// Why a request is answered with an error; number 0 is none.
struct Refusal {
  std::uint32_t number = nbd_ok;
  std::string message;
};

// What was agreed with the client, as far as requests depend on it.
struct Terms {
  std::uint64_t size_bytes = 0;  // that the client was told
  bool is_structured = false;    // replies
  bool has_allocation = false;   // base:allocation was selected
};

Refusal refusal_of(const Error& error);
Refusal check_request(const Request& request, const Terms& terms, const BlockDevice& device);
// Whether the request or its reply carries as many bytes as it names.
bool takes_memory(const Request& request);

// A part of a read, answered by one chunk.
struct ReadPiece {
  std::uint64_t offset = 0;
  std::uint32_t length = 0;
  bool is_hole = false;
  bool operator==(const ReadPiece&) const = default;
};
// Cuts a read where it is worth a chunk of its own: large holes are not read, large data is read in parts.
std::vector<ReadPiece> plan_read(const std::vector<Extent>& extents);

inline constexpr std::uint64_t hole_bytes_min = 64 * KiB, piece_bytes_max = 4 * MiB;

// At most text_bytes_max, and no half characters at the end.
std::string clipped(std::string text);

}  // namespace ebb::disk::nbd
