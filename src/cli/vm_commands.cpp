#include "base/text.h"
#include "cli/commands.h"
#include "cli/fleet_view.h"
#include "cli/vm_file.h"
#include "model/instance_data.h"

namespace ebb {
namespace {

enum class Until { running, stopped, gone };

// Tells what it is waited for, each reason once.
void tell_changes(Context& c, const VmView& view, std::string& told) {
  auto text = fmt::format("{}: {}", view.vm.id, vm_state(view));
  if (!view.waiting_for.empty()) {
    text += ", waiting: " + view.waiting_for.front().text;
  } else if (!view.vm.last_error.empty()) {
    text += ", " + view.vm.last_error;
  }
  if (text != told) c.screen().say(text);
  told = std::move(text);
}

bool has_reached(const VmView& view, Until until) {
  switch (until) {
    case Until::running:
      if (view.vm.ended) return true;  // it has run
      return view.vm.worker && view.seen == VmSeen::running && !view.migration &&
             (!view.health || view.health->is_healthy);
    case Until::stopped:
      return view.vm.desired == VmDesired::stopped && !view.vm.worker;
    case Until::gone:
      return false;
  }
  return false;
}

// The VM as it was last seen; absent when it is gone.
Task<Result<std::optional<VmView>>> wait_for_vm(Context& c, VmId id, Until until, Duration limit) {
  auto give_up_at = c.env.loop.now() + limit;
  std::string told;
  std::function<Task<Result<VmView>>()> ask = [&] { return c.client.vm(id); };
  std::function<void(const Error&)> on_silence = [&](const Error& error) {
    c.screen().say(error.message + "; trying on");
  };
  while (true) {
    auto view = co_await ask_patiently(c, ask, on_silence);
    if (!view && view.error().code == Code::not_found && until == Until::gone) co_return std::nullopt;
    if (!view) co_return fail(std::move(view).error());
    if (has_reached(*view, until)) co_return std::move(*view);
    tell_changes(c, *view, told);
    if (c.env.loop.now() >= give_up_at) {
      co_return fail(Code::internal, "{} is still {} after {}; 'ebb why vms/{}' tells more", id,
                     vm_state(*view), format_duration(limit), id);
    }
    co_await sleep_for(c.env.loop, poll_interval);
  }
}

Task<Result<std::string>> read_text_file(Context& c, std::string path) {
  auto bytes = co_await c.env.files.read_all(path);
  // Bad input of ours, not a record that the control plane lacks.
  if (!bytes) co_return fail(Code::invalid, "cannot read {}: {}", path, bytes.error().message);
  if (bytes->empty()) co_return fail(Code::invalid, "{} is empty", path);
  co_return std::string(as_text(*bytes));
}

// A key, or the keys of a file, one a line.
Task<Result<std::vector<std::string>>> read_ssh_keys(Context& c, std::string key_or_path) {
  std::vector<std::string> keys;
  if (check_instance_data({.ssh_keys = {key_or_path}})) {
    keys.push_back(std::move(key_or_path));
    co_return keys;
  }
  EBB_CO_TRY(text, co_await read_text_file(c, key_or_path));
  for (auto key : split(text, '\n')) {
    if (key.ends_with('\r')) key.remove_suffix(1);
    if (!key.empty() && !key.starts_with('#')) keys.emplace_back(key);
  }
  if (keys.empty()) co_return fail_field("--ssh-key", "{} holds no key", key_or_path);
  co_return keys;
}

// Absent if nothing was asked for.
Task<Result<std::optional<InstanceData>>> read_instance_data(Context& c, RunOptions options) {
  InstanceData data;
  data.hostname = options.hostname;
  for (const auto& key : options.ssh_keys) {
    EBB_CO_TRY(keys, co_await read_ssh_keys(c, key));
    data.ssh_keys.insert(data.ssh_keys.end(), keys.begin(), keys.end());
  }
  if (!options.user_data.empty()) {
    EBB_CO_TRY(text, co_await read_text_file(c, options.user_data));
    data.user_data = std::move(text);
  }
  if (!options.network_config.empty()) {
    EBB_CO_TRY(text, co_await read_text_file(c, options.network_config));
    data.network_config = std::move(text);
  }
  EBB_CO_CHECKED(check_instance_data(data));  // here already: a private key by mistake goes nowhere
  co_return data == InstanceData() ? std::nullopt : std::optional(std::move(data));
}

// What is waited for is that it runs; one that has ended badly did not, for long.
Exit exit_of(const VmView& view) {
  return view.vm.ended && view.vm.ended->end.status != 0u ? Exit::failed : Exit::ok;
}

// Waits if that was asked for, then shows the VM as it is.
Task<Result<Exit>> finish_change(Context& c, ChangeVmOptions options, VmView view, Until until) {
  if (options.wait) {
    c.farewell = fmt::format("ebb: interrupted; what was asked of {} goes on: 'ebb vms show {}'", options.vm,
                             options.vm);
    EBB_CO_TRY(reached, co_await wait_for_vm(c, options.vm, until, options.wait_limit));
    if (!reached) {
      c.screen().say(fmt::format("{} is gone", options.vm));
      c.show_removed("vms/" + options.vm.value);
      co_return Exit::ok;
    }
    view = std::move(*reached);
  }
  c.show(view, vms_table({view}));
  co_return until == Until::running ? exit_of(view) : Exit::ok;
}

}  // namespace

Task<Result<Exit>> list_vms(Context& c, VmFilter filter) {
  EBB_CO_TRY(vms, co_await c.client.vms(std::move(filter)));
  c.show(vms, vms_table(vms));
  co_return Exit::ok;
}

Task<Result<Exit>> show_vm(Context& c, VmId id) {
  EBB_CO_TRY(view, co_await c.client.vm(id));
  c.show(view, vm_page(view, c.now()));
  co_return Exit::ok;
}

Task<Result<Exit>> run_vms(Context& c, RunOptions options) {
  if (!options.file.empty()) {
    EBB_CO_TRY(text, co_await read_text_file(c, options.file));
    EBB_CO_TRY(read, parse_vm_file(std::move(text), options.file));
    if (!options.name.empty()) read.name = options.name;
    read.count = options.count, read.wait = options.wait, read.wait_limit = options.wait_limit;
    read.file = options.file;
    options = std::move(read);
  }
  if (options.count > 1 && !options.hostname.empty())
    co_return fail(Code::invalid, "{} names one hostname for {} VMs: leave it out", options.file,
                   options.count);
  for (const auto& join : options.spec.networks.value_or(std::vector<JoinNetwork>()))
    if (options.count > 1 && (join.address || join.mac))
      co_return fail(Code::invalid, "network '{}' is joined with one address by {} VMs: leave it out",
                     join.network, options.count);
  if (options.name.empty())
    co_return fail(Code::invalid, "the VM has no name: name it in the file, or on the command line");
  EBB_CO_TRY(instance_data, co_await read_instance_data(c, options));
  if (instance_data) options.spec.instance_data = std::move(instance_data);
  if (!options.disk_from.empty()) {
    EBB_CO_TRY(origin, co_await find_origin(c, options.disk_from));
    options.spec.disk_from = std::move(origin);
  }
  std::vector<std::string> names;
  for (std::uint32_t i = 1; i <= options.count; ++i)
    names.push_back(options.count == 1 ? options.name : fmt::format("{}-{}", options.name, i));
  co_return co_await make_vms(c, std::move(names), std::move(options));
}

Task<Result<Exit>> make_vms(Context& c, std::vector<std::string> names, RunOptions options) {
  std::vector<VmView> made;
  for (const auto& name : names) {
    VmId id(name);
    CreateVm wish{id, options.spec};
    if (!options.disk.empty()) wish.disk = DiskId(options.disk);
    auto view = co_await c.client.create_vm(std::move(wish));
    if (!view) {
      // What was made before stays, and is shown: the caller has to know.
      if (!made.empty()) c.show(made, vms_table(made));
      co_return fail(std::move(view).error());
    }
    made.push_back(std::move(*view));
  }
  if (options.wait) {
    c.farewell = "ebb: interrupted; the VMs go on starting: 'ebb vms'";
    for (auto& view : made) {
      EBB_CO_TRY(reached, co_await wait_for_vm(c, view.vm.id, Until::running, options.wait_limit));
      if (reached) view = std::move(*reached);
    }
  }
  if (names.size() == 1) {
    c.show(made.front(), vms_table(made));
  } else {
    c.show(made, vms_table(made));
  }
  const bool has_failed = std::ranges::any_of(made, [](const VmView& v) { return exit_of(v) != Exit::ok; });
  co_return has_failed ? Exit::failed : Exit::ok;
}

Task<Result<Exit>> edit_vm(Context& c, EditVmOptions options) {
  if (options.wish == EditVm())
    co_return fail(Code::invalid, "nothing to change was named: 'ebb vms edit --help' lists what can be");
  EBB_CO_TRY(view, co_await c.client.edit_vm(options.vm, options.wish));
  c.show(view, vm_page(view, c.now()));
  co_return Exit::ok;
}

Task<Result<Exit>> start_vm(Context& c, ChangeVmOptions options) {
  EBB_CO_TRY(view, co_await c.client.start_vm(options.vm));
  co_return co_await finish_change(c, std::move(options), std::move(view), Until::running);
}

Task<Result<Exit>> stop_vm(Context& c, ChangeVmOptions options) {
  EBB_CO_TRY(view, co_await c.client.stop_vm(options.vm));
  co_return co_await finish_change(c, std::move(options), std::move(view), Until::stopped);
}

Task<Result<Exit>> restart_vm(Context& c, ChangeVmOptions options) {
  EBB_CO_TRY(stopping, co_await c.client.stop_vm(options.vm));
  c.farewell = fmt::format("ebb: interrupted; {} is being stopped and stays so: 'ebb start {}'", options.vm,
                           options.vm);
  EBB_CO_TRY(stopped, co_await wait_for_vm(c, options.vm, Until::stopped, options.wait_limit));
  c.farewell.clear();
  co_return co_await start_vm(c, std::move(options));
}

Task<Result<Exit>> remove_vm(Context& c, ChangeVmOptions options) {
  EBB_CO_TRY(view, co_await c.client.remove_vm(options.vm));
  co_return co_await finish_change(c, std::move(options), std::move(view), Until::gone);
}

}  // namespace ebb
