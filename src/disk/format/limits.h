// Bounds of the formats: what a reader refuses, and a writer never makes.
#pragma once
#include <cstddef>
#include <cstdint>

#include "base/bytes.h"

namespace ebb::disk {

inline constexpr std::uint64_t placement_max = (1ull << 48) - 1;
inline constexpr std::uint64_t incarnation_max = (1ull << 32) - 1;
inline constexpr std::uint64_t seq_max = (1ull << 48) - 1;
inline constexpr std::uint64_t disk_bytes_max = 64ull << 40;
inline constexpr std::size_t token_bytes_max = 64;
inline constexpr std::size_t segment_head_bytes_max = 4 * MiB;
inline constexpr std::size_t segment_data_blocks_max = 16 * MiB / 4096;
inline constexpr std::size_t extents_per_segment_max = 32768;
inline constexpr std::uint64_t checkpoint_bytes_max = 64 * MiB, checkpoint_unpacked_bytes_max = 512 * MiB;
inline constexpr std::uint32_t blocks_per_page = 8192;  // 32 MiB of disk
inline constexpr std::size_t page_unpacked_bytes_max = 256 * KiB;
inline constexpr std::size_t pack_bytes_max = 8 * MiB;
inline constexpr std::uint64_t log_position_max = 1ull << 60;
inline constexpr std::size_t record_data_bytes_max = 1 * MiB;  // a longer write is several records
inline constexpr std::size_t blob_chunk_bytes = 8 * MiB;

}  // namespace ebb::disk
