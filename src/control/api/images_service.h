// Images: announced, uploaded in order in pieces, checked, sealed. Bytes go to the pool as they come, never
// all in memory.
#pragma once
#include "base/sha256.h"
#include "control/api/services.h"

namespace ebb::control {

inline constexpr std::size_t upload_piece_max = 4 * MiB;
inline constexpr std::uint64_t zeroes_max = 64 * MiB,
                               zeroes_step = MiB;  // that one request stands for, that are hashed at once
inline constexpr std::size_t uploads_max = 16;     // at a time
inline constexpr Duration upload_idle_max = 15min;

class ImagesService {
 public:
  explicit ImagesService(Context context) : c_(context), scope_(context.loop) {}
  void add_routes(Router& router);
  // For ever. Uploads do not survive a restart: what was being uploaded is removed, and its client told to begin again. Nor do
  // those of which nothing is heard any more.
  Task<void> remove_abandoned();

 private:
  struct Part {
    Blob announced;
    std::uint64_t received = 0;
    Sha256 sum;
    Bytes chunk;                       // of a blob, up to blob_chunk_bytes
    std::unique_ptr<DiskUpload> disk;  // instead, for the disk
  };
  struct Upload {
    explicit Upload(Loop& loop) : turn(loop), heard_at(loop.now()) {}
    AsyncMutex turn;  // one piece at a time
    std::map<std::string, Part> parts;
    std::string failed;  // why nothing more is taken
    Instant heard_at;    // of its client
  };

  Task<HttpResponse> list(Call call);
  Task<HttpResponse> show(Call call);
  Task<HttpResponse> create(Call call);
  Task<HttpResponse> put_piece(Call call, std::string part);
  Task<HttpResponse> seal(Call call);
  Task<HttpResponse> remove(Call call);
  Result<Image> announced_image(const CreateImage& wish, WallMs now) const;
  Task<Status> take_piece(std::shared_ptr<Upload> upload, Image image, std::string part, std::uint64_t offset,
                          Bytes piece, std::uint64_t zeroes);
  Task<Status> finish(std::shared_ptr<Upload> upload);
  // If `still` says so once it is certain that nobody changes the image meanwhile.
  Task<Status> drop(ImageId id, std::string why, std::function<bool(const Image&)> still = {});
  bool is_abandoned(const Image& image) const;

  Context c_;
  std::map<ImageId, std::shared_ptr<Upload>> uploads_;
  Scope scope_;  // what has begun to change an upload ends, also when its client has gone
};

}  // namespace ebb::control
