// Blocking calls that finish what they begin: no short reads or writes, no EINTR. For the loop's threads
// only.
#pragma once
#include <string>

#include "base/bytes.h"
#include "base/result.h"
#include "env/files.h"
#include "platform/os_error.h"

namespace ebb::posix {

// Up to `length` bytes, fewer only at the end of the file. `path` is for errors, here and below.
Result<Bytes> read_at(int fd, std::uint64_t offset, std::size_t length, const std::string& path);
// The same of a file that was made direct.
Result<Bytes> read_past_cache(int fd, std::uint64_t offset, std::size_t length, const std::string& path);
Status write_at(int fd, std::uint64_t offset, ByteView data, const std::string& path);
// Makes requests of whole blocks (BlockBuffer) go past the page cache; false: not on this file system.
bool make_direct(int fd);
// The whole content of an empty file that was made direct, and may be so no more afterwards.
Status write_past_cache(int fd, ByteView data, const std::string& path);
Status sync_data(int fd, const std::string& path);

// A file, never a folder; one that is created has a durable name.
Result<UniqueFd> open_file(const std::string& path, OpenMode mode);
// Makes names in the folder durable.
Status sync_folder(const std::string& path);
// Durable; conflict if `to` exists.
Status rename_file(const std::string& from, const std::string& to);
// With parents, durable; fine if it exists.
Status make_folders(const std::string& path);
// "/a" of "/a/b", "." of "b".
std::string parent_of(const std::string& path);

}  // namespace ebb::posix
