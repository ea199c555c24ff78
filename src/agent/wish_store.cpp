#include "agent/wish_store.h"

namespace ebb::agent {

Task<Status> WishStore::open() {
  EBB_CO_CHECKED(co_await files_.make_dirs(folder_));
  auto lock = co_await files_.lock(folder_ + "/lock");
  if (!lock) {
    if (lock.error().code != Code::busy) co_return fail(std::move(lock).error());
    co_return fail(Code::busy, "another agent runs on the state folder {}", folder_);
  }
  lock_ = std::move(*lock);
  auto bytes = co_await files_.read_all(path());
  if (!bytes) {
    if (bytes.error().code != Code::not_found) co_return fail(std::move(bytes).error());
    co_return co_await write({});  // so that the folder's version is told from the first day
  }
  auto value = json::parse(as_text(*bytes));
  if (!value) co_return fail(Code::corrupt, "{}: {}", path(), value.error().message);
  const auto* format = value->is_object() ? value->get_object().if_contains("format") : nullptr;
  if (!format || *format != wishes_format) {
    co_return fail(Code::invalid,
                   "{} was written by a newer version of this program (format {}; this one knows {}): "
                   "install that version",
                   path(), format ? json::to_text(*format) : "none", wishes_format);
  }
  auto wishes = json::read<Wishes>(*value);
  if (!wishes) co_return fail(Code::corrupt, "{}: {}", path(), wishes.error().message);
  wishes_ = std::move(*wishes);
  co_return Status{};
}

Task<Status> WishStore::write(Wishes next) {
  EBB_CO_CHECKED(co_await files_.write_atomic(path(), to_bytes(json::write_text(next))));
  wishes_ = std::move(next);
  co_return Status{};
}

Task<Status> WishStore::save(Wishes next) {
  auto turn = co_await saving_.lock();
  if (next == wishes_) co_return Status{};
  co_return co_await write(std::move(next));
}

Task<Status> WishStore::forget(VmId vm) {
  auto turn = co_await saving_.lock();
  auto next = wishes_;
  auto found = next.vms.find(vm);
  if (found == next.vms.end() || found->second.wanted != Wanted::absent) co_return Status{};
  next.vms.erase(found);
  co_return co_await write(std::move(next));
}

}  // namespace ebb::agent
