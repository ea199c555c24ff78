#include "cli/vm_file.h"

#include "base/text.h"
#include "config/toml_table.h"
#include "model/network.h"

namespace ebb {
namespace {

// Beside the file, unless it is absolute.
std::string beside(const std::string& file, const std::string& path) {
  const auto slash = file.rfind('/');
  return path.empty() || path.starts_with('/') || slash == std::string::npos
             ? path
             : file.substr(0, slash + 1) + path;
}

// What stands as text and is read as something else: absent keys leave `out` as it is.
template <class T, class Parse>
Status read(const TomlTable& file, std::string_view key, Parse parse, T& out) {
  if (!file.has(key)) return {};
  EBB_TRY(text, file.string(key));
  auto value = parse(std::string_view(text));
  if (!value) return file.wrong(key, value.error().message);
  out = std::move(*value);
  return {};
}

Result<Storage> parse_storage(std::string_view storage) {
  if (storage == "none") return Storage::none;
  if (storage == "object") return Storage::object;
  return fail(Code::invalid, "'{}' is no storage: choose object (a disk of its own) or none", storage);
}

Status read_ms(const TomlTable& file, std::string_view key, std::uint32_t& out) {
  EBB_TRY(value, file.duration(key, std::chrono::milliseconds(out)));
  if (value > 1h) return file.wrong(key, "an hour at most");
  out = static_cast<std::uint32_t>(to_ms(value));
  return {};
}

Status read_health(const TomlTable& file, HealthCheck& check) {
  EBB_TRY(table, file.table("health"));
  EBB_TRY(kind, table.string("kind"));
  auto parsed = parse_health_kind(kind);
  if (!parsed) return table.wrong("kind", parsed.error().message);
  check.kind = *parsed;
  EBB_TRY(port, table.string("port", ""));
  if (!port.empty()) check.port = port;
  EBB_TRY(path, table.string("path", ""));
  if (!path.empty()) check.path = path;
  EBB_CHECKED(read_ms(table, "interval", check.interval_ms));
  EBB_CHECKED(read_ms(table, "timeout", check.timeout_ms));
  EBB_CHECKED(read_ms(table, "start_grace", check.start_grace_ms));
  EBB_TRY(failures, table.integer("failures", 1, 100, check.failures_max));
  check.failures_max = static_cast<std::uint32_t>(failures);
  return {};
}

Status read_spec(const TomlTable& file, VmSpec& spec) {
  EBB_TRY(image, file.string("image"));
  spec.image = ImageId(image);
  EBB_TRY(cpus, file.integer("cpus", 1, 256, spec.cpus));
  spec.cpus = static_cast<std::uint32_t>(cpus);
  EBB_TRY(memory, file.size("memory", spec.memory_bytes));
  spec.memory_bytes = memory;
  EBB_CHECKED(read(file, "storage", parse_storage, spec.storage));
  EBB_CHECKED(read(file, "disk_class", parse_disk_class, spec.disk_class));
  EBB_TRY(ephemeral, file.string_list("ephemeral_disks"));
  for (const auto& text : ephemeral) {
    auto bytes = parse_size(text);
    if (!bytes) return file.wrong("ephemeral_disks", bytes.error().message);
    if (!spec.ephemeral_disks) spec.ephemeral_disks.emplace();
    spec.ephemeral_disks->push_back(*bytes);
  }
  EBB_CHECKED(read(file, "restart", parse_restart, spec.restart));
  EBB_CHECKED(read_ms(file, "stop_grace", spec.stop_grace_ms));
  EBB_CHECKED(read(file, "stop_signal", parse_stop_signal, spec.stop_signal));
  EBB_TRY(tenant, file.string("tenant", ""));
  if (!tenant.empty()) spec.tenant = tenant;
  EBB_TRY(group, file.string("group", ""));
  if (!group.empty()) spec.group = GroupId(group);
  EBB_TRY(cpu_features, file.string_list("cpu_features"));
  if (!cpu_features.empty()) spec.cpu_features = std::move(cpu_features);
  EBB_TRY(worker_labels, file.string_map("worker_labels"));
  for (auto& [key, value] : worker_labels) {
    if (!spec.worker_labels) spec.worker_labels.emplace();
    spec.worker_labels->emplace(key, std::move(value));
  }
  if (file.has("health")) EBB_CHECKED(read_health(file, spec.health.emplace()));
  EBB_TRY(ports, file.integer_map("ports", 1, 65535));
  for (const auto& [name, port] : ports) spec.ports.push_back({name, static_cast<std::uint16_t>(port)});
  EBB_TRY(networks, file.string_list("networks"));
  for (const auto& text : networks) {
    auto join = parse_join(text);
    if (!join) return file.wrong("networks", join.error().message);
    if (!spec.networks) spec.networks.emplace();
    spec.networks->push_back(std::move(*join));
  }
  EBB_TRY(labels, file.string_map("labels"));
  for (auto& [key, value] : labels) spec.labels.emplace(key, std::move(value));
  return {};
}

Result<RunOptions> parse_toml(std::string text, const std::string& name) {
  EBB_TRY(file, TomlTable::parse(std::move(text), name));
  RunOptions options;
  EBB_TRY(vm, file.string("name", ""));
  options.name = vm;
  EBB_CHECKED(read_spec(file, options.spec));
  EBB_TRY(disk, file.string("disk", ""));
  options.disk = disk;
  EBB_TRY(disk_from, file.string("disk_from", ""));
  options.disk_from = disk_from;
  EBB_TRY(hostname, file.string("hostname", ""));
  options.hostname = hostname;
  EBB_TRY(keys, file.string_list("ssh_keys"));
  for (auto& key : keys)  // a key has spaces, and no path that we take
    options.ssh_keys.push_back(key.contains(' ') ? std::move(key) : beside(name, key));
  EBB_TRY(user_data, file.string("user_data", ""));
  options.user_data = beside(name, user_data);
  EBB_TRY(network_config, file.string("network_config", ""));
  options.network_config = beside(name, network_config);
  EBB_CHECKED(file.finish());
  return options;
}

Result<RunOptions> parse_json(const std::string& text, const std::string& name) {
  auto wish = json::read_text<CreateVm>(text);
  if (!wish) return fail(std::move(wish).error().within(name));
  RunOptions options;
  options.name = wish->id.value;
  options.spec = std::move(wish->spec);
  if (wish->disk) options.disk = wish->disk->value;
  return options;
}

}  // namespace

Result<RunOptions> parse_vm_file(std::string text, std::string name) {
  return name.ends_with(".json") ? parse_json(text, name) : parse_toml(std::move(text), name);
}

}  // namespace ebb
