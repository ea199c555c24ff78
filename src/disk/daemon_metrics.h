// What a disk daemon tells a monitoring system, in Prometheus's text format: above all how far each disk's
// acknowledged writes are ahead of the store.
#pragma once
#include <string>

#include "disk/disk_memory.h"
#include "model/disk_daemon_types.h"

namespace ebb::disk {

std::string metrics_text(const DaemonStatus& status, const DiskMemory& memory);

}  // namespace ebb::disk
