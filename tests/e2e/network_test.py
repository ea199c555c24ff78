"""A VM on a network: it keeps MAC and address through a drain, its neighbours hear of the move at once, and nothing is left behind. All of it
in a network namespace of its own, where each worker has a bridge and a cable joins the two."""

import re
import socket
import struct
import threading
import time
import urllib.request

import lan
from e2e import Fleet, arguments, check, expect_failure, no_guest_saw_an_error, records_are_whole, wait_until

lan.enter()
args = arguments()


class Announcements:
    """What was said on our port of whose MAC address: RARP (RFC 903), and ARP that asks for its own sender (RFC 5227)."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.socket.bind(("c1", 0))
        self.heard = []
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        while True:
            frame = self.socket.recv(2048)
            mac, kind = frame[6:12].hex(":"), struct.unpack("!H", frame[12:14])[0]
            if kind == 0x8035:
                self.heard.append((time.monotonic(), "rarp", mac))
            elif kind == 0x0806 and len(frame) >= 42 and frame[28:32] == frame[38:42]:
                self.heard.append((time.monotonic(), "arp", mac))

    def since(self, then, kind, mac):
        return [at for at, what, whose in self.heard if at >= then and (what, whose) == (kind, mac)]


def answers(address):
    try:
        with urllib.request.urlopen(f"http://{address}/", timeout=1) as reply:
            return reply.read()
    except OSError:
        return None


def taps():
    return re.findall(r"^\d+: (ebb\d+)", lan.ip("-o", "link"), re.M)


bridges = lan.macs_of_bridges()
with Fleet(args.bin, args.guest, workers=3, memory="700MiB") as fleet:
    for name, bridge in {**lan.BRIDGES, "worker-3": "br-3"}.items():
        lan.connect(fleet.workers[name], bridge)
    fleet.start()
    fleet.import_guest()
    wait_until(lambda: "this host has no bridge br-3" in fleet.workers["worker-3"].agent.log.read_text(), 20, "the missing bridge is told")
    check(fleet.get("/v1/workers/worker-3")["worker"].get("networks") is None, "and what it leads to is not offered")

    on_lan = ("--stateless", "--network")
    expect_failure(fleet.ebb("run", "web", "--image", "witness", *on_lan, "lan", check=False), 2, "ebb networks create lan")
    expect_failure(fleet.ebb("networks", "create", "lan", "--subnet", "10.20.0.1/24", check=False), 2, "10.20.0.0/24: write that")
    create = ("networks", "create", "lan", "--subnet", "10.20.0.0/24", "--gateway", lan.HERE, "--range", "10.20.0.10-10.20.0.20")
    fleet.ebb(*create)
    fleet.ebb(*create)
    fleet.run_vm("web", False, "--network", "lan", "--port", "http=80")
    fleet.wait_running(["web"])
    interface = fleet.vm("web")["vm"]["interfaces"][0]
    address, mac = interface["address"], interface["mac"]
    check(address == "10.20.0.10", f"the first of the range: {interface}")
    first = wait_until(lambda: answers(address), 30, "it answers on the network")
    check(b"{" in first, f"what the guest tells: {first}")
    fleet.watch.wait_for_more("web")  # and on its forwarded port

    # What is taken, what is not the network's, and where it is not.
    run_other = ("run", "other", "--image", "witness", "--memory", "128M", *on_lan)
    expect_failure(fleet.ebb(*run_other, f"lan,address={address}", check=False), 6, "in use by another VM")
    expect_failure(fleet.ebb(*run_other, f"lan,mac={mac.upper()}", check=False), 6, "in use by another VM")
    expect_failure(fleet.ebb(*run_other, "lan,address=10.20.0.30", check=False), 2, "10.20.0.10 to 10.20.0.20")
    expect_failure(fleet.ebb(*run_other, "lan,address=ten", check=False), 2, "no IPv4 address")
    expect_failure(fleet.ebb("networks", "rm", "lan", check=False), 6, "in use by VM 'web'")
    expect_failure(fleet.ebb("migrate", "web", "--to", "worker-3", check=False), 6, "has no network lan")
    check("other" not in fleet.ebb("vms").stdout, "nothing is left of what was refused")
    fleet.ebb(*run_other, "lan,address=10.20.0.15,mac=02:00:00:00:00:15", "--wait")
    wait_until(lambda: answers("10.20.0.15"), 30, "another one answers where it was told to")

    # Moved: the same MAC and address elsewhere, and whoever talks to it is told.
    listener = Announcements()
    home = fleet.worker_of("web")
    began = time.monotonic()
    fleet.ebb("drain", home, "--reason", "test")
    there = fleet.worker_of("web")
    check({home, there} == {"worker-1", "worker-2"}, f"from {home} to {there}, not to where the network is missing")
    wait_until(lambda: answers(address), 10, "it answers from there")
    check(fleet.vm("web")["vm"]["interfaces"] == [interface], "its interface is the same")
    check(listener.since(began, "rarp", mac), f"switches were told: {listener.heard[-10:]}")
    check(listener.since(began, "arp", mac), f"neighbours were told: {listener.heard[-10:]}")
    check(len(taps()) == 2, f"one device each: {taps()}")
    check(lan.macs_of_bridges() == bridges, "no host has become another by a machine's device")

    # A kill -9 of the agent, and of a machine.
    fleet.workers[there].agent.kill()
    fleet.workers[there].agent.start()
    wait_until(lambda: answers(address), 10, "the network needs no agent")
    no_guest_saw_an_error(fleet, ["web"])
    records_are_whole(fleet, ["web"])
    fleet.ebb("rm", "other", "--wait")
    check(not taps(), f"devices go with their machines: {taps()}")
    fleet.ebb("rm", "web", "--wait")
    fleet.ebb(*run_other, "lan", "--wait")
    check(fleet.vm("other")["vm"]["interfaces"][0]["address"] == address, "an address is free again with its VM")
    fleet.ebb("rm", "other", "--wait")
    fleet.ebb("networks", "rm", "lan")
print("ok")
