// Server-sent events (HTML standard, section 9.2): how they are written, and read from pieces that end anywhere.
#pragma once
#include <functional>
#include <string>
#include <string_view>

#include "env/http.h"
#include "env/loop.h"

namespace ebb {

// A stream whose unfinished event is larger than this is not one of ours.
inline constexpr std::size_t event_bytes_max = 1024 * 1024;

// `data` is one line.
std::string event_of(std::string_view data);
// A comment now and then tells both ends of a stream that the other one is still there.
inline constexpr std::string_view still_here = ": still here\n\n";

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

// As Http::request_stream, for the data of events. Of a stream of which nothing comes for `silence_max` it says unavailable, of
// one with an event that is too large, invalid. What `on_data` refers to outlives the task.
Task<Status> read_events(Loop& loop, Http& http, std::string address, HttpRequest request,
                         Duration silence_max, EventStreamReader::OnData on_data);

}  // namespace ebb
