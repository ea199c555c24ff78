"""Faults of a daemon's surroundings get a clear error and change nothing: a port or socket in use, a second instance, a state folder
of a newer version, oversized requests, a truncated image, QEMU missing. Full disks are in full_disk_test.py."""

import hashlib
import json
import os
import pathlib
import shutil
import socket
import sqlite3
import subprocess

from e2e import Fleet, arguments, check, expect_failure, now_uses, records_are_whole, start_vms, wait_until

args = arguments()


def run_once(words, limit_s=30):
    return subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=limit_s)


def all_of(folder):
    """Every name below `folder`, with what is in it."""
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file() else "" for p in sorted(folder.rglob("*"))}


def without_sockets(folder, names):
    return [name for name in names if (pathlib.Path(folder) / name).is_socket() or (pathlib.Path(folder) / name).is_fifo()]


def set_schema(folder, version):
    db = sqlite3.connect(folder / "records.db")
    db.execute("UPDATE meta SET value = ? WHERE key = 'schema'", (version,))
    db.commit()
    db.close()


def set_wishes_format(folder, version):
    wishes = json.loads((folder / "wishes.json").read_text())
    wishes["format"] = version
    (folder / "wishes.json").write_text(json.dumps(wishes))


def set_diskd_version(folder, version):
    (folder / "version").write_text(f"ebb-diskd-state {version}\n")


class Daemon:
    """One of the three, and what this test does to a second one of its kind."""

    def __init__(self, fleet, name, config, state, listens_on, set_version):
        self.name, self.config, self.state, self.listens_on, self.set_version = name, config, state, listens_on, set_version
        self.words = [fleet.bin / name, "--config"]

    def as_on(self, state, listens_on):
        """The command of one that is like it, on another state folder."""
        config = state.with_suffix(".toml")
        text = self.config.read_text().replace(f'"{self.state}"', f'"{state}"')
        lines = [line for line in text.splitlines() if not line.startswith("listen =")]
        config.write_text("\n".join([f'listen = "{listens_on}"', *lines]) + "\n")
        return [*self.words, config]


def daemons_of(fleet):
    worker = fleet.workers["worker-1"]
    return [Daemon(fleet, "ebbd", fleet.root / "ebbd.toml", fleet.root / "control", fleet.address, set_schema),
            Daemon(fleet, "ebb-agent", worker.root / "agent.toml", worker.root / "agent", f"unix:{worker.root}/agent/sock", set_wishes_format),
            Daemon(fleet, "ebb-diskd", worker.root / "diskd.toml", worker.root / "diskd", f"unix:{worker.run}/diskd.sock", set_diskd_version)]


def a_second_one_is_refused(fleet, daemon):
    expect_failure(run_once([*daemon.words, daemon.config]), 1, "another", str(daemon.state))
    expect_failure(run_once(daemon.as_on(fleet.root / f"beside-{daemon.name}", daemon.listens_on)), 1, "in use",
                   daemon.listens_on.removeprefix("unix:"))


def a_newer_folder_is_left_alone(fleet, daemon):
    newer = fleet.root / f"newer-{daemon.name}"
    shutil.copytree(daemon.state, newer, ignore=without_sockets)
    elsewhere = "127.0.0.1:0" if daemon.name == "ebbd" else f"unix:{newer}.sock"
    daemon.set_version(newer, 99)
    before = all_of(newer)
    expect_failure(run_once(daemon.as_on(newer, elsewhere)), 2, "newer version", "99", "that version", str(newer))
    after = all_of(newer)
    check(after == before, f"{daemon.name} changed {[name for name in before | after if before.get(name) != after.get(name)]}")


def wrong_configuration_is_named(fleet):
    other = fleet.root / "other.toml"
    for line, *says in (('listen = "0.0.0.0:1"', "loopback", "other.toml", "listen"), ('listen = "127.0.0.1:0"\nspeed = 3', "speed", "3")):
        other.write_text(f'state_dir = "{fleet.root}/other"\n{line}\n[pools.main]\nurl = "dir:{fleet.root}/pool"\n')
        expect_failure(run_once([fleet.bin / "ebbd", "--config", other]), 2, *says)


def oversized_requests_are_refused(fleet):
    before = fleet.items("vms")
    status, body = fleet.api("POST", "/v1/vms", json.dumps({"id": "big", "spec": {"image": "x" * (9 << 20)}}))
    check(status == 413, f"a request of 9 MiB: {status} {body}")
    status, body = fleet.api("POST", "/v1/vms", '{"spec":' * 5000 + "1" + "}" * 5000)
    check(status == 400 and body["message"], f"5000 levels: {status} {body}")
    status, body = fleet.api("POST", "/v1/vms", "[" * 100_000)
    check(status == 400, f"100,000 brackets: {status} {body}")
    check(fleet.items("vms") == before, "it goes on, and nothing has changed")


def truncated_images_are_refused(fleet):
    short = fleet.root / "short"
    data = (fleet.guest / "vmlinux").read_bytes()
    short.write_bytes(data[:len(data) // 2])
    expect_failure(fleet.ebb("images", "import", "short", "--kernel", short, check=False), 2, "truncated")
    disk = fleet.root / "short.raw"
    disk.write_bytes((fleet.guest / "disk.raw").read_bytes()[:32 * 1024 * 1024])
    expect_failure(fleet.ebb("images", "import", "short", "--kernel", fleet.guest / "vmlinux", "--disk", disk, check=False), 2, "truncated")
    check(not fleet.items("images"), "nothing is left of a refused image")


def a_drain_goes_round_a_worker_without_qemu(fleet, vm):
    """The worker says so, the VM goes elsewhere, and the drain that sent it there is not held up."""
    source = fleet.worker_of(vm)
    plan = json.loads(fleet.ebb("drain", source, "--plan", "--json").stdout)
    target = plan["moves"][0]["target"]
    agent = fleet.workers[target].agent
    agent.stop()
    empty = fleet.root / "empty-path"
    empty.mkdir()
    old = os.environ["PATH"]
    os.environ["PATH"] = str(empty)
    agent.start()
    os.environ["PATH"] = old
    wait_until(lambda: fleet.get(f"/v1/workers/{target}")["liveness"] == "ready", 30, "the agent is back")
    drain = json.loads(fleet.ebb("drain", source, "--detach", "--json").stdout)["drain"]["id"]
    wait_until(lambda: "qemu-system-x86_64" in fleet.ebb("why", vm).stdout, 90, "the fault is named")
    view = fleet.wait_drain(drain, 240)
    check(view["status"] == "done", f"the drain is {view['status']}")
    check(fleet.worker_of(vm) not in (source, target), f"{vm} is on {fleet.worker_of(vm)}")
    fleet.wait_running([vm])
    said = [e["text"] for e in fleet.events() if e["kind"] == "vm.placed_anew"]
    check(len(said) == 1 and target in said[0] and "qemu-system-x86_64" in said[0], f"it is said that {vm} was placed anew: {said}")
    agent.stop()
    agent.start()
    fleet.ebb("return", source)
    fleet.watch.wait_for_more(vm)


with Fleet(args.bin, args.guest, workers=3, memory="700MiB") as fleet:
    fleet.start()
    for daemon in daemons_of(fleet):
        a_second_one_is_refused(fleet, daemon)
    wrong_configuration_is_named(fleet)
    oversized_requests_are_refused(fleet)
    truncated_images_are_refused(fleet)
    start_vms(fleet, ["db-1"])
    for daemon in daemons_of(fleet):
        a_newer_folder_is_left_alone(fleet, daemon)
    a_drain_goes_round_a_worker_without_qemu(fleet, "db-1")
    records_are_whole(fleet, ["db-1"])
    print("ok")
