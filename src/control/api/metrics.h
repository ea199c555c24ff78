// /metrics in Prometheus' text format (version 0.0.4): base units, no names of VMs as labels.
#pragma once
#include <string>

#include "control/api/views.h"
#include "control/loops/reclaimer.h"

namespace ebb::control {
std::string metrics_text(const Context& context, const Reclaimer& reclaimer);
}
