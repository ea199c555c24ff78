// Workers, VMs, disks, images, drains, migrations, reasons and events as people read them. Pure text; `now`
// is passed in.
#pragma once
#include <string>
#include <vector>

#include "model/api_types.h"

namespace ebb {

std::string workers_table(const std::vector<WorkerView>& workers, WallMs now);
std::string worker_page(const WorkerView& view, WallMs now);
std::string vms_table(const std::vector<VmView>& vms);
std::string budgets_table(const std::vector<BudgetView>& budgets);
std::string groups_table(const std::vector<GroupView>& groups);
std::string holds_table(const std::vector<Hold>& holds, WallMs now);
std::string vm_page(const VmView& view, WallMs now);
std::string disks_table(const std::vector<Disk>& disks, WallMs now);
std::string networks_table(const std::vector<VmNetwork>& networks, WallMs now);
std::string images_table(const std::vector<Image>& images, WallMs now);
std::string drains_table(const std::vector<DrainView>& drains, WallMs now);
std::string migrations_table(const std::vector<MigrationView>& migrations, WallMs now);
std::string migration_page(const MigrationView& view, WallMs now);
std::string why_text(const WhyAnswer& answer, WallMs now);
// One line: local date is of no use across machines, so times are UTC.
std::string event_line(const JournalEntry& entry);

// One word for what the VM is doing: what is wanted and what is seen, taken together.
std::string vm_state(const VmView& view);
std::string worker_state(const WorkerView& view);

// The `why` of a drain, made from its view.
WhyAnswer why_drain(const DrainView& view);

}  // namespace ebb
