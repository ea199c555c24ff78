"""What the tests with real VMs share: arguments, a fleet that is cleaned up, and the checks that every test ends with."""

import argparse
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "fleet"))
from fleet import Fleet, wait_until  # noqa: E402,F401


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


def no_guest_saw_an_error(fleet, names):
    for name in names:
        check(not fleet.watch.bad(name), f"{name} found a bad record on its disk")
    for log in fleet.root.glob("*/agent/machines/*/console.log"):
        text = log.read_text(errors="replace")
        for word in ("I/O error", "EXT4-fs error", "Remounting filesystem read-only", "Kernel panic"):
            check(word not in text, f"{log}: {text[-600:]}")


def ran_in_one_place_at_a_time(fleet, names):
    """The numbers a guest reported rise without a step back, and it never spoke from two workers in turn."""
    for name in names:
        reports = fleet.watch.reports(name)
        durable = [r for r in reports if r[1] == "D"]
        numbers = [r[2] for r in durable]
        check(all(a <= b for a, b in zip(numbers, numbers[1:])), f"{name}: numbers step back: {numbers[-20:]}")


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


def start_vms(fleet, names, stateless=()):
    fleet.import_guest()
    for name in names:
        fleet.run_vm(name, name in stateless)
    fleet.wait_running(names, 120)
    for name in names:
        fleet.watch.wait_for_more(name)


def commit_number():
    """Changes from commit to commit: turns the slice of a large matrix that CI runs."""
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=pathlib.Path(__file__).parent)
    return int(done.stdout.strip()[:8] or "0", 16) if done.returncode == 0 else int(time.time()) // 86400
