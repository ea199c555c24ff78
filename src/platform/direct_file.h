// Direct files: O_DIRECT where the file system has it, on the process's io_uring or, without one, on the
// loop's threads.
#pragma once
#include "env/files.h"
#include "platform/asio_loop.h"
#include "platform/uring.h"

namespace ebb {

// `ring` (null: none) outlives the file.
Task<Result<std::unique_ptr<DirectFile>>> open_direct_file(AsioLoop* loop, Uring* ring, std::string path,
                                                           OpenMode mode);

}  // namespace ebb
