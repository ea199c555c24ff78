// Three workers with room, as most tests of the control plane begin.
#pragma once
#include "control/testing/control_world.h"

namespace ebb::control {

struct Fleet3 : ControlWorld {
  Fleet3() { import_image("guest"); }
  std::string drain(const std::string& worker, const std::string& more = "") {
    auto reply = ask("POST", "/v1/drains", fmt::format(R"({{"workers":["{}"]{}}})", worker, more));
    EXPECT_TRUE(reply.status == 201 || reply.status == 200) << reply.body;
    auto view = json::read_text<DrainView>(reply.body);
    return view ? view->drain.id.value : "";
  }
  DrainView drain_view(const std::string& id) { return get<DrainView>("/v1/drains/" + id); }
  bool all_run(std::initializer_list<const char*> names) {
    return tick_until(
        [&] { return std::all_of(names.begin(), names.end(), [&](auto* n) { return is_running(n); }); });
  }
};

}  // namespace ebb::control
