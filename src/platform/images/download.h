// A file from the web, over HTTP or HTTPS, and nothing else wherever a redirect leads.
#pragma once
#include <string>

#include "base/result.h"
#include "platform/images/progress.h"

namespace ebb::images {

// Blocks. The file is made anew, and is incomplete after an error. invalid: the server does not have it, or the address is none;
// unavailable: it cannot be reached, or sent less than it said.
Status download(const std::string& url, const std::string& path, const Progress& progress);

}  // namespace ebb::images
