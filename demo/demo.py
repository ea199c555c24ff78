"""What `./dev demo` runs: a cell of three workers on this machine, six VMs that write and check, and a drain."""

import argparse
import pathlib
import signal
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "fleet"))
from fleet import CommandFailed, Fleet, end_fleet  # noqa: E402

ON_DISK = [f"db-{i}" for i in range(1, 5)]
LOCAL = ["db-4"]  # its FLUSH waits for the worker's log, that of the others for the pool
STATELESS = ["web-1", "web-2"]


def say(text=""):
    print(text, flush=True)


def step(text):
    say(f"\n== {text}")


def run_cli(fleet, *words):
    """The CLI as an operator sees it: on this terminal."""
    say(f"$ ebb {' '.join(words)}")
    return subprocess.run([str(fleet.bin / "ebb"), *words], env=fleet.environment()).returncode


def busiest(fleet):
    owners = [fleet.worker_of(n) for n in ON_DISK + STATELESS]
    return max(sorted(set(owners)), key=owners.count)


def summarize(fleet, moved, verdicts):
    rows = [("VM", "MECHANISM", "INTERRUPTION", "RECORDS CHECKED", "LOST")]
    for name, move in sorted(moved.items()):
        gaps = fleet.watch.interruptions_ms(name)
        verdict = verdicts.get(name)
        rows.append((name, move["mechanism"], f"{max(gaps):.0f} ms" if gaps else "-",
                     str(verdict["records"]) if verdict else "stateless", str(verdict["lost"] + verdict["bad"]) if verdict else "-"))
    for name in ON_DISK:
        if name not in moved:
            rows.append((name, "stayed", "-", str(verdicts[name]["records"]), str(verdicts[name]["lost"] + verdicts[name]["bad"])))
    widths = [max(len(r[i]) for r in rows) for i in range(5)]
    for row in rows:
        say("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    lost = sum(v["lost"] + v["bad"] for v in verdicts.values())
    say(f"\n  {sum(v['records'] for v in verdicts.values())} records checked against what the guests had reported as durable: {lost} lost")
    return lost


def say_how_to_go_on(fleet):
    step("The fleet is left running")
    say(f"  export EBB_SERVER={fleet.address} EBB_TOKEN_FILE={fleet.token_file}\n  {fleet.bin}/ebb vms\n"
        f"  To end it and remove its folder: {pathlib.Path(__file__).with_name('demo.sh').resolve()} --stop {fleet.root}")


def stop(root):
    """Ends what --keep left."""
    if not (root / "ebbd.toml").exists() or not (root / "worker-1").is_dir():
        print(f"{root} is not the folder of a fleet that --keep left", file=sys.stderr)
        return 2
    end_fleet(root)
    say(f"the fleet of {root} has ended, and its folder is gone")
    return 0


def end_like_ctrl_c():
    """A closed terminal and a SIGTERM clean up too; what nohup has us ignore stays ignored."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda *which: sys.exit(128 + which[0]))


def demo(fleet, keep):
    step("A control plane and three workers, each with its own agent, disk daemon and state folder")
    fleet.start()
    run_cli(fleet, "workers")

    step("A small guest image, and six VMs: four on object disks, two stateless")
    say("$ ebb images import witness --kernel vmlinux --initrd initrd.cpio --disk disk.raw ...")
    fleet.import_guest()
    for name in ON_DISK:
        fleet.run_vm(name, False, *(["--disk-class", "local"] if name in LOCAL else []))
    for name in STATELESS:
        fleet.run_vm(name, True)
    fleet.wait_running(ON_DISK + STATELESS, 180)
    for name in ON_DISK + STATELESS:
        fleet.watch.wait_for_more(name)
    run_cli(fleet, "vms")

    worker = busiest(fleet)
    step(f"The drain of {worker}, while its guests keep writing")
    if run_cli(fleet, "drain", worker, "--reason", "demo") != 0:
        raise RuntimeError("the drain did not end as it should")
    drain = fleet.items("drains")[-1]
    moved = {m["migration"]["vm"]: m["migration"] for m in drain["migrations"] if m["migration"]["phase"] == "done"}
    for name in ON_DISK + STATELESS:
        fleet.watch.wait_for_more(name)
    run_cli(fleet, "why", worker)

    if keep:
        say_how_to_go_on(fleet)
        return 0

    step("The VMs are stopped, and their disks are read from the pool alone")
    fleet.stop_vms(ON_DISK + STATELESS)
    lost = summarize(fleet, moved, {name: fleet.check_records(name) for name in ON_DISK})
    rss = {"ebbd": fleet.control.memory_mb(), "ebb-agent": max(w.agent.memory_mb() for w in fleet.workers.values()),
           "ebb-diskd": max(w.diskd.memory_mb() for w in fleet.workers.values())}
    say("  memory: " + ", ".join(f"{name} {mb:.0f} MB" for name, mb in rss.items()))
    return 0 if lost == 0 and not any(fleet.watch.bad(n) for n in ON_DISK) else 1


def main():
    options = argparse.ArgumentParser(prog="./dev demo", description=__doc__)
    options.add_argument("--keep", action="store_true", help="leave the fleet running, and say how to talk to it and how to end it")
    options.add_argument("--stop", metavar="FOLDER", type=pathlib.Path, help="end the fleet that --keep left in FOLDER")
    options.add_argument("--bin", required=True, help=argparse.SUPPRESS)
    options.add_argument("--guest", required=True, help=argparse.SUPPRESS)
    args = options.parse_args()
    if args.stop:
        return stop(args.stop.resolve())
    end_like_ctrl_c()
    fleet = Fleet(args.bin, args.guest)
    is_left = False
    try:
        code = demo(fleet, args.keep)
        is_left = args.keep and code == 0
        return code
    except KeyboardInterrupt:
        say("\ninterrupted: cleaning up")
        return 130
    except (CommandFailed, RuntimeError, TimeoutError) as error:
        say(f"\nthe demo failed: {error}\n  logs were in {fleet.root}; the last lines:")
        for log in sorted(fleet.root.glob("**/*.log")):
            if log.name in ("ebbd.log", "agent.log", "diskd.log"):
                say("".join(f"    {log.parent.name}/{log.name}: {line}\n" for line in log.read_text(errors="replace").splitlines()[-5:]))
        return 1
    finally:
        if not is_left:
            fleet.stop()


if __name__ == "__main__":
    sys.exit(main())
