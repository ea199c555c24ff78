// `ebb export`: what placement and moves need to know of the cell, for "what if" questions. Page by page, so that nobody holds all of it.
#include <fmt/ranges.h>

#include "cli/command_builder.h"
#include "model/export_types.h"

namespace ebb {
namespace {

struct ExportOptions {
  std::string file;  // empty: stdout
};

// What --json says of an export into a file.
struct Exported {
  std::string file;
  std::map<std::string, std::uint64_t> records;  // by kind
};
BOOST_DESCRIBE_STRUCT(Exported, (), (file, records))

// What guests are told and how they are reached stays here; so do texts that a guest or an operator wrote.
Vm without_secrets(const Vm& vm) {
  Vm out;
  out.id = vm.id, out.desired = vm.desired, out.disk = vm.disk, out.worker = vm.worker, out.epoch = vm.epoch;
  out.created_at = vm.created_at, out.data_disks = vm.data_disks, out.drained_at = vm.drained_at;
  out.start_failures = vm.start_failures, out.started_after_end = vm.started_after_end;
  for (const auto& interface : vm.interfaces.value_or(std::vector<NetworkInterface>())) {
    if (!out.interfaces) out.interfaces.emplace();
    out.interfaces->push_back({interface.network, {}, {}});
  }
  const auto& spec = vm.spec;
  out.spec.image = spec.image, out.spec.cpus = spec.cpus, out.spec.memory_bytes = spec.memory_bytes;
  out.spec.storage = spec.storage, out.spec.disk_class = spec.disk_class, out.spec.labels = spec.labels;
  out.spec.stop_grace_ms = spec.stop_grace_ms, out.spec.restart = spec.restart;
  out.spec.tenant = spec.tenant, out.spec.worker_labels = spec.worker_labels;
  out.spec.cpu_features = spec.cpu_features, out.spec.group = spec.group;
  return out;
}
Image without_secrets(const Image& image) {
  Image out;
  out.id = image.id, out.pool = image.pool, out.state = image.state, out.created_at = image.created_at;
  out.firmware = image.firmware;
  return out;
}
Disk without_secrets(const Disk& disk) {
  Disk out;
  out.id = disk.id, out.pool = disk.pool, out.size_bytes = disk.size_bytes, out.disk_class = disk.disk_class;
  out.vm = disk.vm, out.image = disk.image, out.state = disk.state, out.created_at = disk.created_at;
  return out;
}
VmNetwork without_secrets(const VmNetwork& network) {
  VmNetwork out;
  out.id = network.id, out.created_at = network.created_at;
  return out;
}
Worker without_secrets(const WorkerView& view) {
  auto out = view.worker;
  out.returning.reset();
  return out;
}
Vm without_secrets(const VmView& view) { return without_secrets(view.vm); }
Group without_secrets(const GroupView& view) { return view.group; }
Budget without_secrets(const BudgetView& view) { return view.budget; }
Hold without_secrets(const Hold& hold) { return hold; }
Drain without_secrets(const DrainView& view) {
  auto out = view.drain;
  out.request_id.reset();
  return out;
}
Migration without_secrets(const MigrationView& view) {
  auto out = view.migration;
  out.last_error.clear();
  return out;
}

// Those that have ended change nothing any more.
bool is_of_interest(const DrainView& view) { return !is_ended(view.drain.state); }
bool is_of_interest(const MigrationView& view) { return !is_ended(view.migration.phase); }
bool is_of_interest(const VmView& view) { return !view.vm.test_of; }
bool is_of_interest(const Disk& disk) { return disk.vm && disk.state == DiskState::ready; }
template <class T>
bool is_of_interest(const T&) {
  return true;
}

// Takes the lines: to the screen, or into a file that has its name only once it is whole.
class Sink {
 public:
  Sink(Context& c, std::string path) : c_(c), path_(std::move(path)) {}

  Task<Status> open() {
    if (path_.empty()) co_return Status{};
    if (co_await c_.env.files.open(path_, OpenMode::read))
      co_return fail(Code::conflict, "{} is there already: name another file, or remove it", path_);
    EBB_CO_TRY(file, co_await c_.env.files.open(part(), OpenMode::create));
    EBB_CO_CHECKED(co_await file->resize(0));
    file_ = std::move(file);
    co_return Status{};
  }
  Task<Status> write(std::string lines) {
    if (path_.empty()) {
      c_.screen().out(lines);
      co_return Status{};
    }
    const auto bytes = lines.size();
    EBB_CO_CHECKED(co_await file_->write(written_, to_bytes(lines)));
    written_ += bytes;
    co_return Status{};
  }
  Task<Status> close() {
    if (path_.empty()) co_return Status{};
    EBB_CO_CHECKED(co_await file_->sync());
    file_.reset();
    co_return co_await c_.env.files.rename(part(), path_);
  }
  Task<void> give_up() {
    if (path_.empty()) co_return;
    file_.reset();
    (void)co_await c_.env.files.remove(part());
  }

 private:
  std::string part() const { return path_ + ".part"; }
  Context& c_;
  const std::string path_;
  std::unique_ptr<File> file_;
  std::uint64_t written_ = 0;
};

template <class T>
std::string line_of(std::string_view kind, const T& value) {
  json::Object object;
  object[kind] = json::write(value);
  return json::to_text(object) + "\n";
}

class Export {
 public:
  Export(Context& c, Sink& sink) : c_(c), sink_(sink) {}

  // Whatever others refer to comes after them: who is placed while this goes on names a worker that is listed then.
  Task<Status> run() {
    EBB_CO_TRY(cell, co_await c_.client.cell());
    json::Object header{{"ebb_export", export_version}, {"at", cell.now}, {"revision", cell.revision}};
    EBB_CO_CHECKED(co_await sink_.write(json::to_text(header) + "\n"));
    EBB_CO_CHECKED(co_await write_line("cell", cell));
    EBB_CO_CHECKED(co_await list<MigrationView>("migration", "/v1/migrations"));
    EBB_CO_CHECKED(co_await list<DrainView>("drain", "/v1/drains"));
    EBB_CO_CHECKED(co_await list<VmView>("vm", "/v1/vms"));
    EBB_CO_CHECKED(co_await list<Disk>("disk", "/v1/disks"));
    EBB_CO_CHECKED(co_await list<Hold>("hold", "/v1/holds"));
    EBB_CO_CHECKED(co_await list<WorkerView>("worker", "/v1/workers"));
    EBB_CO_CHECKED(co_await list<Image>("image", "/v1/images"));
    EBB_CO_CHECKED(co_await list<VmNetwork>("network", "/v1/networks"));
    EBB_CO_CHECKED(co_await list<GroupView>("group", "/v1/groups"));
    EBB_CO_CHECKED(co_await list<BudgetView>("budget", "/v1/budgets"));
    co_return co_await sink_.write(line_of("end", ExportEnd{lines_}));
  }
  const std::map<std::string, std::uint64_t>& records() const { return records_; }

 private:
  template <class T>
  Task<Status> write_line(std::string kind, T value) {
    ++lines_;
    co_return co_await sink_.write(line_of(kind, value));
  }
  template <class View>
  Task<Status> list(std::string kind, std::string path) {
    std::optional<std::string> token;
    do {
      EBB_CO_TRY(page, co_await c_.client.page<View>(path, token));
      std::string lines;
      for (const auto& view : page.items) {
        if (!is_of_interest(view)) continue;
        lines += line_of(kind, without_secrets(view));
        ++lines_, ++records_[kind];
      }
      if (!lines.empty()) EBB_CO_CHECKED(co_await sink_.write(std::move(lines)));
      token = std::move(page.next_page_token);
    } while (token && !token->empty());
    co_return Status{};
  }

  Context& c_;
  Sink& sink_;
  std::uint64_t lines_ = 0;
  std::map<std::string, std::uint64_t> records_;
};

Task<Result<Exit>> export_cell(Context& c, ExportOptions options) {
  Sink sink(c, options.file);
  EBB_CO_CHECKED(co_await sink.open());
  Export exported(c, sink);
  auto done = co_await exported.run();
  if (done) done = co_await sink.close();
  if (!done) {
    co_await sink.give_up();
    co_return fail(std::move(done).error());
  }
  std::vector<std::string> counts;
  for (const auto& [kind, count] : exported.records())
    counts.push_back(fmt::format("{} {}{}", count, kind, count == 1 ? "" : "s"));
  c.screen().say(fmt::format("exported {}", fmt::join(counts, ", ")));
  if (!options.file.empty()) c.show(Exported{options.file, exported.records()}, "");
  co_return Exit::ok;
}

}  // namespace

void add_export_command(Builder& b) {
  auto options = std::make_shared<ExportOptions>();
  auto* command = b.command("export", "write the fleet as JSON lines, without secrets, for 'ebb-sim fleet'");
  command->add_option("-o,--output", options->file, "a new file; without it they go to stdout")
      ->type_name("FILE");
  b.on(command, [=] { return [o = *options](Context& c) { return export_cell(c, o); }; });
}

}  // namespace ebb
