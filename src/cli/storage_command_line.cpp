#include "base/text.h"
#include "cli/command_builder.h"

namespace ebb {
namespace {

void add_disk_check(Builder& b, CLI::App* disks, const std::string& name, const std::string& description,
                    Task<Result<Exit>> (*run)(Context&, DiskCheckOptions)) {
  auto disk = std::make_shared<std::string>(), pool = std::make_shared<std::string>();
  auto* added = b.command(disks, name, description);
  added->add_option("DISK", *disk)->required();
  added->add_option("--pool", *pool, "URL of the pool that it lies in")->required();
  b.on(added, [=] { return [=](Context& c) { return run(c, {DiskId(*disk), *pool}); }; });
}

Result<std::string> parse_sha256(std::string text) {
  std::ranges::transform(text, text.begin(),
                         [](char c) { return c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c; });
  if (text.size() == 64 && is_hex(text)) return text;
  return fail(Code::invalid, "'{}' is no SHA-256: 64 hexadecimal digits", text);
}

Result<Firmware> parse_firmware(std::string_view firmware) {
  if (firmware == "bios") return Firmware::bios;
  if (firmware == "uefi") return Firmware::uefi;
  return fail(Code::invalid, "'{}' is no firmware: choose bios or uefi", firmware);
}

// --wait and --timeout, for what has both.
template <class Options>
std::shared_ptr<std::string> add_wait(CLI::App* command, std::shared_ptr<Options> options) {
  auto limit = std::make_shared<std::string>("10m");
  command->add_flag("--wait", options->wait, "until it is so");
  command->add_option("--timeout", *limit, "how long --wait waits")->capture_default_str();
  return limit;
}

void add_disk_commands(Builder& b, CLI::App* disks) {
  auto o = std::make_shared<DiskOptions>();
  struct Texts {
    std::string size, pool, disk_class, vm;
  };
  auto t = std::make_shared<Texts>();
  using Act = Task<Result<Exit>> (*)(Context&, DiskOptions);
  auto run = [o](Act act) { return [options = *o, act](Context& c) { return act(c, options); }; };
  auto* create = b.command(disks, "create", "make a disk that VMs can be given");
  create->add_option("NAME", o->wish.name)->required();
  create->add_option("--size", t->size, "as in 10GiB; of a fork, its origin's if not given");
  create->add_option("--from", o->from, "it begins as this snapshot: DISK@SNAPSHOT or VM@SNAPSHOT");
  create->add_option("--pool", t->pool, "where it lies; the only one, if there is just one");
  create->add_option("--disk-class", t->disk_class, "what a FLUSH waits for")->type_name("local|remote");
  auto create_limit = add_wait(create, o);
  b.on(create, [=] {
    o->wait_limit = value_or_refuse(parse_duration(*create_limit), "--timeout");
    if (t->size.empty() && o->from.empty()) throw CLI::RequiredError("--size, or --from,");
    if (!t->size.empty()) o->wish.size_bytes = value_or_refuse(parse_size(t->size), "--size");
    if (!t->pool.empty()) o->wish.pool = PoolId(t->pool);
    if (!t->disk_class.empty())
      o->wish.disk_class = value_or_refuse(parse_disk_class(t->disk_class), "--disk-class");
    return run(create_disk);
  });
  auto* attach = b.command(disks, "attach", "give a disk to a VM that is stopped");
  attach->add_option("DISK", o->disk)->required();
  attach->add_option("VM", t->vm)->required();
  b.on(attach, [=] {
    o->vm = VmId(t->vm);
    return run(attach_disk);
  });
  auto* detach = b.command(disks, "detach", "take a disk from a VM that is stopped; the disk stays");
  detach->add_option("DISK", o->disk)->required();
  b.on(detach, [=] { return run(detach_disk); });
  auto* remove = b.command(disks, "rm", "remove a disk that no VM has; its data is kept for a while");
  remove->add_option("DISK", o->disk)->required();
  remove->add_flag("--now", o->at_once, "its data goes at once");
  b.on(remove, [=] { return run(remove_disk); });
  auto* keep = b.command(disks, "keep", "bring back a disk that was removed, alone or with its VM");
  keep->add_option("DISK", o->disk)->required();
  keep->add_option("--name", o->name, "that it has from now on; its id, if not given");
  b.on(keep, [=] { return run(keep_disk); });
  auto* resize = b.command(disks, "resize", "grow a disk; a guest that runs with it sees it within seconds");
  resize->add_option("VM|DISK", o->disk)->required();
  resize->add_option("SIZE", t->size, "as in 20GiB")->required();
  auto resize_limit = add_wait(resize, o);
  b.on(resize, [=] {
    o->wait_limit = value_or_refuse(parse_duration(*resize_limit), "--timeout");
    o->size_bytes = value_or_refuse(parse_size(t->size), "SIZE");
    return run(resize_disk);
  });
}

enum class NameAs { option, argument };
void add_snapshot_command(Builder& b, CLI::App* command, NameAs name_as,
                          Task<Result<Exit>> (*act)(Context&, SnapshotOptions)) {
  auto options = std::make_shared<SnapshotOptions>();
  command->add_option("VM|DISK", options->subject)->required();
  command
      ->add_option(name_as == NameAs::option ? "--name" : "SNAPSHOT", options->name,
                   name_as == NameAs::option ? "what it shall be called" : "")
      ->required();
  auto limit = add_wait(command, options);
  b.on(command, [=] {
    options->wait_limit = value_or_refuse(parse_duration(*limit), "--timeout");
    return [o = *options, act](Context& c) { return act(c, o); };
  });
}

}  // namespace

void add_storage_commands(Builder& b) {
  auto* disks = b.command("disks", "list disks");
  b.on_list(disks, list_disks);
  disks->alias("disk");
  b.on_one(disks, "show", "one disk", "DISK", show_disk);
  add_disk_commands(b, disks);
  b.on_one(disks, "log", "who wrote it, and where each turn ended: from its objects", "VM|DISK",
           show_disk_log);

  add_disk_check(b, disks, "scrub", "read all objects of a disk, from here, and name each bad extent",
                 scrub_disk);
  add_disk_check(b, disks, "rebuild",
                 "make the map of a stopped disk anew from its segments and cleaned data", rebuild_disk);

  auto* images = b.command("images", "list images");
  b.on_list(images, list_images);
  images->alias("image");
  b.on_one(images, "show", "one image", "IMAGE", show_image);
  b.on_one(images, "rm", "remove an image", "IMAGE", remove_image);
  auto options = std::make_shared<ImportOptions>();
  auto name = std::make_shared<std::string>();
  auto firmware = std::make_shared<std::string>("bios");
  auto* import = b.command(images, "import",
                           "upload an image: a disk that boots by itself, or a kernel and what goes with it");
  import->add_option("NAME", *name)->required();
  auto* disk = import->add_option("--disk", options->disk,
                                  "disk that VMs fork from: a file or an http(s) URL, raw or qcow2");
  import->add_option("--sha256", options->disk_sha256, "what the disk's file must have")->needs(disk);
  auto* kernel = import->add_option(
      "--kernel", options->kernel, "ELF kernel (vmlinux, not bzImage); without one the disk boots by itself");
  import->add_option("--initrd", options->initrd, "initial RAM disk")->needs(kernel);
  import->add_option("--cmdline", options->cmdline, "kernel command line")->needs(kernel);
  import->add_option("--firmware", *firmware, "what boots the disk: bios (default) or uefi")
      ->type_name("bios|uefi")
      ->excludes(kernel);
  import->add_option("--channel", options->channels, "virtio-serial channel of the guest; may be repeated")
      ->allow_extra_args(false);
  b.on(import, [=] {
    options->name = ImageId(*name);
    if (options->kernel.empty() && options->disk.empty()) throw CLI::RequiredError("--disk, or --kernel,");
    if (!options->disk_sha256.empty())
      options->disk_sha256 = value_or_refuse(parse_sha256(options->disk_sha256), "--sha256");
    if (options->kernel.empty()) options->firmware = value_or_refuse(parse_firmware(*firmware), "--firmware");
    return [o = *options](Context& c) { return import_image(c, o); };
  });

  auto* pool = b.command("pool", "check a store before disks are kept in it")->require_subcommand(1);
  b.on_one(pool, "check", "ask a store, from here, for each promise that disks rest on", "URL", check_pool);
}

void add_snapshot_commands(Builder& b) {
  add_snapshot_command(b, b.command("snapshot", "keep a disk as it is now, under a name; its VM runs on"),
                       NameAs::option, take_snapshot);

  auto subject = std::make_shared<std::string>();
  auto* snapshots = b.command("snapshots", "list the snapshots of a disk");
  snapshots->add_option("VM|DISK", *subject);
  add_snapshot_command(b, b.command(snapshots, "rm", "remove a snapshot that no fork needs"),
                       NameAs::argument, remove_snapshot);
  b.on(snapshots, [=] {
    if (subject->empty()) refuse("VM|DISK", "name the VM or the disk whose snapshots are meant");
    return [s = *subject](Context& c) { return list_snapshots(c, s); };
  });

  auto fork = std::make_shared<ForkOptions>();
  auto* fork_command =
      b.command("fork", "VMs like one that is there, whose disks begin as a snapshot of its disk");
  fork_command->add_option("VM|DISK@SNAPSHOT", fork->origin)->required();
  fork_command->add_option("NAME", fork->names, "of the new VMs")->required();
  auto fork_limit = add_wait(fork_command, fork);
  b.on(fork_command, [=] {
    fork->wait_limit = value_or_refuse(parse_duration(*fork_limit), "--timeout");
    return [o = *fork](Context& c) { return fork_vm(c, o); };
  });

  auto restore = std::make_shared<RestoreOptions>();
  auto* restore_command =
      b.command("restore", "make the disk of a stopped VM what it was; what it is now is kept");
  restore_command->add_option("VM|DISK", restore->subject)->required();
  restore_command->add_option("SNAPSHOT", restore->snapshot)->required();
  auto restore_limit = add_wait(restore_command, restore);
  restore_command->add_flag("--plan", restore->plan_only,
                            "only show what would be undone; exit 3 if it cannot be done now");
  b.on(restore_command, [=] {
    restore->wait_limit = value_or_refuse(parse_duration(*restore_limit), "--timeout");
    return [o = *restore](Context& c) { return restore_disk(c, o); };
  });
}

}  // namespace ebb
