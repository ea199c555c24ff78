// Reads what `ebb export` wrote.
#pragma once
#include <istream>

#include "fleet_records.h"

namespace ebb::what_if {

// invalid: it cannot be read; names the line that is at fault, or what does not fit together.
Result<FleetRecords> read_export(const std::string& path);
Result<FleetRecords> read_export(std::istream& lines, std::string name);

}  // namespace ebb::what_if
