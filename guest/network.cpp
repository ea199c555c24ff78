#include "network.h"

#include <arpa/inet.h>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <net/if.h>
#include <net/route.h>
#include <sstream>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

#include "boot.h"
#include "port.h"

namespace ebb::guest {
namespace {

// QEMU's user network, to which the ports of this guest are forwarded, and its interface here.
constexpr const char *user_mac = "52:54:00:12:34:56", *user_address = "10.0.2.15/24",
                     *user_gateway = "10.0.2.2";

struct Interface {
  std::string mac, address, gateway;  // address: with its prefix; empty: none is known
};

// Of `ebb.network=MAC[,ADDRESS/PREFIX[,GATEWAY]]`, as often as it stands there.
std::vector<Interface> joined_networks() {
  std::vector<Interface> found;
  std::istringstream words(read_small_file("/proc/cmdline").value_or(""));
  constexpr std::string_view key = "ebb.network=";
  for (std::string word; words >> word;) {
    if (!word.starts_with(key)) continue;
    std::istringstream parts(word.substr(key.size()));
    Interface interface;
    std::getline(parts, interface.mac, ','), std::getline(parts, interface.address, ','),
        std::getline(parts, interface.gateway, ',');
    found.push_back(interface);
  }
  return found;
}

std::string device_of(const std::string& mac) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/sys/class/net", error))
    if (read_small_file(entry.path() / "address").value_or("").starts_with(mac))
      return entry.path().filename();
  return "";
}

void set_address(sockaddr& address, std::uint32_t number) {
  sockaddr_in in{};
  in.sin_family = AF_INET;
  in.sin_addr.s_addr = htonl(number);
  std::memcpy(&address, &in, sizeof in);
}

std::uint32_t parse_address(const std::string& text) {
  in_addr address{};
  inet_pton(AF_INET, text.c_str(), &address);
  return ntohl(address.s_addr);
}

void bring_up(int fd, const std::string& device, const std::string& address) {
  const auto slash = address.find('/');
  const auto prefix = std::atoi(address.c_str() + slash + 1);
  ifreq request{};
  std::strncpy(request.ifr_name, device.c_str(), IFNAMSIZ - 1);
  set_address(request.ifr_addr, parse_address(address.substr(0, slash)));
  if (ioctl(fd, SIOCSIFADDR, &request) != 0) complain(device + " address");
  set_address(request.ifr_netmask, prefix <= 0 ? 0 : ~0u << (32 - prefix));
  if (ioctl(fd, SIOCSIFNETMASK, &request) != 0) complain(device + " netmask");
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  if (ioctl(fd, SIOCSIFFLAGS, &request) != 0) complain(device + " up");
}

void set_gateway(int fd, const std::string& gateway) {
  rtentry route{};
  set_address(route.rt_dst, 0), set_address(route.rt_genmask, 0),
      set_address(route.rt_gateway, parse_address(gateway));
  route.rt_flags = RTF_UP | RTF_GATEWAY;
  if (ioctl(fd, SIOCADDRT, &route) != 0) complain("route to " + gateway);
}

}  // namespace

void start_network() {
  auto interfaces = joined_networks();
  bool has_gateway = false;
  for (const auto& interface : interfaces) has_gateway |= !interface.gateway.empty();
  interfaces.push_back({user_mac, user_address, has_gateway ? "" : user_gateway});
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return complain("socket");
  for (const auto& [mac, address, gateway] : interfaces) {
    const auto device = device_of(mac);
    if (device.empty() || address.find('/') == std::string::npos) continue;
    bring_up(fd, device, address);
    if (!gateway.empty()) set_gateway(fd, gateway);
  }
  close(fd);
}

void stop_network() {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/sys/class/net", error)) {
    ifreq request{};
    std::strncpy(request.ifr_name, entry.path().filename().c_str(), IFNAMSIZ - 1);
    if (ioctl(fd, SIOCSIFFLAGS, &request) != 0) complain(std::string(request.ifr_name) + " down");
  }
  if (fd >= 0) close(fd);
}

}  // namespace ebb::guest
