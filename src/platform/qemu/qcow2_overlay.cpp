#include "platform/qemu/qcow2_overlay.h"

#include <bit>

namespace ebb::qemu {
namespace {

constexpr std::uint64_t cluster_bits = 16, cluster_bytes = 1 << cluster_bits;
constexpr std::uint64_t header_bytes = 104;

template <class T>
void store_be(Bytes& to, std::size_t offset, T value) {
  store_le<T>(MutableBytes(to), offset,
              static_cast<T>(sizeof(T) == 2   ? __builtin_bswap16(static_cast<std::uint16_t>(value))
                             : sizeof(T) == 4 ? __builtin_bswap32(static_cast<std::uint32_t>(value))
                                              : __builtin_bswap64(value)));
}

}  // namespace

Result<Bytes> make_qcow2_overlay(std::uint64_t disk_bytes) {
  if (disk_bytes == 0 || disk_bytes % 512 != 0 || disk_bytes > 2048 * GiB) {
    return fail(Code::invalid, "a disk of {} bytes cannot be overlaid", disk_bytes);
  }
  // One L1 entry stands for an L2 table of cluster_bytes / 8 clusters: 512 MiB.
  std::uint64_t l1_entries =
      (disk_bytes + cluster_bytes * (cluster_bytes / 8) - 1) / (cluster_bytes * (cluster_bytes / 8));
  static_assert(2048 * GiB / (cluster_bytes * (cluster_bytes / 8)) * 8 <= cluster_bytes,
                "the L1 table fits one cluster");
  // Clusters: header, refcount table, refcount block, L1 table.
  constexpr std::uint64_t clusters = 4;
  Bytes file(clusters * cluster_bytes);
  store_be<std::uint32_t>(file, 0, 0x514649fb);  // "QFI\xfb"
  store_be<std::uint32_t>(file, 4, 3);
  store_be<std::uint32_t>(file, 20, cluster_bits);
  store_be<std::uint64_t>(file, 24, disk_bytes);
  store_be<std::uint32_t>(file, 36, static_cast<std::uint32_t>(l1_entries));
  store_be<std::uint64_t>(file, 40, 3 * cluster_bytes);
  store_be<std::uint64_t>(file, 48, 1 * cluster_bytes);
  store_be<std::uint32_t>(file, 56, 1);  // clusters of the refcount table
  store_be<std::uint32_t>(file, 96, 4);  // refcount order: 16 bits
  store_be<std::uint32_t>(file, 100, header_bytes);
  store_be<std::uint64_t>(file, cluster_bytes, 2 * cluster_bytes);
  for (std::uint64_t i = 0; i < clusters; ++i) store_be<std::uint16_t>(file, 2 * cluster_bytes + 2 * i, 1);
  return file;
}

}  // namespace ebb::qemu
