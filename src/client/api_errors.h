// From the API's replies to Errors, and from transport failures to sentences that say what to do.
#pragma once
#include "env/http.h"
#include "model/api_types.h"

namespace ebb {

// Ok for 2xx. Else the reply's ErrorBody as an Error; a reply without one gets a code from its status.
Status check_reply(const HttpResponse& reply);

// The ErrorBody that `text` is, or ends with, as an Error.
std::optional<Error> find_error_body(std::string_view text);

// `cause` is what the transport said when there was no reply from `address`.
Error unreachable(const std::string& address, const Error& cause);

}  // namespace ebb
