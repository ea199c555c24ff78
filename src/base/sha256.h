// SHA-256 (FIPS 180-4) over bytes that come piece by piece.
#pragma once
#include <memory>
#include <string>

#include "base/bytes.h"

namespace ebb {

class Sha256 {
 public:
  Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  ~Sha256();
  void add(ByteView bytes);
  // 64 lower-case hex digits; nothing may be added after.
  std::string hex();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

bool is_sha256_hex(std::string_view text);

}  // namespace ebb
