// Where the witness keeps its records: a file of its own, or a table of SQLite. Every method returns an empty
// string, or what went wrong; after a fault nothing is written any more.
#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "record.h"

namespace ebb::guest {

class RecordStore {
 public:
  virtual ~RecordStore() = default;
  virtual std::string open_and_verify(const std::string& path) = 0;
  // Ends when the record survives a crash of the machine.
  virtual std::string append(const Writer& writer) = 0;

  std::uint64_t count() const { return count_; }
  const Writer& last_writer() const { return last_writer_; }
  bool is_full() const { return full_; }

 protected:
  std::uint64_t count_ = 0;
  Writer last_writer_;
  bool full_ = false;
};

// In a guest that was built with SQLite; null in one that was not.
std::unique_ptr<RecordStore> make_record_table();

}  // namespace ebb::guest
