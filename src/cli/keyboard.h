// Where the CLI hears: what is typed on the operator's terminal.
#pragma once
#include <string>

#include "base/result.h"
#include "env/task.h"

namespace ebb {

class Keyboard {
 public:
  virtual ~Keyboard() = default;
  virtual bool is_terminal() const = 0;
  // From now on each key comes as it is pressed, Ctrl-C too, and nothing is echoed; undone by the next call with false, and by
  // the end of the process.
  virtual Status set_raw(bool raw) = 0;
  // At least one byte; empty at the end of what there is to hear.
  virtual Task<Result<std::string>> read() = 0;
};

}  // namespace ebb
