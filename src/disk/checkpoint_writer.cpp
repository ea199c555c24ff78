#include "disk/checkpoint_writer.h"

#include "base/checksum.h"
#include "disk/keys.h"
#include "env/scope.h"

namespace ebb::disk {
namespace {
constexpr std::size_t parallel_max = 8;

Task<Status> put_checkpoint_object(StoreAccess access, std::string key, SharedBytes body) {
  if (co_await access.put_once(key, body) == StoreAccess::Put::stored) co_return Status{};
  co_return fail(Code::corrupt, "{} holds what this process did not write", key);
}

}  // namespace

Task<Result<CheckpointRef>> store_checkpoint(StoreAccess access, CheckpointPlan plan) {
  auto& pages = plan.snapshot.pages;
  for (std::size_t at = 0; at < pages.size(); at += parallel_max) {
    std::vector<Task<Status>> puts;
    for (auto i = at; i < std::min(pages.size(), at + parallel_max); ++i) {
      puts.push_back(put_checkpoint_object(access,
                                           map_page_key(plan.disk, plan.epoch, plan.number, pages[i].page),
                                           std::make_shared<const Bytes>(std::move(pages[i].body))));
    }
    for (auto& put : co_await when_all(*access.loop, std::move(puts))) EBB_CO_CHECKED(std::move(put));
  }
  CheckpointRoot root{plan.disk,     plan.epoch,   plan.number,       plan.size_bytes,
                      plan.position, plan.lineage, plan.snapshot.refs};
  auto body = std::make_shared<const Bytes>(encode(root));
  EBB_CO_CHECKED(
      co_await put_checkpoint_object(access, checkpoint_root_key(plan.disk, plan.epoch, plan.number), body));
  co_return CheckpointRef{plan.disk, plan.epoch, plan.number, body->size(), crc32c(*body), plan.position};
}

void record_checkpoint(Head& head, const CheckpointRef& checkpoint) {
  head.checkpoint = checkpoint;
  std::erase_if(head.lineage, [&](const LogPoint& point) { return point.epoch < checkpoint.position.epoch; });
}

}  // namespace ebb::disk
