#include "disk/format/checkpoint_types.h"

#include "disk/block_device.h"
#include "disk/format/hash.h"
#include "disk/format/wire.h"

namespace ebb::disk {
namespace {

constexpr auto root_magic = magic_of("EBBCKPT1"), page_magic = magic_of("EBBPAGE1");
constexpr std::size_t point_bytes_min = 46, page_ref_bytes_min = 46, object_bytes_min = 38, run_bytes = 16;

void append_epoch(Bytes& out, DiskEpoch e) {
  append_le(out, e.placement);
  append_le(out, e.incarnation);
}
DiskEpoch read_epoch(WireReader& in) {
  DiskEpoch e;
  e.placement = in.number<std::uint64_t>();
  e.incarnation = in.number<std::uint64_t>();
  return e;
}

void append_point(Bytes& out, const LogPoint& p) {
  append_epoch(out, p.epoch);
  for (auto number : {p.seq, p.write_seq, p.log_position}) append_le(out, number);
  append_text(out, p.opener);
  append_text(out, p.chain);
  append_text(out, p.log_id);
}
LogPoint read_point(WireReader& in) {
  LogPoint p;
  p.epoch = read_epoch(in);
  p.seq = in.number<std::uint64_t>();
  p.write_seq = in.number<std::uint64_t>();
  p.log_position = in.number<std::uint64_t>();
  p.opener = in.text();
  p.chain = in.text();
  p.log_id = in.text();
  return p;
}

Status check_root(const CheckpointRoot& r) {
  if (!is_valid_name(r.disk.str()) || r.number == 0 || r.size_bytes % block_bytes != 0 ||
      r.size_bytes > disk_bytes_max) {
    return fail(Code::corrupt, "a checkpoint's root is out of range");
  }
  if (!r.position.chain.empty() && !is_sha256_hex(r.position.chain))
    return fail(Code::corrupt, "a checkpoint has no valid chain");
  std::uint64_t next = 0, pages = (r.size_bytes / block_bytes + blocks_per_page - 1) / blocks_per_page;
  for (const auto& ref : r.pages) {
    if (ref.page < next || ref.page >= pages || !is_valid_name(ref.disk.str()) || ref.bytes == 0 ||
        ref.bytes > checkpoint_bytes_max) {
      return fail(Code::corrupt, "a checkpoint's root has a page out of order");
    }
    next = ref.page + std::uint64_t{1};
  }
  return {};
}

Status check_page(const MapPage& p) {
  std::uint64_t next = 0, blocks = 0;
  for (const auto& object : p.objects) {
    if (!is_valid_name(object.disk.str()) || object.seq == 0 || object.seq > seq_max ||
        object.data_offset == 0 || object.data_offset % block_bytes != 0) {
      return fail(Code::corrupt, "a map page names an object out of range");
    }
  }
  for (const auto& run : p.runs) {
    if (run.count == 0 || run.block < next || run.object >= p.objects.size())
      return fail(Code::corrupt, "a map page is out of order");
    next = std::uint64_t{run.block} + run.count;
    if (next > blocks_per_page || std::uint64_t{run.data_block} + run.count > segment_data_blocks_max) {
      return fail(Code::corrupt, "a map page has a run out of range");
    }
    blocks += run.count;
  }
  if (blocks != p.crcs.size())
    return fail(Code::corrupt, "a map page has {} blocks and {} checksums", blocks, p.crcs.size());
  return {};
}

}  // namespace

Bytes encode(const CheckpointRoot& r) {
  Bytes out = begin_object(root_magic);
  append_text(out, r.disk.str());
  append_epoch(out, r.epoch);
  append_le(out, r.number);
  append_le(out, r.size_bytes);
  append_point(out, r.position);
  append_le(out, static_cast<std::uint32_t>(r.lineage.size()));
  for (const auto& point : r.lineage) append_point(out, point);
  append_le(out, static_cast<std::uint32_t>(r.pages.size()));
  for (const auto& ref : r.pages) {
    append_le(out, ref.page);
    append_text(out, ref.disk.str());
    append_epoch(out, ref.epoch);
    append_le(out, ref.checkpoint);
    append_le(out, ref.bytes);
    append_le(out, ref.crc32c);
  }
  append_le(out, std::uint64_t{0});  // live bytes, for cleaning
  finish_object(out);
  return out;
}

Result<CheckpointRoot> decode_checkpoint_root(ByteView object) {
  constexpr std::string_view what = "a checkpoint's root";
  EBB_TRY(body, open_object(object, root_magic, what));
  WireReader in(body);
  CheckpointRoot r;
  r.disk = DiskId(in.text());
  r.epoch = read_epoch(in);
  r.number = in.number<std::uint64_t>();
  r.size_bytes = in.number<std::uint64_t>();
  r.position = read_point(in);
  r.lineage.resize(in.count(point_bytes_min));
  for (auto& point : r.lineage) point = read_point(in);
  r.pages.resize(in.count(page_ref_bytes_min));
  for (auto& ref : r.pages) {
    ref.page = in.number<std::uint32_t>();
    ref.disk = DiskId(in.text());
    ref.epoch = read_epoch(in);
    ref.checkpoint = in.number<std::uint64_t>();
    ref.bytes = in.number<std::uint64_t>();
    ref.crc32c = in.number<std::uint32_t>();
  }
  in.number<std::uint64_t>();
  EBB_CHECKED(in.finish(what));
  EBB_CHECKED(check_root(r));
  return r;
}

Bytes encode(const MapPage& p) {
  Bytes out = begin_object(page_magic);
  append_text(out, p.disk.str());
  append_epoch(out, p.epoch);
  append_le(out, p.checkpoint);
  append_le(out, p.page);
  append_le(out, static_cast<std::uint32_t>(p.objects.size()));
  for (const auto& o : p.objects) {
    append_text(out, o.disk.str());
    append_le(out, std::uint32_t{0});
    append_epoch(out, o.epoch);
    append_le(out, o.seq);
    append_le(out, o.data_offset);
    append_le(out, std::uint32_t{0});
  }
  append_le(out, static_cast<std::uint32_t>(p.runs.size()));
  for (const auto& run : p.runs) {
    for (auto number : {run.block, run.count, run.object, run.data_block}) append_le(out, number);
  }
  append_le(out, static_cast<std::uint32_t>(p.crcs.size()));
  append(out, std::as_bytes(std::span(p.crcs)));
  finish_object(out);
  return out;
}

Result<MapPage> decode_map_page(ByteView object) {
  constexpr std::string_view what = "a map page";
  EBB_TRY(body, open_object(object, page_magic, what));
  WireReader in(body);
  MapPage p;
  p.disk = DiskId(in.text());
  p.epoch = read_epoch(in);
  p.checkpoint = in.number<std::uint64_t>();
  p.page = in.number<std::uint32_t>();
  p.objects.resize(in.count(object_bytes_min));
  std::uint32_t unknown = 0;
  for (auto& o : p.objects) {
    o.disk = DiskId(in.text());
    unknown |= in.number<std::uint32_t>();
    o.epoch = read_epoch(in);
    o.seq = in.number<std::uint64_t>();
    o.data_offset = in.number<std::uint32_t>();
    unknown |= in.number<std::uint32_t>();
  }
  p.runs.resize(in.count(run_bytes));
  for (auto& run : p.runs) {
    for (auto* number : {&run.block, &run.count, &run.object, &run.data_block})
      *number = in.number<std::uint32_t>();
  }
  p.crcs.resize(in.count(4));
  auto crcs = in.bytes(p.crcs.size() * 4);
  if (!crcs.empty()) std::memcpy(p.crcs.data(), crcs.data(), crcs.size());
  EBB_CHECKED(in.finish(what));
  if (unknown != 0)
    return fail(Code::invalid, "a map page names objects of a kind that this program does not know");
  EBB_CHECKED(check_page(p));
  return p;
}

}  // namespace ebb::disk
