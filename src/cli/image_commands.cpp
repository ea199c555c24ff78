#include "base/text.h"
#include "cli/commands.h"
#include "cli/fleet_view.h"
#include "cli/image_file.h"
#include "disk/format/limits.h"

namespace ebb {
namespace {

// A chunk may be sent again, so a control plane that restarts in between is survived.
constexpr Duration progress_interval = 100ms;

struct Part {
  ImagePart part;
  ImageFile file;
  std::shared_ptr<void> keep = nullptr;  // what the file was made in
};

// "checking  [####----]  50%  12 MiB of 24 MiB" on a terminal; nothing in a pipe.
class UploadProgress final {
 public:
  explicit UploadProgress(Context& c) : c_(c), painter_(c.screen(), Output::talk) {}
  void begin(std::string_view doing, std::uint64_t total) {
    shown_at_.reset();
    at(doing, 0, total);
  }
  void add(std::uint64_t bytes) { at(doing_, done_ + bytes, total_); }
  void at(std::string_view doing, std::uint64_t done, std::uint64_t total) {
    doing_ = doing, done_ = done, total_ = total;
    if (!c_.screen().is_terminal(Output::talk)) return;
    auto now = c_.env.loop.now();
    if (shown_at_ && now - *shown_at_ < progress_interval && done_ < total_) return;
    shown_at_ = now;
    if (total_ == 0) return painter_.show({fmt::format("{:<10}{}", doing_, format_size(done_))});
    auto share = static_cast<double>(done_) / static_cast<double>(total_);
    auto columns = c_.screen().size().columns;
    auto text = fmt::format("{:<10}{} {:>3.0f}%  {} of {}", doing_,
                            bar(share, std::min<std::size_t>(columns / 3, 40)), share * 100,
                            format_size(done_), format_size(total_));
    painter_.show({cut(text, columns)});
  }
  void end() { painter_.clear(); }

 private:
  Context& c_;
  LivePainter painter_;
  std::uint64_t total_ = 0, done_ = 0;
  std::string doing_;
  std::optional<Instant> shown_at_;
};

Task<Result<Part>> open_disk(Context& c, ImportOptions options, UploadProgress* progress) {
  RawDisk raw{options.disk, nullptr};
  if (c.env.disk_images) {
    EBB_CO_TRY(fetched, co_await c.env.disk_images->fetch(
                            {options.disk, options.disk_sha256, disk::disk_bytes_max},
                            [=](std::string_view doing, std::uint64_t done, std::uint64_t total) {
                              progress->at(doing, done, total);
                            }));
    raw = std::move(fetched);
    progress->end();
  }
  EBB_CO_TRY(disk, co_await open_image_file(c.env.files, raw.path));
  disk.path = options.disk;  // for people
  EBB_CO_CHECKED(co_await check_raw_disk(disk));
  if (options.firmware) EBB_CO_CHECKED(co_await check_boots_by_itself(disk));
  co_return Part{ImagePart::disk, std::move(disk), std::move(raw.keep)};
}

Task<Result<std::vector<Part>>> open_and_check(Context& c, ImportOptions options, UploadProgress* progress) {
  std::vector<Part> parts;
  if (!options.kernel.empty()) {
    EBB_CO_TRY(kernel, co_await open_image_file(c.env.files, options.kernel));
    EBB_CO_CHECKED(co_await check_kernel(kernel));
    parts.push_back({ImagePart::kernel, std::move(kernel)});
  }
  if (!options.initrd.empty()) {
    EBB_CO_TRY(initrd, co_await open_image_file(c.env.files, options.initrd));
    parts.push_back({ImagePart::initrd, std::move(initrd)});
  }
  if (!options.disk.empty()) {
    EBB_CO_TRY(disk, co_await open_disk(c, options, progress));
    parts.push_back(std::move(disk));
  }
  co_return parts;
}

CreateImage announce(const ImportOptions& options, const std::vector<Part>& parts) {
  CreateImage request;
  request.id = options.name;
  request.firmware = options.firmware;
  request.cmdline = options.cmdline;
  request.channels = options.channels;
  for (const auto& [part, file, keep] : parts) {
    switch (part) {
      case ImagePart::kernel:
        request.kernel_bytes = file.size_bytes, request.kernel_sha256 = file.sha256;
        break;
      case ImagePart::initrd:
        request.initrd_bytes = file.size_bytes, request.initrd_sha256 = file.sha256;
        break;
      case ImagePart::disk:
        request.disk_bytes = file.size_bytes, request.disk_sha256 = file.sha256;
        break;
    }
  }
  return request;
}

// What is sent in one request: a chunk, or zeroes, which are only counted.
struct Piece {
  Bytes chunk;  // empty: zeroes
  std::uint64_t bytes = 0;
};

Task<Result<Piece>> next_piece(Part* part, std::uint64_t offset) {
  auto* file = &part->file;
  const bool may_be_sparse = part->part == ImagePart::disk;
  Piece piece;
  while (offset + piece.bytes < file->size_bytes && piece.bytes + upload_chunk_bytes <= upload_zeroes_bytes) {
    EBB_CO_TRY(chunk, co_await file->file->read(offset + piece.bytes, upload_chunk_bytes));
    if (chunk.empty()) co_return fail(Code::invalid, "{} became shorter while it was read", file->path);
    const auto size = chunk.size();
    const bool is_zero = may_be_sparse && is_all_zero(chunk);
    if (!is_zero && piece.bytes > 0) break;  // comes next
    piece.bytes += size;
    if (!is_zero) {
      piece.chunk = std::move(chunk);
      break;
    }
  }
  co_return piece;
}

Task<Status> upload_part(Context& c, ImageId id, Part* part, UploadProgress* progress) {
  for (std::uint64_t offset = 0; offset < part->file.size_bytes;) {
    EBB_CO_TRY(piece, co_await next_piece(part, offset));
    std::function<Task<Status>()> send = [&] {
      return piece.chunk.empty() ? c.client.upload_zeroes(id, part->part, offset, piece.bytes)
                                 : c.client.upload(id, part->part, offset, piece.chunk);
    };
    EBB_CO_CHECKED(co_await ask_patiently<void>(c, send, [&](const Error& error) {
      progress->end(), c.screen().say(error.message + "; trying on");
    }));
    offset += piece.bytes;
    progress->add(piece.bytes);
  }
  co_return Status{};
}

Task<Result<Image>> upload_and_seal(Context& c, ImageId id, std::vector<Part>* parts,
                                    UploadProgress* progress) {
  std::uint64_t total = 0;
  for (const auto& part : *parts) total += part.file.size_bytes;
  progress->begin("uploading", total);
  for (auto& part : *parts) EBB_CO_CHECKED(co_await upload_part(c, id, &part, progress));
  progress->end();
  co_return co_await c.client.seal_image(id);
}

}  // namespace

Task<Result<Exit>> list_images(Context& c) {
  EBB_CO_TRY(images, co_await c.client.images());
  c.show(images, images_table(images, c.now()));
  co_return Exit::ok;
}

Task<Result<Exit>> show_image(Context& c, ImageId id) {
  EBB_CO_TRY(image, co_await c.client.image(id));
  c.show(image, images_table({image}, c.now()));
  co_return Exit::ok;
}

Task<Result<Exit>> import_image(Context& c, ImportOptions options) {
  UploadProgress progress(c);
  auto opened = co_await open_and_check(c, options, &progress);
  progress.end();
  EBB_CO_TRY(parts, std::move(opened));
  std::uint64_t total = 0;
  for (const auto& part : parts) total += part.file.size_bytes;
  progress.begin("checking", total);
  for (auto& part : parts) {
    EBB_CO_CHECKED(co_await hash_image_file(part.file, [&](std::uint64_t bytes) { progress.add(bytes); }));
  }
  progress.end();
  EBB_CO_TRY(created, co_await c.client.create_image(announce(options, parts)));
  c.farewell = fmt::format("ebb: interrupted; image {} is not whole: remove it with 'ebb images rm {}'",
                           options.name, options.name);
  auto image = co_await upload_and_seal(c, created.id, &parts, &progress);
  if (!image) {
    progress.end();
    // Half an image is of no use, and would be in the way of the next try. Its seal may have removed it
    // already.
    if (image.error().code != Code::unavailable) {
      if (auto removed = co_await c.client.remove_image(created.id);
          !removed && removed.error().code != Code::not_found) {
        c.screen().say(fmt::format("image {} could not be removed: {}", created.id, removed.error().message));
      }
    }
    co_return fail(std::move(image).error());
  }
  c.show(*image, images_table({*image}, c.now()));
  co_return Exit::ok;
}

Task<Result<Exit>> remove_image(Context& c, ImageId id) {
  EBB_CO_CHECKED(co_await c.client.remove_image(id));
  c.screen().say(fmt::format("image {} is removed", id));
  c.show_removed("images/" + id.value);
  co_return Exit::ok;
}

}  // namespace ebb
