// Facts about the machine and the process that we run in.
#pragma once
#include <cstdint>
#include <string>

#include "base/result.h"

namespace ebb {

// Changes with every boot of the machine.
Result<std::string> boot_id();
// CPUs that this process may use.
std::uint32_t cpu_count();
Result<std::uint64_t> memory_bytes_total();
// Resident memory of this process.
Result<std::uint64_t> own_memory_bytes();

// Frequency of the time stamp counter, which a microvm guest cannot find out by itself. 0 where there is
// none. Blocks for up to 60 ms when the processor does not tell.
std::uint32_t tsc_khz();

// The numeric id of a user of this machine. invalid: there is none of that name.
Result<std::uint32_t> user_id(const std::string& name);

// The file of the kernel that runs here; empty if it is not found where distributions keep it.
std::string host_kernel();

// As many open files as the system lets this process have.
void raise_open_files_limit();

}  // namespace ebb
