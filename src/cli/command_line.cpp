#include "cli/command_line.h"

#include <CLI/CLI.hpp>
#include <charconv>
#include <set>
#include <sstream>

#include "base/text.h"
#include "cli/commands.h"

namespace ebb {
namespace {

constexpr const char* footer = R"(
Data goes to stdout, talk to stderr. --json prints what the API answered: one document (events: one a line).

Environment:
  EBB_SERVER       the control plane's address (default 127.0.0.1:7400)
  EBB_TOKEN        the operator's token
  EBB_TOKEN_FILE   a file that holds it
  NO_COLOR         no colours

Exit codes:
  0    ok
  1    failed: the operation ended without success, or an error of the server
  2    wrong command line or bad input (a missing or wrong token too)
  3    blocked: the plan does not fit (drain --plan, drain --fail-blocked)
  4    not found
  5    the control plane cannot be reached, or cannot serve now
  6    conflict: changed or used by somebody else
  130  interrupted by Ctrl-C; what runs on the server goes on
)";

// Library exceptions stay in this file: thrown by our converters, caught by parse_command_line.
[[noreturn]] void refuse(const std::string& option, const std::string& why) {
  throw CLI::ValidationError(option, why);
}

template <class T>
T value_or_refuse(Result<T> result, const std::string& option) {
  if (!result) refuse(option, result.error().message);
  return std::move(*result);
}

std::pair<std::string, std::string> key_and_value(const std::string& text, const std::string& option) {
  auto at = text.find('=');
  if (at == 0 || at == std::string::npos) refuse(option, fmt::format("'{}' must be NAME=VALUE", text));
  return {text.substr(0, at), text.substr(at + 1)};
}

Port parse_port(const std::string& text) {
  auto [name, number] = key_and_value(text, "--port");
  unsigned int port = 0;
  auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), port);
  if (error != std::errc{} || end != number.data() + number.size() || port == 0 || port > 65535) {
    refuse("--port", fmt::format("'{}' must be NAME=PORT with a port from 1 to 65535", text));
  }
  return {name, static_cast<std::uint16_t>(port)};
}

// "8080:http", or "http": any free port here.
std::pair<std::uint16_t, std::string> parse_forward(const std::string& text) {
  const auto colon = text.find(':');
  if (colon == std::string::npos) return {0, text};
  std::uint16_t port = 0;
  const auto* end = text.data() + colon;
  const auto read = std::from_chars(text.data(), end, port);
  if (read.ec != std::errc{} || read.ptr != end || port == 0 || colon + 1 == text.size())
    refuse("PORT", fmt::format("'{}' must be NAME or LOCAL:NAME, LOCAL from 1 to 65535", text));
  return {port, text.substr(colon + 1)};
}

// A group of commands that lists when nothing more is said, as in `ebb vms` and `ebb vms show VM`.
class Builder {
 public:
  Builder(CLI::App& app, ParsedCommandLine& parsed) : app_(app), parsed_(parsed) {}

  CLI::App* command(CLI::App* parent, const std::string& name, const std::string& description) {
    return parent->add_subcommand(name, description)->fallthrough();
  }
  CLI::App* command(const std::string& name, const std::string& description) {
    return command(&app_, name, description);
  }

  void on(CLI::App* command, std::function<Command()> bind) {
    command->callback([this, command, bind = std::move(bind)] {
      if (command->get_subcommands().empty()) parsed_.run = bind();
    });
  }
  // A command with one required argument.
  template <class Id>
  void on_one(CLI::App* parent, const std::string& name, const std::string& description,
              const std::string& argument, Task<Result<Exit>> (*run)(Context&, Id)) {
    auto text = std::make_shared<std::string>();
    auto* added = command(parent, name, description);
    added->add_option(argument, *text)->required();
    on(added, [text, run] { return [id = Id(*text), run](Context& c) { return run(c, id); }; });
  }
  void on_none(CLI::App* command, Task<Result<Exit>> (*run)(Context&)) {
    on(command, [run] { return [run](Context& c) { return run(c); }; });
  }

 private:
  CLI::App& app_;
  ParsedCommandLine& parsed_;
};

void add_worker_commands(Builder& b, CLI::App& app) {
  auto* workers = b.command("workers", "list workers");
  b.on_none(workers, list_workers);
  b.on_one(workers, "show", "everything about one worker", "WORKER", show_worker);
  b.on_one(workers, "rm", "forget a worker that is empty and silent", "WORKER", remove_worker);

  auto id = std::make_shared<std::string>(), reason = std::make_shared<std::string>();
  auto* cordon = b.command("cordon", "keep new VMs off a worker");
  cordon->add_option("WORKER", *id)->required();
  cordon->add_option("--reason", *reason, "why; shown to everybody")->required();
  b.on(cordon, [=] { return [=](Context& c) { return cordon_worker(c, WorkerId(*id), *reason); }; });
  b.on_one(&app, "uncordon", "release the operator's hold of a worker", "WORKER", uncordon_worker);
  b.on_one(&app, "return", "verify a drained worker and let it take VMs again", "WORKER", return_worker);
  b.on_one(&app, "why", "why something is as it is, since when, and who can act", "WORKER|VM|DRAIN|DISK",
           explain_why);
}

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

void add_storage_commands(Builder& b) {
  auto* disks = b.command("disks", "list disks");
  b.on_none(disks, list_disks);
  disks->alias("disk");
  b.on_one(disks, "show", "one disk", "DISK", show_disk);
  b.on_one(disks, "rm", "remove a disk that no VM has", "DISK", remove_disk);
  b.on_one(disks, "log", "who wrote it, and where each turn ended: from its objects", "VM|DISK",
           show_disk_log);

  add_disk_check(b, disks, "scrub", "read all objects of a disk, from here, and name each bad extent",
                 scrub_disk);
  add_disk_check(b, disks, "rebuild",
                 "make the map of a stopped disk anew from its segments and cleaned data", rebuild_disk);

  auto* images = b.command("images", "list images");
  b.on_none(images, list_images);
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

struct RunTexts {
  std::string image, memory = "128M", disk_class, wait_limit = "10m";
  std::vector<std::string> ports, labels;
  std::string restart, stop_grace;
  bool stateless = false;
  RunOptions options;
};

std::uint32_t grace_ms(const std::string& text) {
  const auto grace = value_or_refuse(parse_duration(text), "--stop-grace");
  if (grace > 1h) refuse("--stop-grace", "an hour at most");
  return static_cast<std::uint32_t>(to_ms(grace));
}

RunOptions finish(RunTexts texts) {
  auto& o = texts.options;
  o.spec.image = ImageId(texts.image);
  o.spec.memory_bytes = value_or_refuse(parse_size(texts.memory), "--memory");
  o.wait_limit = value_or_refuse(parse_duration(texts.wait_limit), "--timeout");
  o.spec.storage = texts.stateless ? Storage::none : Storage::object;
  if (!texts.disk_class.empty())
    o.spec.disk_class = value_or_refuse(parse_disk_class(texts.disk_class), "--disk-class");
  if (!texts.restart.empty()) o.spec.restart = value_or_refuse(parse_restart(texts.restart), "--restart");
  if (!texts.stop_grace.empty()) o.spec.stop_grace_ms = grace_ms(texts.stop_grace);
  for (const auto& port : texts.ports) o.spec.ports.push_back(parse_port(port));
  for (const auto& label : texts.labels) o.spec.labels.insert(key_and_value(label, "--label"));
  return o;
}

// Either a file says what the VM is, or the options do.
void check_run_words(const CLI::App& run, const RunTexts& texts) {
  if (texts.options.file.empty()) {
    if (texts.options.name.empty()) throw CLI::RequiredError("NAME");
    if (texts.image.empty()) throw CLI::RequiredError("--image");
    return;
  }
  const std::set<std::string> beside_a_file{"NAME", "--file", "--count", "--wait", "--timeout", "--help"};
  for (const auto* option : run.get_options()) {
    const auto name = option->get_name();
    if (option->count() > 0 && !beside_a_file.contains(name))
      refuse(name, "the file says what the VM is: change it there");
  }
}

void add_run_command(Builder& b) {
  auto t = std::make_shared<RunTexts>();
  auto* run = b.command("run", "create VMs and start them");
  run->add_option("NAME", t->options.name, "of the VM; may stand in the file");
  run->add_option("-f,--file", t->options.file,
                  "what the VM is, in TOML or JSON: see docs/vms.md; instead of the options about that");
  run->add_option("--image", t->image, "image to boot");
  run->add_option("--cpus", t->options.spec.cpus, "virtual CPUs")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  run->add_option("--memory", t->memory, "guest memory")->capture_default_str();
  auto* stateless = run->add_flag("--stateless", t->stateless,
                                  "no disk of its own: restarted elsewhere when its worker is drained");
  run->add_option("--disk-from", t->options.disk_from,
                  "its disk begins as this snapshot: DISK@SNAPSHOT or VM@SNAPSHOT")
      ->excludes(stateless);
  run->add_option("--disk-class", t->disk_class,
                  "what a FLUSH waits for: the worker's log (local) or the store (remote)")
      ->type_name("local|remote")
      ->excludes(stateless);
  run->add_option("--port", t->ports, "NAME=PORT of the guest to forward; may be repeated")
      ->allow_extra_args(false);
  run->add_option("--label", t->labels, "KEY=VALUE; may be repeated")->allow_extra_args(false);
  run->add_option("--restart", t->restart,
                  "whether a guest that ends by itself is started again (default: always)")
      ->type_name("always|on-failure|never");
  run->add_option("--stop-grace", t->stop_grace,
                  "how long a guest may take to stop before it is killed (default: 10s)");
  run->add_option("--ssh-key", t->options.ssh_keys,
                  "a public key that the guest lets in, or its file; may be repeated")
      ->allow_extra_args(false);
  run->add_option("--user-data", t->options.user_data, "file with cloud-init user data");
  run->add_option("--network-config", t->options.network_config,
                  "file with cloud-init network configuration");
  auto* hostname =
      run->add_option("--hostname", t->options.hostname, "of the guest; the VM's name, if not given");
  run->add_option("--count", t->options.count, "so many VMs: NAME-1, NAME-2 ...")
      ->check(CLI::Range(1, 10'000))
      ->excludes(hostname)
      ->capture_default_str();
  run->add_flag("--wait", t->options.wait, "until the guests are up");
  run->add_option("--timeout", t->wait_limit, "how long --wait waits")->capture_default_str();
  b.on(run, [t, run] {
    check_run_words(*run, *t);
    return [o = finish(*t)](Context& c) { return run_vms(c, o); };
  });
}

void add_vm_change(Builder& b, const std::string& name, const std::string& description,
                   Task<Result<Exit>> (*act)(Context&, ChangeVmOptions)) {
  auto options = std::make_shared<ChangeVmOptions>();
  auto id = std::make_shared<std::string>(), limit = std::make_shared<std::string>("10m");
  auto* command = b.command(name, description);
  command->add_option("VM", *id)->required();
  command->add_flag("--wait", options->wait, "until it is so");
  command->add_option("--timeout", *limit, "how long --wait waits")->capture_default_str();
  b.on(command, [=] {
    options->vm = VmId(*id);
    options->wait_limit = value_or_refuse(parse_duration(*limit), "--timeout");
    return [o = *options, act](Context& c) { return act(c, o); };
  });
}

void add_edit_command(Builder& b, CLI::App* vms) {
  struct Texts {
    std::string vm, memory, restart, stop_grace;
    std::uint32_t cpus = 0;
    std::vector<std::string> ports, labels, no_labels;
  };
  auto t = std::make_shared<Texts>();
  auto* edit = b.command(vms, "edit", "change what a VM is; size and ports only while it is stopped");
  edit->add_option("VM", t->vm)->required();
  edit->add_option("--cpus", t->cpus, "virtual CPUs")->check(CLI::Range(1, 256));
  edit->add_option("--memory", t->memory, "guest memory");
  edit->add_option("--port", t->ports,
                   "NAME=PORT of the guest to forward, instead of all before; may be repeated")
      ->allow_extra_args(false);
  edit->add_option("--restart", t->restart, "whether a guest that ends by itself is started again")
      ->type_name("always|on-failure|never");
  edit->add_option("--stop-grace", t->stop_grace, "how long a guest may take to stop before it is killed");
  edit->add_option("--label", t->labels, "KEY=VALUE; may be repeated")->allow_extra_args(false);
  edit->add_option("--no-label", t->no_labels, "KEY of a label that goes; may be repeated")
      ->allow_extra_args(false);
  b.on(edit, [t] {
    EditVmOptions o{VmId(t->vm), {}};
    if (t->cpus > 0) o.wish.cpus = t->cpus;
    if (!t->memory.empty()) o.wish.memory_bytes = value_or_refuse(parse_size(t->memory), "--memory");
    if (!t->restart.empty()) o.wish.restart = value_or_refuse(parse_restart(t->restart), "--restart");
    if (!t->stop_grace.empty()) o.wish.stop_grace_ms = grace_ms(t->stop_grace);
    for (const auto& port : t->ports) {
      if (!o.wish.ports) o.wish.ports.emplace();
      o.wish.ports->push_back(parse_port(port));
    }
    for (const auto& label : t->labels) {
      if (!o.wish.labels) o.wish.labels.emplace();
      o.wish.labels->insert(key_and_value(label, "--label"));
    }
    if (!t->no_labels.empty()) o.wish.no_labels = t->no_labels;
    return [o](Context& c) { return edit_vm(c, o); };
  });
}

void add_console_commands(Builder& b, CLI::App& app) {
  auto options = std::make_shared<LogsOptions>();
  auto id = std::make_shared<std::string>();
  auto tail = std::make_shared<std::int64_t>(-1);
  auto* logs = b.command("logs", "what a VM's console said");
  logs->add_option("VM", *id)->required();
  logs->add_flag("-f,--follow", options->follow, "go on with what it says from now on, wherever it runs");
  logs->add_option("-n,--tail", *tail, "only the last so many lines")->check(CLI::Range(0, 1'000'000));
  logs->add_flag("--raw", options->raw, "on a terminal too, the bytes as they are: they may command it");
  b.on(logs, [=] {
    options->vm = VmId(*id);
    if (*tail >= 0) options->tail = static_cast<std::uint32_t>(*tail);
    return [o = *options](Context& c) { return show_logs(c, o); };
  });
  auto forward = std::make_shared<ForwardOptions>();
  auto vm = std::make_shared<std::string>();
  auto ports = std::make_shared<std::vector<std::string>>();
  auto* forwarding = b.command("port-forward", "reach ports of a VM from here, wherever it runs");
  forwarding->add_option("VM", *vm)->required();
  forwarding->add_option("PORT", *ports, "NAME, or LOCAL:NAME")->required();
  forwarding->add_option("--address", forward->address, "to listen on (127.0.0.1)");
  b.on(forwarding, [=] {
    forward->vm = VmId(*vm);
    forward->ports.clear();
    for (const auto& port : *ports) forward->ports.push_back(parse_forward(port));
    return [o = *forward](Context& c) { return forward_ports(c, o); };
  });
  b.on_one(&app, "console", "type on a VM's console and read it; Ctrl-] leaves it", "VM", attach_console);
}

void add_vm_commands(Builder& b) {
  auto* vms = b.command("vms", "list VMs");
  b.on_none(vms, list_vms);
  b.on_one(vms, "show", "everything about one VM", "VM", show_vm);
  add_edit_command(b, vms);
  add_run_command(b);
  add_vm_change(b, "start", "start a stopped VM", start_vm);
  add_vm_change(b, "stop", "stop a VM; its disk stays", stop_vm);
  add_vm_change(b, "restart", "stop a VM and start it again, where there is room", restart_vm);
  add_vm_change(b, "rm", "remove a VM and its disk", remove_vm);

  auto options = std::make_shared<MigrateOptions>();
  auto id = std::make_shared<std::string>(), target = std::make_shared<std::string>();
  auto* migrate = b.command("migrate", "move one VM to another worker");
  migrate->add_option("VM", *id)->required();
  migrate->add_option("--to", *target, "the worker; chosen if not given");
  migrate->add_option("--reason", options->reason, "why");
  migrate->add_flag("--dead", options->source_dead,
                    "you declare its worker dead: its disk is taken over, nothing of it is waited for");
  migrate->add_flag("--wait", options->wait, "until it has moved");
  b.on(migrate, [=] {
    options->vm = VmId(*id);
    if (!target->empty()) options->target = WorkerId(*target);
    return [o = *options](Context& c) { return migrate_vm(c, o); };
  });

  auto vm = std::make_shared<std::string>(), drain = std::make_shared<std::string>();
  auto* migrations = b.command("migrations", "list migrations");
  migrations->add_option("--vm", *vm, "only of this VM");
  migrations->add_option("--drain", *drain, "only of this drain");
  b.on_one(migrations, "show", "one migration and its phases", "MIGRATION", show_migration);
  b.on(migrations, [=] {
    MigrationFilter filter;
    if (!vm->empty()) filter.vm = VmId(*vm);
    if (!drain->empty()) filter.drain = DrainId(*drain);
    return [filter](Context& c) { return list_migrations(c, filter); };
  });
}

// --wait and --timeout, for what has both.
template <class Options>
std::shared_ptr<std::string> add_wait(CLI::App* command, std::shared_ptr<Options> options) {
  auto limit = std::make_shared<std::string>("10m");
  command->add_flag("--wait", options->wait, "until it is so");
  command->add_option("--timeout", *limit, "how long --wait waits")->capture_default_str();
  return limit;
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

void add_drain_commands(Builder& b, CLI::App& app) {
  auto options = std::make_shared<DrainCommandOptions>();
  auto worker = std::make_shared<std::string>();
  auto* drain = b.command("drain", "move everything off a worker, and keep it empty");
  drain->add_option("WORKER", *worker)->required();
  drain->add_option("--reason", options->reason, "why; shown to everybody");
  auto* plan =
      drain->add_flag("--plan", options->plan_only, "only show what would happen; exit 3 if it does not fit");
  drain->add_flag("--partial", options->policy.partial, "move what can be placed although some VMs cannot");
  drain->add_flag("--dead", options->policy.source_dead,
                  "you declare the worker dead: its disks are taken over, nothing of it is waited for");
  drain->add_option("--parallel", options->policy.parallel_max, "moves at a time")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  drain->add_flag("--detach", options->detach, "do not wait for its end")->excludes(plan);
  drain
      ->add_flag("--fail-blocked", options->fail_blocked,
                 "end with exit 3 when nothing can move; the drain stays")
      ->excludes(plan);
  b.on(drain, [=] {
    options->worker = WorkerId(*worker);
    return [o = *options](Context& c) { return drain_worker(c, o); };
  });

  auto* drains = b.command("drains", "list drains");
  b.on_none(drains, list_drains);
  auto show = std::make_shared<ShowDrainOptions>();
  auto id = std::make_shared<std::string>();
  auto* one = b.command(drains, "show", "one drain, VM by VM");
  one->add_option("DRAIN", *id)->required();
  one->add_flag("--watch", show->watch, "follow it to its end");
  b.on(one, [=] {
    show->drain = DrainId(*id);
    return [o = *show](Context& c) { return show_drain(c, o); };
  });
  b.on_one(&app, "cancel", "cancel a drain or a migration: VMs past the point of no return go on",
           "DRAIN|MIGRATION", cancel_operation);

  auto events = std::make_shared<EventsOptions>();
  auto* listen = b.command("events", "what happened, in the order of commits");
  listen->add_option("--since", events->since, "only after this revision");
  listen->add_flag("--follow", events->follow, "go on with what happens from now on");
  b.on(listen, [=] { return [o = *events](Context& c) { return show_events(c, o); }; });
}

}  // namespace

ParsedCommandLine parse_command_line(std::vector<std::string> args) {
  ParsedCommandLine parsed;
  CLI::App app("Ebb: a fleet of VMs whose workers can be emptied at the press of a button", "ebb");
  app.footer(footer);
  app.set_version_flag("--version", "ebb " EBB_VERSION);
  app.require_subcommand(1);
  app.add_option("--server", parsed.server, "HOST:PORT of the control plane");
  app.add_option("--token-file", parsed.token_file, "file that holds the operator's token");
  app.add_flag_callback("--json", [&] { parsed.format = Format::json; }, "print JSON");

  Builder builder(app, parsed);
  add_drain_commands(builder, app);
  add_worker_commands(builder, app);
  add_vm_commands(builder);
  add_console_commands(builder, app);
  add_storage_commands(builder);
  add_snapshot_commands(builder);
  try {
    std::reverse(args.begin(), args.end());  // as CLI11 wants them
    app.parse(std::move(args));
  } catch (const CLI::ParseError& error) {
    std::ostringstream out, err;
    auto code = app.exit(error, out, err);
    parsed.run = nullptr;
    parsed.exit = code == 0 ? Exit::ok : Exit::usage;
    parsed.text = code == 0 ? out.str() : "ebb: " + err.str();
  }
  return parsed;
}

}  // namespace ebb
