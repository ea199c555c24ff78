// How long what others send may be, where it becomes part of a record: a record has to fit into a commit
// beside others.
#pragma once
#include "control/batch.h"

namespace ebb::control {

inline constexpr std::size_t labels_bytes_max = 64 * 1024;  // as JSON
inline constexpr std::size_t reason_bytes_max = 4096;
inline constexpr std::size_t cmdline_bytes_max = 2048;  // what the kernel of an x86-64 takes
inline constexpr std::size_t channels_max = 16;
inline constexpr std::size_t word_bytes_max = 200;  // a version, an id that the caller chose
inline constexpr std::size_t pools_max = 100;
inline constexpr std::size_t snapshots_max = 256;  // of a disk; as many as its root set takes
inline constexpr std::size_t error_bytes_max = 1000;
inline constexpr std::uint64_t hold_ms_max = 366ull * 24 * 3600 * 1000;
inline constexpr std::size_t budgets_max = 500;  // each VM is held against all of them
inline constexpr std::uint32_t healthy_ms_max = 24 * 3600 * 1000;
inline constexpr std::size_t groups_max = 100'000;
inline constexpr std::uint32_t group_vms_in_domain_max = 10'000;
inline constexpr std::size_t drained_times_max = 200;  // of a VM, that are kept
inline constexpr std::size_t cpu_features_max = 500;
inline constexpr std::uint64_t deadline_ms_max = 366ull * 24 * 3600 * 1000;
inline constexpr std::size_t drain_workers_max = 5000;  // so that the record fits into a commit

Status check_length(const std::string& field, std::string_view text, std::size_t bytes_max);
Status check_labels(const std::string& field, const Labels& labels);
// Of a text that we did not choose, and that nobody could be asked to shorten.
std::string shortened(std::string text, std::size_t bytes_max = error_bytes_max);

}  // namespace ebb::control
