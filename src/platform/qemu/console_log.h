// What a VM's console said here under one epoch, as one sequence of bytes: it goes on from machine to machine, in the folder of
// the one that runs and among the logs of those that are gone, and its beginning is forgotten as the log is rotated.
#pragma once
#include <optional>
#include <string>
#include <sys/types.h>

#include "env/hypervisor.h"

namespace ebb::qemu {

// Of the log in `folder`, as Hypervisor::read_console; not_found if there is none.
Result<ConsolePiece> read_console_log(const std::string& folder, ConsoleFrom from, std::size_t bytes_max);

// Where the logs of a machine that is gone are kept: "<vm>.<epoch>.<wall ms>" in the archive.
std::string archive_name(const VmId& vm, std::uint64_t epoch, WallMs now);
// The latest of that VM and epoch in which there is a console's log.
std::optional<std::string> find_archived_console(const std::string& archive, const VmId& vm,
                                                 std::uint64_t epoch);

struct ConsoleOwner {
  uid_t uid = 0;
  gid_t gid = 0;
};
// Goes on with the archived log, if there is one: it is moved into `folder`, given to whoever writes it, and a line tells of the
// new start. False if there is none.
Result<bool> bring_console_back(const std::string& archive, const VmId& vm, std::uint64_t epoch, WallMs now,
                                const std::string& folder, std::optional<ConsoleOwner> owner);
// How that line begins.
inline constexpr std::string_view started_again = "[ebb: started again, ";

}  // namespace ebb::qemu
