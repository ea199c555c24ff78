// Networks that VMs join: IPv4 addresses and subnets, MAC addresses, and the words in which they are written.
#pragma once
#include <cstdint>
#include <set>

#include "base/random.h"
#include "model/api_types.h"

namespace ebb {

struct Ipv4 {
  std::uint32_t number = 0;  // the first of its four bytes is the highest
  auto operator<=>(const Ipv4&) const = default;
};
// "10.20.0.5"; invalid: anything else, also leading zeroes, which some programs take for octal.
Result<Ipv4> parse_ipv4(std::string_view text);
std::string to_text(Ipv4 address);

struct Subnet {
  Ipv4 network{};
  unsigned int prefix = 32;
  Ipv4 broadcast() const { return {network.number | host_bits()}; }
  std::uint32_t host_bits() const { return prefix == 0 ? ~0u : ~(~0u << (32 - prefix)); }
  bool contains(Ipv4 address) const { return (address.number & ~host_bits()) == network.number; }
};
// "10.20.0.0/24", a prefix of 8 to 30; invalid: says what is wrong.
Result<Subnet> parse_subnet(std::string_view text);

// Six bytes in hex with colons, in lower case whatever `text` has; invalid: no such thing, or a group's address.
Result<std::string> parse_mac(std::string_view text);

// "NETWORK", "NETWORK,address=A", "NETWORK,mac=M" or both; invalid: says so.
Result<JoinNetwork> parse_join(std::string_view text);

// invalid, with the field that is wrong.
Status check_network(const CreateNetwork& wish);
Status check_joins(const std::vector<JoinNetwork>& joins);

// What others have.
struct TakenAddresses {
  std::set<std::string> macs;
  std::map<NetworkId, std::set<std::string>> addresses;
};
// The interface with which a VM joins: what it asks for, and else a free address of the network's and a MAC address of nobody's,
// both of our own choice (RFC 7042: locally administered). conflict: taken, or none is left; invalid: no address of the
// network's.
Result<NetworkInterface> assign_interface(const VmNetwork& network, const JoinNetwork& join,
                                          const TakenAddresses& taken, Random& random);

// Of the interface that a VM's ports are forwarded to (QEMU's own choice for a machine's first one).
inline constexpr const char* forwarding_mac = "52:54:00:12:34:56";

// For a guest: on the kernel's command line, "ebb.network=MAC[,ADDRESS/PREFIX[,GATEWAY]]" each; and as cloud-init reads it
// (network configuration version 2).
// The first gateway there is leads to the rest of the world. `has_ports`: it has the interface for those, too.
std::string network_words(const std::vector<NetworkInterface>& interfaces,
                          const std::map<NetworkId, VmNetwork>& networks);
std::string network_config(const std::vector<NetworkInterface>& interfaces,
                           const std::map<NetworkId, VmNetwork>& networks, bool has_ports);

}  // namespace ebb
