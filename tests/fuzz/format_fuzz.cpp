// The fuzzer's way in. --only=NAME keeps it to one format.
#include <optional>

#include "base/check.h"
#include "formats.h"

using namespace ebb;

namespace {
std::optional<std::uint8_t> only;  // the fuzzer gives us no other place to keep it
}

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t size_max);

extern "C" int LLVMFuzzerInitialize(int* count, char*** words) {
  constexpr std::string_view option = "--only=";
  for (std::string_view word : std::span(*words, static_cast<std::size_t>(*count))) {
    if (!word.starts_with(option)) continue;
    for (std::uint8_t i = 0; i < fuzz::formats().size(); ++i)
      if (fuzz::formats()[i].name == word.substr(option.size())) only = i;
    CHECK(only);
  }
  return 0;
}

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t size_max,
                                               unsigned) {
  size = LLVMFuzzerMutate(data, size, size_max);
  if (only && size > 0) data[0] = static_cast<std::uint8_t>((data[0] & fuzz::repaired) | *only);
  return size;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::check_input(std::as_bytes(std::span(data, size)));
  return 0;
}
