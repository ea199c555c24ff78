#include "disk/block_map.h"

#include "base/check.h"
#include "base/checksum.h"
#include "disk/block_device.h"

namespace ebb::disk {

BlockMap::BlockMap(std::uint64_t size_bytes) : blocks_(size_bytes / block_bytes) {
  leaves_.resize((blocks_ + leaf_blocks - 1) / leaf_blocks);
}

ObjectIndex BlockMap::intern(const DataObject& object) {
  auto [it, is_new] =
      index_.try_emplace({object.disk, object.epoch, object.seq}, static_cast<ObjectIndex>(objects_.size()));
  if (is_new) objects_.push_back(object);
  return it->second;
}

void BlockMap::set_data_offset(ObjectIndex index, std::uint32_t data_offset) {
  objects_[index].data_offset = data_offset;
}

std::uint64_t BlockMap::at(std::uint64_t block) const {
  const auto& leaf = leaves_[block / leaf_blocks];
  return leaf ? leaf->at[block % leaf_blocks] : absent;
}

BlockMap::Leaf& BlockMap::leaf(std::uint64_t block) {
  auto& leaf = leaves_[block / leaf_blocks];
  if (!leaf) leaf = std::make_unique<Leaf>();
  return *leaf;
}

void BlockMap::set(std::uint64_t block, std::span<const std::uint32_t> crcs, ObjectIndex object,
                   std::uint32_t data_block) {
  CHECK(block + crcs.size() <= blocks_);
  for (std::size_t i = 0; i < crcs.size(); ++i, ++block) {
    auto& l = leaf(block);
    l.at[block % leaf_blocks] = (std::uint64_t{object} << 32) | (data_block + i);
    l.crc[block % leaf_blocks] = crcs[i];
    if (i == 0 || block % blocks_per_page == 0)
      dirty_.insert(static_cast<std::uint32_t>(block / blocks_per_page));
  }
}

void BlockMap::clear(std::uint64_t block, std::uint64_t count) {
  CHECK(block + count <= blocks_);
  for (auto end = block + count; block < end;) {
    auto in_leaf = std::min(end - block, leaf_blocks - block % leaf_blocks);
    if (auto& leaf = leaves_[block / leaf_blocks]) {
      dirty_.insert(static_cast<std::uint32_t>(block / blocks_per_page));
      if (in_leaf == leaf_blocks)
        leaf.reset();
      else
        std::fill_n(leaf->at.begin() + static_cast<std::ptrdiff_t>(block % leaf_blocks), in_leaf, absent);
    }
    block += in_leaf;
  }
}

std::vector<MapPiece> BlockMap::find(std::uint64_t block, std::uint64_t count) const {
  std::vector<MapPiece> pieces;
  for (auto end = block + count; block < end; ++block) {
    auto where = at(block);
    if (!pieces.empty()) {
      auto& last = pieces.back();
      bool goes_on = where == absent ? !last.object
                                     : last.object && where == ((std::uint64_t{*last.object} << 32) |
                                                                (last.data_block + last.count));
      if (goes_on) {
        ++last.count;
        continue;
      }
    }
    MapPiece piece{block, 1, std::nullopt, 0};
    if (where != absent)
      piece.object = static_cast<ObjectIndex>(where >> 32),
      piece.data_block = static_cast<std::uint32_t>(where);
    pieces.push_back(piece);
  }
  return pieces;
}

std::uint32_t BlockMap::crc(std::uint64_t block) const {
  const auto& leaf = leaves_[block / leaf_blocks];
  return leaf ? leaf->crc[block % leaf_blocks] : 0;
}

Status BlockMap::apply(const ReadSegment& segment) {
  const auto& h = segment.head;
  auto object = intern({h.disk, h.epoch, h.seq, segment.data_offset});
  for (const auto& e : h.extents) {
    if (e.block + e.count > blocks_) {
      return fail(Code::corrupt, "segment {}/{}/{} writes beyond the end of the disk", h.disk, h.epoch.text(),
                  h.seq);
    }
    if (e.kind == ExtentKind::zeroes)
      clear(e.block, e.count);
    else
      set(e.block, std::span(h.crcs).subspan(e.data_block, e.count), object, e.data_block);
  }
  return {};
}

MapPage BlockMap::make_page(std::uint32_t page) const {
  MapPage out;
  out.page = page;
  auto first = std::uint64_t{page} * blocks_per_page;
  std::map<ObjectIndex, std::uint32_t> local;
  for (const auto& piece : find(first, std::min<std::uint64_t>(blocks_per_page, blocks_ - first))) {
    if (!piece.object) continue;
    auto [it, is_new] = local.try_emplace(*piece.object, static_cast<std::uint32_t>(out.objects.size()));
    if (is_new) out.objects.push_back(objects_[*piece.object]);
    out.runs.push_back({static_cast<std::uint32_t>(piece.block - first),
                        static_cast<std::uint32_t>(piece.count), it->second, piece.data_block});
    for (std::uint64_t i = 0; i < piece.count; ++i) out.crcs.push_back(crc(piece.block + i));
  }
  return out;
}

BlockMap::Snapshot BlockMap::take_snapshot(const DiskId& disk, DiskEpoch epoch, std::uint64_t checkpoint) {
  Snapshot snapshot;
  for (auto page : dirty_) {
    auto made = make_page(page);
    if (made.runs.empty()) {
      refs_.erase(page);
      continue;
    }
    made.disk = disk, made.epoch = epoch, made.checkpoint = checkpoint;
    auto body = encode(made);
    refs_[page] = {page, disk, epoch, checkpoint, body.size(), crc32c(body)};
    snapshot.pages.push_back({page, std::move(body)});
  }
  dirty_.clear();
  for (const auto& [page, ref] : refs_) snapshot.refs.push_back(ref);
  return snapshot;
}

Status BlockMap::load(const MapPage& page, const PageRef& ref) {
  auto first = std::uint64_t{page.page} * blocks_per_page;
  std::vector<ObjectIndex> local;
  for (const auto& object : page.objects) local.push_back(intern(object));
  std::span crcs(page.crcs);
  for (const auto& run : page.runs) {
    if (first + run.block + run.count > blocks_)
      return fail(Code::corrupt, "map page {} reaches beyond the end of the disk", page.page);
    set(first + run.block, crcs.first(run.count), local[run.object], run.data_block);
    crcs = crcs.subspan(run.count);
  }
  dirty_.erase(page.page);
  refs_[page.page] = ref;
  return {};
}

}  // namespace ebb::disk
