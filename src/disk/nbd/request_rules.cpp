#include "disk/nbd/request_rules.h"

namespace ebb::disk::nbd {
namespace {

std::uint16_t allowed_flags(std::uint16_t command, const Terms& terms) {
  // Clients are known to set FUA everywhere.
  switch (command) {
    case cmd_read:
      return terms.is_structured ? cmd_fua | cmd_df : cmd_fua;
    case cmd_write_zeroes:
      return cmd_fua | cmd_no_hole | cmd_fast_zero;
    case cmd_block_status:
      return cmd_fua | cmd_req_one;
    default:
      return cmd_fua;
  }
}

// Clients count on what they were told; devices on what they are now.
Refusal check_range(const Request& request, std::uint64_t size) {
  if (request.length <= size && request.offset <= size - request.length) return {};
  bool needs_room = request.command == cmd_write || request.command == cmd_write_zeroes;
  return {needs_room ? nbd_enospc : nbd_einval, "the range ends beyond the disk"};
}

Refusal check_length(const Request& request, const Terms& terms) {
  if (request.length <= payload_bytes_max) return {};
  switch (request.command) {
    case cmd_write:
      return {nbd_einval, fmt::format("a write of more than {} bytes", payload_bytes_max)};
    case cmd_read:
      return {terms.is_structured ? nbd_eoverflow : nbd_einval,
              fmt::format("a read of more than {} bytes", payload_bytes_max)};
    case cmd_cache:
      return {nbd_eoverflow, fmt::format("more than {} bytes at once", payload_bytes_max)};
    default:
      return {};
  }
}

}  // namespace

Request parse_request(ByteView header) {
  return {load_be<std::uint16_t>(header, 4),  load_be<std::uint16_t>(header, 6),
          load_be<std::uint64_t>(header, 8),  load_be<std::uint64_t>(header, 16),
          load_be<std::uint32_t>(header, 24), {}};
}

Refusal refusal_of(const Error& error) {
  switch (error.code) {
    case Code::invalid:
      return {nbd_einval, error.message};
    // The client is to leave, and finds the disk elsewhere or nowhere.
    case Code::fenced:
      return {nbd_eshutdown, error.message};
    case Code::not_found:
    case Code::conflict:
    case Code::busy:
    case Code::unavailable:
    case Code::corrupt:
    case Code::internal:
      return {nbd_eio, error.message};
  }
  return {nbd_eio, error.message};
}

Refusal check_request(const Request& request, const Terms& terms, const BlockDevice& device) {
  bool writes =
      request.command == cmd_write || request.command == cmd_trim || request.command == cmd_write_zeroes;
  switch (request.command) {
    case cmd_read:
    case cmd_write:
    case cmd_flush:
    case cmd_trim:
    case cmd_cache:
    case cmd_write_zeroes:
      break;
    case cmd_block_status:
      if (!terms.has_allocation) return {nbd_einval, "no metadata context was selected"};
      if (request.length == 0) return {nbd_einval, "block status of nothing"};
      break;
    default:
      return {nbd_einval, fmt::format("unknown command {}", request.command)};
  }
  if (request.flags & ~allowed_flags(request.command, terms))
    return {nbd_einval, fmt::format("flags {:#x} do not fit the command", request.flags)};
  if (writes && device.is_read_only()) return {nbd_eperm, "the export is read-only"};
  if (request.command == cmd_flush) {
    if (request.offset != 0 || request.length != 0) return {nbd_einval, "a flush has no range"};
    return {};
  }
  if (auto refusal = check_length(request, terms); refusal.number != nbd_ok) return refusal;
  if (auto refusal = check_range(request, std::min(terms.size_bytes, device.size_bytes()));
      refusal.number != nbd_ok) {
    return refusal;
  }
  if (request.has(cmd_fast_zero) && !device.zeroes_fast(request.offset, request.length))
    return {nbd_enotsup, "zeroing this range is no faster than writing it"};
  return {};
}

bool takes_memory(const Request& request) {
  bool has_payload =
      request.command == cmd_read || request.command == cmd_write || request.command == cmd_cache;
  return has_payload && request.length <= payload_bytes_max;
}

std::vector<ReadPiece> plan_read(const std::vector<Extent>& extents) {
  std::vector<ReadPiece> out;
  for (const auto& extent : extents) {
    bool is_hole = extent.is_hole && extent.length >= hole_bytes_min;
    for (auto at = extent.offset, end = extent.offset + extent.length; at < end;) {
      // A piece begins where the last one ends, so it can grow; data ends at whole blocks.
      bool grows = !out.empty() && out.back().is_hole == is_hole &&
                   (is_hole || out.back().length < piece_bytes_max - block_bytes);
      if (!grows) out.push_back({at, 0, is_hole});
      auto stop = end;
      if (!is_hole) stop = std::min(end, (out.back().offset + piece_bytes_max) / block_bytes * block_bytes);
      out.back().length += static_cast<std::uint32_t>(stop - at);
      at = stop;
    }
  }
  return out;
}

std::string clipped(std::string text) {
  if (text.size() <= text_bytes_max) return text;
  auto end = text_bytes_max;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  text.resize(end);
  return text;
}

}  // namespace ebb::disk::nbd
