// What stands in a store or in a worker's state, format by format, made for arbitrary bytes: each is read,
// and what was read is held against its own writer. An input's first byte says which format it is, and
// whether its checksums are put right before: with them wrong, which is how damage comes, almost nothing gets
// past them.
#pragma once
#include <span>
#include <string_view>

#include "base/bytes.h"

namespace ebb::fuzz {

enum class Verdict { refused, accepted };

struct Format {
  std::string_view name;
  Verdict (*check)(ByteView input);  // aborts where a promise does not hold
  void (*repair)(Bytes& input);      // null: there is no checksum in it
};

// Their order is that of the numbers in the seeds: new ones come last.
std::span<const Format> formats();
inline constexpr std::uint8_t repaired = 0x80;  // in the first byte
Verdict check_input(ByteView input);

// log_recovery.cpp, cache_file.cpp, s3_answers.cpp
Verdict check_log(ByteView input);
Verdict check_cache_file(ByteView input);
Verdict check_s3_answer(ByteView input);

// repair.cpp
void repair_object(Bytes& object);
void repair_text(Bytes& object);
void repair_record(Bytes& record);
void repair_log(Bytes& log);
void repair_cache_file(Bytes& file);

// The files of a log, as an input has them: where the log is needed from, then each file's length (4) and
// bytes.
struct LogInput {
  std::uint64_t from = 0;
  std::vector<MutableBytes> files;
};
LogInput split_log(Bytes& input);

// The cache's file, as an input has it: the header, the index, and what lies in the slots, which begin there and not at
// the next 64 KiB.
struct CacheInput {
  std::uint32_t slots = 0;
  MutableBytes header, index, data;
};
// Parts that are missing are added, as zeroes.
CacheInput split_cache_file(Bytes& input);
std::uint32_t cache_slots_of_inputs();

}  // namespace ebb::fuzz
