// What a health check may be, and how it is written in one word.
#pragma once
#include "model/fleet_types.h"

namespace ebb {

// "tcp:PORT", "http:PORT", "http:PORT/PATH" or "guest-agent"; PORT is the name of one of the VM's ports. invalid: says so.
Result<HealthCheck> parse_health_check(std::string_view text);
// The same word.
std::string to_text(const HealthCheck& check);
// invalid, with the field that is wrong.
Status check_health_check(const HealthCheck& check, const std::vector<Port>& ports);

}  // namespace ebb
