// The content of a simulated file: pages that are shared until written, zeroes for free.
#pragma once
#include <map>
#include <memory>

#include "base/bytes.h"

namespace ebb::sim {

class PagedBytes final {
 public:
  std::uint64_t size() const { return size_; }
  // Shorter at the end.
  Bytes read(std::uint64_t offset, std::size_t length) const;
  // Grows as needed; a gap reads as zeroes.
  void write(std::uint64_t offset, ByteView data);
  void resize(std::uint64_t bytes);
  // Bytes in pages that hold anything but zeroes.
  std::uint64_t allocated() const { return pages_.size() * page_bytes; }

 private:
  static constexpr std::size_t page_bytes = 4096;
  using Page = std::array<std::byte, page_bytes>;
  void write_in_page(std::uint64_t number, std::size_t at, ByteView data);

  std::uint64_t size_ = 0;
  std::map<std::uint64_t, std::shared_ptr<Page>> pages_;
};

}  // namespace ebb::sim
