"""A Debian as clouds publish them: systemd, cloud-init and PostgreSQL, booted by firmware from an object disk. It takes its name and its key
from the seed, is drained twice under pgbench, and pg_amcheck finds nothing; then many VMs begin as forks of the same image."""

import hashlib
import json
import os
import pathlib
import re
import socket
import subprocess
import time

import lan
from e2e import Fleet, arguments, check, no_guest_saw_an_error, wait_until

lan.enter()
args = arguments(debian=pathlib.Path, forks=int, only=str)  # only: "drains" or "forks"
BOOT_LIMIT_S = 900  # emulated, on a busy machine; of each that has a processor of this machine for itself


class Shell:
    """Commands on a VM, by SSH through ebb port-forward; its host key must stay what it was at first."""

    def __init__(self, fleet, name, key):
        self.fleet, self.name = fleet, name
        self.forward = subprocess.Popen([str(fleet.bin / "ebb"), "--json", "port-forward", name, "ssh"], env=fleet.environment(),
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        text = ""
        while not text.rstrip().endswith("]"):
            text += self.forward.stdout.readline()
        port = json.loads(text)[0]["address"].rpartition(":")[2]
        self.words = ["ssh", "-i", key, "-p", port, "-o", "StrictHostKeyChecking=accept-new", "-o", f"UserKnownHostsFile={fleet.root}/known-{name}",
                      "-o", "HostKeyAlias=" + name, "-o", "ConnectTimeout=20", "-o", "BatchMode=yes", "-o", "ServerAliveInterval=10", "debian@127.0.0.1"]

    def try_run(self, command, limit_s=300):
        try:
            return subprocess.run([*self.words, command], capture_output=True, text=True, timeout=limit_s, stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(self.words, 255, "", "it took too long")

    def run(self, command, limit_s=300):
        done = self.try_run(command, limit_s)
        check(done.returncode == 0, f"{self.name}: {command}: {done.stdout[-1500:]} {done.stderr[-1500:]}")
        return done.stdout.strip()

    def wait(self):
        wait_until(lambda: self.try_run("true", 60).returncode == 0, BOOT_LIMIT_S, f"{self.name} takes SSH connections")

    def sql(self, query):
        return self.run(f'sudo -u postgres psql -At -d bench -c "{query}"')

    def stop(self):
        self.forward.kill()
        self.forward.wait()


def answers(address):
    """Whether the SSH server there says its name."""
    try:
        with socket.create_connection((address, 22), 5) as s:
            s.settimeout(5)
            return s.recv(4) == b"SSH-"
    except OSError:
        return False


def balances_agree(shell):
    sums = shell.sql("select (select sum(abalance) from pgbench_accounts), (select sum(bbalance) from pgbench_branches), "
                     "(select sum(tbalance) from pgbench_tellers), (select coalesce(sum(delta), 0) from pgbench_history)").split("|")
    check(len(set(sums)) == 1, f"the books do not balance: {sums}")


def is_drained_twice(fleet, key):
    """Under pgbench, with an address of ours and one of a DHCP server."""
    fleet.ebb("run", "db", "--image", "debian", "--memory", "1G", "--cpus", "2", "--port", "ssh=22", "--network", "lan", "--network", "office", "--ssh-key", f"{key}.pub", "--hostname", "ledger")
    shell = Shell(fleet, "db", key)
    began = time.monotonic()
    shell.wait()
    print(f"the first boot took {time.monotonic() - began:.0f} s", flush=True)
    check(shell.run("hostname") == "ledger", "its name is the seed's")
    done = shell.try_run("cloud-init status --wait --long", 600)
    check(done.returncode == 0, f"cloud-init: {done.stdout}")
    instance = shell.run("cat /var/lib/cloud/data/instance-id")
    check(instance.startswith("db-"), instance)
    check(fleet.ebb("exec", "db", "--", "/bin/hostname").stdout == "ledger\n", "its guest agent runs programs")
    check("ledger login:" in fleet.ebb("logs", "db").stdout, "the console asks who is there")

    interfaces = fleet.vm("db")["vm"]["interfaces"]
    address = interfaces[0]["address"]
    check(f"inet {address}/24 " in shell.run("ip -4 -o address"), "cloud-init has given it its address")
    check("address" not in interfaces[1], f"the other is the DHCP server's to give: {interfaces}")
    leased = re.search(r"inet (10\.20\.1\.\d+)/24 ", shell.run("ip -4 -o address"))
    check(leased, "the DHCP server has given it another")
    addresses = [address, leased[1]]
    check(all(map(answers, addresses)), f"and it answers there: {addresses}")

    # More than any buffer on the way holds, there and back.
    blob = os.urandom(8 << 20)
    there = subprocess.run([*shell.words, "cat >blob && sha256sum <blob"], input=blob, capture_output=True, timeout=600)
    back = subprocess.run([*shell.words, "cat blob"], capture_output=True, timeout=600, stdin=subprocess.DEVNULL)
    check(there.stdout.split()[:1] == [hashlib.sha256(blob).hexdigest().encode()] and back.stdout == blob, f"8 MiB through the port: {there.stderr} {back.stderr}")

    shell.run("sudo -u postgres createdb bench && sudo -u postgres pgbench -q -i -s 2 bench", 600)
    print(shell.run("sudo -u postgres pgbench -c 4 -T 15 bench | grep tps", 120), flush=True)
    for turn in range(2):
        shell.run("sudo systemd-run -q --unit=load-%d -p User=postgres pgbench -n -c 4 -T 3600 bench" % turn)
        time.sleep(10)
        committed = int(shell.sql("select count(*) from pgbench_history"))
        home = fleet.worker_of("db")
        began = time.monotonic()
        fleet.ebb("drain", home, "--reason", "test", timeout=600)
        shell.wait()
        print(f"drain {turn + 1}: {time.monotonic() - began:.0f} s until it takes connections again", flush=True)
        check(fleet.worker_of("db") != home, "it runs elsewhere")
        wait_until(lambda: all(map(answers, addresses)), 60, f"it answers under its addresses from there: {addresses}")
        fleet.ebb("return", home)
        wait_until(lambda: shell.try_run("sudo -u postgres psql -At -d bench -c 'select 1'").returncode == 0, 300, "PostgreSQL is up again")
        kept = int(shell.sql("select count(*) from pgbench_history"))
        check(kept >= committed > 0, f"{committed} transactions were committed, {kept} are there")
        balances_agree(shell)
        shell.run("sudo -u postgres /usr/lib/postgresql/15/bin/pg_amcheck --all --install-missing --heapallindexed --parent-check --rootdescend", 900)
        check(shell.run("cat /var/lib/cloud/data/instance-id") == instance, "it is the same instance: nothing is set up anew")
    check("up" in shell.run("uptime") and shell.run("sudo journalctl -b -p err -o cat | grep -ci 'I/O error' || true") == "0", "no disk failed it")
    shell.stop()
    fleet.stop_vms(["db"], 300)


def is_set_up(fleet, name):
    """cloud-init has ended by the VM's own seed, and has made keys under its own name; no prompt is waited for: systemd gives up on a serial
    port that takes 90 s to appear. Asked seldom: the guests need the processors themselves."""
    time.sleep(3)
    said = fleet.ebb("logs", name).stdout
    return "Datasource DataSourceNoCloud" in said and f"root@{name}" in said


def begins_as_forks(fleet, import_s):
    """As many VMs as were asked for, of the one image."""
    count = args.forks or 3
    began = time.monotonic()
    fleet.ebb("run", "c", "--count", count, "--image", "debian", "--memory", "512M")
    names = [f"c-{i}" for i in range(1, count + 1)]
    wait_until(lambda: all(fleet.vm(name)["seen"] in ("starting", "running") for name in names), 300, "all are being booted")
    forks_s = time.monotonic() - began
    print(f"{count} forks are booting {forks_s:.1f} s after they were asked for; one import took {import_s:.0f} s", flush=True)
    check(forks_s < import_s + 10, f"forks cost no import: {forks_s:.0f} s")
    for name in names:
        wait_until(lambda: is_set_up(fleet, name), BOOT_LIMIT_S * max(1, count / os.cpu_count()), f"{name} is up, under its own name")
    print(f"all {count} are up {time.monotonic() - began:.0f} s after they were asked for", flush=True)


with Fleet(args.bin, args.guest, workers=2, memory="6GiB") as fleet:
    for name, bridge in lan.BRIDGES.items():
        lan.connect(fleet.workers[name], bridge, ("lan", "office"))
    lan.serve_dhcp(fleet.root)
    fleet.start()
    fleet.ebb("networks", "create", "lan", "--subnet", "10.20.0.0/24", "--range", "10.20.0.10-10.20.0.99")
    fleet.ebb("networks", "create", "office")  # without a subnet: its own DHCP server gives the addresses
    key = fleet.root / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    began = time.monotonic()
    fleet.ebb("images", "import", "debian", "--disk", args.debian / "debian.raw", timeout=600)
    import_s = time.monotonic() - began
    print(f"one import took {import_s:.0f} s", flush=True)
    if args.only != "forks":
        is_drained_twice(fleet, key)
    if args.only != "drains":
        begins_as_forks(fleet, import_s)
    no_guest_saw_an_error(fleet, [])
