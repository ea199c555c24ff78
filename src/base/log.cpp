#include "base/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

namespace ebb {
namespace {

spdlog::level::level_enum to_spdlog(LogLevel level) {
  switch (level) {
    case LogLevel::debug:
      return spdlog::level::debug;
    case LogLevel::info:
      return spdlog::level::info;
    case LogLevel::warning:
      return spdlog::level::warn;
    case LogLevel::error:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

class StderrSink final : public LogSink {
 public:
  explicit StderrSink(LogLevel level) : logger_("ebb", std::make_shared<spdlog::sinks::stderr_sink_mt>()) {
    logger_.set_level(to_spdlog(level));
    logger_.set_pattern("%Y-%m-%dT%H:%M:%S.%e %L %v");
    logger_.flush_on(spdlog::level::debug);
  }
  void write(LogLevel level, std::string_view component, std::string_view text) override {
    logger_.log(to_spdlog(level), "{}: {}", component, text);
  }

 private:
  spdlog::logger logger_;
};

}  // namespace

std::shared_ptr<LogSink> make_stderr_sink(LogLevel level) { return std::make_shared<StderrSink>(level); }

}  // namespace ebb
