#include "export_reader.h"

#include <fstream>
#include <set>

#include "model/export_types.h"
#include "sim/sim_loop.h"

namespace ebb::what_if {
namespace {

constexpr std::size_t line_bytes_max = 64 * 1024 * 1024;

// Of a kind whose last moves were measured so many times may be looked at again.
constexpr std::uint32_t samples_planted = 5;

class Reader {
 public:
  explicit Reader(std::string name) : name_(std::move(name)) { fleet_.origin = name_; }

  Result<FleetRecords> read(std::istream& lines) {
    for (std::string line; std::getline(lines, line);) {
      ++line_;
      if (auto status = take(line); !status)
        return fail_field("--trace", "{}, line {}: {}", name_, line_, status.error().message);
      if (has_ended_) break;
    }
    if (line_ == 0) return fail_field("--trace", "{} is empty", name_);
    if (!has_ended_)
      return fail_field("--trace", "{} ends after line {}, in the middle: export again", name_, line_);
    if (auto status = settle(); !status)
      return fail_field("--trace", "{}: {}", name_, status.error().message);
    return std::move(fleet_);
  }

 private:
  Status take(const std::string& line) {
    EBB_TRY(value, json::parse(line, line_bytes_max));
    const auto* object = value.if_object();
    if (!object) return fail(Code::invalid, "it is no JSON object");
    if (line_ == 1) return take_header(*object);
    if (object->size() != 1) return fail(Code::invalid, "it must have one field: the kind of its record");
    const std::string kind(object->begin()->key());
    const auto& record = object->begin()->value();
    if (kind == "cell") return take_cell(record);
    if (kind == "end") return take_end(record);
    if (kind == "worker") return add(fleet_.workers, worker_ids_, record);
    if (kind == "vm") return add(fleet_.vms, vm_ids_, record);
    if (kind == "disk") return add(fleet_.disks, disk_ids_, record);
    if (kind == "image") return add(fleet_.images, image_ids_, record);
    if (kind == "network") return add(fleet_.networks, network_ids_, record);
    if (kind == "group") return add(fleet_.groups, group_ids_, record);
    if (kind == "budget") return add(fleet_.budgets, budget_ids_, record);
    if (kind == "hold") return add(fleet_.holds, hold_ids_, record);
    if (kind == "drain") return add(fleet_.drains, drain_ids_, record);
    if (kind == "migration") return add(fleet_.migrations, migration_ids_, record);
    return fail(Code::invalid, "'{}' is no kind of record that this program knows", kind);
  }
  Status take_header(const json::Object& object) {
    const auto* version = object.if_contains("ebb_export");
    if (!version) return fail(Code::invalid, "it is no export: that begins with ebb_export");
    EBB_TRY(number, json::read<std::uint32_t>(*version));
    if (number != export_version)
      return fail(Code::invalid, "the export has version {}; this program reads version {}", number,
                  export_version);
    if (const auto* at = object.if_contains("at")) {
      EBB_TRY(ms, json::read<std::int64_t>(*at));
      later_ms_ = sim::SimLoop().wall_now() - ms;
    }
    return {};
  }
  Status take_cell(const json::Value& record) {
    EBB_TRY(cell, json::read<CellView>(record));
    for (const auto& p : cell.phases)
      if (p.samples > 0)
        fleet_.phases.by_mechanism[p.mechanism] = {p.preparing_ms, p.freezing_ms,  p.moving_lease_ms,
                                                   p.starting_ms,  p.releasing_ms, p.samples};
    const auto& l = cell.limits;
    fleet_.pace.tenant_moves_min = l.tenant_moves_min,
    fleet_.pace.tenant_moves_percent = l.tenant_moves_percent;
    fleet_.pace.label_moves_max = l.label_moves_max, fleet_.pace.vm_moves_max = l.vm_moves_max;
    fleet_.pace.brake = {l.brake_dead_min, l.brake_dead_percent};
    fleet_.pace.horizon_ms = l.horizon_ms;
    return {};
  }
  Status take_end(const json::Value& record) {
    EBB_TRY(end, json::read<ExportEnd>(record));
    if (end.lines != line_ - 2)
      return fail(Code::invalid, "{} lines should stand before it, and {} do", end.lines, line_ - 2);
    has_ended_ = true;
    return {};
  }
  template <class T, class AnyId>
  Status add(std::vector<T>& all, std::set<AnyId>& ids, const json::Value& value) {
    EBB_TRY(record, json::read<T>(value));
    if (record.id.empty()) return fail(Code::invalid, "the record has no id");
    if (!ids.insert(record.id).second) return fail(Code::invalid, "{} stands there twice", record.id);
    all.push_back(std::move(record));
    return {};
  }

  // Holds every record against those that it names; what has gone on while the export was made is left out.
  Status settle() {
    for (const auto& vm : fleet_.vms) {
      if (vm.worker && !worker_ids_.contains(*vm.worker))
        return fail(Code::invalid, "VM {} is on worker {}, which is not in the export", vm.id, *vm.worker);
      if (!image_ids_.contains(vm.spec.image))
        return fail(Code::invalid, "VM {} is made from image {}, which is not in the export", vm.id,
                    vm.spec.image);
      if (vm.spec.group && !group_ids_.contains(*vm.spec.group))
        return fail(Code::invalid, "VM {} is in group {}, which is not in the export", vm.id, *vm.spec.group);
    }
    std::erase_if(fleet_.holds, [&](const Hold& hold) { return !worker_ids_.contains(hold.worker); });
    settle_disks();
    settle_drains();
    settle_moves();
    shift_times();
    plant_measured();
    return {};
  }
  // A disk that is not listed any more was removed, or not listed yet, was made: its VM goes without.
  void settle_disks() {
    std::erase_if(fleet_.disks, [&](const Disk& disk) { return !disk.vm || !vm_ids_.contains(*disk.vm); });
    std::map<VmId, std::set<DiskId>> has;
    for (const auto& disk : fleet_.disks) has[*disk.vm].insert(disk.id);
    for (auto& vm : fleet_.vms) {
      const auto& known = has[vm.id];
      if (vm.disk && !known.contains(*vm.disk)) vm.disk.reset();
      if (!vm.data_disks) continue;
      std::erase_if(*vm.data_disks, [&](const DiskId& id) { return !known.contains(id); });
      if (vm.data_disks->empty()) vm.data_disks.reset();
    }
  }
  void settle_drains() {
    for (auto& drain : fleet_.drains)
      std::erase_if(drain.workers, [&](const WorkerId& id) { return !worker_ids_.contains(id); });
    std::erase_if(fleet_.drains, [](const Drain& drain) { return drain.workers.empty(); });
  }
  void settle_moves() {
    std::map<VmId, const Vm*> vms;
    for (const auto& vm : fleet_.vms) vms[vm.id] = &vm;
    std::erase_if(fleet_.migrations, [&](const Migration& m) {
      const auto found = vms.find(m.vm);
      if (found == vms.end() || !worker_ids_.contains(m.source) || !worker_ids_.contains(m.target))
        return true;
      const auto& vm = *found->second;
      const bool has_passed = is_past_no_return(m.phase);
      return vm.worker != (has_passed ? m.target : m.source) ||
             vm.epoch != (has_passed ? m.target_epoch : m.source_epoch);
    });
  }
  // The simulated clock stands elsewhere.
  void shift_times() {
    for (auto& hold : fleet_.holds) {
      hold.since += later_ms_;
      if (hold.expires_at) *hold.expires_at += later_ms_;
    }
    for (auto& drain : fleet_.drains) {
      drain.created_at += later_ms_;
      if (drain.begins_at) *drain.begins_at += later_ms_;
      if (drain.forced_at) *drain.forced_at += later_ms_;
    }
    for (auto& migration : fleet_.migrations)
      for (auto& entered : migration.history) entered.entered_at += later_ms_;
    for (auto& vm : fleet_.vms)
      for (auto& at : vm.drained_at ? *vm.drained_at : none_) at += later_ms_;
  }
  // The planner measures moves that have ended: it gets some that took as long as those of the real fleet.
  void plant_measured() {
    for (const auto& [mechanism, times] : fleet_.phases.by_mechanism)
      for (std::uint32_t i = 0; i < std::min(times.samples, samples_planted); ++i) {
        Migration m;
        m.id = MigrationId(fmt::format("measured-{}-{}", json::name_of(mechanism), i + 1));
        m.vm = VmId("measured"), m.source = m.target = WorkerId("measured");
        m.mechanism = mechanism, m.phase = Phase::done, m.source_epoch = 1, m.target_epoch = 2;
        auto at = sim::SimLoop().wall_now() - 60'000'000;
        for (const auto& [phase, ms] :
             std::initializer_list<std::pair<Phase, std::uint32_t>>{{Phase::preparing, times.preparing},
                                                                    {Phase::freezing, times.freezing},
                                                                    {Phase::moving_lease, times.moving_lease},
                                                                    {Phase::starting, times.starting},
                                                                    {Phase::releasing, times.releasing}}) {
          m.history.push_back({phase, at});
          at += ms;
        }
        m.history.push_back({Phase::done, at});
        fleet_.migrations.push_back(std::move(m));
      }
  }

  const std::string name_;
  FleetRecords fleet_;
  std::uint64_t line_ = 0;
  WallMs later_ms_ = 0;
  bool has_ended_ = false;
  std::vector<WallMs> none_;
  std::set<WorkerId> worker_ids_;
  std::set<VmId> vm_ids_;
  std::set<DiskId> disk_ids_;
  std::set<ImageId> image_ids_;
  std::set<NetworkId> network_ids_;
  std::set<GroupId> group_ids_;
  std::set<BudgetId> budget_ids_;
  std::set<HoldId> hold_ids_;
  std::set<DrainId> drain_ids_;
  std::set<MigrationId> migration_ids_;
};

}  // namespace

Result<FleetRecords> read_export(const std::string& path) {
  std::ifstream file(path);
  if (!file)
    return fail_field(
        "--trace", "{} cannot be read; a fleet is made with --trace azure, huawei or alibaba, and --workers",
        path);
  return read_export(file, path);
}

Result<FleetRecords> read_export(std::istream& lines, std::string name) {
  return Reader(std::move(name)).read(lines);
}

}  // namespace ebb::what_if
