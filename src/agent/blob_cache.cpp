#include "agent/blob_cache.h"

#include "base/sha256.h"
#include "disk/format/blob_types.h"
#include "disk/format/limits.h"
#include "disk/keys.h"

namespace ebb::agent {

Task<Result<std::string>> BlobCache::fetch(PoolId pool, Blob blob) {
  if (!is_sha256_hex(blob.sha256)) co_return fail(Code::invalid, "blob '{}' has no valid sha256", blob.id);
  auto found = pools_.find(pool);
  if (found == pools_.end())
    co_return fail(Code::invalid, "pool '{}' is not configured on this worker", pool);
  auto* store = found->second;
  auto path = fmt::format("{}/{}", folder_, blob.sha256);
  auto& slot = fetching_[blob.sha256];
  if (!slot) slot = std::make_shared<AsyncMutex>(loop_);
  auto mutex = slot;
  auto turn = co_await mutex->lock();

  auto complete = co_await files_.read_all(path + ".ok");
  if (complete) co_return path;
  if (complete.error().code != Code::not_found) co_return fail(std::move(complete).error());
  EBB_CO_CHECKED(co_await files_.make_dirs(folder_));
  auto downloaded = co_await download(store, blob, path);
  if (!downloaded) {
    (void)co_await files_.remove(path);
    co_return fail(std::move(downloaded).error());
  }
  EBB_CO_CHECKED(co_await files_.write_atomic(path + ".ok", to_bytes(blob.id)));
  co_return path;
}

Task<Status> BlobCache::download(ObjectStore* store, Blob blob, std::string path) {
  EBB_CO_TRY(file, co_await files_.open(path, OpenMode::create));
  EBB_CO_CHECKED(co_await file->resize(0));  // what an earlier attempt left
  Sha256 sha;
  std::uint64_t offset = 0;
  for (std::uint64_t chunk = 0; offset < blob.size_bytes; ++chunk) {
    auto object = co_await store->get(disk::blob_key(blob.id, chunk));
    if (!object)
      co_return fail(std::move(object).error().within(fmt::format("chunk {} of blob '{}'", chunk, blob.id)));
    EBB_CO_TRY(content, disk::decode_blob_chunk(object->body, blob.id, chunk));
    if (content.empty() || content.size() > blob.size_bytes - offset) {
      co_return fail(Code::corrupt, "chunk {} of blob '{}' has {} bytes", chunk, blob.id, content.size());
    }
    sha.add(content);
    auto size = content.size();
    EBB_CO_CHECKED(co_await file->write(offset, std::move(content)));
    offset += size;
  }
  auto found = sha.hex();
  if (found != blob.sha256) {
    co_return fail(Code::corrupt, "blob '{}' has sha256 {} and should have {}", blob.id, found, blob.sha256);
  }
  co_return co_await file->sync();
}

}  // namespace ebb::agent
