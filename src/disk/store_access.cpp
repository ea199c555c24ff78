#include "disk/store_access.h"

#include "base/text.h"

namespace ebb::disk {

void Trouble::failed(std::string_view what, const Error& error) {
  if (!since_) since_ = loop_.wall_now();
  text_ = fmt::format("{}: {}", what, error.message);
}

std::string Trouble::text() const {
  return since_ ? fmt::format("{}, since {}", text_, format_time(*since_)) : std::string();
}

Task<void> Backoff::wait() {
  auto jitter = 0.5 + loop_.random().unit();
  auto wait = std::chrono::duration_cast<Duration>(next_ * jitter);
  next_ = std::min<Duration>(next_ * 2, 2s);
  co_await sleep_for(loop_, wait);
}

bool StoreAccess::is_waited_out(Code code) const {
  return is_transient(code) || (code == Code::invalid && on_refusal == OnRefusal::wait);
}

Task<Result<StoredObject>> StoreAccess::get(std::string key) const {
  auto self = *this;
  for (Backoff backoff(*self.loop);;) {
    auto got = co_await self.store->get(key);
    if (got || !self.is_waited_out(got.error().code)) {
      self.trouble->ended();
      co_return got;
    }
    self.trouble->failed("the store", got.error());
    co_await backoff.wait();
  }
}

Task<Result<Bytes>> StoreAccess::get_range(std::string key, std::uint64_t offset, std::size_t length) const {
  auto self = *this;
  for (Backoff backoff(*self.loop);;) {
    auto got = co_await self.store->get_range(key, offset, length);
    if (got || !self.is_waited_out(got.error().code)) {
      self.trouble->ended();
      co_return got;
    }
    self.trouble->failed("the store", got.error());
    co_await backoff.wait();
  }
}

Task<StoreAccess::Put> StoreAccess::put_once(std::string key, SharedBytes body) const {
  auto self = *this;
  for (Backoff backoff(*self.loop);;) {
    auto put = co_await self.store->put(key, body, PutCondition::if_absent());
    if (put) {
      self.trouble->ended();
      co_return Put::stored;
    }
    // 412, 409, 500 and a time-out are alike: an earlier try of ours may have won.
    auto there = co_await self.store->get(key);
    if (there) {
      self.trouble->ended();
      co_return there->body == *body ? Put::stored : Put::other;
    }
    if (there.error().code != Code::not_found)
      self.trouble->failed("the store", there.error());
    else if (put.error().code != Code::conflict)
      self.trouble->failed("the store", put.error());
    co_await backoff.wait();
  }
}

}  // namespace ebb::disk
