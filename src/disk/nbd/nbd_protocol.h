// Numbers of the NBD protocol (https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md), all
// big-endian on the wire.
#pragma once
#include <bit>
#include <cstdint>

#include "base/bytes.h"

namespace ebb::disk::nbd {

inline constexpr std::uint64_t server_magic = 0x4e42444d41474943;  // "NBDMAGIC"
inline constexpr std::uint64_t option_magic = 0x49484156454f5054;  // "IHAVEOPT"
inline constexpr std::uint64_t option_reply_magic = 0x0003e889045565a9;
inline constexpr std::uint32_t request_magic = 0x25609513;
inline constexpr std::uint32_t simple_reply_magic = 0x67446698;
inline constexpr std::uint32_t chunk_magic = 0x668e33ef;

inline constexpr std::uint16_t handshake_fixed_newstyle = 1,
                               handshake_no_zeroes = 2;  // also the client's flags

enum Option : std::uint32_t {
  opt_export_name = 1,
  opt_abort = 2,
  opt_list = 3,
  opt_info = 6,
  opt_go = 7,
  opt_structured_reply = 8,
  opt_list_meta_context = 9,
  opt_set_meta_context = 10,
};

enum OptionReply : std::uint32_t {
  rep_ack = 1,
  rep_server = 2,
  rep_info = 3,
  rep_meta_context = 4,
  rep_err_unsup = 0x80000001,
  rep_err_invalid = 0x80000003,
  rep_err_unknown = 0x80000006,
  rep_err_shutdown = 0x80000007,
  rep_err_too_big = 0x80000009,
};

inline constexpr std::uint16_t info_export = 0, info_name = 1, info_description = 2, info_block_size = 3;

enum TransmissionFlag : std::uint16_t {
  has_flags = 1,
  flag_read_only = 2,
  send_flush = 4,
  send_fua = 8,
  send_trim = 32,
  send_write_zeroes = 64,
  send_df = 128,
  can_multi_conn = 256,
  send_cache = 1024,
  send_fast_zero = 2048,
};

enum Command : std::uint16_t {
  cmd_read = 0,
  cmd_write = 1,
  cmd_disc = 2,
  cmd_flush = 3,
  cmd_trim = 4,
  cmd_cache = 5,
  cmd_write_zeroes = 6,
  cmd_block_status = 7,
};

enum CommandFlag : std::uint16_t {
  cmd_fua = 1,
  cmd_no_hole = 2,
  cmd_df = 4,
  cmd_req_one = 8,
  cmd_fast_zero = 16
};

enum Chunk : std::uint16_t {
  chunk_none = 0,
  chunk_data = 1,
  chunk_hole = 2,
  chunk_block_status = 5,
  chunk_error = 0x8001,
  chunk_error_offset = 0x8002,
};
inline constexpr std::uint16_t chunk_done = 1;

inline constexpr std::uint32_t state_hole = 1, state_zero = 2;
inline constexpr std::uint32_t allocation_context_id = 1;
inline constexpr std::string_view allocation_context = "base:allocation";

enum ErrorNumber : std::uint32_t {
  nbd_ok = 0,
  nbd_eperm = 1,
  nbd_eio = 5,
  nbd_einval = 22,
  nbd_enospc = 28,
  nbd_eoverflow = 75,
  nbd_enotsup = 95,
  nbd_eshutdown = 108
};

inline constexpr std::uint32_t block_bytes_min = 1, block_bytes_preferred = 4096,
                               payload_bytes_max = 32 * 1024 * 1024;
inline constexpr std::size_t text_bytes_max = 4096;  // of a name, a query, a message
inline constexpr std::size_t request_bytes = 28;

template <class T>
T swapped(T value) {
  return std::byteswap(value);
}
template <class T>
T load_be(ByteView from, std::size_t offset = 0) {
  return swapped(load_le<T>(from, offset));
}
template <class T>
void append_be(Bytes& to, T value) {
  append_le(to, swapped(value));
}

}  // namespace ebb::disk::nbd
