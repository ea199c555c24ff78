#include "watched_records.h"

namespace ebb::what_if {
namespace {

void put(StoreSnapshot& snapshot, const Record& record) {
  auto json = std::visit([](const auto& r) { return json::write_text(r); }, record);
  snapshot.records.push_back({std::string(kind_of(record)), id_of(record), std::move(json)});
}

template <class T>
Status read_as(const StoredRecord& stored, Committed& committed) {
  EBB_TRY(record, json::read_text<T>(stored.json));
  committed.puts.emplace_back(std::move(record));
  return {};
}

// Of those that somebody here wants to know of.
Status read(const StoredRecord& stored, Committed& committed) {
  if (stored.kind == "vm") return read_as<Vm>(stored, committed);
  if (stored.kind == "migration") return read_as<Migration>(stored, committed);
  if (stored.kind == "hold") return read_as<Hold>(stored, committed);
  if (stored.kind == "drain") return read_as<Drain>(stored, committed);
  if (stored.kind == "worker") return read_as<Worker>(stored, committed);
  if (stored.kind == "disk") return read_as<Disk>(stored, committed);
  return {};
}

// The highest number that a minted id of this fleet ends with.
std::uint64_t last_id_of(const FleetRecords& records) {
  std::uint64_t last = 0;
  const auto look = [&](const std::string& id) {
    const auto digits = id.find_last_not_of("0123456789") + 1;
    if (digits > 0 && digits < id.size() && id.size() - digits < 19)
      last = std::max<std::uint64_t>(last, std::stoull(id.substr(digits)));
  };
  for (const auto& hold : records.holds) look(hold.id.value);
  for (const auto& drain : records.drains) look(drain.id.value);
  for (const auto& migration : records.migrations) look(migration.id.value);
  return last;
}

}  // namespace

WatchedRecords::WatchedRecords(Loop& loop, const FleetRecords& records, Duration commit_takes,
                               OnCommit on_commit)
    : loop_(loop), records_(records), commit_takes_(commit_takes), on_commit_(std::move(on_commit)) {}

Task<Result<StoreSnapshot>> WatchedRecords::load() {
  StoreSnapshot snapshot;
  snapshot.revision = revision_;
  Cell cell;
  cell.last_id = last_id_of(records_);
  for (const auto& vm : records_.vms) cell.last_epoch = std::max(cell.last_epoch, vm.epoch);
  for (const auto& m : records_.migrations)
    cell.last_epoch = std::max({cell.last_epoch, m.source_epoch, m.target_epoch});
  put(snapshot, cell);
  const auto put_all = [&](const auto& all) {
    for (const auto& record : all) put(snapshot, record);
  };
  // Budgets first: a VM is counted as it is put.
  put_all(records_.budgets), put_all(records_.groups), put_all(records_.networks), put_all(records_.images);
  put_all(records_.workers), put_all(records_.vms), put_all(records_.disks), put_all(records_.holds);
  put_all(records_.drains), put_all(records_.migrations);
  co_return snapshot;
}

Task<Status> WatchedRecords::commit(CommitBatch batch) {
  if (batch.ops() > commit_ops_max || batch.bytes() > commit_bytes_max)
    co_return fail(Code::invalid, "a commit of {} operations and {} bytes is over the limit", batch.ops(),
                   batch.bytes());
  if (batch.expected_revision != revision_)
    co_return fail(Code::fenced, "another process has committed records");
  co_await sleep_for(loop_, commit_takes_);
  ++revision_;
  Committed committed;
  for (const auto& stored : batch.puts) EBB_CO_CHECKED(read(stored, committed));
  for (auto& [kind, id] : batch.erases) committed.erases.push_back({kind, id});
  on_commit_(committed);
  co_return Status{};
}

Task<Result<std::vector<std::string>>> WatchedRecords::journal(std::uint64_t, std::size_t) {
  co_return std::vector<std::string>();
}

}  // namespace ebb::what_if
