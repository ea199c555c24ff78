// The server's route table and docs/api/openapi.json say the same. (That the schemas match the values is
// tests/cli's part.)
#include <fstream>
#include <sstream>

#include "control/testing/control_world.h"

namespace ebb::control {
namespace {

// "GET /v1/workers/{id}:why" of every operation in the document, and whether it asks for a token.
std::map<std::string, bool> documented() {
  std::ifstream in(EBB_SOURCE_DIR "/docs/api/openapi.json");
  std::stringstream text;
  text << in.rdbuf();
  auto document = json::parse(text.str());
  EXPECT_TRUE(document) << document.error().message;
  std::map<std::string, bool> found;
  if (!document) return found;
  for (const auto& path : document->at("paths").as_object()) {
    for (const auto& operation : path.value().as_object()) {
      std::string method(operation.key());
      if (method == "parameters" || method == "summary" || method == "description") continue;
      for (auto& c : method) c = static_cast<char>(std::toupper(c));
      const auto* security = operation.value().as_object().if_contains("security");
      bool is_open = security && security->is_array() && security->get_array().empty();
      found[method + " " + std::string(path.key())] = !is_open;
    }
  }
  return found;
}

TEST(OpenApi, ServerAndDocumentHaveTheSameRoutes) {
  ControlWorld w;
  std::map<std::string, bool> served;
  for (const auto& route : w.control().router().routes())
    served[route.method + " " + route.pattern] = route.access != Access::open;
  auto described = documented();
  for (const auto& [operation, secured] : served) {
    ASSERT_TRUE(described.contains(operation)) << operation << " is served and not described";
    EXPECT_EQ(described.at(operation), secured) << operation << ": who may call it";
  }
  for (const auto& [operation, secured] : described)
    EXPECT_TRUE(served.contains(operation)) << operation << " is described and not served";
}

}  // namespace
}  // namespace ebb::control
