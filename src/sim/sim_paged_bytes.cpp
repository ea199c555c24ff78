#include "sim/sim_paged_bytes.h"

namespace ebb::sim {

Bytes PagedBytes::read(std::uint64_t offset, std::size_t length) const {
  if (offset >= size_) return {};
  length = static_cast<std::size_t>(std::min<std::uint64_t>(length, size_ - offset));
  Bytes out(length);
  if (length == 0) return out;
  auto last = (offset + length - 1) / page_bytes;
  for (auto it = pages_.lower_bound(offset / page_bytes); it != pages_.end() && it->first <= last; ++it) {
    auto page_start = it->first * page_bytes;
    auto from = std::max(offset, page_start), to = std::min(offset + length, page_start + page_bytes);
    std::memcpy(out.data() + (from - offset), it->second->data() + (from - page_start), to - from);
  }
  return out;
}

void PagedBytes::write(std::uint64_t offset, ByteView data) {
  size_ = std::max(size_, offset + data.size());
  while (!data.empty()) {
    auto at = static_cast<std::size_t>(offset % page_bytes);
    auto part = std::min(data.size(), page_bytes - at);
    write_in_page(offset / page_bytes, at, data.first(part));
    offset += part;
    data = data.subspan(part);
  }
}

void PagedBytes::write_in_page(std::uint64_t number, std::size_t at, ByteView data) {
  bool zeroes = is_all_zero(data);
  if (zeroes && data.size() == page_bytes) {
    pages_.erase(number);
    return;
  }
  if (zeroes && !pages_.contains(number)) return;
  auto& page = pages_[number];
  if (!page) page = std::make_shared<Page>();  // all zeroes
  if (page.use_count() > 1) page = std::make_shared<Page>(*page);
  std::memcpy(page->data() + at, data.data(), data.size());
}

void PagedBytes::resize(std::uint64_t bytes) {
  if (bytes < size_) {
    pages_.erase(pages_.lower_bound((bytes + page_bytes - 1) / page_bytes), pages_.end());
    auto at = static_cast<std::size_t>(bytes % page_bytes);
    if (at != 0) write_in_page(bytes / page_bytes, at, Bytes(page_bytes - at));
  }
  size_ = bytes;
}

}  // namespace ebb::sim
