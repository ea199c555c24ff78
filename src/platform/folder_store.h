// An object store in a folder of this machine, shared by any number of its processes. An object is a file;
// create-if-absent is link(2) of a synced file, compare-and-set is rename(2) under a lock. Tags are SHA-256
// of the content, or of more than 64 KiB its CRC32C and length.
#pragma once
#include <memory>
#include <string>

#include "env/object_store.h"
#include "platform/asio_loop.h"

namespace ebb {

// Makes the folder if need be. While its path names another folder, or none, everything is `unavailable`.
// invalid: its file system cannot promise atomic and durable changes (NFS, SMB, FUSE, ...).
Task<Result<std::unique_ptr<ReclaimableStore>>> open_folder_store(AsioLoop& loop, std::string path);

// By URL: "dir:/absolute/path".
Task<Result<std::unique_ptr<ReclaimableStore>>> open_object_store(AsioLoop& loop, std::string url);

// "" if a file system of this statfs type keeps the promises, else a sentence that names it.
std::string why_not_a_pool(long file_system_type);

}  // namespace ebb
