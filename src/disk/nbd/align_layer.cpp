#include "disk/nbd/align_layer.h"

namespace ebb::disk {
namespace {

constexpr std::uint64_t request_max = 32 * MiB;  // of the layers below

std::uint64_t round_down(std::uint64_t offset) { return offset / block_bytes * block_bytes; }
std::uint64_t round_up(std::uint64_t offset) { return round_down(offset + block_bytes - 1); }

}  // namespace

Task<Result<Bytes>> AlignLayer::read_blocks(std::uint64_t offset, std::uint64_t length) {
  if (length <= request_max) co_return co_await inner_->read(offset, length);
  Bytes all;
  all.reserve(length);
  for (auto end = offset + length; offset < end;) {
    auto piece = std::min(request_max, end - offset);
    EBB_CO_TRY(bytes, co_await inner_->read(offset, piece));
    append(all, bytes);
    offset += piece;
  }
  co_return all;
}

Task<Result<Bytes>> AlignLayer::read(std::uint64_t offset, std::size_t length) {
  if (length == 0) co_return Bytes{};
  auto begin = round_down(offset), end = round_up(offset + length);
  EBB_CO_TRY(blocks, co_await read_blocks(begin, end - begin));
  if (blocks.size() == length) co_return blocks;
  blocks.erase(blocks.begin(), blocks.begin() + static_cast<std::ptrdiff_t>(offset - begin));
  blocks.resize(length);
  co_return blocks;
}

Task<Result<Slices>> AlignLayer::gather(std::uint64_t offset, std::size_t length) {
  bool is_whole = offset % block_bytes == 0 && length % block_bytes == 0;
  if (is_whole && length > 0 && length <= request_max) return inner_->gather(offset, length);
  return BlockDevice::gather(offset, length);
}

Task<Status> AlignLayer::write(std::uint64_t offset, Bytes data) {
  if (data.empty()) co_return Status{};
  // Whole blocks take the lock too: else they could land between another's reading and writing of the same
  // block.
  auto guard = co_await lock_.lock(round_down(offset), round_up(offset + data.size()));
  co_return co_await write_locked(offset, std::move(data));
}

Task<Status> AlignLayer::write_locked(std::uint64_t offset, Bytes data) {
  auto begin = round_down(offset), data_end = offset + data.size(), end = round_up(data_end);
  if (begin != offset || end != data_end) {
    Bytes head, tail;
    if (begin != offset) {
      EBB_CO_TRY(block, co_await inner_->read(begin, block_bytes));
      head.assign(block.begin(), block.begin() + static_cast<std::ptrdiff_t>(offset - begin));
    }
    if (end != data_end) {
      EBB_CO_TRY(block, co_await inner_->read(end - block_bytes, block_bytes));
      tail.assign(block.end() - static_cast<std::ptrdiff_t>(end - data_end), block.end());
    }
    data.insert(data.begin(), head.begin(), head.end());
    append(data, tail);
  }
  if (data.size() <= request_max) co_return co_await inner_->write(begin, std::move(data));
  for (std::uint64_t at = 0; at < data.size();) {
    auto piece = ByteView(data).subspan(at, std::min<std::uint64_t>(request_max, data.size() - at));
    EBB_CO_CHECKED(co_await inner_->write(begin + at, Bytes(piece.begin(), piece.end())));
    at += piece.size();
  }
  co_return Status{};
}

Task<Status> AlignLayer::trim(std::uint64_t offset, std::uint64_t length) {
  auto begin = round_up(offset), end = round_down(offset + length);
  if (begin >= end) co_return Status{};
  auto guard = co_await lock_.lock(begin, end);
  while (begin < end) {
    auto piece = std::min(request_max, end - begin);
    EBB_CO_CHECKED(co_await inner_->trim(begin, piece));
    begin += piece;
  }
  co_return Status{};
}

Task<Status> AlignLayer::write_zeroes(std::uint64_t offset, std::uint64_t length, ZeroMode mode) {
  if (length == 0) co_return Status{};
  auto end = offset + length, begin_whole = round_up(offset), end_whole = round_down(end);
  auto guard = co_await lock_.lock(round_down(offset), round_up(end));
  if (begin_whole >= end_whole) co_return co_await write_locked(offset, Bytes(length));
  if (offset < begin_whole) EBB_CO_CHECKED(co_await write_locked(offset, Bytes(begin_whole - offset)));
  if (end_whole < end) EBB_CO_CHECKED(co_await write_locked(end_whole, Bytes(end - end_whole)));
  while (begin_whole < end_whole) {
    auto piece = std::min(request_max, end_whole - begin_whole);
    EBB_CO_CHECKED(co_await inner_->write_zeroes(begin_whole, piece, mode));
    begin_whole += piece;
  }
  co_return Status{};
}

bool AlignLayer::zeroes_fast(std::uint64_t offset, std::uint64_t length) const {
  auto begin = round_up(offset), end = round_down(offset + length);
  return length == 0 || (begin < end && inner_->zeroes_fast(begin, end - begin));
}

Task<Result<std::vector<Extent>>> AlignLayer::extents(std::uint64_t offset, std::uint64_t length) {
  std::vector<Extent> out;
  auto end = offset + length;
  for (auto at = offset; at < end;) {
    auto begin = round_down(at), stop = std::min(begin + request_max, round_up(end));
    EBB_CO_TRY(found, co_await inner_->extents(begin, stop - begin));
    for (const auto& extent : found) {
      auto from = std::max(extent.offset, offset), to = std::min(extent.offset + extent.length, end);
      if (from >= to) continue;
      if (!out.empty() && out.back().is_hole == extent.is_hole)
        out.back().length += to - from;
      else
        out.push_back({from, to - from, extent.is_hole});
    }
    at = stop;
  }
  co_return out;
}

}  // namespace ebb::disk
