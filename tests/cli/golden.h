// Compares text with tests/cli/golden/NAME; EBB_UPDATE_GOLDEN=1 writes the file instead, to be read before it
// is kept.
#pragma once
#include <cstdlib>
#include <fstream>
#include <gtest/gtest.h>
#include <sstream>

namespace ebb {

inline void expect_golden(const std::string& name, const std::string& text) {
  auto path = std::string(EBB_GOLDEN_DIR) + "/" + name;
  if (std::getenv("EBB_UPDATE_GOLDEN") != nullptr) {
    std::ofstream(path) << text;
    return;
  }
  std::ifstream file(path);
  std::stringstream wanted;
  wanted << file.rdbuf();
  EXPECT_EQ(text, wanted.str()) << "differs from " << path << "; EBB_UPDATE_GOLDEN=1 writes it anew";
}

}  // namespace ebb
