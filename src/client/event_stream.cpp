#include "client/event_stream.h"

namespace ebb {

bool EventStreamReader::feed(std::string_view piece) {
  while (!too_large_) {
    auto end = piece.find('\n');
    rest_ += piece.substr(0, end);
    if (rest_.size() + data_.size() > event_bytes_max) too_large_ = true;
    if (end == std::string_view::npos || too_large_) break;
    piece.remove_prefix(end + 1);
    take_line(std::exchange(rest_, {}));
  }
  return !too_large_;
}

void EventStreamReader::take_line(std::string_view line) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  if (line.empty()) {
    if (std::exchange(has_data_, false)) on_data_(std::exchange(data_, {}));
    return;
  }
  if (!line.starts_with("data:")) return;  // id, event, retry and comments: the data says all of it
  line.remove_prefix(5);
  if (line.starts_with(' ')) line.remove_prefix(1);
  if (has_data_) data_ += '\n';
  data_ += line;
  has_data_ = true;
}

}  // namespace ebb
