#include "control/instance_seed.h"

#include <gtest/gtest.h>

#include "model/agent_types.h"
#include "model/instance_data.h"

namespace ebb::control {
namespace {

Vm vm_with(std::optional<InstanceData> data) {
  Vm vm;
  vm.id = VmId("db-1"), vm.created_at = 1'700'000'000'000;
  vm.spec.instance_data = std::move(data);
  return vm;
}

Image image_with(std::optional<Firmware> firmware) {
  Image image;
  image.firmware = firmware;
  return image;
}

TEST(InstanceSeed, AGuestWithItsOwnKernelThatWasToldNothingHasNone) {
  EXPECT_FALSE(instance_seed(vm_with({}), image_with({}), {}));
  EXPECT_TRUE(instance_seed(vm_with(InstanceData()), image_with({}), {}));
}

TEST(InstanceSeed, ACloudImageAlwaysLearnsWhoItIs) {
  auto files = *instance_seed(vm_with({}), image_with(Firmware::bios), {});
  EXPECT_EQ(files.at("meta-data"), R"({"instance-id":"db-1-1700000000000","local-hostname":"db-1"})");
  EXPECT_EQ(files.at("user-data"), "#cloud-config\n{}\n");
  EXPECT_FALSE(files.contains("network-config"));
}

TEST(InstanceSeed, IsTheSameOnEveryWorkerAndUnderEveryEpoch) {
  auto vm = vm_with(InstanceData{"primary", {"ssh-ed25519 AAAA me"}, "#!/bin/sh\ntrue\n", "version: 2\n"});
  auto before = *instance_seed(vm, image_with(Firmware::uefi), {});
  vm.worker = WorkerId("worker-2"), vm.epoch = 9;
  EXPECT_EQ(instance_seed(vm, image_with(Firmware::uefi), {}), before);
  EXPECT_EQ(
      before.at("meta-data"),
      R"({"instance-id":"db-1-1700000000000","local-hostname":"primary","public-keys":["ssh-ed25519 AAAA me"]})");
  EXPECT_EQ(before.at("user-data"), "#!/bin/sh\ntrue\n");
  EXPECT_EQ(before.at("network-config"), "version: 2\n");
}

TEST(InstanceSeed, WhatCloudInitWouldNotTakeIsRefusedWithItsField) {
  auto field_of = [](const InstanceData& data) {
    auto checked = check_instance_data(data);
    return checked ? std::string() : checked.error().field;
  };
  EXPECT_EQ(field_of({"primary", {"ssh-ed25519 AAAA me"}, "#cloud-config\n", "version: 2\n"}), "");
  EXPECT_EQ(field_of({.hostname = "Not a name"}), "spec.instance_data.hostname");
  EXPECT_EQ(field_of({.ssh_keys = {"-----BEGIN OPENSSH PRIVATE KEY-----"}}), "spec.instance_data.ssh_keys");
  EXPECT_EQ(field_of({.ssh_keys = {"ssh-ed25519 AAAA me\nssh-ed25519 BBBB you"}}),
            "spec.instance_data.ssh_keys");
  EXPECT_EQ(field_of({.ssh_keys = {"ssh-ed25519 AAAA me\rssh-ed25519 BBBB you"}}),
            "spec.instance_data.ssh_keys");
  EXPECT_EQ(field_of({.ssh_keys = {"restrict,command=\"/bin/true\" ssh-ed25519 AAAA me"}}), "");
  EXPECT_EQ(field_of({.user_data = "echo hello"}), "spec.instance_data.user_data");
  EXPECT_EQ(field_of({.user_data = "#cloud-config\n\x01"}), "spec.instance_data.user_data");
  EXPECT_EQ(field_of({.user_data = "#!\x1f\x8b\x08"}), "spec.instance_data.user_data") << "gzip";
  EXPECT_EQ(field_of({.network_config = "version: \x7f"}), "spec.instance_data.network_config");
  EXPECT_EQ(field_of({.user_data = "#!" + std::string(16 * 1024, 'x')}), "spec.instance_data");
}

// Agents and control planes are not replaced at the same moment.
TEST(InstanceSeed, OfAnImageWithAKernelOlderVersionsSeeWhatTheySawBefore) {
  Image image;
  image.id = ImageId("base"), image.kernel = Blob{};
  WantedVm wanted;
  for (const auto& text : {json::write_text(image), json::write_text(wanted)}) {
    EXPECT_FALSE(text.contains("firmware")) << text;
    EXPECT_FALSE(text.contains("seed")) << text;
  }
  auto old = json::read_text<Image>(json::write_text(image));
  ASSERT_TRUE(old) << old.error().message;
  EXPECT_EQ(*old, image);
}

}  // namespace
}  // namespace ebb::control
