"""Disks by hand: made, given to a VM, moved with it, grown, taken away and given to another; what a guest wrote is there, wherever it is read."""

from e2e import Fleet, arguments, check, expect_failure, no_guest_saw_an_error, records_are_whole, wait_until

args = arguments()
MIB = 1 << 20


def shell(fleet, name, script):
    return fleet.ebb("exec", name, "--", "/bin/sh", "-c", script).stdout.strip()


def digest(fleet, name, device):
    """Of the first 4 MiB, as the device has them."""
    return shell(fleet, name, f"/bin/busybox dd if={device} bs=65536 count=64 2>/dev/null | /bin/busybox sha256sum").split()[0]


def up(fleet, name):
    fleet.ebb("start", name, "--wait")
    wait_until(lambda: fleet.ebb("exec", name, "--", "/bin/busybox", "true", check=False).returncode == 0, 60, f"{name} runs programs")


with Fleet(args.bin, args.guest, workers=2, memory="700MiB", disk_retention="1h") as fleet:
    fleet.start()
    fleet.import_guest("agent", "initrd-agent.cpio")
    fleet.ebb("disk", "create", "ledger", "--size", "64MiB", "--disk-class", "local", "--wait")
    fleet.ebb("disk", "create", "archive", "--size", "32MiB", "--wait")
    fleet.ebb("disk", "create", "ledger", "--size", "64MiB", "--disk-class", "local")
    expect_failure(fleet.ebb("disk", "create", "ledger", "--size", "1GiB", check=False), 6, "there is a disk 'ledger' already")
    fleet.ebb("run", "db", "--image", "agent", "--memory", "128M", "--health", "guest-agent", "--wait")
    expect_failure(fleet.ebb("disk", "attach", "ledger", "db", check=False), 6, "not stopped: ebb stop db --wait")
    fleet.ebb("stop", "db", "--wait")
    fleet.ebb("disk", "attach", "ledger", "db")
    fleet.ebb("disk", "attach", "archive", "db")
    up(fleet, "db")
    check(shell(fleet, "db", "cat /sys/block/vdb/size /sys/block/vdc/size").split() == [str(64 * MIB // 512), str(32 * MIB // 512)], "in their order")
    serial = shell(fleet, "db", "cat /sys/block/vdb/serial")
    check(serial == fleet.get("/v1/disks/ledger")["id"], f"its serial is its id: {serial}")

    shell(fleet, "db", "/bin/busybox dd if=/dev/urandom of=/dev/vdb bs=65536 count=64 conv=fsync 2>/dev/null")
    shell(fleet, "db", "/bin/busybox dd if=/dev/urandom of=/dev/vdc bs=65536 count=64 conv=fsync 2>/dev/null")
    before = [digest(fleet, "db", device) for device in ("/dev/vdb", "/dev/vdc")]
    home = fleet.worker_of("db")
    fleet.ebb("drain", home, "--reason", "test")
    check(fleet.worker_of("db") != home, "it has moved")
    check([digest(fleet, "db", device) for device in ("/dev/vdb", "/dev/vdc")] == before, "and both disks with it")
    fleet.ebb("return", home)
    fleet.ebb("snapshot", "ledger", "--name", "monday", "--wait")
    shell(fleet, "db", "/bin/busybox dd if=/dev/zero of=/dev/vdb bs=65536 count=64 conv=fsync 2>/dev/null")

    # Grown, detached, and given to another one with a fork of what it was.
    fleet.ebb("disk", "resize", "ledger", "96MiB", "--wait")
    check(shell(fleet, "db", "cat /sys/block/vdb/size") == str(96 * MIB // 512), "a guest that runs sees its disk grown, once --wait has ended")
    shell(fleet, "db", "/bin/busybox dd if=/dev/urandom of=/dev/vdb bs=65536 seek=1100 count=16 conv=fsync 2>/dev/null")
    check(fleet.vm("db")["seen"] == "running" and not fleet.vm("db")["waiting_for"], fleet.vm("db"))
    fleet.workers[fleet.worker_of("db")].agent.restart()
    fleet.ebb("disk", "resize", "archive", "48MiB")
    wait_until(lambda: shell(fleet, "db", "cat /sys/block/vdc/size") == str(48 * MIB // 512), 30, "also by an agent that found the machine running")
    fleet.ebb("stop", "db", "--wait")
    expect_failure(fleet.ebb("disk", "resize", "ledger", "32MiB", check=False), 2, "does not shrink")
    fleet.ebb("disk", "resize", "ledger", "128MiB", "--wait")
    fleet.ebb("disk", "detach", "ledger")
    fleet.ebb("disk", "create", "ledger-monday", "--from", "ledger@monday", "--wait")
    fleet.ebb("run", "other", "--image", "agent", "--memory", "128M", "--stateless", "--ephemeral-disk", "16MiB", "--health", "guest-agent", "--wait")
    fleet.ebb("stop", "other", "--wait")
    for disk in ("ledger", "ledger-monday"):
        fleet.ebb("disk", "attach", disk, "other")
    up(fleet, "other")
    sizes = shell(fleet, "other", "cat /sys/block/vdb/size /sys/block/vdc/size").split()
    check(sizes == [str(128 * MIB // 512)] * 2, f"it has grown: {sizes}")
    check(digest(fleet, "other", "/dev/vdc") == before[0], "the fork is what it was")
    check(digest(fleet, "other", "/dev/vdb") != before[0], "and the disk went on")
    check(shell(fleet, "other", "cat /sys/block/vdd/size") == str(16 * MIB // 512), "scratch space comes last")
    empty = digest(fleet, "other", "/dev/vdd")
    shell(fleet, "other", "/bin/busybox dd if=/dev/urandom of=/dev/vdd bs=65536 count=64 conv=fsync 2>/dev/null")
    check(digest(fleet, "other", "/dev/vdd") != empty, "it is written")
    home = fleet.worker_of("other")
    fleet.ebb("drain", home, "--reason", "test")
    check(digest(fleet, "other", "/dev/vdc") == before[0], "a stateless VM takes its disks along")
    check(digest(fleet, "other", "/dev/vdd") == empty, "but for its scratch space")
    fleet.ebb("return", home)

    # A VM goes, and what was lent to it stays.
    fleet.ebb("rm", "other", "--wait")
    check(fleet.get("/v1/disks/ledger").get("vm") is None, "it is nobody's")
    fleet.ebb("disk", "rm", "ledger-monday")
    expect_failure(fleet.ebb("disk", "rm", "archive", check=False), 6, "attached to VM 'db'")
    up(fleet, "db")
    check(digest(fleet, "db", "/dev/vdb") == before[1], "the other disk is first now")
    check("archive" in fleet.ebb("disks").stdout, "it is listed by its name")
    records_are_whole(fleet, ["db"])
    no_guest_saw_an_error(fleet, ["db"])

    # Removed by mistake: its data is there, and another VM goes on with it.
    own = fleet.vm("db")["vm"]["disk"]
    fleet.ebb("rm", "db", "--wait")
    check("removed" in fleet.ebb("disks").stdout and "it was the disk of db" in fleet.ebb("why", f"disks/{own}").stdout, "it is told whose it was")
    fleet.ebb("disk", "keep", own, "--name", "saved")
    fleet.ebb("run", "again", "--image", "agent", "--memory", "128M", "--disk", "saved", "--wait")
    check("init: boot 1 serves" not in fleet.ebb("logs", "again").stdout, "its guest has found what was there")
    fleet.stop_vms(["again"])
    verdict = fleet.check_records("again")
    check(verdict["lost"] == 0 and verdict["bad"] == 0 and verdict["records"] > 0, verdict)
print("disks were made, attached, moved, grown, forked, detached, kept and brought back", flush=True)
