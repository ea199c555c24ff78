// A session: an operator's view into a VM. The operator's command asks the control plane; the agent, which has no address of
// its own, hears of it on a stream that it keeps open, and brings what there is to see (ADR 20).
#pragma once
#include "model/fleet_types.h"

namespace ebb {

using SessionId = Id<struct SessionTag>;

enum class SessionKind {
  logs,     // what the VM's console said and says
  console,  // the same, and what is typed there
  port,     // a connection to one of its forwarded ports
  exec,     // a program that its guest agent runs
};
BOOST_DESCRIBE_ENUM(SessionKind, logs, console, port, exec)

// A program to run in a guest: its path and arguments (no shell reads them), and in base64 what it finds on its standard input.
struct GuestCommand {
  std::vector<std::string> words;
  std::optional<std::string> input{};
  bool operator==(const GuestCommand&) const = default;
};
BOOST_DESCRIBE_STRUCT(GuestCommand, (), (words, input))

// A place in what a VM's console has said on one worker under one epoch: bytes since its first one.
struct ConsolePoint {
  WorkerId worker;
  Epoch epoch = 0;
  std::uint64_t position = 0;
  bool operator==(const ConsolePoint&) const = default;
};
BOOST_DESCRIBE_STRUCT(ConsolePoint, (), (worker, epoch, position))

// From the control plane to the agent: somebody wants to see this.
struct SessionCall {
  SessionId session;
  VmId vm;
  Epoch epoch = 0;
  SessionKind kind = SessionKind::logs;
  bool follow = false;  // goes on until the VM has left; else all that there is
  // Where it begins: at a position, with the last so many lines, or with the first byte that is kept.
  std::optional<std::uint64_t> position{};
  std::optional<std::uint32_t> tail_lines{};
  std::optional<std::string> port{};  // its name
  std::optional<GuestCommand> command{};
  bool operator==(const SessionCall&) const = default;
};
BOOST_DESCRIBE_STRUCT(SessionCall, (),
                      (session, vm, epoch, kind, follow, position, tail_lines, port, command))

enum class SessionEndKind {
  complete,     // all that was asked for has been shown
  left,         // the VM has no machine on that worker any more
  unavailable,  // whoever was to bring it does not answer
};
BOOST_DESCRIBE_ENUM(SessionEndKind, complete, left, unavailable)

struct SessionEnd {
  SessionEndKind kind = SessionEndKind::complete;
  std::string text;
  std::optional<std::uint32_t>
      status{};  // of a program that has ended; one that a signal ended: 128 and that
  bool operator==(const SessionEnd&) const = default;
};
BOOST_DESCRIBE_STRUCT(SessionEnd, (), (kind, text, status))

// One event of what an operator gets.
struct SessionEvent {
  std::optional<SessionId> session{};   // first of all: where to send what is typed
  std::optional<ConsolePoint> at{};     // where the next output stands; said at first, and after each gap
  std::optional<std::string> output{};  // in base64
  std::optional<std::string> error_output{};  // the same, of a program's standard error
  std::optional<std::string> notice{};        // a sentence for people
  std::optional<SessionEnd> end{};            // nothing comes after this
  bool operator==(const SessionEvent&) const = default;
};
BOOST_DESCRIBE_STRUCT(SessionEvent, (), (session, at, output, error_output, notice, end))

// From the agent to the control plane, which hands the events on as they are. One that was sent already is not taken twice.
struct SessionOutput {
  std::uint64_t sequence = 0;  // from 1 on
  std::vector<SessionEvent> events;
  std::uint64_t passed = 0;  // bytes of input, as yet
};
BOOST_DESCRIBE_STRUCT(SessionOutput, (), (sequence, events, passed))

// What is typed, in base64; from the operator to the control plane, and from there to the agent. One that was sent already is not
// taken twice.
struct SessionInput {
  std::uint64_t sequence = 0;  // from 1 on
  std::string input;
  std::optional<bool> end{};  // nothing will follow
  std::optional<std::uint64_t>
      read{};  // of a port: bytes of output that the operator's side has taken, as yet
};
BOOST_DESCRIBE_STRUCT(SessionInput, (), (sequence, input, end, read))

EBB_JSON_EXTERN(GuestCommand)
EBB_JSON_EXTERN(ConsolePoint)
EBB_JSON_EXTERN(SessionCall)
EBB_JSON_EXTERN(SessionEnd)
EBB_JSON_EXTERN(SessionEvent)
EBB_JSON_EXTERN(SessionOutput)
EBB_JSON_EXTERN(SessionInput)

}  // namespace ebb
