"""VMs whose disks are in a bucket: drained while the store is slow, refuses, loses replies and is away for a while. No record is
lost, and no guest sees an error. The store is our own server, or with --store radosgw Ceph's."""

import json
import pathlib
import subprocess
import sys
import time
import urllib.request

from e2e import Fleet, arguments, check, records_are_whole, start_vms, wait_until

args = arguments(store=str)
SERVERS = pathlib.Path(__file__).resolve().parents[1] / "s3"
DISKS = ["db-1", "db-2"]


class OurServer:
    def __init__(self):
        words = [f"{args.bin}/ebb-test-s3", "--bucket", "pool", "--access-key", "A", "--secret-key", "S"]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        self.endpoint = "http://" + self.process.stdout.readline().split()[-1]
        self.bucket, self.keys = "pool", ("A", "S")

    def fault(self, *rules):
        plan = json.dumps({"seed": 7, "rules": rules}).encode()
        urllib.request.urlopen(urllib.request.Request(f"{self.endpoint}/-/faults", data=plan, method="PUT"), timeout=10).read()

    def stop(self):
        self.process.kill()
        self.process.wait()


class Radosgw:
    def __init__(self):
        self.process = subprocess.Popen([sys.executable, SERVERS / "radosgw.py", "--die-with-parent"], stdout=subprocess.PIPE, text=True)
        said = json.loads(self.process.stdout.readline())
        self.endpoint, self.bucket = said["endpoint"], said["bucket"]
        self.keys = said["access_key"], said["secret_key"]

    def fault(self, *_):
        pass

    def stop(self):
        self.process.terminate()
        self.process.wait(60)


server = Radosgw() if args.store == "radosgw" else OurServer()
try:
    with Fleet(args.bin, args.guest, workers=2, memory="700MiB") as fleet:
        credentials = fleet.root / "s3.ini"
        credentials.write_text(f"[default]\naws_access_key_id = {server.keys[0]}\naws_secret_access_key = {server.keys[1]}\n")
        fleet.use_pool(f"s3://{server.bucket}/cell-1?endpoint={server.endpoint}&credentials={credentials}")
        checked = subprocess.run([fleet.bin / "ebb", "pool", "check", fleet.pool], capture_output=True, text=True, timeout=60)
        check(checked.returncode == 0, f"{checked}")
        fleet.start()
        start_vms(fleet, DISKS)
        source = fleet.worker_of("db-1")

        server.fault({"fault": "latency", "ms": 20, "jitter_ms": 20}, {"fault": "slow_down", "probability": 0.1},
                     {"fault": "lost_reply", "method": "PUT", "probability": 0.05}, {"fault": "internal_error", "probability": 0.03},
                     {"fault": "cut_body", "method": "GET", "probability": 0.05}, {"fault": "false_precondition", "probability": 0.02})
        fleet.ebb("drain", source, "--reason", "a bad store", timeout=300)
        check(not fleet.workers[source].machine_pids(), "the drained worker runs nothing")
        for name in DISKS:
            fleet.watch.wait_for_more(name)

        server.fault({"fault": "hang"})
        time.sleep(8)
        stalled = {name: fleet.watch.last(name)[1] for name in DISKS}
        server.fault()
        for name in DISKS:
            fleet.watch.wait_for_more(name)
            check(fleet.watch.last(name)[1] > stalled[name], f"{name} goes on after the outage")
        fleet.ebb("return", source)
        records_are_whole(fleet, DISKS)
finally:
    server.stop()
