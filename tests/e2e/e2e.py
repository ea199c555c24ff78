"""What the tests with real VMs share: arguments, a fleet that is cleaned up, and the checks that every test ends with."""

import argparse
import pathlib
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "fleet"))
from fleet import Fleet, end_fleet, wait_until  # noqa: E402,F401


def arguments(**more):
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    parser.add_argument("--guest", required=True)
    for name, kind in more.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=None)
    return parser.parse_args()


def check(condition, text):
    if not condition:
        raise AssertionError(text)


def expect_failure(done, code, *says):
    """A command that must have been refused with `code` and a message that holds every one of `says`."""
    text = done.stderr + done.stdout
    check(done.returncode == code, f"{done.args}: exit code {done.returncode}, wanted {code}: {text}")
    for part in says:
        check(part in text, f"{done.args}: '{part}' is not in: {text}")


COMPLAINTS = ("I/O error", "EXT4-fs error", "Remounting filesystem read-only", "Kernel panic")


def consoles(fleet, workers="*"):
    """Of the machines that run and of those that have left, rotated ones too."""
    return [log for place in ("machines", "logs") for log in fleet.root.glob(f"{workers}/agent/{place}/*/console.log*")]


def no_guest_saw_an_error(fleet, names, workers="*"):
    for name in names:
        check(not fleet.watch.bad(name), f"{name} found a bad record on its disk")
    logs = consoles(fleet, workers)
    check(logs, f"there is no console to look at below {fleet.root}")
    for log in logs:
        text = log.read_text(errors="replace")
        for word in COMPLAINTS:
            check(word not in text, f"{log}: '{word}' in: {text[-600:]}")


def ran_in_one_place_at_a_time(fleet, names):
    """The numbers a guest reported rise without a step back, and it spoke from the workers that owned it, in their order: once
    it was heard from a second one, it never spoke from the first again, unless it was given back."""
    for name in names:
        reports = fleet.watch.reports(name)
        numbers = [r[2] for r in reports if r[1] == "D"]
        check(all(a <= b for a, b in zip(numbers, numbers[1:])), f"{name}: numbers step back: {numbers[-20:]}")
        spoke = [worker for i, worker in enumerate(r[3] for r in reports) if i == 0 or worker != reports[i - 1][3]]
        owners = fleet.owners(name)
        later = iter(owners)
        check(all(worker in later for worker in spoke), f"{name} spoke from {spoke}, and was given to {owners}")


class RunsOnce:
    """Looks, as long as it is entered, for a VM that two machines run at once, on one worker or on two."""

    def __init__(self, fleet):
        self.fleet, self.found, self.looks, self.ending = fleet, [], 0, threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        self.thread.join()

    def run(self):
        while not self.ending.wait(0.02):
            twice = {vm: where for vm, where in self.fleet.machines_running().items() if len(where) > 1}
            # What one look found may have been there in turn; what the next one finds as well was there all the time.
            again = self.fleet.machines_running() if twice else {}
            self.found += [(vm, sorted(both)) for vm, where in twice.items() if len(both := where & again.get(vm, set())) > 1]
            self.looks += 1

    def check(self):
        check(self.looks > 0, "nobody has looked")
        check(not self.found, f"VMs ran twice at once: {self.found[:3]}")


def records_are_whole(fleet, names):
    """Stops the VMs and compares each disk, read from the pool alone, with what its guest reported."""
    no_guest_saw_an_error(fleet, names)
    ran_in_one_place_at_a_time(fleet, names)
    fleet.stop_vms(names)
    total = 0
    for name in names:
        verdict = fleet.check_records(name)
        check(verdict["lost"] == 0 and verdict["bad"] == 0, f"{name}: {verdict}")
        check(verdict["records"] > 0, f"{name} wrote nothing")
        total += verdict["records"]
    print(f"{total} records checked, 0 lost", flush=True)


def start_vms(fleet, names, stateless=(), local=()):
    """`local`: whose FLUSH waits for the worker's log only."""
    fleet.import_guest()
    for name in names:
        fleet.run_vm(name, name in stateless, *(["--disk-class", "local"] if name in local else []))
    fleet.wait_running(names, 120)
    for name in names:
        fleet.watch.wait_for_more(name)


def now_uses(config, old, new):
    """`new` in place of `old` in a configuration."""
    config.write_text(config.read_text().replace(str(old), str(new)))


def commit_number():
    """Changes from commit to commit: turns the slice of a large matrix that CI runs."""
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=pathlib.Path(__file__).parent)
    return int(done.stdout.strip()[:8] or "0", 16) if done.returncode == 0 else int(time.time()) // 86400
