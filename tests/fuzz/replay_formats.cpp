// Runs the checks of all formats without a fuzzer: on each seed, whole and cut off, and on random changes of
// it. A seed that is not called found_* is of a real writer: it must be accepted, now and by every version to
// come.
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/random.h"
#include "formats.h"

using namespace ebb;

namespace {

constexpr std::size_t cuts_max = 600;  // of a seed

Bytes read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return to_bytes(std::string(std::istreambuf_iterator<char>(in), {}));
}

std::uint64_t telling_number(Random& random) {
  static constexpr std::uint64_t tellings[] = {0,           1,           4095,       4096, 0x7fff'ffff,
                                               0x8000'0000, 0xffff'ffff, 1ull << 48, ~0ull};
  return tellings[random.below(std::size(tellings))] + (random.chance(0.3) ? random.below(5) - 2 : 0);
}

void change(Bytes& input, Random& random) {
  auto at = 1 + random.below(input.size() - 1);  // the first byte says what it is
  auto place = input.begin() + static_cast<std::ptrdiff_t>(at);
  auto length = std::min<std::size_t>(1 + random.below(16), input.size() - at);
  switch (random.below(6)) {
    case 0:
      *place ^= std::byte(1u << random.below(8));
      break;
    case 1:
      *place = std::byte(random.below(256));
      break;
    case 2:
      if (input.size() - at >= 4) store_le(input, at, static_cast<std::uint32_t>(telling_number(random)));
      break;
    case 3:
      if (input.size() - at >= 8) store_le(input, at, telling_number(random));
      break;
    case 4:
      input.erase(place, place + static_cast<std::ptrdiff_t>(length));
      break;
    case 5: {
      Bytes copied(place, place + static_cast<std::ptrdiff_t>(length));
      input.insert(input.begin() + static_cast<std::ptrdiff_t>(1 + random.below(input.size() - 1)),
                   copied.begin(), copied.end());
      break;
    }
    default:
      break;
  }
}

void replay_changed(const Bytes& seed, Random& random, int changes) {
  for (int i = 0; i < changes; ++i) {
    auto input = seed;
    if (random.chance(0.8)) input[0] |= std::byte{fuzz::repaired};
    for (auto times = 1 + random.below(4); times > 0 && input.size() > 1; --times) change(input, random);
    fuzz::check_input(input);
  }
}

void replay_cut(const Bytes& seed) {
  auto step = 1 + seed.size() / cuts_max;
  for (std::size_t size = 1; size < seed.size(); size += step) {
    for (auto mode : {std::uint8_t{0}, fuzz::repaired}) {
      Bytes input(seed.begin(), seed.begin() + static_cast<std::ptrdiff_t>(size));
      input[0] |= std::byte{mode};
      fuzz::check_input(input);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return std::fprintf(stderr, "usage: %s SEEDS [CHANGES_OF_EACH [RANDOM_SEED]]\n", argv[0]), 2;
  int changes = argc > 2 ? std::atoi(argv[2]) : 200;
  auto random_seed = argc > 3 ? std::strtoull(argv[3], nullptr, 10) : 1;
  std::printf("%d changes of each seed, random seed %llu\n", changes, random_seed);
  std::fflush(stdout);
  int refused = 0;
  std::vector<bool> has_seed(fuzz::formats().size());
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(argv[1])) paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  Random random(random_seed);
  for (const auto& path : paths) {
    auto seed = read_file(path);
    bool is_accepted = fuzz::check_input(seed) == fuzz::Verdict::accepted;
    bool is_of_a_writer = !path.filename().string().starts_with("found_");
    if (is_of_a_writer && !is_accepted) std::printf("refused: %s\n", path.c_str()), ++refused;
    if (is_of_a_writer) has_seed.at(std::to_integer<std::size_t>(seed.at(0)) & ~fuzz::repaired) = true;
    replay_cut(seed);
    replay_changed(seed, random, changes);
  }
  for (std::size_t i = 0; i < has_seed.size(); ++i)
    if (!has_seed[i]) std::printf("no seed of %s\n", fuzz::formats()[i].name.data()), ++refused;
  std::printf("%zu seeds of %zu formats\n", paths.size(), has_seed.size());
  return refused == 0 ? 0 : 1;
}
