#include "control/api/services.h"
#include "env/event_stream.h"

namespace ebb::control {

void EventsService::add_routes(Router& r) {
  r.add("GET", "/v1/events", Access::operator_token, [this](Call c) { return events(std::move(c)); });
}

Task<HttpResponse> EventsService::events(Call call) {
  auto since = call.number("since", 0);
  if (!since) co_return error_reply(since.error());
  const bool follow = call.query.contains("follow") && call.query.at("follow") == "true";
  co_return event_reply(
      [this, from = *since, follow](BodyWriter& out) { return stream(from, follow, &out); });
}

// Server-sent events (WHATWG HTML, section 9.2): the id is the revision, so that a client knows where to go
// on.
Task<void> EventsService::stream(std::uint64_t since, bool follow, BodyWriter* out) {
  constexpr std::size_t page = 500;
  while (true) {
    const auto revision = c_.owner.revision();  // up to here, all there is will be among the entries
    auto entries = co_await c_.owner.journal(since, page);
    if (!entries) co_return;
    std::string text;
    // A page may end inside a revision: then that revision is left for the next page, unless it fills a whole
    // one.
    const bool full = entries->size() == page;
    const auto cut =
        full && entries->front().revision != entries->back().revision ? entries->back().revision : 0;
    for (const auto& entry : *entries) {
      if (entry.revision == cut) break;
      since = entry.revision;
      text +=
          fmt::format("id: {}\nevent: {}\ndata: {}\n\n", entry.revision, entry.kind, json::write_text(entry));
    }
    if (!text.empty() && !co_await out->write(std::move(text))) co_return;
    if (full) continue;
    if (!follow) co_return;
    since = std::max(since, revision);  // a commit need not have an entry
    if (c_.owner.revision() <= since && !co_await c_.owner.committed().wait_for(15s)) {
      if (!co_await out->write(std::string(still_here))) co_return;
    }
  }
}

}  // namespace ebb::control
