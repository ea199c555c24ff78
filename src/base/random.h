// Seeded random numbers (xoshiro256**, Blackman and Vigna 2018): the same seed gives the same run.
#pragma once
#include <array>
#include <bit>
#include <cstdint>
#include <string>

namespace ebb {

__extension__ using uint128 = unsigned __int128;

class Random {
 public:
  explicit Random(std::uint64_t seed) {
    for (auto& word : state_) {  // splitmix64 spreads the seed
      seed += 0x9e3779b97f4a7c15;
      std::uint64_t z = seed;
      z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
      z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
      word = z ^ (z >> 31);
    }
  }
  std::uint64_t next() {
    std::uint64_t result = std::rotl(state_[1] * 5, 7) * 9, t = state_[1] << 17;
    state_[2] ^= state_[0], state_[3] ^= state_[1], state_[1] ^= state_[2], state_[0] ^= state_[3];
    state_[2] ^= t, state_[3] = std::rotl(state_[3], 45);
    return result;
  }
  // Uniform in [0, bound); bound > 0. The bias of the multiply-shift is below 2^-32 for our small bounds.
  std::uint64_t below(std::uint64_t bound) {
    return static_cast<std::uint64_t>((static_cast<uint128>(next()) * bound) >> 64);
  }
  double unit() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }
  bool chance(double probability) { return unit() < probability; }
  // `length` characters of a-z and 2-7 (RFC 4648 base32 alphabet, lower case): 5 bits each.
  std::string token(std::size_t length) {
    std::string text;
    while (text.size() < length) text += "abcdefghijklmnopqrstuvwxyz234567"[next() >> 59];
    return text;
  }

 private:
  std::array<std::uint64_t, 4> state_{};
};

}  // namespace ebb
