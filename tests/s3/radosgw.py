#!/usr/bin/env python3
"""Starts Ceph's radosgw, with the monitor and the OSD that it needs, for tests: any user, loopback only, below one folder.
Says on stdout, as one line of JSON, where it is; then serves until SIGTERM or SIGINT (or the death of its parent, with
--die-with-parent), ends everything it started, and removes the folder.

Usage: radosgw.py [--store memstore|bluestore] [--bucket NAME] [--die-with-parent]"""

import argparse
import ctypes
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid

from s3_client import S3Client

PROGRAMS = ["ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin"]
PACKAGES = "radosgw ceph-mon ceph-osd ceph-common"
LIMIT_S = 60
ACCESS, SECRET = "ebb-test-access", "ebb-test-secret"
PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None)

# Authentication is off and connections are not encrypted: with ms_*_mode left at its default, radosgw without a key is refused for ever.
# Without tcp_nodelay a small GET waits 40 ms. One replica on one OSD must be allowed by name.
CONF = """[global]
fsid = {fsid}
mon_host = [v2:127.0.0.1:{mon_port}/0]
mon_initial_members = a
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_ipv4 = true
ms_bind_ipv6 = false
ms_bind_msgr1 = false
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
ms_mon_client_mode = crc
ms_mon_service_mode = crc
ms_mon_cluster_mode = crc
auth_allow_insecure_global_id_reclaim = true
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pgp_num = 4
osd_pool_default_pg_autoscale_mode = off
mon_allow_pool_size_one = true
mon_warn_on_pool_no_redundancy = false
osd_crush_chooseleaf_type = 0
mon_max_pg_per_osd = 1000
run_dir = {root}/run
admin_socket = {root}/run/$name.asok
pid_file = {root}/run/$name.pid
log_file = {root}/log/$name.log
mon_cluster_log_file = {root}/log/cluster.log
crash_dir = {root}/log
keyring = {root}/keyring
setuser_match_path =
debug_ms = 0/0
debug_osd = 0/0
debug_rgw = 0/0
debug_bluestore = 0/0
debug_mon = 0/0
debug_paxos = 0/0
debug_objecter = 0/0
debug_rocksdb = 0/0
[mon]
mon_data = {root}/mon
mon_osd_crush_smoke_test = false
mon_data_avail_warn = 1
mon_data_avail_crit = 1
paxos_propose_interval = 0.05
paxos_min_wait = 0.01
mon_osd_full_ratio = .97
[osd]
osd_data = {root}/osd
osd_objectstore = {store}
memstore_device_bytes = 4294967296
bluestore_block_size = 10737418240
bluestore_block_create = true
osd_memory_target = 939524096
osd_memory_cache_min = 67108864
osd_crush_update_on_start = false
osd_class_load_list = *
osd_class_default_list = *
osd_heartbeat_grace = 60
[client.rgw]
rgw_frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw_data = {root}/rgw
rgw_enable_usage_log = false
rgw_enable_ops_log = false
rgw_run_sync_thread = false
rgw_enable_quota_threads = false
rgw_dynamic_resharding = false
rgw_thread_pool_size = 64
rgw_relaxed_s3_bucket_names = true
rgw_dns_name = localhost
"""


class Failure(Exception):
    pass


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def end_with_parent():
    """In the child, before it becomes the program: a killed starter must not leave Ceph behind."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Ceph:
    def __init__(self, root, store, bucket):
        self.root, self.store, self.bucket = pathlib.Path(root), store, bucket
        self.deadline = time.monotonic() + LIMIT_S
        self.daemons = []
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        # radosgw looks where it should write crash reports even if told not to; nothing outside the folder is ours.
        self.environment = {**os.environ, "CEPH_CONF": str(self.root / "ceph.conf"), "PATH": os.environ.get("PATH", "") + ":/usr/bin:/usr/sbin"}
        self.environment.pop("CEPH_ARGS", None)

    def run(self, *words):
        left = max(1, self.deadline - time.monotonic())
        done = subprocess.run(words, cwd=self.root, env=self.environment, capture_output=True, text=True, timeout=left, preexec_fn=end_with_parent)
        if done.returncode != 0:
            raise Failure(f"{' '.join(words)}: {done.stderr[-2000:]}")
        return done.stdout

    def daemon(self, name, *words):
        out = open(self.root / "log" / f"{name}.out", "w")
        process = subprocess.Popen([*words, "-f"], cwd=self.root, env=self.environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                   preexec_fn=end_with_parent)
        out.close()
        self.daemons.append((name, process))

    def wait_for(self, what, holds):
        while not holds():
            for name, process in self.daemons:
                if process.poll() is not None:
                    raise Failure(f"{name} ended with {process.returncode}: {self.said(name)}")
            if time.monotonic() > self.deadline:
                raise Failure(f"{what}: not after {LIMIT_S} s. " + " ".join(f"{name}: {self.said(name)}" for name, _ in self.daemons))
            time.sleep(0.05)

    def said(self, name):
        return (self.root / "log" / f"{name}.out").read_text(errors="replace")[-1500:]

    def state_of(self, daemon, command):
        """The field "state" of what a daemon's admin socket answers, or None."""
        path = self.root / "run" / f"{daemon}.asok"
        if not path.is_socket():
            return None
        try:
            with socket.socket(socket.AF_UNIX) as admin:
                admin.settimeout(5)
                admin.connect(str(path))
                admin.sendall(json.dumps({"prefix": command, "format": "json"}).encode() + b"\0")
                text = b""
                while piece := admin.recv(65536):
                    text += piece
            return json.loads(text[4:]).get("state")
        except (OSError, ValueError):
            return None

    def start(self):
        for folder in ("mon", "osd", "rgw", "run", "log"):
            (self.root / folder).mkdir()
        mon_port, fsid = free_port(), str(uuid.uuid4())
        (self.root / "keyring").touch()
        (self.root / "ceph.conf").write_text(CONF.format(root=self.root, fsid=fsid, mon_port=mon_port, port=self.port, store=self.store))
        self.run("monmaptool", "--create", "--clobber", "--fsid", fsid, "--addv", "a", f"[v2:127.0.0.1:{mon_port}/0]", "monmap")
        self.run("ceph-mon", "-i", "a", "--mkfs", "--monmap", "monmap")
        self.daemon("mon", "ceph-mon", "-i", "a")
        self.wait_for("the monitor leads", lambda: self.state_of("mon.a", "mon_status") == "leader")
        osd_id = str(uuid.uuid4())
        self.run("ceph", "osd", "new", osd_id)
        self.run("ceph", "osd", "crush", "add-bucket", "h", "host", "root=default")
        self.run("ceph", "osd", "crush", "add", "osd.0", "1.0", "host=h")
        self.run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd_id)
        self.daemon("osd", "ceph-osd", "-i", "0")
        self.wait_for("the OSD is active", lambda: self.state_of("osd.0", "status") == "active")
        self.run("radosgw-admin", "user", "create", "--uid=test", "--display-name=test", f"--access-key={ACCESS}", f"--secret-key={SECRET}")
        self.daemon("rgw", "radosgw", "-n", "client.rgw")
        self.wait_for("the gateway has made the bucket", self.make_bucket)

    def make_bucket(self):
        client = S3Client(self.address, ACCESS, SECRET, timeout_s=10)
        try:
            reply = client.call("PUT", f"/{self.bucket}")
        except OSError:
            return False
        finally:
            client.close()
        if reply.status not in (200, 409, 503):
            raise Failure(f"radosgw does not make a bucket: {reply}")
        return reply.status != 503

    def stop(self):
        for _, process in reversed(self.daemons):
            process.kill()  # nothing of it is kept, and an OSD takes its time to end in good order
        for _, process in self.daemons:
            process.wait()


def start_somewhere(store, bucket):
    """A port that was free may be taken when the daemon binds it: then once more."""
    for attempt in (1, 2, 3):
        # Socket paths have at most 107 bytes.
        root = tempfile.mkdtemp(prefix="ebb-rgw-", dir="/tmp" if len(tempfile.gettempdir()) > 60 else None)
        ceph = Ceph(root, store, bucket)
        try:
            ceph.start()
            return ceph
        except BaseException as error:
            ceph.stop()
            shutil.rmtree(root, ignore_errors=True)
            is_taken = isinstance(error, Failure) and ("in use" in str(error) or "unable to bind" in str(error))
            if not is_taken or attempt == 3:
                raise


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--store", choices=["memstore", "bluestore"], default="memstore")
    parser.add_argument("--bucket", default="ebb-test")
    parser.add_argument("--die-with-parent", action="store_true")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if args.die_with_parent:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    path = os.environ.get("PATH", "") + ":/usr/bin:/usr/sbin"
    missing = [program for program in PROGRAMS if not shutil.which(program, path=path)]
    if missing:
        sys.exit(f"radosgw.py: {', '.join(missing)} not found: apt-get install --no-install-recommends {PACKAGES}")
    began = time.monotonic()
    try:
        ceph = start_somewhere(args.store, args.bucket)
    except (Failure, subprocess.TimeoutExpired) as error:
        sys.exit(f"radosgw.py: {error}")
    try:
        credentials = ceph.root / "credentials"
        credentials.write_text(f"[default]\naws_access_key_id = {ACCESS}\naws_secret_access_key = {SECRET}\n")
        print(json.dumps({"endpoint": f"http://{ceph.address}", "bucket": args.bucket, "region": "us-east-1", "access_key": ACCESS,
                          "secret_key": SECRET, "credentials": str(credentials), "folder": str(ceph.root),
                          "started_in_s": round(time.monotonic() - began, 1)}), flush=True)
        while True:
            for name, process in ceph.daemons:
                if process.poll() is not None:
                    sys.exit(f"radosgw.py: {name} ended with {process.returncode}: {ceph.said(name)}")
            time.sleep(0.2)
    except KeyboardInterrupt:
        pass
    finally:
        ceph.stop()
        shutil.rmtree(ceph.root, ignore_errors=True)


main()
