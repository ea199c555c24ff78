#include "model/network.h"

#include <charconv>
#include <fmt/ranges.h>

namespace ebb {
namespace {

constexpr unsigned int prefix_min = 8, prefix_max = 30;
constexpr std::size_t dns_max = 3, joins_max = 2;

// The whole of `text`, and no leading zeroes.
std::optional<unsigned int> parse_number(std::string_view text, unsigned int max) {
  unsigned int number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool is_whole = error == std::errc() && end == text.data() + text.size();
  if (!is_whole || number > max || (text.size() > 1 && text[0] == '0')) return std::nullopt;
  return number;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const auto at = text.find(separator);
    parts.push_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

// The addresses that VMs of a network get, both ends among them.
struct Range {
  Ipv4 first, last;
};
Result<Range> range_of(const Subnet& subnet, const std::optional<std::string>& first,
                       const std::optional<std::string>& last) {
  Range range{{subnet.network.number + 1}, {subnet.broadcast().number - 1}};
  if (first) {
    EBB_TRY(address, parse_ipv4(*first));
    range.first = address;
  }
  if (last) {
    EBB_TRY(address, parse_ipv4(*last));
    range.last = address;
  }
  return range;
}

bool is_in(const Range& range, Ipv4 address) { return range.first <= address && address <= range.last; }

// A host's, within a subnet: neither its own number nor that for all of it.
Status check_host(const std::string& field, const Subnet& subnet, const std::string& text) {
  auto address = parse_ipv4(text);
  if (!address) return fail_field(field, "{}", address.error().message);
  if (!subnet.contains(*address) || *address == subnet.network || *address == subnet.broadcast())
    return fail_field(field, "'{}' is no address of a host in {}/{}", text, to_text(subnet.network),
                      subnet.prefix);
  return {};
}

Result<std::string> choose_address(const VmNetwork& network, const std::set<std::string>& taken) {
  EBB_TRY(subnet, parse_subnet(*network.subnet));
  EBB_TRY(range, range_of(subnet, network.first, network.last));
  for (auto address = range.first; address <= range.last; ++address.number) {
    auto text = to_text(address);
    if (text != network.gateway && !taken.contains(text)) return text;
  }
  return fail(Code::conflict, "network '{}' has no address left: {} to {} are taken", network.id,
              to_text(range.first), to_text(range.last));
}

std::string choose_mac(const std::set<std::string>& taken, Random& random) {
  for (;;) {
    const auto bits = random.next();
    auto mac = fmt::format("02:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", bits & 0xff, bits >> 8 & 0xff,
                           bits >> 16 & 0xff, bits >> 24 & 0xff, bits >> 32 & 0xff);
    if (!taken.contains(mac)) return mac;
  }
}

// "ADDRESS/PREFIX"; empty: a DHCP server says.
std::string with_prefix(const NetworkInterface& interface, const VmNetwork& network) {
  if (!interface.address || !network.subnet) return "";
  return *interface.address + network.subnet->substr(network.subnet->find('/'));
}

}  // namespace

Result<Ipv4> parse_ipv4(std::string_view text) {
  const auto bytes = split(text, '.');
  std::uint32_t number = 0;
  for (const auto& byte : bytes) {
    auto value = parse_number(byte, 255);
    if (!value || bytes.size() != 4)
      return fail(Code::invalid, "'{}' is no IPv4 address like 10.20.0.5", text);
    number = number << 8 | *value;
  }
  return Ipv4{number};
}

std::string to_text(Ipv4 address) {
  const auto n = address.number;
  return fmt::format("{}.{}.{}.{}", n >> 24, n >> 16 & 255, n >> 8 & 255, n & 255);
}

Result<Subnet> parse_subnet(std::string_view text) {
  const auto slash = text.find('/');
  auto prefix =
      slash == std::string_view::npos ? std::nullopt : parse_number(text.substr(slash + 1), prefix_max);
  auto network = parse_ipv4(text.substr(0, slash));
  if (!prefix || *prefix < prefix_min || !network)
    return fail(Code::invalid, "'{}' is no subnet like 10.20.0.0/24, with a prefix of {} to {}", text,
                prefix_min, prefix_max);
  Subnet subnet{*network, *prefix};
  const Ipv4 first{network->number & ~subnet.host_bits()};
  if (first != *network)
    return fail(Code::invalid, "'{}' is an address in the subnet {}/{}: write that", text, to_text(first),
                *prefix);
  return subnet;
}

Result<std::string> parse_mac(std::string_view text) {
  const auto bytes = split(text, ':');
  std::vector<unsigned int> numbers;
  for (const auto& byte : bytes) {
    unsigned int number = 0;
    auto [end, error] = std::from_chars(byte.data(), byte.data() + byte.size(), number, 16);
    if (byte.size() == 2 && error == std::errc() && end == byte.data() + byte.size())
      numbers.push_back(number);
  }
  if (bytes.size() != 6 || numbers.size() != 6)
    return fail(Code::invalid, "'{}' is no MAC address like 02:00:5e:10:00:01", text);
  if (numbers[0] & 1)
    return fail(Code::invalid, "'{}' is the MAC address of a group: its first byte must be even", text);
  if (std::ranges::all_of(numbers, [](unsigned int n) { return n == 0; }))
    return fail(Code::invalid, "'{}' is nobody's MAC address", text);
  return fmt::format("{:02x}", fmt::join(numbers, ":"));
}

Result<JoinNetwork> parse_join(std::string_view text) {
  const auto words = split(text, ',');
  JoinNetwork join{NetworkId(std::string(words[0])), {}, {}};
  for (std::size_t i = 1; i < words.size(); ++i) {
    const auto at = words[i].find('=');
    const auto key = words[i].substr(0, at);
    auto value = at == std::string_view::npos ? std::string() : std::string(words[i].substr(at + 1));
    auto& place = key == "mac" ? join.mac : join.address;
    if ((key != "address" && key != "mac") || value.empty() || place)
      return fail(Code::invalid, "'{}' must be NETWORK, with address=A or mac=M after commas", text);
    place = std::move(value);
  }
  return join;
}

Status check_network(const CreateNetwork& wish) {
  if (!is_valid_name(wish.id.value))
    return fail_field("id", "'{}' is no name for a network: 1 to 63 of a-z, 0-9 and '-'", wish.id);
  if (wish.dns.size() > dns_max) return fail_field("dns", "at most {} name servers", dns_max);
  for (const auto& server : wish.dns)
    if (auto address = parse_ipv4(server); !address) return fail_field("dns", "{}", address.error().message);
  if (!wish.subnet) {
    if (wish.gateway || wish.first || wish.last || !wish.dns.empty())
      return fail_field("subnet", "without a subnet a DHCP server of the network's own says all the rest");
    return {};
  }
  auto subnet = parse_subnet(*wish.subnet);
  if (!subnet) return fail_field("subnet", "{}", subnet.error().message);
  if (wish.gateway) EBB_CHECKED(check_host("gateway", *subnet, *wish.gateway));
  if (wish.first) EBB_CHECKED(check_host("first", *subnet, *wish.first));
  if (wish.last) EBB_CHECKED(check_host("last", *subnet, *wish.last));
  EBB_TRY(range, range_of(*subnet, wish.first, wish.last));
  if (range.last < range.first)
    return fail_field("last", "{} comes before {}", to_text(range.last), to_text(range.first));
  return {};
}

Status check_joins(const std::vector<JoinNetwork>& joins) {
  const std::string field = "spec.networks";
  if (joins.size() > joins_max) return fail_field(field, "a VM joins at most {} networks", joins_max);
  std::set<std::string> macs;
  for (const auto& join : joins) {
    if (!is_valid_name(join.network.value))
      return fail_field(field, "'{}' is no name of a network", join.network);
    if (std::ranges::count(joins, join.network, &JoinNetwork::network) > 1)
      return fail_field(field, "a VM joins network '{}' once", join.network);
    if (join.address)
      if (auto address = parse_ipv4(*join.address); !address)
        return fail_field(field, "{}", address.error().message);
    if (!join.mac) continue;
    auto mac = parse_mac(*join.mac);
    if (!mac) return fail_field(field, "{}", mac.error().message);
    if (*mac == forwarding_mac)
      return fail_field(field, "MAC address {} is that of the interface for forwarded ports", *mac);
    if (!macs.insert(*mac).second) return fail_field(field, "MAC address {} is there twice", *mac);
  }
  return {};
}

Result<NetworkInterface> assign_interface(const VmNetwork& network, const JoinNetwork& join,
                                          const TakenAddresses& taken, Random& random) {
  NetworkInterface interface{network.id, "", {}};
  if (join.mac) {
    EBB_TRY(mac, parse_mac(*join.mac));
    if (taken.macs.contains(mac)) return fail(Code::conflict, "MAC address {} is in use by another VM", mac);
    interface.mac = mac;
  } else {
    interface.mac = choose_mac(taken.macs, random);
  }
  if (!network.subnet) {
    if (join.address)
      return fail_field("spec.networks",
                        "a DHCP server gives the addresses of network '{}': none can be chosen", network.id);
    return interface;
  }
  const auto others = taken.addresses.find(network.id);
  const auto addresses = others == taken.addresses.end() ? std::set<std::string>() : others->second;
  if (!join.address) {
    EBB_TRY(address, choose_address(network, addresses));
    interface.address = address;
    return interface;
  }
  EBB_TRY(subnet, parse_subnet(*network.subnet));
  EBB_CHECKED(check_host("spec.networks", subnet, *join.address));
  EBB_TRY(range, range_of(subnet, network.first, network.last));
  EBB_TRY(address, parse_ipv4(*join.address));
  if (!is_in(range, address))
    return fail_field("spec.networks",
                      "'{}' is none of the addresses that VMs have in network '{}': {} to {}", *join.address,
                      network.id, to_text(range.first), to_text(range.last));
  if (*join.address == network.gateway)
    return fail_field("spec.networks", "'{}' is the gateway of network '{}'", *join.address, network.id);
  if (addresses.contains(*join.address))
    return fail(Code::conflict, "address {} of network '{}' is in use by another VM", *join.address,
                network.id);
  interface.address = join.address;
  return interface;
}

namespace {
// Whose gateway is the way to the rest of the world: two would be a choice by chance.
const NetworkInterface* way_out(const std::vector<NetworkInterface>& interfaces,
                                const std::map<NetworkId, VmNetwork>& networks) {
  for (const auto& interface : interfaces)
    if (networks.at(interface.network).gateway) return &interface;
  return nullptr;
}
}  // namespace

std::string network_words(const std::vector<NetworkInterface>& interfaces,
                          const std::map<NetworkId, VmNetwork>& networks) {
  std::string words;
  for (const auto& interface : interfaces) {
    const auto& network = networks.at(interface.network);
    words += fmt::format("{}ebb.network={}", words.empty() ? "" : " ", interface.mac);
    const auto address = with_prefix(interface, network);
    if (!address.empty()) words += "," + address;
    if (&interface == way_out(interfaces, networks)) words += "," + *network.gateway;
  }
  return words;
}

std::string network_config(const std::vector<NetworkInterface>& interfaces,
                           const std::map<NetworkId, VmNetwork>& networks, bool has_ports) {
  json::Object ethernets;
  if (has_ports)  // leads nowhere; its key is no name that a network could have
    ethernets["ports_"] = json::Object{{"match", {{"macaddress", forwarding_mac}}},
                                       {"dhcp4", true},
                                       {"optional", true},
                                       {"dhcp4-overrides", {{"use-routes", false}, {"use-dns", false}}}};
  for (const auto& interface : interfaces) {
    const auto& network = networks.at(interface.network);
    json::Object ethernet{{"match", {{"macaddress", interface.mac}}}};
    const auto address = with_prefix(interface, network);
    if (address.empty()) {
      ethernet["dhcp4"] = true;
    } else {
      ethernet["addresses"] = json::Array{json::Value(address)};
      if (&interface == way_out(interfaces, networks))
        ethernet["routes"] = json::Array{{{"to", "0.0.0.0/0"}, {"via", *network.gateway}}};
      if (!network.dns.empty())
        ethernet["nameservers"] =
            json::Object{{"addresses", json::Array(network.dns.begin(), network.dns.end())}};
    }
    ethernets[interface.network.value] = std::move(ethernet);
  }
  return json::to_text(json::Object{{"version", 2}, {"ethernets", std::move(ethernets)}});
}

}  // namespace ebb
