#include "operator_script.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sstream>

namespace ebb::fleet_sim {
namespace {

const std::filesystem::path folder = EBB_SCENARIOS;

std::string read(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::vector<std::string> names() {
  std::vector<std::string> found;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (entry.path().extension() == ".txt") found.push_back(entry.path().stem());
  std::ranges::sort(found);
  return found;
}

class Scenarios : public ::testing::TestWithParam<std::string> {};

TEST_P(Scenarios, GoAsTheyAreWritten) {
  const auto path = folder / (GetParam() + ".txt");
  const auto script = read(path);
  const auto run = play_operator_script(script);
  ASSERT_TRUE(run) << run.error().message;
  EXPECT_TRUE(run->violations.empty()) << run->violations[0];
  if (std::getenv("EBB_UPDATE_GOLDEN") != nullptr)
    std::ofstream(path) << run->transcript;
  else
    EXPECT_EQ(run->transcript, script) << "EBB_UPDATE_GOLDEN=1 writes " << path << " anew";
}

INSTANTIATE_TEST_SUITE_P(All, Scenarios, ::testing::ValuesIn(names()),
                         [](const auto& info) { return info.param; });

TEST(OperatorScript, WhatIsNotUnderstoodIsNamedWithItsLine) {
  for (auto [script, says] : {std::pair("# ok\n! fly worker-1\n", "line 2: ! fly worker-1"),
                              {"fleet wings=2\n", "'wings=2' is no setting"},
                              {"label worker-1\n", "label WORKER"},
                              {"! cut worker-9\n", "'worker-9' is no worker"}}) {
    const auto run = play_operator_script(script);
    ASSERT_FALSE(run) << script;
    EXPECT_TRUE(run.error().message.contains(says)) << run.error().message;
  }
}

}  // namespace
}  // namespace ebb::fleet_sim
