#include <charconv>
#include <set>

#include "base/text.h"
#include "cli/command_builder.h"
#include "model/health_check.h"
#include "model/network.h"

namespace ebb {
namespace {

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

constexpr const char* stop_signals = "automatic|power-button|guest-agent";

struct RunTexts {
  std::string image, memory = "128M", disk_class, wait_limit = "10m";
  std::vector<std::string> ports, labels, ephemeral_disks, networks, worker_labels, cpu_features;
  std::string restart, stop_grace, stop_signal, health, tenant, group;
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
  if (!texts.stop_signal.empty())
    o.spec.stop_signal = value_or_refuse(parse_stop_signal(texts.stop_signal), "--stop-signal");
  if (!texts.tenant.empty()) o.spec.tenant = texts.tenant;
  if (!texts.group.empty()) o.spec.group = GroupId(texts.group);
  if (!texts.worker_labels.empty())
    o.spec.worker_labels = parse_labels("--worker-label", texts.worker_labels);
  if (!texts.cpu_features.empty()) o.spec.cpu_features = texts.cpu_features;
  if (!texts.stop_grace.empty()) o.spec.stop_grace_ms = grace_ms(texts.stop_grace);
  if (!texts.health.empty()) o.spec.health = value_or_refuse(parse_health_check(texts.health), "--health");
  for (const auto& size : texts.ephemeral_disks) {
    if (!o.spec.ephemeral_disks) o.spec.ephemeral_disks.emplace();
    o.spec.ephemeral_disks->push_back(value_or_refuse(parse_size(size), "--ephemeral-disk"));
  }
  for (const auto& network : texts.networks) {
    if (!o.spec.networks) o.spec.networks.emplace();
    o.spec.networks->push_back(value_or_refuse(parse_join(network), "--network"));
  }
  for (const auto& port : texts.ports) o.spec.ports.push_back(parse_port(port));
  o.spec.labels = parse_labels("--label", texts.labels);
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
  auto* disk =
      run->add_option("--disk", t->options.disk, "a disk of nobody becomes its own")->excludes(stateless);
  run->add_option("--disk-from", t->options.disk_from,
                  "its disk begins as this snapshot: DISK@SNAPSHOT or VM@SNAPSHOT")
      ->excludes(stateless)
      ->excludes(disk);
  run->add_option("--disk-class", t->disk_class,
                  "what a FLUSH waits for: the worker's log (local) or the store (remote)")
      ->type_name("local|remote")
      ->excludes(stateless);
  run->add_option("--ephemeral-disk", t->ephemeral_disks,
                  "SIZE of one on its worker, empty at each start; may be repeated")
      ->allow_extra_args(false);
  run->add_option("--port", t->ports, "NAME=PORT of the guest to forward; may be repeated")
      ->allow_extra_args(false);
  run->add_option("--network", t->networks, "that it joins, with an address that it keeps; may be repeated")
      ->type_name("NETWORK[,address=A][,mac=M]")
      ->allow_extra_args(false);
  run->add_option("--label", t->labels, "KEY=VALUE; may be repeated")->allow_extra_args(false);
  run->add_option("--restart", t->restart,
                  "whether a guest that ends by itself is started again (default: always)")
      ->type_name("always|on-failure|never");
  run->add_option("--stop-grace", t->stop_grace,
                  "how long a guest may take to stop before it is killed (default: 10s)");
  run->add_option("--stop-signal", t->stop_signal, "how it is asked to stop (default: automatic)")
      ->type_name(stop_signals);
  run->add_option("--tenant", t->tenant, "whose it is");
  run->add_option("--group", t->group, "by whose rules it is placed: see ebb groups");
  run->add_option("--worker-label", t->worker_labels, "KEY=VALUE that its worker must have; may be repeated")
      ->allow_extra_args(false);
  run->add_option("--cpu-feature", t->cpu_features, "that its guest needs, as avx2; may be repeated")
      ->allow_extra_args(false);
  run->add_option("--health", t->health, "what tells that the guest does its work; PORT is one of --port")
      ->type_name("tcp:PORT|http:PORT/PATH|guest-agent");
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
      ->excludes(disk)
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
    std::string vm, memory, restart, stop_grace, stop_signal, health, tenant, group;
    std::uint32_t cpus = 0;
    std::vector<std::string> ports, labels, no_labels, worker_labels, cpu_features;
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
  edit->add_option("--stop-signal", t->stop_signal, "how it is asked to stop")->type_name(stop_signals);
  auto* tenant = edit->add_option("--tenant", t->tenant, "whose it is; '': nobody's in particular");
  auto* group = edit->add_option("--group", t->group, "by whose rules it is placed next; '': none");
  edit->add_option(
          "--worker-label", t->worker_labels,
          "KEY=VALUE that its next worker must have, instead of all before; '': none; may be repeated")
      ->allow_extra_args(false);
  edit->add_option("--cpu-feature", t->cpu_features,
                   "that its guest needs, instead of all before; '': none; may be repeated")
      ->allow_extra_args(false);
  edit->add_option("--health", t->health, "what tells that the guest does its work; none: nothing does")
      ->type_name("tcp:PORT|http:PORT/PATH|guest-agent|none");
  edit->add_option("--label", t->labels, "KEY=VALUE; may be repeated")->allow_extra_args(false);
  edit->add_option("--no-label", t->no_labels, "KEY of a label that goes; may be repeated")
      ->allow_extra_args(false);
  b.on(edit, [t, tenant, group] {
    EditVmOptions o{VmId(t->vm), {}};
    if (t->cpus > 0) o.wish.cpus = t->cpus;
    if (!t->memory.empty()) o.wish.memory_bytes = value_or_refuse(parse_size(t->memory), "--memory");
    if (!t->restart.empty()) o.wish.restart = value_or_refuse(parse_restart(t->restart), "--restart");
    if (!t->stop_grace.empty()) o.wish.stop_grace_ms = grace_ms(t->stop_grace);
    if (!t->stop_signal.empty())
      o.wish.stop_signal = value_or_refuse(parse_stop_signal(t->stop_signal), "--stop-signal");
    if (tenant->count() > 0) o.wish.tenant = t->tenant;
    if (group->count() > 0) o.wish.group = GroupId(t->group);
    const auto but_empty = [](std::vector<std::string> words) {
      std::erase(words, "");
      return words;
    };
    if (!t->worker_labels.empty())
      o.wish.worker_labels = parse_labels("--worker-label", but_empty(t->worker_labels));
    if (!t->cpu_features.empty()) o.wish.cpu_features = but_empty(t->cpu_features);
    if (t->health == "none")
      o.wish.no_health = true;
    else if (!t->health.empty())
      o.wish.health = value_or_refuse(parse_health_check(t->health), "--health");
    for (const auto& port : t->ports) {
      if (!o.wish.ports) o.wish.ports.emplace();
      o.wish.ports->push_back(parse_port(port));
    }
    if (!t->labels.empty()) o.wish.labels = parse_labels("--label", t->labels);
    if (!t->no_labels.empty()) o.wish.no_labels = t->no_labels;
    return [o](Context& c) { return edit_vm(c, o); };
  });
}

}  // namespace

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
  auto exec = std::make_shared<ExecOptions>();
  auto* executing = b.command(
      "exec", "run what stands after '--' in a guest, a program and its arguments, by its QEMU guest agent");
  executing->add_option("VM", *id)->required();
  executing->add_flag("-i,--stdin", exec->reads_input, "the program reads our standard input");
  executing->add_flag("--raw", exec->raw, "on a terminal too, the bytes as they are: they may command it");
  b.on(executing, [=, &b] {
    exec->vm = VmId(*id);
    exec->words = b.words_after_dashes();
    if (exec->words.empty()) refuse("exec", "say what to run, after '--': ebb exec VM -- /bin/df -h");
    return [o = *exec](Context& c) { return run_in_guest(c, o); };
  });
  b.on_one(&app, "console", "type on a VM's console and read it; Ctrl-] leaves it", "VM", attach_console);
}

Labels parse_labels(const std::string& option, const std::vector<std::string>& words) {
  Labels labels;
  for (const auto& word : words) {
    auto label = key_and_value(word, option);
    if (labels.contains(label.first)) refuse(option, fmt::format("'{}' is there twice", label.first));
    labels.insert(std::move(label));
  }
  return labels;
}

void add_vm_commands(Builder& b) {
  auto* vms = b.command("vms", "list VMs");
  vms->alias("vm");
  auto worker = std::make_shared<std::string>(), tenant = std::make_shared<std::string>();
  auto labels = std::make_shared<std::vector<std::string>>();
  auto* on_worker = vms->add_option("--worker", *worker, "only those on this worker");
  auto* of_tenant = vms->add_option("--tenant", *tenant, "only those of this tenant; '': of none");
  vms->add_option("--label", *labels, "only those with KEY=VALUE; may be repeated")->allow_extra_args(false);
  b.on_list(vms, [=]() -> Command {
    VmFilter filter;
    if (on_worker->count() > 0) filter.worker = WorkerId(*worker);
    if (of_tenant->count() > 0) filter.tenant = *tenant;
    filter.labels = parse_labels("--label", *labels);
    return [filter](Context& c) { return list_vms(c, filter); };
  });
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
  b.on_list(migrations, [=]() -> Command {
    MigrationFilter filter;
    if (!vm->empty()) filter.vm = VmId(*vm);
    if (!drain->empty()) filter.drain = DrainId(*drain);
    return [filter](Context& c) { return list_migrations(c, filter); };
  });
}

}  // namespace ebb
