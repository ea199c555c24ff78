#include "base/base64.h"
#include "base/text.h"
#include "control/api/services.h"

namespace ebb::control {
namespace {

constexpr std::uint64_t lines_max = 1'000'000;
constexpr std::size_t command_bytes_max = 64 * KiB, command_input_max = 128 * KiB;

// Whose worker has what a VM's console said: its own, or the one on which it has ended; for what it said last also the one on which
// it was stopped.
Result<WorkerId> home_of(const Fleet& fleet, const Vm& vm, bool is_stopped_too) {
  if (vm.worker) return *vm.worker;
  if (vm.ended) return vm.ended->worker;
  if (is_stopped_too && vm.stopped_on && fleet.find(*vm.stopped_on)) return *vm.stopped_on;
  if (vm.desired == VmDesired::running)
    return fail(Code::conflict, "{} is on no worker yet: 'ebb why vms/{}' tells what it waits for", vm.id,
                vm.id);
  return fail(Code::conflict, "{} does not run, and is on no worker: 'ebb start {}' starts it", vm.id, vm.id);
}

struct Place {
  WorkerId worker;
  SessionCall call;
};

// A place that the caller has seen counts, also when the VM has left it: what it said there last may not have been read yet.
Result<Place> place_of(const Fleet& fleet, const Call& call, const Vm& vm, SessionKind kind) {
  Place place;
  place.call.vm = vm.id, place.call.epoch = vm.epoch;
  const auto follow = call.query.find("follow"), seen = call.query.find("worker");
  place.call.follow = follow != call.query.end() && follow->second == "true";
  EBB_TRY(epoch, call.number("epoch", 0));
  EBB_TRY(position, call.number("position", 0));
  EBB_TRY(lines, call.number("tail", 0));
  if (lines > lines_max) return fail_field("tail", "'tail' is {} lines at most", lines_max);
  if (seen != call.query.end() && fleet.find(WorkerId(seen->second))) {
    place.worker = WorkerId(seen->second);
    place.call.epoch = epoch, place.call.position = position;
    return place;
  }
  EBB_TRY(home, home_of(fleet, vm, kind == SessionKind::logs));
  place.worker = home;
  if (call.query.contains("tail")) place.call.tail_lines = static_cast<std::uint32_t>(lines);
  return place;
}

Result<Place> running_place_of(const Vm& vm) {
  if (!vm.worker)
    return fail(Code::conflict, "{} does not run: 'ebb why vms/{}' tells what it waits for", vm.id, vm.id);
  SessionCall session;
  session.vm = vm.id, session.epoch = vm.epoch;
  return Place{*vm.worker, std::move(session)};
}

Result<Place> port_of(const Call& call, const Vm& vm) {
  const auto name = call.param("port");
  const auto& ports = vm.spec.ports;
  if (std::ranges::none_of(ports, [&](const Port& port) { return port.name == name; }))
    return fail(Code::not_found, "{} has no port '{}'", vm.id, name);
  EBB_TRY(place, running_place_of(vm));
  place.call.port = name;
  return place;
}

Result<Place> exec_of(const Call& call, const Vm& vm) {
  EBB_TRY(command, body_of<GuestCommand>(call));
  if (command.words.empty() || command.words[0].empty())
    return fail_field("words", "'words' are a program and its arguments");
  std::size_t bytes = 0;
  for (const auto& word : command.words) {
    bytes += word.size() + 1;
    if (!is_valid_utf8(word) || word.contains('\0'))
      return fail_field("words", "'words' are text in UTF-8 without zero bytes");
  }
  if (command.input && !from_base64(*command.input)) return fail_field("input", "'input' is no base64");
  if (bytes > command_bytes_max)
    return fail_field("words", "'words' have {} at most", format_size(command_bytes_max));
  if (command.input && command.input->size() > command_input_max)
    return fail_field("input", "'input' has {} of base64 at most", format_size(command_input_max));
  EBB_TRY(place, running_place_of(vm));
  place.call.command = std::move(command);
  return place;
}

Result<Place> find_place(const Fleet& fleet, const Call& call, const Vm& vm, SessionKind kind) {
  switch (kind) {
    case SessionKind::logs:
    case SessionKind::console:
      return place_of(fleet, call, vm, kind);
    case SessionKind::port:
      return port_of(call, vm);
    case SessionKind::exec:
      return exec_of(call, vm);
  }
  return place_of(fleet, call, vm, kind);
}

}  // namespace

void SessionsService::add_routes(Router& r) {
  const auto op = Access::operator_token, join = Access::join_token;
  r.add("GET", "/v1/vms/{id}/logs", op, [this](Call c) { return open(std::move(c), SessionKind::logs); });
  r.add("GET", "/v1/vms/{id}/console", op,
        [this](Call c) { return open(std::move(c), SessionKind::console); });
  r.add("GET", "/v1/vms/{id}/ports/{port}", op,
        [this](Call c) { return open(std::move(c), SessionKind::port); });
  r.add("POST", "/v1/vms/{id}/exec", op, [this](Call c) { return open(std::move(c), SessionKind::exec); });
  r.add("POST", "/v1/sessions/{id}/input", op, [this](Call c) { return type(std::move(c)); });
  r.add("GET", "/v1/agent/workers/{id}/sessions", join, [this](Call c) { return tell(std::move(c)); });
  r.add("GET", "/v1/agent/sessions/{id}/input", join, [this](Call c) { return give_input(std::move(c)); });
  r.add("POST", "/v1/agent/sessions/{id}/output", join, [this](Call c) { return take_output(std::move(c)); });
}

Task<HttpResponse> SessionsService::open(Call call, SessionKind kind) {
  const VmId id(call.param("id"));
  const auto* vm = c_.fleet().find(id);
  if (!vm) co_return error_reply(no_such("VM", id.value));
  auto place = find_place(c_.fleet(), call, *vm, kind);
  if (!place) co_return error_reply(place.error());
  place->call.kind = kind;
  if (auto room = sessions_.check_room(kind); !room) co_return error_reply(room.error());
  co_return event_reply(
      [this, at = std::move(*place)](BodyWriter& out) { return sessions_.show(at.worker, at.call, &out); });
}

Task<HttpResponse> SessionsService::type(Call call) {
  auto input = body_of<SessionInput>(call);
  if (!input) co_return error_reply(input.error());
  if (!from_base64(input->input)) co_return error_reply({Code::invalid, "'input' is no base64", "input"});
  if (auto taken = sessions_.type(SessionId(call.param("id")), *input); !taken)
    co_return error_reply(taken.error());
  co_return json_reply(200, json::Object{});
}

Task<HttpResponse> SessionsService::tell(Call call) {
  const WorkerId id(call.param("id"));
  if (!c_.fleet().find(id)) co_return error_reply(no_such("worker", id.value));
  co_return event_reply([this, id](BodyWriter& out) { return sessions_.tell(id, &out); });
}

Task<HttpResponse> SessionsService::give_input(Call call) {
  const SessionId id(call.param("id"));
  co_return event_reply([this, id](BodyWriter& out) { return sessions_.give_input(id, &out); });
}

Task<HttpResponse> SessionsService::take_output(Call call) {
  auto output = body_of<SessionOutput>(call);
  if (!output) co_return error_reply(output.error());
  auto taken = co_await sessions_.take_output(SessionId(call.param("id")), std::move(*output));
  if (!taken) co_return error_reply(taken.error());
  co_return json_reply(200, json::Object{});
}

}  // namespace ebb::control
