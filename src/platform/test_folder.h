// A fresh folder for one test, removed afterwards; and errors that GoogleTest can print.
#pragma once
#include <filesystem>
#include <gtest/gtest.h>
#include <ostream>
#include <stdlib.h>
#include <string>

#include "base/result.h"

namespace ebb {

inline std::ostream& operator<<(std::ostream& out, const Error& error) {
  return out << fmt::format("{}", error);
}

class TestFolder {
 public:
  explicit TestFolder(const std::filesystem::path& parent = std::filesystem::temp_directory_path()) {
    std::string pattern = parent / "ebb-test-XXXXXX";
    EXPECT_NE(mkdtemp(pattern.data()), nullptr);
    path_ = pattern;
  }
  TestFolder(const TestFolder&) = delete;
  ~TestFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string operator/(std::string_view name) const { return path_ + "/" + std::string(name); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace ebb
