"""A worker takes work again only when a test VM has run on it: one that cannot run VMs stays held, and says why."""

import pathlib
import shutil

from e2e import Fleet, arguments, check, expect_failure, records_are_whole, wait_until

args = arguments()


def configure(fleet, image):
    """The control plane tests workers with VMs of that image from now on."""
    config = fleet.root / "ebbd.toml"
    text = config.read_text().split("[return]")[0]
    config.write_text(text + f'[return]\nimage = "{image}"\nmemory = "128MiB"\ntimeout = "60s"\n')
    fleet.control.stop()
    fleet.start_control()
    wait_until(lambda: fleet.ebb("workers").stdout.count(" now ") == len(fleet.workers), 30, "all workers are heard of")


def no_test_vm_is_left(fleet):
    return "test-" not in fleet.ebb("vms").stdout and not list(fleet.root.glob("worker-*/agent/machines/test-*"))


with Fleet(args.bin, args.guest, workers=2, memory="700MiB") as fleet:
    fleet.start()
    fleet.import_guest()
    fleet.run_vm("db", False)
    fleet.wait_running(["db"], 60)
    fleet.watch.wait_for_more("db")
    home = fleet.worker_of("db")

    # A guest that dies as it boots: nothing runs there, whoever asks.
    (fleet.root / "broken").write_text("no init is here\n")
    fleet.ebb("images", "import", "broken", "--kernel", pathlib.Path(args.guest) / "vmlinux", "--cmdline", "console=ttyS0 panic=-1 reboot=t")
    configure(fleet, "broken")
    fleet.ebb("drain", home, "--reason", "new firmware")
    expect_failure(fleet.ebb("return", home, check=False), 6, "has not returned: test VM test-")
    why = fleet.ebb("why", home).stdout
    check("its return failed: test VM test-" in why and "guest has ended" in why and "ebb return " + home in why, why)
    check("held" in fleet.ebb("workers").stdout, fleet.ebb("workers").stdout)
    wait_until(lambda: no_test_vm_is_left(fleet), 60, "the test VM is gone")
    for log in fleet.root.glob("worker-*/agent/logs/test-*"):  # it panicked, as it was meant to
        shutil.rmtree(log)

    # An image that is not there is said to be missing, and nothing is begun.
    configure(fleet, "nobody")
    expect_failure(fleet.ebb("return", home, check=False), 6, "'nobody', is not there")

    # The real thing: a guest that comes up, with a disk of its own, and is gone afterwards.
    configure(fleet, "witness")
    done = fleet.ebb("return", home)
    check(f"starts on {home}" in done.stderr, done.stderr)
    check(no_test_vm_is_left(fleet), fleet.ebb("vms").stdout)
    check(fleet.ebb("workers").stdout.count("ready") == 2, fleet.ebb("workers").stdout)
    check("was up after" in fleet.ebb("events").stdout, fleet.ebb("events").stdout[-800:])
    wait_until(lambda: len(fleet.get("/v1/disks")["items"]) == 1, 30, "the test VM's disk is gone")

    # It takes work: the VM comes back, and where it runs no test is needed.
    other = fleet.worker_of("db")
    fleet.ebb("drain", other, "--reason", "its turn")
    check(fleet.worker_of("db") == home, fleet.worker_of("db"))
    fleet.ebb("return", other, "--detach")
    wait_until(lambda: fleet.ebb("workers").stdout.count("ready") == 2, 60, "it is back")
    records_are_whole(fleet, ["db"])
print("a worker was taken back when a VM had run on it, and not before", flush=True)
