#include "disk/served_disk.h"

#include "disk/keys.h"

namespace ebb::disk {
namespace {
constexpr Duration hints_look_every = 1s;  // a guest stops in a few of them
constexpr Duration silent_max = 10s;       // a store that answers no HEAD read for so long is reported
}  // namespace

ImageDevice::ImageDevice(StoreAccess access, LoadedMap loaded, std::uint64_t size_bytes, DiskMemory memory)
    : size_bytes_(size_bytes),
      map_(std::move(loaded.map)),
      memory_(std::move(memory)),
      reader_(access, map_.get(), memory_.pieces.get(), {}) {}

ServedDisk::ServedDisk(DiskEnv env, DiskId disk, PoolId pool, ObjectStore& store)
    : env_(std::move(env)),
      disk_(std::move(disk)),
      pool_(std::move(pool)),
      store_(store),
      changed_(*env_.loop),
      logs_lock_(*env_.loop),
      scope_(*env_.loop) {
  reset_life();
}

void ServedDisk::reset_life() {
  life_ = std::make_shared<Life>(*env_.loop);
  device_ = nullptr;
  snapshots_.clear();
}

void ServedDisk::become(DiskSeen state, std::string error) {
  if (state_ != state)
    env_.log.info("{}: {}{}{}", disk_, json::name_of(state), error.empty() ? "" : ": ", error);
  state_ = state;
  error_.message = std::move(error);
  changed_.notify_all();
}

// The state when the verb's work ended, or when its time for answering was up.
Task<Result<DiskStatus>> ServedDisk::reply() {
  co_await wait_while(DiskSeen::opening);
  co_await wait_while(DiskSeen::sealing);
  if (state_ == DiskSeen::fenced || state_ == DiskSeen::failed) co_return fail(error_);
  co_return status();
}

Task<void> ServedDisk::wait_while(DiskSeen state) {
  auto until = env_.loop->now() + env_.options->reply_within;
  while (state_ == state && env_.loop->now() < until) co_await changed_.wait_for(until - env_.loop->now());
}

// ---- open

Task<Result<DiskStatus>> ServedDisk::open(OpenDisk request, Start start) {
  if (state_ && epoch_ > request.epoch)
    co_return fail(Code::fenced, "disk '{}' is at epoch {} here; {} is older", disk_, epoch_, request.epoch);
  bool is_same = state_ && epoch_ == request.epoch;
  if (is_same && (state_ == DiskSeen::opening || state_ == DiskSeen::open || state_ == DiskSeen::reading ||
                  state_ == DiskSeen::sealing)) {
    co_return co_await reply();
  }
  // What an older epoch of ours left is taken over as after a crash: its log is replayed.
  has_unexamined_logs_ |=
      state_ == DiskSeen::opening || state_ == DiskSeen::open || state_ == DiskSeen::sealing;
  scope_.cancel();
  stop_serving(Error{Code::fenced, "opened again under a newer epoch", {}});
  reset_life();
  epoch_ = request.epoch;
  disk_epoch_ = {};
  opener_.clear();
  become(DiskSeen::opening);
  scope_.spawn(run_open(request, start));
  co_return co_await reply();
}

Task<void> ServedDisk::run_open(OpenDisk request, Start start) {
  auto opened = co_await open_steps(request, start);
  stage_.clear();
  if (!opened) {
    fail_open(opened.error());
    // Refused: nothing of it is ours, so nothing is tried again after a restart.
    if (error_.code != Code::corrupt) co_await remove_record();
  }
}

void ServedDisk::fail_open(const Error& error) {
  stop_serving(error);
  has_unexamined_logs_ = true;
  error_.code = error.code;
  become(error.code == Code::fenced ? DiskSeen::fenced : DiskSeen::failed, error.message);
}

Task<bool> ServedDisk::was_sealed_before_restart(Epoch epoch) {
  auto at = co_await read_head(access(), disk_);
  co_return at && at->head.state == HeadState::detached_clean && at->head.owner == env_.options->worker &&
      at->head.epoch.placement == epoch;
}

Task<Status> ServedDisk::open_steps(OpenDisk request, Start start) {
  if (request.read_only) co_return co_await open_image();
  auto turn = co_await logs_lock_.lock();
  OpenRecord record{request, false};
  bool was_settled = false;
  if (auto bytes = co_await env_.files->read_all(folder() + "/open"); bytes) {
    auto kept = read_text_object<OpenRecord>(*bytes, "ebb-open", "the record of an open disk");
    if (kept) was_settled = kept->is_settled;
    if (kept && kept->request.epoch == request.epoch) record.cuts = kept->cuts;
    if (kept && start == Start::after_restart) record = std::move(*kept);
  }
  if (start == Start::after_restart) {
    if (co_await was_sealed_before_restart(request.epoch)) {
      co_await remove_record();
      has_unexamined_logs_ = true;
      become(DiskSeen::sealed);
      co_return Status{};
    }
  } else if (start == Start::asked) {
    EBB_CO_CHECKED(co_await write_record(record));
  }

  stage_ = "reading HEAD";
  OpeningTools tools{
      access(), env_.files, &life_->log_trouble, &cache_, env_.memory, [this](const Claim& claim) {
        disk_epoch_ = claim.opener.epoch, opener_ = claim.opener.opener;
        stage_ = "sealing what came before";
      }};
  OpeningRequest opening{disk_,
                         pool_,
                         request.epoch,
                         env_.options->worker,
                         request.disk_class,
                         request.take_over ? Replace::unconfirmed : Replace::confirmed,
                         folder(),
                         env_.options->tuning};
  const auto began = env_.loop->now();
  EBB_CO_TRY(opened, co_await open_disk(std::move(tools), std::move(opening)));
  life_->disk = std::move(opened.disk);
  life_->disk->on_lost([this](const Error& why) { become_fenced(why); });
  life_->disk->confirm_ownership(began);
  life_->disk->start();
  kept_logs_ = std::move(opened.kept_logs);
  has_unexamined_logs_ = false;
  cache_ = {};

  cuts_ = std::move(record.cuts);
  // A take-over whose wait was cut short by a crash, a close or a newer epoch still has to wait.
  if (opened.replaces_unconfirmed || (opened.replaces_own && !was_settled)) {
    const auto since = env_.loop->now();
    co_await take_cuts(request.cuts);
    co_await settle(since);
  } else {
    refuse_cuts(request.cuts, "nobody held the disk: nothing was cut");
  }
  record.is_settled = true, record.cuts = cuts_;
  if (start != Start::for_rescue) EBB_CO_CHECKED(co_await write_record(record));
  if (life_->disk->stopped()) co_return fail(*life_->disk->stopped());
  if (opened.comes_from_elsewhere) scope_.spawn(warm_up_opened(std::move(opened.head)));
  scope_.spawn(leave_hints_now_and_then());
  co_return serve();
}

// The old owner may still run its guest: it finds out from HEAD within this time.
Task<void> ServedDisk::settle(Instant since) {
  stage_ = fmt::format("{} s after a take-over without a confirmed stop", to_ms(env_.options->settle) / 1000);
  co_await sleep_until(*env_.loop, since + env_.options->settle);
}

// Nothing has been written yet: the snapshot is exactly what the disk goes on from. What cannot be taken is missed only by
// whoever looks for what the old owner's log held beyond it: the disk is served without.
Task<void> ServedDisk::take_cuts(std::vector<WantedSnapshot> wanted) {
  stage_ = "keeping the state that was taken over";
  for (const auto& cut : wanted) {
    auto made = co_await life_->disk->snapshot({cut.name, cut.request});
    if (!made) env_.log.warning("{}: snapshot '{}' of the take-over: {}", disk_, cut.name, made.error());
    std::erase_if(cuts_, [&](const CutMade& known) { return known.request == cut.request; });
    cuts_.push_back({cut.request, made ? made->created_at : 0, made ? "" : made.error().message});
  }
}

void ServedDisk::refuse_cuts(const std::vector<WantedSnapshot>& wanted, const std::string& why) {
  for (const auto& cut : wanted)
    if (std::ranges::find(cuts_, cut.request, &CutMade::request) == cuts_.end())
      cuts_.push_back({cut.request, 0, why});
}

Status ServedDisk::serve() {
  device_ = life_->image ? std::shared_ptr<BlockDevice>(life_, life_->image.get())
                         : std::shared_ptr<BlockDevice>(life_, life_->disk.get());
  served_bytes_ = device_->size_bytes();
  if (*env_.publish) {
    EBB_TRY(published, (*env_.publish)(disk_, device_));
    published_ = std::move(published);
  }
  become(life_->image ? DiskSeen::reading : DiskSeen::open);
  return {};
}

Task<Status> ServedDisk::open_image() {
  EBB_CO_TRY(at, co_await read_head(access(), disk_));
  if (at.head.state == HeadState::deleted) co_return fail(Code::not_found, "disk '{}' was deleted", disk_);
  if (at.head.state != HeadState::sealed)
    co_return fail(Code::invalid, "disk '{}' is not an image: it has one owner, who may write", disk_);
  EBB_CO_TRY(loaded, co_await load_map(access().for_guests(), at.head, &cache_, env_.memory.pages));
  life_->image = std::make_unique<ImageDevice>(access().for_guests(), std::move(loaded), at.head.size_bytes,
                                               env_.memory);
  cache_ = {};
  co_return serve();
}

// ---- standby

Task<Result<DiskStatus>> ServedDisk::standby(Epoch epoch) {
  if (state_ && state_ != DiskSeen::standby && state_ != DiskSeen::failed && state_ != DiskSeen::fenced &&
      state_ != DiskSeen::sealed) {
    co_return co_await reply();
  }
  scope_.cancel();
  stop_serving(Error{Code::fenced, "closed", {}});
  reset_life();
  epoch_ = epoch;
  become(DiskSeen::opening);
  scope_.spawn(run_standby());
  co_return co_await reply();
}

// Owns nothing: it only reads, so that an open to come finds what does not change any more.
Task<void> ServedDisk::run_standby() {
  stage_ = "reading the map";
  auto at = co_await read_head(access(), disk_);
  if (at && at->head.state == HeadState::deleted) at = fail(Code::not_found, "disk '{}' was deleted", disk_);
  if (!at) {
    fail_open(at.error());
    co_return;
  }
  auto loaded = co_await load_standby_map(at->head);
  stage_.clear();
  become(DiskSeen::standby);
  if (loaded) co_await warm_up_on_standby(std::move(at->head), std::move(*loaded));
}

Task<Result<LoadedMap>> ServedDisk::load_standby_map(Head head) {
  EBB_CO_TRY(seen, co_await follow_unsealed(access(), std::move(head), &cache_));
  co_return co_await load_map(access(), seen, &cache_, env_.memory.pages);
}

// ---- hints: nothing waits for them, and nothing depends on them

// The source leaves new ones as its guest goes on, and its map moves on with it.
Task<void> ServedDisk::warm_up_on_standby(Head head, LoadedMap loaded) {
  std::optional<Hints> last;
  for (auto of_map = head.nonce;;) {
    auto hints = co_await find_hints(access(), head);
    if (hints && hints != last) {
      last = hints;
      if (head.nonce != of_map) {
        auto fresh = co_await load_standby_map(head);
        if (fresh) loaded = std::move(*fresh), of_map = head.nonce;
      }
      co_await warm_up(loaded.map.get(), std::move(*hints));
    }
    co_await sleep_for(*env_.loop, hints_look_every);
    if (auto at = co_await read_head(access(), disk_)) head = std::move(at->head);
  }
}

// What the seal left after a standby looked, or of a worker that nobody stood by for.
Task<void> ServedDisk::warm_up_opened(Head head) {
  auto life = life_;
  if (auto hints = co_await find_hints(access(), std::move(head)))
    co_await warm_up(&life->disk->map(), std::move(*hints));
}

Task<void> ServedDisk::warm_up(BlockMap* map, Hints hints) {
  WarmingLimits limits;
  limits.goes_on = [this] { return state_ == DiskSeen::standby || state_ == DiskSeen::open; };
  auto& pieces = *env_.memory.pieces;
  auto bytes = co_await disk::warm_up(access(), map, &pieces, std::move(hints), std::move(limits));
  env_.log.info("{}: {} MiB of it were in use elsewhere, and are here now", disk_, bytes / MiB);
}

Task<void> ServedDisk::leave_hints() {
  auto life = life_;
  if (!life->disk || life->hinted_changes == life->disk->hot_regions().changes()) co_return;
  life->hinted_changes = life->disk->hot_regions().changes();
  (void)co_await store_hints(access(),
                             {disk_, life->disk->epoch(), ++life->hints, life->disk->hot_regions().list()});
}

DiskStatus ServedDisk::hint(Epoch epoch) {
  if (state_ == DiskSeen::open && epoch_ == epoch) scope_.spawn(leave_hints());
  return status();
}

Task<void> ServedDisk::leave_hints_now_and_then() {
  const auto first = env_.options->hints_after;
  for (auto pause = first;; pause = std::min(pause * 3, first * 5)) {
    co_await sleep_for(*env_.loop, pause);
    if (state_ != DiskSeen::open) co_return;
    co_await leave_hints();
  }
}

// ---- seal

Task<Result<DiskStatus>> ServedDisk::seal(Epoch epoch) {
  if (state_ && epoch_ > epoch)
    co_return fail(Code::fenced, "disk '{}' is at epoch {} here; {} is older", disk_, epoch_, epoch);
  bool is_ours = state_ == DiskSeen::open || state_ == DiskSeen::opening;
  if (!is_ours && state_ != DiskSeen::sealing && !(state_ == DiskSeen::sealed && epoch_ == epoch)) {
    EBB_CO_CHECKED(co_await seal_unopened(epoch));
  } else if (is_ours) {
    co_await wait_while(DiskSeen::opening);
    if (state_ == DiskSeen::open) {
      become(DiskSeen::sealing);
      scope_.spawn(leave_hints());
      scope_.spawn(run_seal());
    }
  }
  co_return co_await reply();
}

Task<void> ServedDisk::run_seal() {
  auto life = life_;
  auto sealed = co_await life->disk->seal();
  if (!sealed) {
    if (sealed.error().code == Code::fenced)
      become_fenced(sealed.error());
    else
      fail_open(sealed.error());
    co_return;
  }
  co_await remove_record();
  if (const auto* wal = life->disk->wal()) (void)co_await env_.files->remove_tree(wal->folder());
  become(DiskSeen::sealed);
}

// Not open in this process. If nobody holds the disk it is as good as sealed; if we do, it is opened for
// that.
Task<Status> ServedDisk::seal_unopened(Epoch epoch) {
  auto life = life_;
  auto asked = co_await with_timeout(*env_.loop, read_head(access(), disk_), env_.options->reply_within);
  if (!asked) co_return fail(Code::unavailable, "disk '{}': {}", disk_, life_->trouble.text());
  EBB_CO_TRY(at, std::move(*asked));
  const auto& head = at.head;
  if (head.epoch.placement > epoch)
    co_return fail(Code::fenced, "disk '{}' is at epoch {} of {}", disk_, head.epoch.text(), head.owner);
  bool is_held = head.state == HeadState::attaching || head.state == HeadState::attached;
  if (!is_held) {
    epoch_ = epoch;
    disk_epoch_ = head.epoch;
    become(DiskSeen::sealed);
    co_return Status{};
  }
  if (head.owner != env_.options->worker)
    co_return fail(Code::conflict, "disk '{}' is held by {}", disk_, head.owner);
  OpenDisk request{disk_, pool_, head.epoch.placement, head.disk_class, false, false};
  auto opened = co_await open(request);
  if (!opened) co_return fail(std::move(opened).error());
  if (state_ != DiskSeen::open) co_return Status{};  // still opening: whoever asks, asks again
  epoch_ = epoch;
  become(DiskSeen::sealing);
  scope_.spawn(run_seal());
  co_return Status{};
}

Status ServedDisk::check_open_under(Epoch epoch) const {
  if (state_ && epoch_ > epoch)
    return fail(Code::fenced, "disk '{}' is at epoch {} here; {} is older", disk_, epoch_, epoch);
  if (state_ != DiskSeen::open || epoch_ != epoch || !life_->disk)
    return fail(Code::busy, "disk '{}' is not open here under epoch {}", disk_, epoch);
  return {};
}

// ---- snapshots

Task<Result<SnapshotMade>> ServedDisk::snapshot(MakeSnapshot request) {
  constexpr std::size_t at_a_time_max = 16;
  EBB_CO_CHECKED(check_request({request.name, request.request}));
  EBB_CO_CHECKED(check_open_under(request.epoch));
  if (!snapshots_.contains(request.request)) {
    if (snapshots_.size() >= at_a_time_max)
      std::erase_if(snapshots_, [](const auto& made) { return made.second.has_value(); });
    if (snapshots_.size() >= at_a_time_max)
      co_return fail(Code::busy, "{} snapshots of '{}' are being made", snapshots_.size(), disk_);
    snapshots_[request.request] = std::nullopt;
    scope_.spawn(run_snapshot(request));
  }
  for (auto until = env_.loop->now() + env_.options->reply_within;;) {
    auto found = snapshots_.find(request.request);
    if (found == snapshots_.end()) co_return fail(Code::busy, "disk '{}' was closed", disk_);
    if (found->second) {
      auto made = std::move(*found->second);
      snapshots_.erase(found);  // told; asked again, it is found in the store
      if (!made) co_return fail(std::move(made).error());
      co_return SnapshotMade{made->name, made->request, made->created_at, made->size_bytes,
                             made->checkpoint.position.write_seq};
    }
    if (env_.loop->now() >= until) {
      auto trouble = life_->trouble.text();
      co_return fail(Code::unavailable, "snapshot '{}' of '{}' is being made{}", request.name, disk_,
                     trouble.empty() ? "" : ": " + trouble);
    }
    co_await changed_.wait_for(until - env_.loop->now());
  }
}

Task<void> ServedDisk::run_snapshot(MakeSnapshot request) {
  auto life = life_;
  auto made = co_await life->disk->snapshot({request.name, request.request});
  if (life != life_) co_return;
  if (auto found = snapshots_.find(request.request); found != snapshots_.end())
    found->second = std::move(made);
  changed_.notify_all();
}

// ---- size

// Whoever asks may go away: the change of HEAD, once begun, is carried through. One at a time: whoever comes meanwhile waits for it.
Task<Result<DiskStatus>> ServedDisk::resize(ResizeDisk request) {
  EBB_CO_CHECKED(check_open_under(request.epoch));
  EBB_CO_CHECKED(check_disk_size(request.size_bytes));
  auto under_way = resizing_.lock();
  if (!under_way) {
    under_way = std::make_shared<std::optional<Status>>();
    resizing_ = under_way;
    scope_.spawn(run_resize(request.size_bytes, under_way));
  }
  for (auto until = env_.loop->now() + env_.options->reply_within; !*under_way;) {
    if (env_.loop->now() >= until)
      co_return fail(Code::unavailable, "disk '{}' is being resized: {}", disk_, life_->trouble.text());
    co_await changed_.wait_for(until - env_.loop->now());
  }
  if (!**under_way) co_return fail(std::move(**under_way).error());
  EBB_CO_CHECKED(check_open_under(request.epoch));
  if (life_->disk->size_bytes() < request.size_bytes)
    co_return fail(Code::unavailable, "disk '{}' has been resized to less meanwhile", disk_);
  co_return status();
}

Task<void> ServedDisk::run_resize(std::uint64_t size_bytes, std::shared_ptr<std::optional<Status>> grown) {
  auto life = life_;
  Status done;
  if (life->disk->size_bytes() != size_bytes) done = co_await life->disk->grow(size_bytes);
  // Clients ask for the size as they connect, and at no other time: they connect anew, as after a restart of the daemon.
  if (done && state_ == DiskSeen::open && life->disk->size_bytes() > served_bytes_) {
    published_.reset();
    if (auto again = serve(); !again) fail_open(again.error());
  }
  *grown = std::move(done);
  resizing_.reset();
  changed_.notify_all();
}

// ---- close, fence

Task<Result<DiskStatus>> ServedDisk::close() {
  scope_.cancel();
  auto last = status();
  last.nbd_socket.clear(), last.nbd_export.clear();
  bool may_have_unsent =
      state_ && state_ != DiskSeen::sealed && state_ != DiskSeen::standby && state_ != DiskSeen::reading;
  stop_serving(Error{Code::fenced, "closed", {}});
  reset_life();
  cache_ = {};
  state_.reset();
  has_unexamined_logs_ |= may_have_unsent;
  changed_.notify_all();
  {
    // An open that comes meanwhile writes its record under this lock.
    auto turn = co_await logs_lock_.lock();
    if (!state_) co_await remove_record();
  }
  if (state_) co_return last;
  if (may_have_unsent) {
    has_unexamined_logs_ = true;
    scope_.spawn(examine_logs());
  }
  co_return last;
}

void ServedDisk::stop_serving(const Error& why) {
  published_.reset();
  device_ = nullptr;
  if (life_->disk) life_->disk->stop(why);
}

void ServedDisk::become_fenced(const Error& why) {
  if (state_ == DiskSeen::fenced) return;
  stop_serving(why);
  error_.code = why.code;
  become(why.code == Code::fenced ? DiskSeen::fenced : DiskSeen::failed, why.message);
  has_unexamined_logs_ = true;
}

Task<void> ServedDisk::watch() {
  if ((has_unexamined_logs_ || !kept_logs_.empty()) && state_ != DiskSeen::open &&
      state_ != DiskSeen::opening)
    co_await examine_logs();
  bool is_ours = (state_ == DiskSeen::open || state_ == DiskSeen::opening || state_ == DiskSeen::sealing) &&
                 !opener_.empty();
  if (!is_ours) co_return;
  auto opener = opener_;
  auto asked_at = env_.loop->now();
  auto got = co_await with_timeout(*env_.loop, store_.get(head_key(disk_)), silent_max);
  if (opener != opener_) co_return;
  if (!got || !*got) {
    if (!store_silent_since_) store_silent_since_ = asked_at;
    co_return;
  }
  store_silent_since_.reset();
  auto head = decode_head((*got)->body, disk_);
  if (head && head->opener == opener && life_->disk) life_->disk->confirm_ownership(asked_at);
  if (!head || head->opener == opener) co_return;
  if (head->epoch < disk_epoch_) co_return;  // an answer from before our claim
  become_fenced(
      Error{Code::fenced,
            fmt::format("{} took disk '{}' over as epoch {}", head->owner, disk_, head->epoch.text()),
            {}});
  co_await remove_record();
}

// ---- records and status

Task<Status> ServedDisk::write_record(OpenRecord record) {
  EBB_CO_CHECKED(co_await env_.files->make_dirs(folder()));
  co_return co_await env_.files->write_atomic(folder() + "/open", write_text_object("ebb-open", record));
}

Task<void> ServedDisk::remove_record() { (void)co_await env_.files->remove(folder() + "/open"); }

DiskStatus ServedDisk::status() const {
  DiskStatus s;
  s.disk = disk_, s.pool = pool_, s.epoch = epoch_, s.incarnation = disk_epoch_.incarnation;
  s.state = state_.value_or(DiskSeen::failed);
  if (published_) s.nbd_socket = published_->socket(), s.nbd_export = published_->export_name();
  if (device_) s.size_bytes = device_->size_bytes();
  if (life_->disk) {
    s.unsent_bytes = life_->disk->unsent_bytes();
    s.unsent_age_ms = static_cast<std::uint64_t>(to_ms(life_->disk->unsent_age()));
    const auto& tuning = env_.options->tuning;
    if (life_->disk->head().disk_class == DiskClass::local)
      s.loss_bound = {tuning.unsent_bytes_max, static_cast<std::uint64_t>(to_ms(tuning.unsent_age_max))};
    auto owned_at = life_->disk->owned_at();
    bool is_ours = state_ == DiskSeen::open || state_ == DiskSeen::opening || state_ == DiskSeen::sealing;
    if (is_ours && owned_at) s.owner_age_ms = static_cast<std::uint64_t>(to_ms(env_.loop->now() - *owned_at));
  }
  bool is_silent = store_silent_since_ && env_.loop->now() - *store_silent_since_ >= silent_max;
  s.waiting_for = life_->log_trouble.text();
  if (s.waiting_for.empty()) s.waiting_for = life_->trouble.text();
  if (s.waiting_for.empty() && is_silent) s.waiting_for = "the store: HEAD cannot be read";
  if (s.waiting_for.empty()) s.waiting_for = stage_;
  s.error = error_.message;
  s.cuts = cuts_;
  return s;
}

}  // namespace ebb::disk
