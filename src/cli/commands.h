// The commands of `ebb`, one coroutine each. Options arrive by value; the context outlives the task.
#pragma once
#include "cli/context.h"

namespace ebb {

// ---- fleet_commands.cpp ----
Task<Result<Exit>> list_workers(Context& c);
Task<Result<Exit>> show_worker(Context& c, WorkerId id);
Task<Result<Exit>> remove_worker(Context& c, WorkerId id);
Task<Result<Exit>> cordon_workers(Context& c, CordonWorkers wish);
Task<Result<Exit>> uncordon_workers(Context& c, UncordonWorkers wish);
struct ReturnOptions {
  WorkerId worker;
  bool untested = false, detach = false;
};
Task<Result<Exit>> return_worker(Context& c, ReturnOptions options);
Task<Result<Exit>> list_disks(Context& c);
Task<Result<Exit>> show_disk(Context& c, DiskId id);
// `subject` is a name, or "workers/NAME", "vms/NAME", "drains/ID" where a name alone could mean two things.
Task<Result<Exit>> explain_why(Context& c, std::string subject);

struct EventsOptions {
  std::uint64_t since = 0;
  bool follow = false;
};
Task<Result<Exit>> show_events(Context& c, EventsOptions options);

// ---- vm_commands.cpp ----
struct RunOptions {
  std::string file;                       // a VM's specification, instead of all but name, count and waiting
  std::string disk;                       // of nobody, that becomes its own; empty: a new one
  std::string disk_from;                  // DISK@SNAPSHOT or VM@SNAPSHOT; empty: the image
  std::string user_data, network_config;  // paths; empty: none
  std::vector<std::string> ssh_keys;      // paths, or keys
  std::string hostname;                   // empty: the VM's name
  std::string name;
  std::uint32_t count = 1;  // more than one: NAME-1, NAME-2 ...
  VmSpec spec;
  bool wait = false;
  Duration wait_limit = 10min;
};
struct ChangeVmOptions {
  VmId vm;
  bool wait = false;
  Duration wait_limit = 10min;
};
Task<Result<Exit>> list_vms(Context& c, VmFilter filter);
Task<Result<Exit>> show_vm(Context& c, VmId id);
Task<Result<Exit>> run_vms(Context& c, RunOptions options);
// VMs of these names, whatever `options` say of name and count.
Task<Result<Exit>> make_vms(Context& c, std::vector<std::string> names, RunOptions options);
struct EditVmOptions {
  VmId vm;
  EditVm wish;
};
Task<Result<Exit>> edit_vm(Context& c, EditVmOptions options);
Task<Result<Exit>> start_vm(Context& c, ChangeVmOptions options);
Task<Result<Exit>> stop_vm(Context& c, ChangeVmOptions options);
// Stopped, whatever it was, and started again: where there is room then. A stop that is under way is waited for.
Task<Result<Exit>> restart_vm(Context& c, ChangeVmOptions options);
Task<Result<Exit>> remove_vm(Context& c, ChangeVmOptions options);

// ---- exec_command.cpp ----
struct ExecOptions {
  VmId vm;
  std::vector<std::string> words;  // a program and its arguments
  bool reads_input = false;        // gives the program what stands on our standard input
  bool raw = false;                // shows the bytes as they are on a terminal too
};
// Ends with the program's status; 125 if it was not run, or if its end is not known.
Task<Result<Exit>> run_in_guest(Context& c, ExecOptions options);

// ---- console_commands.cpp ----
struct LogsOptions {
  VmId vm;
  bool follow = false;
  std::optional<std::uint32_t> tail{};  // lines; absent: all that is kept
  bool raw = false;                     // on a terminal too
};
Task<Result<Exit>> show_logs(Context& c, LogsOptions options);
// Until Ctrl-], or until there is nothing more to see.
Task<Result<Exit>> attach_console(Context& c, VmId id);

// ---- port_commands.cpp ----
struct ForwardOptions {
  VmId vm;
  std::vector<std::pair<std::uint16_t, std::string>> ports;  // here (0: any free one), and the VM's by name
  std::string address = "127.0.0.1";                         // to listen on
};
// What --json says of each, once it is listened for.
struct ForwardedPort {
  std::string vm, port, address;
};
BOOST_DESCRIBE_STRUCT(ForwardedPort, (), (vm, port, address))
// Until it is interrupted.
Task<Result<Exit>> forward_ports(Context& c, ForwardOptions options);

// ---- disk_commands.cpp ----
// `subject` is a VM, whose disk is meant, or a disk.
struct DiskOptions {
  CreateDisk wish;   // of a disk that is made; `from` is text
  std::string from;  // DISK@SNAPSHOT or VM@SNAPSHOT; empty: it begins empty
  std::string disk;  // of one that is there, by its id or name; a VM's, by the VM's
  VmId vm;
  std::uint64_t size_bytes = 0;
  std::string name;      // of one that is kept; empty: its id
  bool at_once = false;  // of one that is removed: its data is not kept
  bool wait = false;
  Duration wait_limit = 10min;
};
Task<Result<Exit>> create_disk(Context& c, DiskOptions options);
Task<Result<Exit>> attach_disk(Context& c, DiskOptions options);
Task<Result<Exit>> detach_disk(Context& c, DiskOptions options);
Task<Result<Exit>> resize_disk(Context& c, DiskOptions options);
Task<Result<Exit>> remove_disk(Context& c, DiskOptions options);
Task<Result<Exit>> keep_disk(Context& c, DiskOptions options);
struct SnapshotOptions {
  std::string subject, name;
  bool wait = false;
  Duration wait_limit = 10min;
};
Task<Result<Exit>> take_snapshot(Context& c, SnapshotOptions options);
Task<Result<Exit>> list_snapshots(Context& c, std::string subject);
Task<Result<Exit>> remove_snapshot(Context& c, SnapshotOptions options);
struct ForkOptions {
  std::string origin;  // DISK@SNAPSHOT or VM@SNAPSHOT
  std::vector<std::string> names;
  bool wait = false;
  Duration wait_limit = 10min;
};
Task<Result<Exit>> fork_vm(Context& c, ForkOptions options);
struct RestoreOptions {
  std::string subject, snapshot;
  bool plan_only = false;
  bool wait = false;
  Duration wait_limit = 10min;
};
Task<Result<Exit>> restore_disk(Context& c, RestoreOptions options);
Task<Result<Exit>> show_disk_log(Context& c, std::string subject);
// The disk that DISK@SNAPSHOT or VM@SNAPSHOT names.
Task<Result<DiskOrigin>> find_origin(Context& c, std::string text);

// ---- image_commands.cpp ----
struct ImportOptions {
  ImageId name;
  std::optional<Firmware> firmware{};  // boots the disk; absent: the kernel is loaded
  std::string kernel, initrd;          // paths; empty: none
  std::string disk;                    // a path or a URL; empty: none
  std::string disk_sha256;             // what it must have, before it is converted; empty: anything
  std::string cmdline;
  std::vector<std::string> channels;
};
Task<Result<Exit>> list_images(Context& c);
Task<Result<Exit>> show_image(Context& c, ImageId id);
Task<Result<Exit>> import_image(Context& c, ImportOptions options);
Task<Result<Exit>> remove_image(Context& c, ImageId id);

// ---- disk_check_commands.cpp ----
// Need no control plane: a disk's objects are found by its HEAD. Ends with `failed` if there is a bad extent.
struct DiskCheckOptions {
  DiskId disk;
  std::string pool_url;
};
Task<Result<Exit>> scrub_disk(Context& c, DiskCheckOptions options);
// Of a disk that no worker holds: its VM is stopped.
Task<Result<Exit>> rebuild_disk(Context& c, DiskCheckOptions options);

// ---- pool_command.cpp ----
// Needs no control plane. Ends with `failed` if the store breaks a promise, or does not answer.
Task<Result<Exit>> check_pool(Context& c, std::string url);

// ---- drain_commands.cpp ----
struct DrainCommandOptions {
  std::vector<WorkerId> workers;
  std::optional<Labels> selector;
  std::string reason;
  DrainOptions policy;
  bool plan_only = false;
  bool detach = false;
  bool fail_blocked = false;  // end with `blocked` when nothing moves and something is in the way
  bool many_dead = false, no_finish = false, no_make_room = false;
  std::optional<std::uint64_t> begins_in_ms{};
};
Task<Result<Exit>> drain_workers(Context& c, DrainCommandOptions options);
Task<Result<Exit>> list_drains(Context& c);
struct ShowDrainOptions {
  DrainId drain;
  bool watch = false;
};
Task<Result<Exit>> show_drain(Context& c, ShowDrainOptions options);
// A drain or a migration, whichever has that id.
Task<Result<Exit>> cancel_operation(Context& c, std::string id);
Task<Result<Exit>> pause_drain(Context& c, DrainId id);
Task<Result<Exit>> resume_drain(Context& c, DrainId id);
struct UndoOptions {
  DrainId drain;
  bool plan_only = false;
  bool detach = false;
};
Task<Result<Exit>> undo_drain(Context& c, UndoOptions options);
struct MigrateOptions {
  VmId vm;
  std::optional<WorkerId> target;
  std::string reason;
  bool source_dead = false;  // an operator's word for it
  bool wait = false;
};
Task<Result<Exit>> migrate_vm(Context& c, MigrateOptions options);
Task<Result<Exit>> list_migrations(Context& c, MigrationFilter filter);
Task<Result<Exit>> show_migration(Context& c, MigrationId id);

}  // namespace ebb
