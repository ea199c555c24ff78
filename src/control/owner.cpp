#include "control/owner.h"

namespace ebb::control {
namespace {

template <class T>
Result<Record> read_as(const StoredRecord& stored) {
  auto value = json::read_text<T>(stored.json);
  if (!value)
    return fail(std::move(value).error().within(fmt::format("record {} {}", stored.kind, stored.id)));
  return Record(std::move(*value));
}

// A drain was once of one worker.
Result<Record> read_drain(StoredRecord stored) {
  EBB_TRY(value, json::parse(stored.json));
  auto* fields = value.if_object();
  if (const auto* worker = fields ? fields->if_contains("worker") : nullptr) {
    (*fields)["workers"] = boost::json::array{*worker};
    fields->erase("worker");
    stored.json = json::to_text(value);
  }
  return read_as<Drain>(stored);
}

Result<Record> read_record(const StoredRecord& stored) {
  if (stored.kind == "cell") return read_as<Cell>(stored);
  if (stored.kind == "worker") return read_as<Worker>(stored);
  if (stored.kind == "vm") return read_as<Vm>(stored);
  if (stored.kind == "disk") return read_as<Disk>(stored);
  if (stored.kind == "image") return read_as<Image>(stored);
  if (stored.kind == "network") return read_as<VmNetwork>(stored);
  if (stored.kind == "hold") return read_as<Hold>(stored);
  if (stored.kind == "drain") return read_drain(stored);
  if (stored.kind == "budget") return read_as<Budget>(stored);
  if (stored.kind == "group") return read_as<Group>(stored);
  if (stored.kind == "migration") return read_as<Migration>(stored);
  return fail(Code::corrupt, "record {} {} is of a kind this version does not know", stored.kind, stored.id);
}

// A move that has only been chosen: of both ends the same is wanted as before, unless its drain is past its deadline.
bool is_only_chosen(const Fleet& before, const Record& record) {
  const auto* m = std::get_if<Migration>(&record);
  if (!m || m->phase != Phase::reserving || before.find(m->id)) return false;
  const auto* drain = m->drain ? before.find(*m->drain) : nullptr;
  return !drain || !drain->forced_at;
}

// Workers whose wanted set may depend on a record.
void touch(std::set<WorkerId>& workers, const Fleet& fleet, const Record& record) {
  auto add_vm = [&](const VmId& id) {
    if (const auto* vm = fleet.find(id); vm && vm->worker) workers.insert(*vm->worker);
    if (const auto* m = fleet.open_migration_of(id)) workers.insert(m->source), workers.insert(m->target);
  };
  if (const auto* vm = std::get_if<Vm>(&record)) {
    if (vm->worker) workers.insert(*vm->worker);
    add_vm(vm->id);
  } else if (const auto* m = std::get_if<Migration>(&record)) {
    workers.insert(m->source), workers.insert(m->target);
  } else if (const auto* disk = std::get_if<Disk>(&record)) {
    if (disk->vm) add_vm(*disk->vm);
    if (disk->rescue) workers.insert(disk->rescue->worker);
  } else if (const auto* drain = std::get_if<Drain>(&record); drain && drain->forced_at) {
    workers.insert(drain->workers.begin(), drain->workers.end());
  } else if (const auto* worker = std::get_if<Worker>(&record)) {
    workers.insert(worker->id);
  }
}

}  // namespace

Owner::Owner(Loop& loop, RecordStore& store, Logger log)
    : loop_(loop), store_(store), log_(std::move(log)), mutex_(loop), committed_(loop), scope_(loop) {}

Status Owner::take(const StoreSnapshot& snapshot) {
  Fleet fleet;
  for (const auto& stored : snapshot.records) {
    EBB_TRY(record, read_record(stored));
    fleet.put(std::move(record));
  }
  std::map<std::string, Effect> effects;
  for (const auto& stored : snapshot.effects) {
    EBB_TRY(effect, json::read_text<Effect>(stored.json));
    effects[stored.key] = std::move(effect);
  }
  fleet_ = std::move(fleet), effects_ = std::move(effects), revision_ = snapshot.revision;
  return {};
}

Task<Status> Owner::load() {
  auto turn = co_await mutex_.lock();
  co_return co_await reload();
}

Task<Status> Owner::reload() {
  EBB_CO_TRY(snapshot, co_await store_.load());
  EBB_CO_CHECKED(take(snapshot));
  Touched all;
  for (const auto& [id, worker] : fleet_.workers()) all.workers.insert(id);
  all.effects = true;
  for (auto& callback : callbacks_) callback(all);
  committed_.notify_all();
  co_return Status{};
}

// Holds its caller's turn: no other decision sees the fleet between the commit and its application.
Task<Status> Owner::commit([[maybe_unused]] AsyncMutex::Guard turn, Batch batch) {
  batch.close();
  auto status = co_await store_.commit(batch.to_commit(revision_));
  if (!status && status.error().code == Code::unavailable) {
    // Only the store knows whether the batch is in: read it back before anything else is decided.
    log_.error("commit with unknown outcome: {}; loading the records again", status.error());
    if (auto again = co_await reload(); !again) broken_ = again.error();
    co_return status;
  }
  if (!status && status.error().code == Code::fenced) {
    broken_ = status.error();
    log_.error("{}: this control plane decides nothing any more", status.error());
  }
  if (!status) co_return status;
  ++revision_, ++commits_;
  auto touched = apply(batch);
  for (auto& callback : callbacks_) callback(touched);
  committed_.notify_all();
  co_return Status{};
}

Touched Owner::apply(const Batch& batch) {
  Touched touched;
  std::vector<const Record*> telling;
  for (const auto& record : batch.puts()) {
    if (!is_only_chosen(fleet_, record)) telling.push_back(&record);
    if (const auto* vm = std::get_if<Vm>(&record)) {  // where it was counts too
      if (const auto* old = fleet_.find(vm->id); old && old->worker) touched.workers.insert(*old->worker);
    }
    fleet_.put(record);
  }
  for (const auto& key : batch.erases()) fleet_.erase(key);
  for (const auto* record : telling) touch(touched.workers, fleet_, *record);
  for (const auto& effect : batch.effects()) effects_[effect.key] = effect, touched.effects = true;
  for (const auto& key : batch.effects_done()) effects_.erase(key);
  return touched;
}

Task<Result<bool>> Owner::change_if(std::function<void(Batch&)> decide) {
  auto turn = co_await mutex_.lock();
  if (broken_) co_return fail(*broken_);
  Batch batch(fleet_, loop_.wall_now());
  decide(batch);
  if (batch.empty()) co_return false;
  EBB_CO_CHECKED(co_await run_in(loop_, scope_, commit(std::move(turn), std::move(batch))));
  co_return true;
}

Task<Status> Owner::change_together(std::string about, std::function<Status(Batch&)> decide) {
  OneShot<Status> answered(loop_);
  waiting_.push_back({std::move(about), std::move(decide), answered.completer()});
  if (!std::exchange(commits_together_, true)) scope_.spawn(commit_together());
  co_return co_await answered;
}

Task<void> Owner::commit_together() {
  while (!waiting_.empty()) {
    auto turn = co_await mutex_.lock();
    Batch batch(fleet_, loop_.wall_now());
    const auto decided = decide_together(batch);
    Status committed = broken_ ? Status(fail(*broken_)) : Status{};
    if (committed && !batch.empty()) committed = co_await commit(std::move(turn), std::move(batch));
    for (const auto& [waiting, status] : decided) waiting.answer(status ? committed : status);
  }
  commits_together_ = false;
}

std::vector<std::pair<Owner::Waiting, Status>> Owner::decide_together(Batch& batch) {
  std::vector<std::pair<Waiting, Status>> decided;
  std::set<std::string> subjects;
  for (auto at = waiting_.begin(); at != waiting_.end() && !batch.is_full();) {
    if (!subjects.insert(at->about).second) {  // it has to see the one before it
      ++at;
      continue;
    }
    auto status = at->decide(batch);
    decided.emplace_back(std::move(*at), std::move(status));
    at = waiting_.erase(at);
  }
  return decided;
}

Task<Result<std::vector<JournalEntry>>> Owner::journal(std::uint64_t since, std::size_t limit) {
  EBB_CO_TRY(lines, co_await store_.journal(since, limit));
  std::vector<JournalEntry> entries;
  for (const auto& line : lines) {
    EBB_CO_TRY(entry, json::read_text<JournalEntry>(line));
    entries.push_back(std::move(entry));
  }
  co_return entries;
}

}  // namespace ebb::control
