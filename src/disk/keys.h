// Where everything lies in a pool. Keys are predictable: nothing is ever found by listing.
#pragma once
#include <string>

#include "disk/format/checkpoint_types.h"

namespace ebb::disk {

std::string head_key(const DiskId& disk);
std::string segment_key(const DiskId& disk, DiskEpoch epoch, std::uint64_t seq);
std::string cleaned_key(const DiskId& disk, DiskEpoch epoch, std::uint64_t number);
std::string data_object_key(const DataObject& object);
// "segment DISK/EPOCH/SEQ", for people.
std::string text_of(const DataObject& object);
std::string checkpoint_root_key(const DiskId& disk, DiskEpoch epoch, std::uint64_t number);
// The same bytes once more: all objects of a disk are found by its root, and nothing in a pool is ever listed.
std::string checkpoint_root_copy_key(const DiskId& disk, DiskEpoch epoch, std::uint64_t number);
std::string map_pack_key(const DiskId& disk, DiskEpoch epoch, std::uint64_t checkpoint, std::uint32_t pack);
// The list of hot regions that an epoch leaves.
std::string hints_key(const DiskId& disk, DiskEpoch epoch);
std::string roots_key(const DiskId& disk, const std::string& nonce);
std::string blob_key(const std::string& id, std::uint64_t chunk);
inline std::string pool_format_key() { return "format"; }

}  // namespace ebb::disk
