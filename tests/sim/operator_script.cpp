#include "operator_script.h"

#include <charconv>
#include <iomanip>
#include <regex>
#include <sstream>

#include "base/text.h"
#include "cli/cli.h"
#include "fleet_sim.h"
#include "sim/run_in.h"
#include "sim/sim_files.h"

namespace ebb::fleet_sim {
namespace {

using Words = std::vector<std::string>;

// As a shell does, without its other powers.
Words words_of(const std::string& line) {
  Words words;
  std::istringstream in(line);
  for (std::string word; in >> std::quoted(word);) words.push_back(std::move(word));
  return words;
}

// How long something takes, and what a disk is called, is not what a script is about, and changes with every stone that is turned.
std::string without_chance(std::string text) {
  static const std::regex moments(R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)");
  static const std::regex lengths(R"([~+]?\b\d+(h\d\dm|m\d\ds|(\.\d+)? ?(ms|s|min|h))(?![A-Za-z0-9]))");
  static const std::regex disks(R"(\bd-[a-z0-9]{12}\b)");
  text = std::regex_replace(text, moments, "<when>");
  text = std::regex_replace(text, disks, "d-<id>");
  text = std::regex_replace(text, lengths, "<time>");
  static const std::regex gaps("(\\S)  +");
  text = std::regex_replace(text, gaps, "$1  ");
  static const std::regex ages("(  )(<time> ago|now)(?=  |$)");
  text = std::regex_replace(text, ages, "$1<time>");
  text.erase(text.find_last_not_of(' ') + 1);
  return text;
}

// Ids are minted from one counter. Here the first drain is drain-1, and so on.
class MintedIds {
 public:
  explicit MintedIds(const FleetSim& sim) {
    collect("drain", sim.fleet().drains());
    collect("mig", sim.fleet().migrations());
  }
  std::string shown(std::string text) const {
    static const std::regex ids(R"(\b(drain|mig)-(\d+)\b)");
    std::string out;
    auto at = text.cbegin();
    for (std::sregex_iterator found(text.begin(), text.end(), ids), end; found != end; ++found) {
      out.append(at, (*found)[0].first);
      out += number_of((*found)[1], found->str());
      at = (*found)[0].second;
    }
    return out.append(at, text.cend());
  }
  // Of a word of a command; itself, if there is none so numbered.
  std::string real(const std::string& word) const {
    for (const auto& [kind, all] : ids_)
      for (std::size_t i = 0; i < all.size(); ++i)
        if (word == fmt::format("{}-{}", kind, i + 1)) return all[i];
    return word;
  }

 private:
  template <class M>
  void collect(const std::string& kind, const M& records) {
    auto& all = ids_[kind];
    for (const auto& [id, record] : records) all.push_back(id.value);
    std::ranges::sort(all, minted_before);
  }
  std::string number_of(const std::string& kind, const std::string& id) const {
    const auto& all = ids_.at(kind);
    const auto found = std::ranges::find(all, id);
    return found == all.end() ? id : fmt::format("{}-{}", kind, found - all.begin() + 1);
  }
  std::map<std::string, std::vector<std::string>> ids_;
};

class Terminal final : public Screen {
 public:
  std::string text;
  void write(Output, std::string_view more) override { text += more; }
  bool is_terminal(Output) const override { return false; }
  ScreenSize size() const override { return {200, 1000}; }
};

class Play {
 public:
  explicit Play(std::function<void(std::string_view)> on_note) {
    options_.vms = 0, options_.shuffled = false, options_.on_note = std::move(on_note);
    options_.workers = 3, options_.slots = 8;
  }

  Status line(const std::string& line) {
    if (line.starts_with("fleet ")) return set(words_of(line.substr(6)));
    if (line.starts_with("label ")) return label(words_of(line.substr(6)));
    if (line.starts_with("$ ebb ")) return command(words_of(line.substr(6)));
    if (line.starts_with("! ")) return befall(words_of(line.substr(2)));
    return fail(Code::invalid, "'{}' is no line of a script", line);
  }
  std::string take_output() { return std::exchange(output_, {}); }
  std::vector<std::string> violations() const {
    return sim_ ? sim_->violations() : std::vector<std::string>();
  }

 private:
  Status set(const Words& words) {
    for (const auto& word : words) {
      const auto at = word.find('=');
      std::uint32_t number = 0;
      const auto value = at == std::string::npos ? std::string() : word.substr(at + 1);
      const auto read = std::from_chars(value.data(), value.data() + value.size(), number);
      if (read.ec != std::errc{} || number == 0) return fail(Code::invalid, "'{}' is no setting", word);
      if (word.starts_with("workers="))
        options_.workers = number;
      else if (word.starts_with("slots="))
        options_.slots = number;
      else
        return fail(Code::invalid, "'{}' is no setting", word);
    }
    return {};
  }
  Status label(const Words& words) {
    if (words.size() < 2) return fail(Code::invalid, "label WORKER,... KEY=VALUE ...");
    for (auto worker : split(words[0], ','))
      for (std::size_t i = 1; i < words.size(); ++i) {
        const auto at = words[i].find('=');
        if (at == std::string::npos) return fail(Code::invalid, "'{}' is no label", words[i]);
        options_.labels[WorkerId(std::string(worker))][words[i].substr(0, at)] = words[i].substr(at + 1);
      }
    return {};
  }
  // The fleet is there once the first thing happens in it.
  Result<FleetSim*> fleet() {
    if (!sim_) {
      sim_ = std::make_unique<FleetSim>(options_);
      EBB_CHECKED(sim_->set_up());
    }
    return sim_.get();
  }

  Status command(Words words) {
    EBB_TRY(sim, fleet());
    for (auto& word : words) word = MintedIds(*sim).real(word);
    auto& process = sim->operator_process();
    sim::SimFiles files(process, drive_);
    sim::SimHttp http(process, sim->http());
    Terminal terminal;
    Cli cli({process.loop(),
             http,
             files,
             terminal,
             {{"EBB_SERVER", std::string(FleetSim::control_address)},
              {"EBB_TOKEN", std::string(FleetSim::operator_token)}}});
    const auto code = sim::run_in(process, cli.run(std::move(words)), 20min);
    output_ = MintedIds(*sim).shown(terminal.text);
    if (!code)
      return fail(Code::unavailable, "the command did not end within 20 minutes; so far:\n{}", output_);
    if (*code != 0) output_ += fmt::format("[exit {}]\n", *code);
    return {};
  }

  Status befall(const Words& words) {
    EBB_TRY(sim, fleet());
    const auto what = words[0];
    const auto argument = [&](std::size_t i) { return i < words.size() ? words[i] : std::string(); };
    if (what == "wait") {
      EBB_TRY(duration, parse_duration(argument(1)));
      return sim->run_for(duration);
    }
    if (what == "until") return wait_until(*sim, argument(1), MintedIds(*sim).real(argument(2)));
    if (what == "kill" && argument(1) == "control") return sim->kill_control(), Status{};
    const bool is_of_program = what == "kill" || what == "stop" || what == "start";
    const WorkerId id(is_of_program ? argument(2) : argument(1));
    if (!sim->fleet().find(id)) return fail(Code::invalid, "'{}' is no worker", id);
    auto& worker = sim->worker(id);
    auto& links = sim->world().links();
    if (what == "kill" && argument(1) == "agent") return worker.kill(Program::agent), Status{};
    if (what == "kill" && argument(1) == "disk-daemon") return worker.kill(Program::disk_daemon), Status{};
    if (what == "stop" && argument(1) == "agent") return worker.stop(Program::agent), Status{};
    if (what == "start" && argument(1) == "agent") return worker.go_on(Program::agent), Status{};
    if (what == "cut") return links.isolate(id.value), Status{};
    if (what == "mend") return links.rejoin(id.value), Status{};
    if (what == "pause") return worker.pause(), Status{};
    if (what == "resume") return worker.resume(), Status{};
    if (what == "power") {
      EBB_TRY(off, parse_duration(argument(2)));
      return worker.power_cut(sim::PowerCut::lose_all, off), Status{};
    }
    if (what == "cannot-start") {
      worker.machines().fail_starts(1'000'000, {Code::unavailable, "qemu-system-x86_64 is not there", {}});
      return {};
    }
    if (what == "can-start") return worker.machines().fail_starts(0, {}), Status{};
    return fail(Code::invalid, "'{}' is nothing that befalls a fleet", what);
  }

  static Status wait_until(FleetSim& sim, const std::string& what, const std::string& name) {
    const auto done = [&] {
      if (what == "runs") {
        const auto* vm = sim.fleet().find(VmId(name));
        return vm && sim.why_not_running(*vm).empty();
      }
      const auto* drain = sim.fleet().find(DrainId(name));
      if (what == "ended") return drain && is_ended(drain->state);
      if (what != "moving") return true;
      return std::ranges::any_of(sim.fleet().open_migrations(), [&](const MigrationId& id) {
        const auto& m = sim.fleet().migrations().at(id);
        return m.drain == DrainId(name) && m.phase != Phase::reserving;
      });
    };
    if (what != "runs" && what != "ended" && what != "moving")
      return fail(Code::invalid, "until runs VM, until moving DRAIN, until ended DRAIN");
    auto status = sim.run_until(done, 10min);
    if (status) status = sim.run_for(100ms);  // what is committed is answered a moment later
    if (!status) return fail(Code::unavailable, "{} {}: not within 10 minutes", what, name);
    return {};
  }

  FleetSimOptions options_;
  std::unique_ptr<FleetSim> sim_;
  std::shared_ptr<sim::SimDrive> drive_ = std::make_shared<sim::SimDrive>();  // of the operator's own machine
  std::string output_;
};

bool is_ours(const std::string& line) {
  for (const char* begin : {"#", "$ ", "! ", "fleet ", "label "})
    if (line.starts_with(begin)) return true;
  return line.empty();
}

}  // namespace

Result<OperatorScriptRun> play_operator_script(const std::string& script,
                                               std::function<void(std::string_view)> on_note) {
  Play play(std::move(on_note));
  OperatorScriptRun run;
  std::istringstream lines(script);
  std::size_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    if (!is_ours(line)) continue;  // what was expected
    run.transcript += line + "\n";
    if (line.empty() || line.starts_with("#")) continue;
    if (auto status = play.line(line); !status)
      return fail(std::move(status).error().within(fmt::format("line {}: {}", number, line)));
    std::istringstream output(play.take_output());
    for (std::string said; std::getline(output, said);)
      if (!said.empty()) run.transcript += without_chance(said) + "\n";
  }
  run.violations = play.violations();
  return run;
}

}  // namespace ebb::fleet_sim
