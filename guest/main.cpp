// One static program, two roles: as process 1 it is the guest's init; otherwise it is the witness alone, for
// tests.
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <unistd.h>

#include "init.h"
#include "witness.h"

namespace {

bool parse(int argc, char** argv, ebb::guest::WitnessOptions& options) {
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string_view name = argv[i];
    const char* value = argv[i + 1];
    if (name == "--records")
      options.records = value;
    else if (name == "--report")
      options.report = value;
    else if (name == "--store")
      options.store = value;
    else if (name == "--tag")
      options.tag = value;
    else if (name == "--pause-ms")
      options.pause_ms = std::strtol(value, nullptr, 10);
    else if (name == "--stop-after")
      options.stop_after = std::strtoull(value, nullptr, 10);
    else
      return false;
  }
  return argc % 2 == 1 && options.pause_ms >= 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (getpid() == 1) ebb::guest::run_init();
  ebb::guest::WitnessOptions options;
  if (!parse(argc, argv, options)) {
    std::fprintf(stderr,
                 "usage: witness [--records FILE] [--store sqlite] [--report FILE] [--tag TEXT] [--pause-ms "
                 "N] [--stop-after N]\n");
    return 2;
  }
  ebb::guest::Status status;
  return ebb::guest::run_witness(options, status, -1);
}
