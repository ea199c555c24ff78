// A Logger is a value that is passed down: where lines go, and the component that speaks.
#pragma once
#include <fmt/format.h>
#include <memory>
#include <string>
#include <string_view>

namespace ebb {

enum class LogLevel { debug, info, warning, error };

// Where lines end up: stderr in the programs, memory in the simulator.
class LogSink {
 public:
  virtual ~LogSink() = default;
  virtual void write(LogLevel level, std::string_view component, std::string_view text) = 0;
};

class Logger {
 public:
  Logger() = default;  // drops everything
  Logger(std::shared_ptr<LogSink> sink, std::string component)
      : sink_(std::move(sink)), component_(std::move(component)) {}
  // The same sink under another component name.
  Logger named(std::string component) const { return Logger(sink_, std::move(component)); }

  template <class... Args>
  void debug(fmt::format_string<Args...> text, Args&&... args) const {
    write(LogLevel::debug, fmt::format(text, std::forward<Args>(args)...));
  }
  template <class... Args>
  void info(fmt::format_string<Args...> text, Args&&... args) const {
    write(LogLevel::info, fmt::format(text, std::forward<Args>(args)...));
  }
  template <class... Args>
  void warning(fmt::format_string<Args...> text, Args&&... args) const {
    write(LogLevel::warning, fmt::format(text, std::forward<Args>(args)...));
  }
  template <class... Args>
  void error(fmt::format_string<Args...> text, Args&&... args) const {
    write(LogLevel::error, fmt::format(text, std::forward<Args>(args)...));
  }

 private:
  void write(LogLevel level, std::string_view text) const {
    if (sink_) sink_->write(level, component_, text);
  }
  std::shared_ptr<LogSink> sink_;
  std::string component_;
};

// Lines on standard error with a time, from `level` upwards.
std::shared_ptr<LogSink> make_stderr_sink(LogLevel level);

}  // namespace ebb
