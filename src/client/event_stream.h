// Reads server-sent events (HTML standard, section 9.2.6) from pieces that end anywhere.
#pragma once
#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace ebb {

// A stream whose unfinished event is larger than this is not one of ours.
inline constexpr std::size_t event_bytes_max = 1024 * 1024;

class EventStreamReader final {
 public:
  // Gets the `data` of each event, lines joined by '\n'.
  using OnData = std::function<void(std::string_view)>;
  explicit EventStreamReader(OnData on_data) : on_data_(std::move(on_data)) {}

  // Takes the next piece; false once an event was over event_bytes_max: nothing is read any more.
  bool feed(std::string_view piece);

 private:
  void take_line(std::string_view line);

  OnData on_data_;
  std::string rest_;  // a line that has not ended yet
  std::string data_;
  bool has_data_ = false;
  bool too_large_ = false;
};

}  // namespace ebb
