// The operator's terminal, as the CLI's Screen and Keyboard.
#pragma once
#include <memory>
#include <optional>
#include <termios.h>

#include "cli/keyboard.h"
#include "cli/screen.h"
#include "platform/asio_loop.h"

namespace ebb {

class TerminalScreen final : public Screen {
 public:
  void write(Output to, std::string_view text) override;
  bool is_terminal(Output output) const override;
  ScreenSize size() const override;
};

// Standard input.
class TerminalKeyboard final : public Keyboard {
 public:
  explicit TerminalKeyboard(AsioLoop& loop) : loop_(loop) {}
  ~TerminalKeyboard() override;
  bool is_terminal() const override;
  Status set_raw(bool raw) override;
  Task<Result<std::string>> read() override;

 private:
  Status open();

  AsioLoop& loop_;
  std::optional<termios> cooked_;  // to be restored
  std::optional<int> flags_;       // of the standard input, to be restored
  std::unique_ptr<FdWatch> watch_;
};

}  // namespace ebb
