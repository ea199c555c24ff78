// Snapshots, the plan of a restore and the log of a disk, as people read them.
#pragma once
#include <string>

#include "model/api_types.h"

namespace ebb {

std::string snapshots_table(const Disk& disk, WallMs now);
std::string restore_plan_text(const RestorePlanView& plan, WallMs now);
std::string disk_log_table(const DiskLogView& log, WallMs now);

}  // namespace ebb
