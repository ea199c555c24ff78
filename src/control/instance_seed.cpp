#include "control/instance_seed.h"

#include "model/network.h"

namespace ebb::control {

std::optional<std::map<std::string, std::string>> instance_seed(
    const Vm& vm, const Image& image, const std::map<NetworkId, VmNetwork>& networks) {
  if (!vm.spec.instance_data && !image.firmware) return std::nullopt;
  const auto data = vm.spec.instance_data.value_or(InstanceData());
  json::Object meta{{"instance-id", fmt::format("{}-{}", vm.id, vm.created_at)},
                    {"local-hostname", data.hostname.empty() ? vm.id.value : data.hostname}};
  if (!data.ssh_keys.empty()) meta["public-keys"] = json::Array(data.ssh_keys.begin(), data.ssh_keys.end());
  std::map<std::string, std::string> files;
  files["meta-data"] = json::to_text(meta);  // JSON is YAML
  files["user-data"] = data.user_data.empty() ? "#cloud-config\n{}\n" : data.user_data;
  if (!data.network_config.empty())
    files["network-config"] = data.network_config;
  else if (vm.interfaces)
    files["network-config"] = network_config(*vm.interfaces, networks, !vm.spec.ports.empty());
  return files;
}

}  // namespace ebb::control
