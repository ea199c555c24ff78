#include "disk/format/checkpoint_types.h"

#include "disk/block_device.h"
#include "disk/format/hash.h"
#include "disk/format/wire.h"

namespace ebb::disk {
namespace {

constexpr std::uint32_t packed_flag = 1u << 8;  // beside an object's kind
constexpr auto root_magic = magic_of("EBBCKPT1"), page_magic = magic_of("EBBPAGE1");
constexpr std::size_t point_bytes_min = 46, owner_bytes_min = 18, object_bytes = 36, pack_bytes = 20,
                      page_ref_bytes = 16, run_bytes = 16, group_bytes_min = 16, condemned_bytes = 20;

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

// Who wrote objects: a disk in one epoch. Few, and named by many.
using Writer = std::pair<DiskId, DiskEpoch>;

class WriterTable {
 public:
  std::uint32_t index_of(const DiskId& disk, DiskEpoch epoch) {
    auto [it, is_new] = index_.try_emplace({disk, epoch}, static_cast<std::uint32_t>(writers_.size()));
    if (is_new) writers_.push_back({disk, epoch});
    return it->second;
  }
  const std::vector<Writer>& writers() const { return writers_; }

 private:
  std::map<Writer, std::uint32_t> index_;
  std::vector<Writer> writers_;
};

Status check_root(const CheckpointRoot& r) {
  if (!is_valid_name(r.disk.str()) || r.number == 0 || r.size_bytes % block_bytes != 0 ||
      r.size_bytes > disk_bytes_max) {
    return fail(Code::corrupt, "a checkpoint's root is out of range");
  }
  if (!r.position.chain.empty() && !is_sha256_hex(r.position.chain))
    return fail(Code::corrupt, "a checkpoint has no valid chain");
  ObjectId next_object = 1;
  for (const auto& o : r.objects) {
    if (o.object.kind != ObjectKind::segment && o.object.kind != ObjectKind::cleaned)
      return fail(Code::corrupt, "a checkpoint's root has an object of an unknown kind");
    if (o.id < next_object || o.id >= r.next_object || !is_valid_name(o.object.disk.str()) ||
        o.object.seq == 0 || o.object.seq > seq_max || o.object.data_offset == 0 ||
        o.object.data_offset % block_bytes != 0 || o.blocks > segment_data_blocks_max || o.live > o.blocks) {
      return fail(Code::corrupt, "a checkpoint's root has an object out of range");
    }
    next_object = o.id + 1;
  }
  for (const auto& group : r.condemned) {
    for (const auto& c : group.objects) {
      if (c.kind > Condemned::Kind::lost_cleaned || c.number == 0)
        return fail(Code::corrupt, "a checkpoint's root condemns something out of range");
    }
  }
  for (const auto& pack : r.packs) {
    if (!is_valid_name(pack.disk.str()) || pack.checkpoint == 0 || pack.number == 0 ||
        pack.bytes > pack_bytes_max)
      return fail(Code::corrupt, "a checkpoint's root has a pack out of range");
  }
  std::uint64_t next = 0, pages = (r.size_bytes / block_bytes + blocks_per_page - 1) / blocks_per_page;
  for (const auto& ref : r.pages) {
    if (ref.page < next || ref.page >= pages || ref.pack >= r.packs.size() || ref.bytes == 0 ||
        std::uint64_t{ref.offset} + ref.bytes > r.packs[ref.pack].bytes) {
      return fail(Code::corrupt, "a checkpoint's root has a page out of order");
    }
    next = ref.page + std::uint64_t{1};
  }
  return {};
}

Status check_page(const MapPage& p) {
  std::uint64_t next = 0, blocks = 0;
  for (const auto& run : p.runs) {
    if (run.count == 0 || run.block < next || run.object == 0)
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

CheckpointId id_of(const CheckpointRoot& root) { return {root.epoch, root.number}; }

Bytes encode(const CheckpointRoot& r) {
  WriterTable writers;
  Bytes objects, packs;
  for (const auto& o : r.objects) {
    append_le(objects, o.id);
    append_le(objects, writers.index_of(o.object.disk, o.object.epoch));
    append_le(objects, o.object.seq);
    for (auto number : {o.object.data_offset, o.blocks, o.live, o.trims,
                        static_cast<std::uint32_t>(o.object.kind) | (o.object.is_packed ? packed_flag : 0)})
      append_le(objects, number);
  }
  for (const auto& pack : r.packs) {
    append_le(packs, writers.index_of(pack.disk, pack.epoch));
    append_le(packs, pack.checkpoint);
    append_le(packs, pack.number);
    append_le(packs, pack.bytes);
  }
  Bytes condemned;
  append_le(condemned, static_cast<std::uint32_t>(r.condemned.size()));
  for (const auto& group : r.condemned) {
    append_le(condemned, writers.index_of(r.disk, group.by.epoch));
    append_le(condemned, group.by.number);
    append_le(condemned, static_cast<std::uint32_t>(group.objects.size()));
    for (const auto& c : group.objects) {
      append_le(condemned, static_cast<std::uint32_t>(c.kind));
      append_le(condemned, writers.index_of(r.disk, c.epoch));
      append_le(condemned, c.number);
      append_le(condemned, c.pack);
    }
  }
  Bytes out = begin_object(root_magic);
  append_text(out, r.disk.str());
  append_epoch(out, r.epoch);
  append_le(out, r.number);
  append_le(out, r.size_bytes);
  append_point(out, r.position);
  append_le(out, static_cast<std::uint32_t>(r.lineage.size()));
  for (const auto& point : r.lineage) append_point(out, point);
  append_le(out, static_cast<std::uint32_t>(writers.writers().size()));
  for (const auto& [disk, epoch] : writers.writers()) {
    append_text(out, disk.str());
    append_epoch(out, epoch);
  }
  append_le(out, r.next_object);
  append_le(out, static_cast<std::uint32_t>(r.objects.size()));
  append(out, objects);
  append_le(out, static_cast<std::uint32_t>(r.packs.size()));
  append(out, packs);
  append_le(out, static_cast<std::uint32_t>(r.pages.size()));
  for (const auto& ref : r.pages) {
    for (auto number : {ref.page, ref.pack, ref.offset, ref.bytes}) append_le(out, number);
  }
  append_le(out, r.cleaned);
  append(out, condemned);
  finish_packed_object(out);
  return out;
}

Result<CheckpointRoot> decode_checkpoint_root(ByteView object) {
  constexpr std::string_view what = "a checkpoint's root";
  EBB_TRY(body, open_packed_object(object, root_magic, checkpoint_unpacked_bytes_max, what));
  WireReader in(body);
  CheckpointRoot r;
  r.disk = DiskId(in.text());
  r.epoch = read_epoch(in);
  r.number = in.number<std::uint64_t>();
  r.size_bytes = in.number<std::uint64_t>();
  r.position = read_point(in);
  r.lineage.resize(in.count(point_bytes_min));
  for (auto& point : r.lineage) point = read_point(in);
  std::vector<Writer> writers(in.count(owner_bytes_min));
  for (auto& [disk, epoch] : writers) disk = DiskId(in.text()), epoch = read_epoch(in);
  bool is_known = true;
  auto read_writer = [&](DiskId& disk, DiskEpoch& epoch) {
    auto index = in.number<std::uint32_t>();
    is_known &= index < writers.size();
    if (is_known) std::tie(disk, epoch) = writers[index];
  };
  r.next_object = in.number<std::uint32_t>();
  r.objects.resize(in.count(object_bytes));
  for (auto& o : r.objects) {
    o.id = in.number<std::uint32_t>();
    read_writer(o.object.disk, o.object.epoch);
    o.object.seq = in.number<std::uint64_t>();
    for (auto* number : {&o.object.data_offset, &o.blocks, &o.live, &o.trims})
      *number = in.number<std::uint32_t>();
    auto kind = in.number<std::uint32_t>();
    if ((kind >> 9) != 0)
      return fail(Code::invalid, "a checkpoint's root is of a newer version of this program");
    o.object.is_packed = (kind & packed_flag) != 0;
    o.object.kind = static_cast<ObjectKind>(kind & ~packed_flag);
  }
  r.packs.resize(in.count(pack_bytes));
  for (auto& pack : r.packs) {
    read_writer(pack.disk, pack.epoch);
    pack.checkpoint = in.number<std::uint64_t>();
    pack.number = in.number<std::uint32_t>();
    pack.bytes = in.number<std::uint32_t>();
  }
  r.pages.resize(in.count(page_ref_bytes));
  for (auto& ref : r.pages) {
    for (auto* number : {&ref.page, &ref.pack, &ref.offset, &ref.bytes}) *number = in.number<std::uint32_t>();
  }
  r.cleaned = in.number<std::uint64_t>();
  r.condemned.resize(in.count(group_bytes_min));
  for (auto& group : r.condemned) {
    DiskId disk;
    read_writer(disk, group.by.epoch);
    group.by.number = in.number<std::uint64_t>();
    group.objects.resize(in.count(condemned_bytes));
    for (auto& c : group.objects) {
      c.kind = static_cast<Condemned::Kind>(in.number<std::uint32_t>());
      read_writer(disk, c.epoch);
      c.number = in.number<std::uint64_t>();
      c.pack = in.number<std::uint32_t>();
    }
  }
  EBB_CHECKED(in.finish(what));
  if (!is_known) return fail(Code::corrupt, "{} names a writer that it does not know", what);
  EBB_CHECKED(check_root(r));
  return r;
}

Bytes encode(const MapPage& p) {
  Bytes out = begin_object(page_magic);
  append_text(out, p.disk.str());
  append_le(out, p.page);
  append_le(out, static_cast<std::uint32_t>(p.runs.size()));
  for (const auto& run : p.runs) {
    for (auto number : {run.block, run.count, run.object, run.data_block}) append_le(out, number);
  }
  append_le(out, static_cast<std::uint32_t>(p.crcs.size()));
  append(out, std::as_bytes(std::span(p.crcs)));
  finish_packed_object(out);
  return out;
}

Result<MapPage> decode_map_page(ByteView object) {
  constexpr std::string_view what = "a map page";
  EBB_TRY(body, open_packed_object(object, page_magic, page_unpacked_bytes_max, what));
  WireReader in(body);
  MapPage p;
  p.disk = DiskId(in.text());
  p.page = in.number<std::uint32_t>();
  p.runs.resize(in.count(run_bytes));
  for (auto& run : p.runs) {
    for (auto* number : {&run.block, &run.count, &run.object, &run.data_block})
      *number = in.number<std::uint32_t>();
  }
  p.crcs.resize(in.count(4));
  auto crcs = in.bytes(p.crcs.size() * 4);
  if (!crcs.empty()) std::memcpy(p.crcs.data(), crcs.data(), crcs.size());
  EBB_CHECKED(in.finish(what));
  EBB_CHECKED(check_page(p));
  return p;
}

}  // namespace ebb::disk
