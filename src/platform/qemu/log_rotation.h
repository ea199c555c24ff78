// Keeps files that QEMU appends to bounded: one current, one older.
#pragma once
#include <cstdint>
#include <string>

#include "platform/os_error.h"

namespace ebb::qemu {

// If `path` holds more than `bytes_max`: its last `bytes_max` bytes become `path`.1 and it begins anew. The
// writer keeps its descriptor (it must append); what it writes between the last look and the cut is lost -
// microseconds.
Status rotate_log(const std::string& path, std::uint64_t bytes_max);

// What stands beside a log: the older one, and how many bytes were written before the current one began.
std::string older_name(const std::string& log);
std::string cut_name(const std::string& log);
Result<std::uint64_t> bytes_cut(const std::string& log);

// Of a file that QEMU owns, which may be in its way on purpose: it never waits.
UniqueFd open_guest_file(const std::string& path, int flags);

// rotate_log for every *.log in a folder; the first error.
Status rotate_logs(const std::string& folder, std::uint64_t bytes_max);

// Moves the logs of a machine that is gone to `archive`/<name>, and keeps only the latest `folders_max`
// there.
Status archive_logs(const std::string& folder, const std::string& archive, const std::string& name,
                    std::size_t folders_max);

}  // namespace ebb::qemu
