// Pools as the daemons take them: a folder or a bucket, refused if it breaks a promise that disks rest on.
#pragma once
#include <string>

#include "env/files.h"
#include "platform/daemon.h"

namespace ebb {

// A pool that this program never used is probed in full, and not used before it has passed; a mark in the state folder says
// that it has. One that is known is asked a few times, because guests wait for a restart: it is refused for what it does wrong,
// and taken with a warning on stderr if it does not answer, or refuses our keys, for a restart must not wait until that is mended.
//
// invalid: the URL is wrong, or the store is; the message says what. unavailable: nothing is known of it.
PoolOpener probing_opener(Files& files, std::string state_dir);

}  // namespace ebb
