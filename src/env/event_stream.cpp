#include "env/event_stream.h"

#include "base/text.h"
#include "env/scope.h"

namespace ebb {

std::string event_of(std::string_view data) { return fmt::format("data: {}\n\n", data); }

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

namespace {

using End = std::function<void(Status)>;

Task<void> end_when_silent(Loop& loop, std::shared_ptr<Instant> heard, Duration silence_max, End end) {
  while (loop.now() < *heard + silence_max) co_await sleep_until(loop, *heard + silence_max);
  end(fail(Code::unavailable, "nothing has been heard for {}", format_duration(silence_max)));
}

Task<void> end_with(Task<Status> stream, End end) { end(co_await stream); }

}  // namespace

Task<Status> read_events(Loop& loop, Http& http, std::string address, HttpRequest request,
                         Duration silence_max, EventStreamReader::OnData on_data) {
  OneShot<Status> first(loop);
  End end = first.completer();
  auto heard = std::make_shared<Instant>(loop.now());
  EventStreamReader reader(std::move(on_data));
  auto on_piece = [&loop, &reader, heard, end](std::string_view piece) {
    if (!reader.feed(piece)) end(fail(Code::invalid, "an event is over {} bytes", event_bytes_max));
    *heard = loop.now();  // now: whoever shows it may have been held up
  };
  Scope scope(loop);
  scope.spawn(end_when_silent(loop, heard, silence_max, end));
  scope.spawn(
      end_with(http.request_stream(std::move(address), std::move(request), std::move(on_piece)), end));
  co_return co_await first;
}

}  // namespace ebb
