#include "disk/pool_probe.h"

#include "base/json.h"
#include "env/scope.h"

namespace ebb::disk {
namespace {

constexpr int writers = 8;
constexpr int tries_max = 6;  // of one request that is not answered
constexpr Duration pause = 20ms;

struct PutReply {
  enum class Kind { stored, refused, unknown } kind = Kind::unknown;
  Error error;  // unless stored
};

class Probe {
 public:
  Probe(Loop& loop, ReclaimableStore& store, ProbeEffort effort)
      : loop_(loop),
        store_(store),
        effort_(effort),
        prefix_(fmt::format("probe/{}/", loop.random().token(20))) {}

  Task<Result<ProbeReport>> run() {
    auto began = loop_.now();
    EBB_CO_CHECKED(co_await must_be_usable());
    EBB_CO_CHECKED(co_await create_if_absent());
    EBB_CO_CHECKED(co_await replace_if_match());
    EBB_CO_CHECKED(co_await read_after_overwrite());
    EBB_CO_CHECKED(co_await read_a_missing_object());
    EBB_CO_CHECKED(co_await read_ranges());
    EBB_CO_CHECKED(co_await race());
    if (auto* inspector = store_.inspector()) {
      note("expiry", co_await inspector->expiry());
      note("replication", co_await inspector->replication());
    }
    report_.took_ms = static_cast<std::uint64_t>(to_ms(loop_.now() - began));
    co_return report_;
  }

 private:
  void begin(std::string name) { report_.checks.push_back({std::move(name), {}, {}}); }
  template <class... Args>
  void wrong(fmt::format_string<Args...> text, Args&&... args) {
    report_.checks.back().wrong.push_back(fmt::format(text, std::forward<Args>(args)...));
  }

  // What a store does not tell, or who asks may not know, is no verdict.
  void note(std::string name, StoreFinding found) {
    begin(std::move(name));
    if (found.kind == StoreFinding::Kind::harmful) wrong("{}", found.text);
    if (found.kind == StoreFinding::Kind::unknown)
      report_.checks.back().unknown.push_back(std::move(found.text));
  }

  // Every body is its own: an object's tag may be a hash of its content.
  SharedBytes new_body() {
    return std::make_shared<const Bytes>(to_bytes(fmt::format("{}{}", prefix_, ++bodies_)));
  }

  // Asks until there is an answer; only `unavailable` and `busy` are none.
  Task<Result<StoredObject>> get(std::string key) {
    for (int tried = 1;; ++tried) {
      auto object = co_await store_.get(prefix_ + key);
      bool is_answer =
          object || (object.error().code != Code::unavailable && object.error().code != Code::busy);
      if (is_answer || tried == tries_max) co_return object;
      co_await sleep_for(loop_, tried * pause);
    }
  }
  // The object that must be there; anything but the store's silence is a finding, and gives none.
  Task<Result<std::optional<StoredObject>>> get_existing(std::string key) {
    auto object = co_await get(key);
    if (object) co_return std::optional(std::move(*object));
    auto code = object.error().code;
    if (code == Code::unavailable || code == Code::busy) co_return fail(std::move(object).error());
    wrong("an object that was just written cannot be read: {}", object.error().message);
    co_return std::optional<StoredObject>();
  }

  // One request, sent once.
  Task<PutReply> put_once(std::string key, SharedBytes body, PutCondition condition) {
    auto put = co_await store_.put(prefix_ + key, std::move(body), std::move(condition));
    PutReply reply;
    if (put) {
      reply.kind = PutReply::Kind::stored;
      co_return reply;
    }
    reply.error = std::move(put).error();
    bool is_unknown = reply.error.code == Code::unavailable || reply.error.code == Code::busy;
    reply.kind = is_unknown ? PutReply::Kind::unknown : PutReply::Kind::refused;
    co_return reply;
  }

  // One writer alone: sent until decided. What an unanswered try, or one that met its own earlier one, has
  // done is read back by the body.
  Task<Result<PutReply>> put(std::string key, SharedBytes body, PutCondition condition) {
    PutReply reply;
    for (int tried = 1; tried <= tries_max; ++tried) {
      reply = co_await put_once(key, body, condition);
      if (reply.kind == PutReply::Kind::stored) co_return reply;
      auto now = co_await get(key);
      if (now && now->body == *body) {
        reply.kind = PutReply::Kind::stored;
        co_return reply;
      }
      if (reply.kind == PutReply::Kind::refused) co_return reply;
      bool is_away = !now && (now.error().code == Code::unavailable || now.error().code == Code::busy);
      if (is_away) break;
      co_await sleep_for(loop_, tried * pause);
    }
    co_return fail(std::move(reply.error));
  }

  // False: it was refused, which is noted.
  Task<Result<bool>> must_store(std::string key, SharedBytes body, PutCondition condition, std::string what) {
    EBB_CO_TRY(reply, co_await put(key, std::move(body), std::move(condition)));
    if (reply.kind == PutReply::Kind::stored) co_return true;
    wrong("{} was refused: {}", what, reply.error.message);
    co_return false;
  }
  Task<Status> must_refuse(std::string key, PutCondition condition, std::string what) {
    EBB_CO_TRY(reply, co_await put(key, new_body(), std::move(condition)));
    if (reply.kind == PutReply::Kind::stored)
      wrong("{} was carried out", what);
    else if (reply.error.code != Code::conflict)
      wrong("{} was not refused as a condition that does not hold: {}", what, reply.error.message);
    co_return Status{};
  }

  // A wrong key or a missing right is no broken promise: told as it is, before anything is asked of the
  // store.
  Task<Status> must_be_usable() {
    for (int tried = 1;; ++tried) {
      auto put = co_await store_.put(prefix_ + "plain", new_body(), PutCondition::always());
      if (put) break;
      bool is_answer = put.error().code != Code::unavailable && put.error().code != Code::busy;
      if (is_answer || tried == tries_max)
        co_return fail(std::move(put).error().within("the store cannot be written"));
      co_await sleep_for(loop_, tried * pause);
    }
    auto object = co_await get("plain");
    if (!object && object.error().code == Code::invalid)
      co_return fail(std::move(object).error().within("the store cannot be read"));
    co_return Status{};
  }

  Task<Status> create_if_absent() {
    begin("create if absent");
    auto first = new_body();
    EBB_CO_CHECKED(co_await must_store("absent", first, PutCondition::if_absent(), "creating a new object"));
    EBB_CO_CHECKED(
        co_await must_refuse("absent", PutCondition::if_absent(), "creating an object that exists"));
    EBB_CO_TRY(object, co_await get_existing("absent"));
    if (object && object->body != *first) wrong("trying to create an object that exists changed it");
    co_return Status{};
  }

  Task<Status> replace_if_match() {
    begin("replace if the tag matches");
    EBB_CO_CHECKED(
        co_await must_store("match", new_body(), PutCondition::if_absent(), "creating a new object"));
    EBB_CO_TRY(first, co_await get_existing("match"));
    if (!first) co_return Status{};
    auto newest = new_body();
    EBB_CO_TRY(replaced, co_await must_store("match", newest, PutCondition::if_match(first->tag),
                                             "replacing an object by its current tag"));
    if (replaced) {
      EBB_CO_CHECKED(co_await must_refuse("match", PutCondition::if_match(first->tag),
                                          "replacing an object by a stale tag"));
      EBB_CO_TRY(last, co_await get_existing("match"));
      if (last && last->body != *newest) wrong("trying to replace an object by a stale tag changed it");
      if (last && last->tag == first->tag) wrong("two contents have the same tag, {}", last->tag.value);
    }
    EBB_CO_CHECKED(co_await must_refuse("missing", PutCondition::if_match(first->tag),
                                        "replacing an object that does not exist"));
    co_return Status{};
  }

  // Each overwrites what the last read gave: a try that timed out and arrives late does no harm.
  Task<Status> read_after_overwrite() {
    begin("read after overwrite");
    int stale = 0;
    auto condition = PutCondition::if_absent();
    for (int i = 0; i <= effort_.overwrites; ++i) {
      auto body = new_body();
      EBB_CO_TRY(stored, co_await must_store("overwritten", body, condition, "overwriting an object"));
      if (!stored) break;
      EBB_CO_TRY(object, co_await get_existing("overwritten"));
      if (!object) break;
      if (object->body != *body) ++stale;
      condition = PutCondition::if_match(object->tag);
    }
    if (stale > 0)
      wrong("{} reads of {} gave something else than what had just been written", stale,
            effort_.overwrites + 1);
    co_return Status{};
  }

  Task<Status> read_a_missing_object() {
    begin("missing objects");
    auto object = co_await get("never");
    if (object) wrong("an object that was never written was read");
    if (object || object.error().code == Code::not_found) co_return Status{};
    if (object.error().code == Code::unavailable || object.error().code == Code::busy)
      co_return fail(object.error());
    wrong("an object that does not exist is not reported as such: {}", object.error().message);
    co_return Status{};
  }

  Task<Status> read_ranges() {
    begin("ranged reads");
    auto body = std::make_shared<const Bytes>(to_bytes("0123456789" + prefix_));
    const std::uint64_t size = body->size();
    EBB_CO_CHECKED(co_await must_store("ranged", body, PutCondition::always(), "writing an object"));
    struct Range {
      const char* what;
      std::uint64_t offset;
      std::size_t length;
    };
    for (auto range : {Range{"in the middle", 3, 4}, Range{"across the end", size - 3, 10},
                       Range{"at the end", size, 5}, Range{"past the end", size + 1000, 5}}) {
      auto part = co_await get_part(range.offset, range.length);
      if (!part) {
        if (part.error().code == Code::unavailable || part.error().code == Code::busy)
          co_return fail(part.error());
        wrong("a range {} was refused: {}", range.what, part.error().message);
        continue;
      }
      auto from = ByteView(*body).subspan(static_cast<std::size_t>(std::min(range.offset, size)));
      auto expected = from.first(std::min(range.length, from.size()));
      if (!std::ranges::equal(*part, expected))
        wrong("a range {} gave {} bytes instead of the {} that are there", range.what,
              part->size() == expected.size() ? "other" : fmt::format("{}", part->size()), expected.size());
    }
    co_return Status{};
  }
  Task<Result<Bytes>> get_part(std::uint64_t offset, std::size_t length) {
    for (int tried = 1;; ++tried) {
      auto part = co_await store_.get_range(prefix_ + "ranged", offset, length);
      bool is_answer = part || (part.error().code != Code::unavailable && part.error().code != Code::busy);
      if (is_answer || tried == tries_max) co_return part;
      co_await sleep_for(loop_, tried * pause);
    }
  }

  // Many write the same object at the same moment, on the same condition: one may win.
  Task<Status> race() {
    begin("races");
    EBB_CO_CHECKED(
        co_await must_store("raced", new_body(), PutCondition::if_absent(), "creating a new object"));
    for (int i = 0; i < effort_.races && report_.checks.back().wrong.empty(); ++i) {
      if (i % 2 == 0) {
        EBB_CO_CHECKED(
            co_await race_once(fmt::format("race-{}", i), PutCondition::if_absent(), "create one object"));
        continue;
      }
      EBB_CO_TRY(current, co_await get_existing("raced"));
      if (!current) break;
      EBB_CO_CHECKED(
          co_await race_once("raced", PutCondition::if_match(current->tag), "replace one object by its tag"));
    }
    co_return Status{};
  }

  Task<Status> race_once(std::string key, PutCondition condition, std::string what) {
    std::vector<SharedBytes> bodies;
    std::vector<Task<PutReply>> tasks;
    for (int w = 0; w < writers; ++w) {
      bodies.push_back(new_body());
      tasks.push_back(put_once(key, bodies.back(), condition));
    }
    auto replies = co_await when_all(loop_, std::move(tasks));
    std::size_t winners = 0, unknown = 0;
    std::optional<std::size_t> told;
    for (std::size_t w = 0; w < replies.size(); ++w) {
      const auto& reply = replies[w];
      if (reply.kind == PutReply::Kind::stored) ++winners, told = w;
      if (reply.kind == PutReply::Kind::unknown) ++unknown;
      if (reply.kind == PutReply::Kind::refused && reply.error.code != Code::conflict)
        co_return wrong("a writer in a race to {} was refused: {}", what, reply.error.message), Status{};
    }
    if (winners > 1)
      co_return wrong("{} of {} writers who raced to {} were told that they had won", winners, writers, what),
          Status{};
    auto object = co_await get(key);
    if (!object) {
      // All of them may have been lost on the way.
      if (object.error().code == Code::not_found && winners == 0 && unknown > 0) co_return Status{};
      if (object.error().code == Code::not_found)
        co_return wrong("after a race to {} there is no object", what), Status{};
      co_return fail(std::move(object).error());
    }
    auto stored = std::ranges::find_if(bodies, [&](const SharedBytes& b) { return *b == object->body; });
    if (told && *bodies[*told] != object->body)
      wrong("in a race to {} one writer was told that it had won, and another's content is stored", what);
    else if (stored == bodies.end() && (unknown == 0 || condition.kind == PutCondition::Kind::absent))
      wrong("after a race to {} the content is none of the writers'", what);
    co_return Status{};
  }

  Loop& loop_;
  ReclaimableStore& store_;
  const ProbeEffort effort_;
  std::string prefix_;
  std::uint64_t bodies_ = 0;
  ProbeReport report_;
};

Task<Result<ProbeReport>> run_probe(Loop& loop, ReclaimableStore& store, ProbeEffort effort) {
  Probe probe(loop, store, effort);
  co_return co_await probe.run();
}

}  // namespace

bool ProbeReport::is_good() const {
  return std::ranges::all_of(checks, [](const ProbeCheck& check) { return check.wrong.empty(); });
}

bool ProbeReport::is_complete() const {
  return std::ranges::all_of(checks, [](const ProbeCheck& check) { return check.unknown.empty(); });
}

std::string ProbeReport::what_is_wrong() const {
  std::string text;
  for (const auto& check : checks) {
    for (const auto& sentence : check.wrong)
      text += fmt::format("{}{}: {}", text.empty() ? "" : "; ", check.name, sentence);
  }
  return text;
}

Task<Result<ProbeReport>> probe_pool(Loop& loop, ReclaimableStore& store, ProbeEffort effort) {
  auto report = co_await with_timeout(loop, run_probe(loop, store, effort), probe_limit);
  if (!report)
    co_return fail(Code::unavailable, "the store did not answer what it was asked within {} s",
                   probe_limit / 1s);
  co_return std::move(*report);
}

Task<Status> require_good_pool(Loop& loop, ReclaimableStore& store, ProbeEffort effort) {
  EBB_CO_TRY(report, co_await probe_pool(loop, store, effort));
  if (!report.is_good())
    co_return fail(Code::invalid, "the store breaks promises that disks rest on: {}", report.what_is_wrong());
  co_return Status{};
}

}  // namespace ebb::disk
