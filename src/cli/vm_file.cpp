#include "cli/vm_file.h"

#include "base/text.h"
#include "config/toml_table.h"

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

Status read_spec(const TomlTable& file, VmSpec& spec) {
  EBB_TRY(image, file.string("image"));
  spec.image = ImageId(image);
  EBB_TRY(cpus, file.integer("cpus", 1, 256, spec.cpus));
  spec.cpus = static_cast<std::uint32_t>(cpus);
  EBB_TRY(memory, file.size("memory", spec.memory_bytes));
  spec.memory_bytes = memory;
  EBB_CHECKED(read(file, "storage", parse_storage, spec.storage));
  EBB_CHECKED(read(file, "disk_class", parse_disk_class, spec.disk_class));
  EBB_CHECKED(read(file, "restart", parse_restart, spec.restart));
  EBB_TRY(grace, file.duration("stop_grace", std::chrono::milliseconds(spec.stop_grace_ms)));
  if (grace > 1h) return file.wrong("stop_grace", "an hour at most");
  spec.stop_grace_ms = static_cast<std::uint32_t>(to_ms(grace));
  EBB_TRY(ports, file.integer_map("ports", 1, 65535));
  for (const auto& [name, port] : ports) spec.ports.push_back({name, static_cast<std::uint16_t>(port)});
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
  return options;
}

}  // namespace

Result<RunOptions> parse_vm_file(std::string text, std::string name) {
  return name.ends_with(".json") ? parse_json(text, name) : parse_toml(std::move(text), name);
}

}  // namespace ebb
