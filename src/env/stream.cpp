#include "env/stream.h"

namespace ebb {

Task<Status> read_exactly(Stream& stream, MutableBytes into) {
  while (!into.empty()) {
    EBB_CO_TRY(count, co_await stream.read_some(into));
    if (count == 0) co_return fail(Code::unavailable, "the other side closed the connection");
    into = into.subspan(count);
  }
  co_return Status{};
}

}  // namespace ebb
