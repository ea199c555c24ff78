#include "model/instance_data.h"

#include <algorithm>

#include "base/bytes.h"
#include "base/text.h"

namespace ebb {
namespace {

// As large as user data may be in the large clouds: all of a worker's seeds go to its agent in one set.
constexpr std::size_t bytes_max = 16 * KiB;

// YAML takes no other control characters, and what is no UTF-8 is no text.
Status check_text(const std::string& field, const std::string& text) {
  auto is_control = [](char c) {
    return (c >= 0 && c < ' ' && c != '\n' && c != '\t' && c != '\r') || c == 0x7f;
  };
  if (!is_valid_utf8(text))
    return fail_field(field, "'{}' is no text in UTF-8: compressed or binary data cannot be given here",
                      field);
  if (std::ranges::any_of(text, is_control)) return fail_field(field, "'{}' has control characters", field);
  return {};
}

// What cloud-init takes for user data begins so; of anything else it only complains, in the guest.
bool is_user_data(std::string_view text) {
  return text.starts_with('#') || text.starts_with("Content-Type:") || text.starts_with("MIME-Version:");
}

// The line of an authorized_keys file; options may stand before the type.
bool is_ssh_key(std::string_view key) {
  constexpr std::string_view types[] = {"ssh-ed25519 ", "ssh-rsa ", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"};
  const bool is_line = std::ranges::none_of(key, [](char c) { return (c >= 0 && c < ' ') || c == 0x7f; });
  return is_line && std::ranges::any_of(types, [&](auto type) { return key.contains(type); });
}

}  // namespace

Status check_instance_data(const InstanceData& data) {
  if (!data.hostname.empty() && !is_valid_name(data.hostname))
    return fail_field("spec.instance_data.hostname", "'{}' is no host name: 1 to 63 of a-z, 0-9 and '-'",
                      data.hostname);
  auto bytes = data.user_data.size() + data.network_config.size();
  for (const auto& key : data.ssh_keys) bytes += key.size();
  if (bytes > bytes_max)
    return fail_field("spec.instance_data",
                      "it has {} bytes in all; at most {} are possible: let the guest fetch the rest", bytes,
                      bytes_max);
  for (const auto& key : data.ssh_keys)
    if (!is_ssh_key(key))
      return fail_field(
          "spec.instance_data.ssh_keys",
          "'{}' is no public key: one line of an authorized_keys file, as in ~/.ssh/id_ed25519.pub",
          key.substr(0, 40));
  EBB_CHECKED(check_text("spec.instance_data.user_data", data.user_data));
  EBB_CHECKED(check_text("spec.instance_data.network_config", data.network_config));
  if (!data.user_data.empty() && !is_user_data(data.user_data))
    return fail_field("spec.instance_data.user_data",
                      "user data begins with '#cloud-config', '#!' or a MIME header");
  return {};
}

}  // namespace ebb
