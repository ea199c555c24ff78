// Where the CLI speaks: stdout is data, stderr is talk.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace ebb {

struct ScreenSize {
  std::size_t columns = 80;
  std::size_t rows = 24;
};

enum class Output { data, talk };

class Screen {
 public:
  virtual ~Screen() = default;
  virtual void write(Output to, std::string_view text) = 0;
  virtual bool is_terminal(Output output) const = 0;
  virtual ScreenSize size() const = 0;

  void out(std::string_view text) { write(Output::data, text); }
  // A line of talk.
  void say(std::string_view text) { write(Output::talk, std::string(text) + "\n"); }
};

// Redraws lines in place. The cursor stands below the last line between two calls, so that other text may
// follow.
class LivePainter final {
 public:
  LivePainter(Screen& screen, Output to) : screen_(screen), to_(to) {}
  // Lines must be no wider than the screen: a wrapped line would not be overwritten.
  void show(const std::vector<std::string>& lines);
  // Takes the frame away.
  void clear() { show({}); }

 private:
  Screen& screen_;
  Output to_;
  std::size_t drawn_ = 0;
};

}  // namespace ebb
