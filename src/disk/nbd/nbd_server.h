// The NBD server: one connection from handshake to end, over any byte stream and any block device.
// Protocol: https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md (fixed newstyle, structured
// replies, base:allocation); what we do not speak, and why: docs/internals/nbd.md. What a client does wrong
// ends at most its own connection.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/log.h"
#include "disk/block_device.h"
#include "env/loop.h"
#include "env/stream.h"

namespace ebb::disk {

// The device of an export, or why there is none (told to the client). It must take requests of any alignment,
// so there is one AlignLayer for each disk, shared by its connections. Connections share the device's flush,
// too (CAN_MULTI_CONN).
using ExportLookup = std::function<Result<std::shared_ptr<BlockDevice>>(std::string name)>;

struct NbdExports {
  ExportLookup lookup;
  std::function<std::vector<std::string>()> list;  // for clients that ask what there is
  Logger log;
  // For people who ask what an export is; may be absent.
  std::function<std::string(std::string name)> describe = {};
};

struct NbdLimits {
  Duration handshake = 30s;                          // a client that dawdles longer is cut off
  std::size_t requests_max = 128;                    // in flight on one connection
  std::size_t request_bytes_max = 64 * 1024 * 1024;  // of data, in flight on one connection
};

// Ends when the client disconnects or breaks the protocol. Requests under way when the client vanishes are
// finished, so that none of them lands after what the client writes when it comes back. Destroying the task
// ends everything at once.
Task<void> serve_nbd(Loop& loop, std::unique_ptr<Stream> stream, NbdExports exports, NbdLimits limits = {});

}  // namespace ebb::disk
