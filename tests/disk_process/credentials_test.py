"""A pool whose URL says `credentials=instance`: the keys come from the metadata service of the machine (IMDSv2), end, and are renewed.

In one story the daemon is restarted, and its keys are renewed five minutes before they end. In the other the service is away: nobody notices
while the keys are good; once they have ended the guest waits, without an error, the status says why, and all goes on when it is back."""

import datetime
import http.server
import json
import os
import threading
import time

from prefix_oracle import BLOCK, History, read_stamps
from rig import MIB, Rig, arguments, check, in_parallel
from stamped_writer import Writer, read_disk

args = arguments(__doc__)
SECRETS = {"ROLE-1": "secret/of+role-1", "ROLE-2": "secret/of+role-2"}
TOKEN, PROOF = "session-token-of-the-role", "proof-of-imdsv2"
RENEWED_BEFORE_S = 300  # before the keys end
ASKED_AGAIN_S = 30      # between tries to renew
DEPTH = 8
NOTICED_S = 4           # a request that takes so long was held up


class Metadata:
    """The service: gives the keys of `role`, which end `life_s` after they were first given."""

    def __init__(self):
        self.role, self.life_s, self.fails, self.port = "", {}, False, 0
        self.ends, self.given, self.failed = {}, {}, 0
        self.come()

    def come(self):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), self.handler())
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def go(self):
        """Connections are refused."""
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def give(self, role, life_s):
        self.role, self.life_s[role] = role, life_s

    def left_s(self, role):
        return self.ends[role] - time.time()

    def keys(self):
        role = self.role
        end = self.ends.setdefault(role, int(time.time()) + self.life_s[role])
        self.given.setdefault(role, []).append(time.time())
        text = datetime.datetime.fromtimestamp(end, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        return json.dumps({"Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": role, "SecretAccessKey": SECRETS[role], "Token": TOKEN,
                           "Expiration": text})

    def answer(self, method, path, headers):
        roles = "/latest/meta-data/iam/security-credentials/"
        if self.fails:
            self.failed += 1
            return 503, ""
        if method == "PUT":
            is_right = path == "/latest/api/token" and 1 <= int(headers.get("X-aws-ec2-metadata-token-ttl-seconds", 0)) <= 21600
            return (200, PROOF) if is_right else (400, "")
        if headers.get("X-aws-ec2-metadata-token") != PROOF:
            return 401, ""
        if path == roles:
            return 200, "disk-role\n"
        return (200, self.keys()) if path == roles + "disk-role" else (404, "")

    def handler(service):
        class Handler(http.server.BaseHTTPRequestHandler):
            def reply(self):
                status, text = service.answer(self.command, self.path, self.headers)
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *words):
                pass

            do_GET = do_PUT = reply

        return Handler


class Story:
    """A disk of class `remote`, whose daemon has no keys but the instance's."""

    def __init__(self, rig, life_s):
        self.rig, self.metadata = rig, Metadata()
        rig.at_end(self.metadata.go)
        os.environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = self.metadata.url
        self.disk = rig.create("d-role", 16 * MIB, "remote")
        self.history = History(self.disk.name, self.disk.size // BLOCK)
        self.metadata.give("ROLE-1", life_s)
        owners, rig.pool = rig.pool, rig.s3.url("instance")
        self.diskd = rig.diskd("worker-1")
        rig.pool = owners
        self.diskd.open(self.disk)
        self.connect()

    def connect(self):
        self.writer = Writer(self.diskd.uri(self.disk), self.disk, self.history, args.seed, flush=0.1)

    def write(self, seconds):
        """Some 50 requests a second, while fewer than DEPTH are unanswered."""
        due = time.monotonic()
        end = due + seconds
        while not self.writer.is_lost and (now := time.monotonic()) < end:
            if now >= due and self.writer.in_flight < DEPTH:
                self.writer.issue()
                due = now + 0.02
            self.writer.poll(10)
        check(not self.writer.is_lost, "the connection was lost")
        self.writer.check_no_errors()

    def write_until(self, condition, limit_s, what):
        end = time.monotonic() + limit_s
        while not condition():
            check(time.monotonic() < end, f"{what}: not within {limit_s} s; the disk waits for '{self.waits()}'")
            self.write(0.2)

    def waits(self):
        return self.diskd.status_of(self.disk.name)["waiting_for"]

    def requests(self, role):
        """How many the store let in so far."""
        return sum(n for key, n in self.rig.s3.stats()["requests_of_keys"].items() if key.startswith(role + " "))

    def flushes_on(self, limit_s, what):
        before = self.writer.flushes
        self.write_until(lambda: self.writer.flushes > before + 3, limit_s, f"{what}: FLUSH is acknowledged")

    def flush(self):
        self.writer.settle()
        self.writer.flush_now()
        self.write(0)

    def check_store(self, what):
        data = self.rig.offline_copy(self.disk).read_bytes()
        self.history.check(read_stamps(self.disk.name, data), self.history.acknowledged, f"{what}, read offline")

    def check_found(self, what):
        found = read_disk(self.diskd.uri(self.disk), self.disk.name)
        self.history.go_on_after(self.history.check(found, self.history.acknowledged, what))

    def finish(self, role):
        """All of it is read from the store, with the keys of `role`."""
        self.flush()
        self.writer.close()
        self.diskd.seal(self.disk)
        self.check_store("sealed")
        told = [self.diskd.log.read_text(), *(self.diskd.request("GET", path)[1].decode() for path in ("/status", "/metrics"))]
        check(not any(secret in text for secret in (*SECRETS.values(), TOKEN, PROOF) for text in told), "no key is in a log or a status")
        self.diskd.lose_state()
        self.diskd.start()
        self.diskd.open(self.disk)
        before = self.requests(role)
        self.check_found("opened anew, without what the worker had")
        check(self.requests(role) > before, f"what was read came from the store, with the keys of {role}")


def renewal():
    with Rig(args.bin, "s3", s3_options=KEYS_OF_THE_SERVER) as rig:
        story = Story(rig, RENEWED_BEFORE_S + ASKED_AGAIN_S + 5)
        metadata = story.metadata
        story.write(1)
        story.flush()
        story.check_store("flushed")
        check(story.requests("ROLE-1") > 0, "the store is used with the keys of the instance")
        story.diskd.kill()
        story.diskd.start()
        story.diskd.wait_served(story.disk)
        story.check_found("after a restart")
        story.connect()
        metadata.give("ROLE-2", 21600)
        story.write_until(lambda: "ROLE-2" in metadata.given, 60, "the keys are renewed")
        left_s = metadata.ends["ROLE-1"] - metadata.given["ROLE-2"][0]
        check(RENEWED_BEFORE_S - 15 < left_s <= RENEWED_BEFORE_S, f"the keys were renewed {left_s:.0f} s before their end")
        story.write(1)  # what was on its way has come
        before = story.requests("ROLE-1"), story.requests("ROLE-2")
        story.flushes_on(10, "with new keys")
        after = story.requests("ROLE-1"), story.requests("ROLE-2")
        check(after[0] == before[0] and after[1] > before[1], f"only the new keys are used: requests with the old and the new, {before} -> {after}")
        given = [len(metadata.given[role]) for role in ("ROLE-1", "ROLE-2")]
        check(given == [2, 1], f"the service gave keys {given} times: at each start and once they were to end")
        check(story.writer.longest_wait_s < NOTICED_S, f"a request took {story.writer.longest_wait_s:.1f} s")
        print(f"renewed {left_s:.0f} s before the end: {story.history.total} writes, the longest request took "
              f"{story.writer.longest_wait_s:.2f} s; requests with the old and the new keys: {after}", flush=True)
        story.finish("ROLE-2")


def away():
    with Rig(args.bin, "s3", s3_options=KEYS_OF_THE_SERVER) as rig:
        story = Story(rig, ASKED_AGAIN_S + 8)
        metadata, writer = story.metadata, story.writer
        metadata.fails = True
        story.write_until(lambda: metadata.failed > 0, ASKED_AGAIN_S + 5, "new keys are asked for")
        check(metadata.left_s("ROLE-1") > 2, "they are asked for while the old ones are good")
        while metadata.left_s("ROLE-1") > 2:
            story.flushes_on(NOTICED_S, "while the keys are good")
        check(story.diskd.metric("ebb_disk_waiting") == 0 and not story.waits(), f"nothing is waited for: '{story.waits()}'")
        check(writer.longest_wait_s < NOTICED_S, f"a request took {writer.longest_wait_s:.1f} s")
        unnoticed_s, tries = writer.longest_wait_s, metadata.failed

        metadata.go()
        story.write_until(lambda: metadata.left_s("ROLE-1") < 0 and "credentials of the instance" in story.waits(), 30, "the disk says what it lacks")
        waits = story.waits()
        check(waits.startswith("the store: ") and metadata.url in waits, f"the disk waits for '{waits}'")
        check(story.diskd.metric("ebb_disk_waiting") == 1, "/metrics says that it waits")
        before = writer.flushes, story.requests("ROLE-1")
        story.write(6)
        check((writer.flushes, story.requests("ROLE-1")) == before, "keys that have ended are not used, and no FLUSH is acknowledged")

        metadata.fails = False
        metadata.give("ROLE-2", 21600)
        metadata.come()
        back = time.monotonic()
        story.flushes_on(30, "the service is back")
        story.write_until(lambda: not story.waits() and story.diskd.metric("ebb_disk_waiting") == 0, 10, "nothing is waited for")
        check(story.requests("ROLE-1") == before[1] and story.requests("ROLE-2") > 0, "the new keys are used")
        print(f"away while the keys were good: {tries} tries to renew them, the longest request took {unnoticed_s:.2f} s; when they had ended: "
              f"'{waits}'; all well {time.monotonic() - back:.1f} s after; {story.history.total} writes, none failed", flush=True)
        story.finish("ROLE-2")


# Keys of workers: they may not delete.
KEYS_OF_THE_SERVER = [word for role, secret in SECRETS.items() for word in ("--no-delete-key", f"{role}:{secret}")]
in_parallel([renewal, away])
