// Compiles every header of the model once, so that each stands on its own.
#include "model/api_types.h"
#include "model/agent_types.h"
#include "model/disk_daemon_types.h"
#include "model/fleet_types.h"
