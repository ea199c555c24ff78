#include "model/network.h"

#include <gtest/gtest.h>

namespace ebb {
namespace {

VmNetwork lan() {
  VmNetwork network;
  network.id = NetworkId("lan"), network.subnet = "10.20.0.0/29", network.gateway = "10.20.0.1";
  return network;
}

JoinNetwork join(std::optional<std::string> address = {}, std::optional<std::string> mac = {}) {
  return {NetworkId("lan"), std::move(address), std::move(mac)};
}

TEST(Networks, AddressesAreReadAsTheyAreWritten) {
  for (const auto* text : {"0.0.0.0", "10.20.0.5", "255.255.255.255"}) {
    auto address = parse_ipv4(text);
    ASSERT_TRUE(address) << text;
    EXPECT_EQ(to_text(*address), text);
  }
  for (const auto* text : {"", "10.20.0", "10.20.0.5.6", "10.20.0.256", "10.20.0.05", "10.20.0.",
                           "10.20.0.5 ", "a.b.c.d", "-1.0.0.0"})
    EXPECT_FALSE(parse_ipv4(text)) << text;
}

TEST(Networks, ASubnetIsNamedByItsFirstAddress) {
  auto subnet = parse_subnet("10.20.0.64/26");
  ASSERT_TRUE(subnet);
  EXPECT_EQ(to_text(subnet->broadcast()), "10.20.0.127");
  EXPECT_TRUE(subnet->contains(*parse_ipv4("10.20.0.100")));
  EXPECT_FALSE(subnet->contains(*parse_ipv4("10.20.0.128")));
  for (const auto* text :
       {"10.20.0.64", "10.20.0.64/", "10.20.0.64/7", "10.20.0.0/31", "10.20.0/24", "10.20.0.0/024"})
    EXPECT_FALSE(parse_subnet(text)) << text;
  auto inside = parse_subnet("10.20.0.65/26");
  ASSERT_FALSE(inside);
  EXPECT_NE(inside.error().message.find("10.20.0.64/26"), std::string::npos);
}

TEST(Networks, MacAddressesHaveOneForm) {
  EXPECT_EQ(parse_mac("02:AB:cd:00:00:01"), "02:ab:cd:00:00:01");
  for (const auto* text :
       {"", "02:ab:cd:00:00", "02:ab:cd:00:00:01:02", "2:ab:cd:00:00:01", "01:00:5e:00:00:01",
        "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00", "02:ab:cd:00:00:0g", "02-ab-cd-00-00-01"})
    EXPECT_FALSE(parse_mac(text)) << text;
}

TEST(Networks, OneWordSaysWhatAVmWants) {
  auto plain = parse_join("lan");
  ASSERT_TRUE(plain);
  EXPECT_EQ(*plain, join());
  EXPECT_EQ(parse_join("lan,mac=02:00:00:00:00:01,address=10.20.0.5"),
            join("10.20.0.5", "02:00:00:00:00:01"));
  for (const auto* text : {"lan,", "lan,address", "lan,address=", "lan,port=3", "lan,mac=a,mac=b"})
    EXPECT_FALSE(parse_join(text)) << text;
}

TEST(Networks, EachVmGetsAnAddressOfItsOwnUntilNoneIsLeft) {
  Random random(1);
  TakenAddresses taken;
  std::vector<std::string> given;
  for (int i = 0; i < 5; ++i) {
    auto interface = assign_interface(lan(), join(), taken, random);
    ASSERT_TRUE(interface) << interface.error().message;
    given.push_back(*interface->address);
    EXPECT_TRUE(parse_mac(interface->mac));
    EXPECT_TRUE(taken.macs.insert(interface->mac).second);
    taken.addresses[NetworkId("lan")].insert(*interface->address);
  }
  // Neither the subnet's number nor its gateway nor the address for all.
  EXPECT_EQ(given,
            (std::vector<std::string>{"10.20.0.2", "10.20.0.3", "10.20.0.4", "10.20.0.5", "10.20.0.6"}));
  auto none = assign_interface(lan(), join(), taken, random);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, Code::conflict);
}

TEST(Networks, WhatAnotherVmHasIsRefused) {
  Random random(1);
  TakenAddresses taken;
  taken.macs = {"02:00:00:00:00:01"};
  taken.addresses[NetworkId("lan")] = {"10.20.0.5"};
  taken.addresses[NetworkId("dmz")] = {"10.20.0.4"};
  auto code = [&](const JoinNetwork& wish) {
    auto interface = assign_interface(lan(), wish, taken, random);
    return interface ? std::optional<Code>() : interface.error().code;
  };
  EXPECT_EQ(code(join("10.20.0.5")), Code::conflict);
  EXPECT_EQ(code(join({}, "02:00:00:00:00:01")), Code::conflict);
  EXPECT_EQ(code(join("10.20.0.4", "02:00:00:00:00:02")), std::nullopt);  // of another network
  EXPECT_EQ(code(join("10.20.0.1")), Code::invalid);                      // the gateway
  EXPECT_EQ(code(join("10.20.0.0")), Code::invalid);
  EXPECT_EQ(code(join("10.20.0.7")), Code::invalid);
  EXPECT_EQ(code(join("10.20.1.5")), Code::invalid);
}

TEST(Networks, VmsGetAddressesOfTheRangeOnly) {
  Random random(1);
  auto network = lan();
  network.first = "10.20.0.4", network.last = "10.20.0.5";
  EXPECT_EQ(assign_interface(network, join(), {}, random)->address, "10.20.0.4");
  EXPECT_FALSE(assign_interface(network, join("10.20.0.3"), {}, random));
  EXPECT_TRUE(assign_interface(network, join("10.20.0.5"), {}, random));
}

TEST(Networks, ADhcpServerGivesWhatWeDoNot) {
  Random random(1);
  VmNetwork network;
  network.id = NetworkId("lan");
  auto interface = assign_interface(network, join(), {}, random);
  ASSERT_TRUE(interface);
  EXPECT_FALSE(interface->address);
  EXPECT_FALSE(assign_interface(network, join("10.20.0.5"), {}, random));
}

TEST(Networks, WrongNetworksAreRefusedByTheFieldAtFault) {
  auto field = [](CreateNetwork wish) {
    wish.id = NetworkId("lan");
    auto checked = check_network(wish);
    return checked ? std::string("fine") : checked.error().field;
  };
  EXPECT_EQ(field({{}, "10.20.0.0/24", "10.20.0.1", "10.20.0.10", "10.20.0.99", {"9.9.9.9"}}), "fine");
  EXPECT_EQ(field({}), "fine");
  EXPECT_EQ(field({{}, "10.20.0.1/24"}), "subnet");
  EXPECT_EQ(field({{}, "10.20.0.0/24", "10.21.0.1"}), "gateway");
  EXPECT_EQ(field({{}, "10.20.0.0/24", "10.20.0.255"}), "gateway");
  EXPECT_EQ(field({{}, "10.20.0.0/24", {}, "10.20.0.99", "10.20.0.10"}), "last");
  EXPECT_EQ(field({{}, "10.20.0.0/24", {}, {}, {}, {"dns.example"}}), "dns");
  EXPECT_EQ(field({{}, {}, "10.20.0.1"}), "subnet");
  EXPECT_FALSE(check_network({NetworkId("Lan"), {}, {}, {}, {}, {}}));
}

TEST(Networks, AGuestIsToldItsAddress) {
  auto network = lan();
  network.dns = {"9.9.9.9"};
  VmNetwork open;
  open.id = NetworkId("open");
  const std::map<NetworkId, VmNetwork> networks{{network.id, network}, {open.id, open}};
  const std::vector<NetworkInterface> interfaces{{network.id, "02:00:00:00:00:01", "10.20.0.5"},
                                                 {open.id, "02:00:00:00:00:02", {}}};
  EXPECT_EQ(network_words(interfaces, networks),
            "ebb.network=02:00:00:00:00:01,10.20.0.5/29,10.20.0.1 ebb.network=02:00:00:00:00:02");
  auto config = json::parse(network_config(interfaces, networks, true));
  ASSERT_TRUE(config);
  const auto& ethernets = config->at("ethernets");
  EXPECT_EQ(ethernets.at("lan").at("addresses").at(0), "10.20.0.5/29");
  EXPECT_EQ(ethernets.at("lan").at("match").at("macaddress"), "02:00:00:00:00:01");
  EXPECT_EQ(ethernets.at("lan").at("routes").at(0).at("via"), "10.20.0.1");
  EXPECT_EQ(ethernets.at("open").at("dhcp4"), true);
  EXPECT_FALSE(ethernets.at("open").as_object().contains("addresses"));
}

TEST(Networks, OnlyOneGatewayLeadsOut) {
  auto other = lan();
  other.id = NetworkId("ports"), other.subnet = "10.21.0.0/24", other.gateway = "10.21.0.1";
  const std::map<NetworkId, VmNetwork> networks{{NetworkId("lan"), lan()}, {other.id, other}};
  const std::vector<NetworkInterface> interfaces{{other.id, "02:00:00:00:00:01", "10.21.0.5"},
                                                 {NetworkId("lan"), "02:00:00:00:00:02", "10.20.0.5"}};
  EXPECT_EQ(
      network_words(interfaces, networks),
      "ebb.network=02:00:00:00:00:01,10.21.0.5/24,10.21.0.1 ebb.network=02:00:00:00:00:02,10.20.0.5/29");
  auto config = json::parse(network_config(interfaces, networks, true));
  ASSERT_TRUE(config);
  const auto& ethernets = config->at("ethernets").as_object();
  EXPECT_EQ(ethernets.size(), 3u) << "a network may be called as it likes";
  EXPECT_TRUE(ethernets.at("ports").as_object().contains("routes"));
  EXPECT_FALSE(ethernets.at("lan").as_object().contains("routes"));
  auto without_ports = json::parse(network_config(interfaces, networks, false));
  EXPECT_EQ(without_ports->at("ethernets").as_object().size(), 2u);
}

TEST(Networks, WishesThatCannotBeAreRefused) {
  auto is_fine = [](std::vector<JoinNetwork> joins) { return check_joins(joins).has_value(); };
  const NetworkId lan("lan"), dmz("dmz"), third("third");
  EXPECT_TRUE(is_fine({{lan, "10.20.0.5", "02:00:00:00:00:01"}, {dmz, {}, {}}}));
  EXPECT_FALSE(is_fine({{lan, {}, {}}, {lan, {}, {}}}));
  EXPECT_FALSE(is_fine({{lan, {}, {}}, {dmz, {}, {}}, {third, {}, {}}}));
  EXPECT_FALSE(is_fine({{lan, "ten", {}}}));
  EXPECT_FALSE(is_fine({{lan, {}, "02:00:00:00:00:01"}, {dmz, {}, "02:00:00:00:00:01"}}));
  EXPECT_FALSE(is_fine({{lan, {}, forwarding_mac}}));
}

}  // namespace
}  // namespace ebb
