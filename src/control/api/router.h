// The table of routes: method and pattern -> handler, with who may call it. Patterns are as in
// docs/api/openapi.json:
// "/v1/workers/{id}:cordon".
#pragma once
#include "env/http.h"
#include "model/api_types.h"

namespace ebb::control {

enum class Access { open, operator_token, join_token };

struct Call {
  HttpRequest request;
  std::map<std::string, std::string> params;  // from the path
  std::map<std::string, std::string> query;
  std::string param(const std::string& name) const { return params.at(name); }
  // A whole number of the query; `otherwise` if it is absent.
  Result<std::uint64_t> number(const std::string& name, std::uint64_t otherwise) const;
};

using Handler = std::function<Task<HttpResponse>(Call)>;

struct Route {
  std::string method, pattern;
  Access access = Access::operator_token;
  Handler handler;
};

class Router {
 public:
  Router(std::string operator_token, std::string join_token);
  void add(std::string method, std::string pattern, Access access, Handler handler);
  const std::vector<Route>& routes() const { return routes_; }
  // Answers every request: 404 for no such path, 405 for a wrong method, 401 without the right token.
  Task<HttpResponse> handle(HttpRequest request) const;

 private:
  bool is_allowed(const HttpRequest& request, Access access) const;
  std::string operator_token_, join_token_;
  std::vector<Route> routes_;
};

HttpResponse json_reply(int status, const json::Value& value);
HttpResponse error_reply(const Error& error);
template <class T>
HttpResponse reply_with(const T& value, int status = 200) {
  return json_reply(status, json::write(value));
}
// The described body of a request: strict, errors name the field.
template <class T>
Result<T> body_of(const Call& call) {
  return json::read_text<T>(call.request.body.empty() ? std::string_view("{}")
                                                      : std::string_view(call.request.body));
}

}  // namespace ebb::control
