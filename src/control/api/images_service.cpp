#include "control/api/images_service.h"

#include "base/text.h"

namespace ebb::control {
namespace {

constexpr std::uint64_t kernel_max = 512 * MiB, initrd_max = 4 * GiB, disk_max = 64ull * 1024 * GiB;

Result<Blob> announced(Loop& loop, const std::string& field, std::uint64_t bytes,
                       const std::optional<std::string>& sha256, std::uint64_t bytes_max) {
  if (bytes == 0 || bytes > bytes_max)
    return fail_field(field + "_bytes", "'{}_bytes' must be between 1 and {}", field, bytes_max);
  if (!sha256 || !is_sha256_hex(*sha256))
    return fail_field(field + "_sha256", "'{}_sha256' must be 64 lower-case hex digits", field);
  return Blob{"b-" + loop.random().token(16), bytes, *sha256};
}

Status check_whole(const std::string& part, const Blob& announced, std::uint64_t received) {
  if (received == announced.size_bytes) return {};
  return fail(Code::invalid, "the {} is truncated: {} bytes were announced, {} have come", part,
              announced.size_bytes, received);
}

Status check_unused(const Fleet& fleet, const ImageId& id) {
  for (const auto& [vm_id, vm] : fleet.vms()) {
    if (vm.spec.image == id) return fail(Code::conflict, "image '{}' is in use by VM '{}'", id, vm_id);
  }
  for (const auto& [disk_id, disk] : fleet.disks()) {
    if (disk.image != id) continue;
    return fail(Code::conflict, "image '{}' is in use by disk '{}'{}", id, disk_id,
                disk.removal
                    ? fmt::format(", which is removed and kept for a while: ebb disks rm --now {}", disk_id)
                    : "");
  }
  return {};
}

Status check_parts(const CreateImage& wish) {
  if (!wish.firmware) {
    if (wish.kernel_bytes) return {};
    return fail_field(
        "kernel_bytes",
        "an image has a kernel, or a disk that boots by itself: 'firmware' is then 'bios' or 'uefi'");
  }
  if (!wish.disk_bytes) return fail_field("disk_bytes", "firmware boots from a disk, and the image has none");
  if (wish.kernel_bytes)
    return fail_field("kernel_bytes", "firmware loads no kernel: leave it out, or 'firmware'");
  if (wish.initrd_bytes)
    return fail_field("initrd_bytes", "firmware loads no initial RAM disk: leave it out, or 'firmware'");
  if (!wish.cmdline.empty())
    return fail_field("cmdline", "firmware knows no command line: leave it out, or 'firmware'");
  return {};
}

HttpResponse no_content() {
  HttpResponse reply;
  reply.status = 204;
  return reply;
}

}  // namespace

void ImagesService::add_routes(Router& r) {
  const auto op = Access::operator_token;
  r.add("GET", "/v1/images", op, [this](Call c) { return list(std::move(c)); });
  r.add("POST", "/v1/images", op, [this](Call c) { return create(std::move(c)); });
  r.add("GET", "/v1/images/{id}", op, [this](Call c) { return show(std::move(c)); });
  r.add("DELETE", "/v1/images/{id}", op, [this](Call c) { return remove(std::move(c)); });
  r.add("POST", "/v1/images/{id}:seal", op, [this](Call c) { return seal(std::move(c)); });
  for (const auto* part : {"kernel", "initrd", "disk"}) {
    r.add("PUT", fmt::format("/v1/images/{{id}}/{}", part), op,
          [this, part](Call c) { return put_piece(std::move(c), part); });
  }
}

Task<HttpResponse> ImagesService::list(Call call) {
  co_return reply_or_error(page_of<Image>(c_, c_.fleet().images(), call, keep_all));
}

Task<HttpResponse> ImagesService::show(Call call) {
  const auto* image = c_.fleet().find(ImageId(call.param("id")));
  co_return image ? reply_with(*image) : error_reply(no_such("image", call.param("id")));
}

Result<Image> ImagesService::announced_image(const CreateImage& wish, WallMs now) const {
  if (!is_valid_name(wish.id.value))
    return fail_field("id", "'{}' is no name for an image: 1 to 63 of a-z, 0-9 and '-'", wish.id);
  EBB_CHECKED(check_length("cmdline", wish.cmdline, cmdline_bytes_max));
  if (wish.channels.size() > channels_max) return fail_field("channels", "at most {} channels", channels_max);
  for (const auto& channel : wish.channels) {
    if (!is_valid_name(channel))
      return fail_field("channels", "'{}' is no name for a channel: 1 to 63 of a-z, 0-9 and '-'", channel);
  }
  Image image;
  image.id = wish.id, image.cmdline = wish.cmdline, image.channels = wish.channels, image.created_at = now;
  EBB_TRY(pool, c_.pools.choose(wish.pool));
  image.pool = pool;
  image.firmware = wish.firmware;
  EBB_CHECKED(check_parts(wish));
  if (wish.kernel_bytes) {
    EBB_TRY(kernel, announced(c_.loop, "kernel", *wish.kernel_bytes, wish.kernel_sha256, kernel_max));
    image.kernel = kernel;
  }
  if (wish.initrd_bytes) {
    EBB_TRY(initrd, announced(c_.loop, "initrd", *wish.initrd_bytes, wish.initrd_sha256, initrd_max));
    image.initrd = initrd;
  }
  if (wish.disk_bytes) {
    EBB_TRY(disk, announced(c_.loop, "disk", *wish.disk_bytes, wish.disk_sha256, disk_max));
    if (disk.size_bytes % 4096 != 0)
      return fail_field("disk_bytes", "'disk_bytes' must be a multiple of 4096: is the image truncated?");
    image.disk_blob = disk;
    image.disk = DiskId("i-" + c_.loop.random().token(12));
  }
  return image;
}

Task<HttpResponse> ImagesService::create(Call call) {
  auto wish = body_of<CreateImage>(call);
  if (!wish) co_return error_reply(wish.error());
  if (uploads_.size() >= uploads_max)
    co_return error_reply({Code::busy, "too many uploads at a time: try again later", {}});
  auto image = co_await c_.owner.change<Image>([&](Batch& batch) -> Result<Image> {
    EBB_TRY(next, announced_image(*wish, batch.now()));
    if (const auto* old = c_.fleet().find(wish->id)) {
      return fail(Code::conflict,
                  "there is an image '{}' already ({}): remove it first, or choose another name", old->id,
                  json::name_of(old->state));
    }
    batch.put(next);
    batch.journal("image.announced", "images/" + next.id.value, "upload begins");
    return next;
  });
  if (!image) co_return error_reply(image.error());
  auto upload = std::make_shared<Upload>(c_.loop);
  if (image->kernel) upload->parts["kernel"].announced = *image->kernel;
  if (image->initrd) upload->parts["initrd"].announced = *image->initrd;
  if (image->disk_blob) upload->parts["disk"].announced = *image->disk_blob;
  uploads_[image->id] = std::move(upload);
  co_return reply_with(*image, 201);
}

static Status check_piece(const std::string& part, const std::string& body, std::uint64_t zeroes) {
  if (zeroes == 0 && (body.empty() || body.size() > upload_piece_max))
    return fail(Code::invalid, "a piece has 1 byte to 4 MiB, this one {}", body.size());
  if (zeroes == 0) return {};
  if (!body.empty()) return fail_field("zeroes", "a piece is a body or zeroes, not both");
  if (part != "disk") return fail_field("zeroes", "only a disk is uploaded in zeroes, not a {}", part);
  if (zeroes > zeroes_max)
    return fail_field("zeroes", "a piece has {} zeroes at most, this one {}", zeroes_max, zeroes);
  return {};
}

Task<HttpResponse> ImagesService::put_piece(Call call, std::string part) {
  const ImageId id(call.param("id"));
  auto offset = call.number("offset", 0), zeroes = call.number("zeroes", 0);
  if (!offset) co_return error_reply(offset.error());
  if (!zeroes) co_return error_reply(zeroes.error());
  if (auto checked = check_piece(part, call.request.body, *zeroes); !checked)
    co_return error_reply(checked.error());
  const auto* image = c_.fleet().find(id);
  if (!image) co_return error_reply(no_such("image", id.value));
  auto found = uploads_.find(id);
  if (found == uploads_.end()) {
    co_return error_reply(
        {Code::conflict,
         fmt::format("image '{}' takes no more bytes: it is {}", id, json::name_of(image->state)),
         {}});
  }
  found->second->heard_at = c_.loop.now();
  auto status = co_await run_in(
      c_.loop, scope_,
      take_piece(found->second, *image, std::move(part), *offset, to_bytes(call.request.body), *zeroes));
  co_return status ? no_content() : error_reply(status.error());
}

Task<Status> ImagesService::take_piece(std::shared_ptr<Upload> upload, Image image, std::string name,
                                       std::uint64_t offset, Bytes piece, std::uint64_t zeroes) {
  auto turn = co_await upload->turn.lock();
  if (!upload->failed.empty())
    co_return fail(Code::conflict, "the upload of '{}' has failed: {}", image.id, upload->failed);
  auto found = upload->parts.find(name);
  if (found == upload->parts.end())
    co_return fail(Code::invalid, "no {} was announced for image '{}'", name, image.id);
  auto& part = found->second;
  const auto end = offset + piece.size() + zeroes;
  if (end <= part.received) co_return Status{};  // a repeated piece
  if (offset != part.received)
    co_return fail_field("offset", "the next piece of the {} begins at byte {}, not {}", name, part.received,
                         offset);
  if (end > part.announced.size_bytes) {
    co_return fail(Code::invalid, "the {} is longer than the {} bytes that were announced", name,
                   part.announced.size_bytes);
  }
  part.sum.add(piece);
  const Bytes nothing(static_cast<std::size_t>(std::min(zeroes, zeroes_step)));
  for (auto left = zeroes;
       left > 0;) {  // much work for so short a request: others get their turns in between
    const auto step = std::min(left, zeroes_step);
    part.sum.add(ByteView(nothing).first(static_cast<std::size_t>(step)));
    left -= step;
    co_await sleep_for(c_.loop, 0s);
  }
  Status stored;
  if (name == "disk") {
    if (!part.disk) {
      auto begun = co_await c_.pools.begin_disk(image.pool, *image.disk, part.announced.size_bytes);
      if (begun) {
        part.disk = std::move(*begun);
      } else {
        stored = fail(begun.error());
      }
    }
    if (stored && !piece.empty()) stored = co_await part.disk->write(offset, std::move(piece));
  } else {
    // Pieces become chunks of the blob; a piece may span two.
    for (ByteView rest = piece; stored && !rest.empty();) {
      auto take = std::min<std::size_t>(rest.size(), blob_chunk_bytes - part.chunk.size());
      append(part.chunk, rest.subspan(0, take));
      rest = rest.subspan(take);
      const auto at = end - rest.size();
      if (part.chunk.size() < blob_chunk_bytes && at < part.announced.size_bytes) continue;
      stored = co_await c_.pools.write_blob_chunk(image.pool, part.announced.id, (at - 1) / blob_chunk_bytes,
                                                  std::exchange(part.chunk, {}));
    }
  }
  if (!stored) {
    upload->failed = stored.error().message;
    co_return stored;
  }
  part.received = end, upload->heard_at = c_.loop.now();
  co_return Status{};
}

Task<Status> ImagesService::finish(std::shared_ptr<Upload> upload) {
  auto turn = co_await upload->turn.lock();
  if (!upload->failed.empty()) co_return fail(Code::conflict, "the upload has failed: {}", upload->failed);
  for (auto& [name, part] : upload->parts) EBB_CO_CHECKED(check_whole(name, part.announced, part.received));
  for (auto& [name, part] : upload->parts) {
    auto sum = part.sum.hex();
    if (sum != part.announced.sha256) {
      upload->failed =
          fmt::format("the {} has SHA-256 {}, not {} as announced", name, sum, part.announced.sha256);
      co_return fail(Code::invalid, "{}", upload->failed);
    }
  }
  for (auto& [name, part] : upload->parts) {
    if (part.disk) EBB_CO_CHECKED(co_await part.disk->finish());
  }
  co_return Status{};
}

Task<HttpResponse> ImagesService::seal(Call call) {
  const ImageId id(call.param("id"));
  const auto* image = c_.fleet().find(id);
  if (!image) co_return error_reply(no_such("image", id.value));
  if (image->state == ImageState::ready) co_return reply_with(*image);
  auto found = uploads_.find(id);
  if (found == uploads_.end())
    co_return error_reply({Code::conflict, "the upload was interrupted: import the image again", {}});
  const auto upload = found->second;  // somebody works at it
  auto status = co_await run_in(c_.loop, scope_, finish(upload));
  if (!status) {
    co_await drop(id, status.error().message);
    co_return error_reply(std::move(status).error().within(fmt::format("image '{}' was not imported", id)));
  }
  auto sealed = co_await c_.owner.change<Image>([&](Batch& batch) -> Result<Image> {
    const auto* now = c_.fleet().find(id);
    if (!now) return fail(no_such("image", id.value));
    auto next = *now;
    next.state = ImageState::ready;
    batch.put(next);
    batch.journal("image.ready", "images/" + id.value, "imported and checked");
    return next;
  });
  if (sealed) uploads_.erase(id);
  co_return reply_or_error(sealed);
}

Task<Status> ImagesService::drop(ImageId id, std::string why, std::function<bool(const Image&)> still) {
  auto dropped = co_await c_.owner.change<bool>([&](Batch& batch) -> Result<bool> {
    const auto* image = c_.fleet().find(id);
    if (!image) return true;
    if (still && !still(*image)) return false;
    EBB_CHECKED(check_unused(c_.fleet(), id));
    if (image->disk) {
      batch.effect({"delete_disk/" + image->disk->value, EffectKind::delete_disk, *image->disk, image->pool,
                    std::nullopt, 0, DiskClass::remote});
    }
    batch.erase(*image);
    batch.journal("image.removed", "images/" + id.value, why);
    return true;
  });
  if (!dropped) co_return fail(dropped.error());
  if (*dropped) uploads_.erase(id);
  co_return Status{};
}

Task<HttpResponse> ImagesService::remove(Call call) {
  const ImageId id(call.param("id"));
  if (!c_.fleet().find(id)) co_return error_reply(no_such("image", id.value));
  auto status = co_await drop(id, "removed by an operator");
  co_return status ? no_content() : error_reply(status.error());
}

// Of one that nobody works at. An upload whose client was gone as it was announced has no entry here.
bool ImagesService::is_abandoned(const Image& image) const {
  if (image.state != ImageState::uploading) return false;
  const auto found = uploads_.find(image.id);
  if (found == uploads_.end()) return c_.loop.wall_now() - image.created_at > to_ms(upload_idle_max);
  return found->second.use_count() == 1 && c_.loop.now() - found->second->heard_at > upload_idle_max;
}

Task<void> ImagesService::remove_abandoned() {
  std::vector<ImageId> gone;
  for (const auto& [id, image] : c_.fleet().images()) {
    if (image.state == ImageState::uploading && !uploads_.contains(id)) gone.push_back(id);
  }
  for (const auto& id : gone)
    (void)co_await drop(id, "its upload was interrupted by a restart of the control plane");
  for (;; co_await sleep_for(c_.loop, 1min)) {
    // Sealed by one who did not wait for the answer.
    std::erase_if(uploads_, [&](const auto& upload) {
      const auto* image = c_.fleet().find(upload.first);
      return image && image->state == ImageState::ready;
    });
    gone.clear();
    for (const auto& [id, image] : c_.fleet().images())
      if (is_abandoned(image)) gone.push_back(id);
    for (const auto& id : gone)
      (void)co_await drop(id,
                          fmt::format("nothing of it was uploaded for {}", format_duration(upload_idle_max)),
                          [this](const Image& image) { return is_abandoned(image); });
  }
}

}  // namespace ebb::control
