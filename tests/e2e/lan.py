"""A network of our own for tests: in a namespace that ends with the test, a bridge for each of two workers, a cable between them, and a port for us."""

import os
import subprocess
import sys

HERE = "10.20.0.250"  # our address; the network is 10.20.0.0/24
BRIDGES = {"worker-1": "br-1", "worker-2": "br-2"}
SKIPPED = 77


def ip(*words):
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


def enter():
    """Goes on as the same program in a network namespace of its own, or ends as skipped."""
    probe = ["unshare", "--net", "ip", "link", "add", "probe", "type", "bridge"]
    if os.geteuid() != 0 or not os.path.exists("/dev/net/tun") or subprocess.run(probe, capture_output=True).returncode != 0:
        print("skipped: bridges need root, and a kernel that lets it make them; TAP devices /dev/net/tun")
        sys.exit(SKIPPED)
    if os.environ.get("EBB_OWN_NETWORK") is None:
        os.execvpe("unshare", ["unshare", "--net", sys.executable, *sys.argv], {**os.environ, "EBB_OWN_NETWORK": "1"})
    make_cables()


def make_cables():
    """c1 is our own port."""
    ip("link", "set", "lo", "up")
    for bridge in BRIDGES.values():
        ip("link", "add", bridge, "type", "bridge", "forward_delay", "0")
        ip("link", "set", bridge, "up")
    for one, other, bridges in (("x1", "x2", BRIDGES.values()), ("c0", "c1", ("br-1", None))):
        ip("link", "add", one, "type", "veth", "peer", "name", other)
        for end, bridge in zip((one, other), bridges):
            if bridge:
                ip("link", "set", end, "master", bridge)
            ip("link", "set", end, "up")
    ip("address", "add", f"{HERE}/24", "dev", "c1")


def connect(worker, bridge, networks=("lan",)):
    """Before its agent starts: these networks are what this bridge leads to."""
    config = worker.root / "agent.toml"
    config.write_text(config.read_text() + "".join(f'[networks.{name}]\nbridge = "{bridge}"\n' for name in networks))


def serve_dhcp(folder):
    """A DHCP server on our port, for 10.20.1.10 to 10.20.1.99; it ends with the test."""
    ip("address", "add", "10.20.1.250/24", "dev", "c1")
    config = folder / "udhcpd.conf"
    (folder / "udhcpd.leases").touch()
    config.write_text(f"interface c1\nstart 10.20.1.10\nend 10.20.1.99\noption subnet 255.255.255.0\noption lease 3600\n"
                      f"lease_file {folder}/udhcpd.leases\npidfile {folder}/udhcpd.pid\n")
    return subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "busybox", "udhcpd", "-f", config], stdin=subprocess.DEVNULL)


def macs_of_bridges():
    return [ip("-o", "link", "show", bridge).split("link/ether ")[1].split()[0] for bridge in BRIDGES.values()]
