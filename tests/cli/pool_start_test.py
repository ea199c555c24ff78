#!/usr/bin/env python3
"""Daemons ask their pools at the start: a store that ignores conditions is refused with what it does wrong, one that does
not answer now is taken with a warning if it has passed before, and else refused, and a good one is served from.

Usage: pool_start_test.py EBBD EBB_DISKD EBB_AGENT
"""
import hashlib
import http.server
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

EBBD, DISKD, AGENT = sys.argv[1:4]


class Store(http.server.ThreadingHTTPServer):
    """Objects in memory behind the S3 API, without a look at signatures."""

    daemon_threads = True

    def __init__(self, keeps_conditions):
        super().__init__(("127.0.0.1", 0), Handler)
        self.keeps_conditions = keeps_conditions
        self.objects = {}
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def url(self):
        return f"s3://pool/cell?endpoint=http://127.0.0.1:{self.server_port}&credentials=env"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, status, code):
        self.answer(status, f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode())

    def do_PUT(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            there = self.server.objects.get(self.path)
            tag = there and f'"{hashlib.md5(there).hexdigest()}"'
            if self.server.keeps_conditions:
                if self.headers.get("If-None-Match") == "*" and there is not None:
                    return self.refuse(412, "PreconditionFailed")
                if "If-Match" in self.headers and self.headers["If-Match"] != tag:
                    return self.refuse(412, "PreconditionFailed")
            self.server.objects[self.path] = body
        self.answer(200, b"", [("ETag", f'"{hashlib.md5(body).hexdigest()}"')])

    def do_GET(self):
        body = self.server.objects.get(self.path)
        if body is None:
            return self.refuse(404, "NoSuchKey")
        headers = [("ETag", f'"{hashlib.md5(body).hexdigest()}"')]
        if "Range" not in self.headers:
            return self.answer(200, body, headers)
        first, last = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
        if first >= len(body):
            return self.refuse(416, "InvalidRange")
        part = body[first:last + 1]
        self.answer(206, part, headers + [("Content-Range", f"bytes {first}-{first + len(part) - 1}/{len(body)}")])


class PoolStart(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="ebb-test-")
        self.addCleanup(self.folder.cleanup)
        self.at = self.folder.name

    def config(self, program, url, default_class):
        pool = f'[pools.main]\nurl = "{url}"\n'
        if program == EBBD and default_class:
            pool += f'default_class = "{default_class}"\n'
        with open(f"{self.at}/token", "w") as file:
            file.write("0123456789abcdef")
        text = {
            EBBD: f'state_dir = "{self.at}/control"\nlisten = "unix:{self.at}/control.sock"\n',
            DISKD: f'worker = "w"\nstate_dir = "{self.at}/diskd"\nrun_dir = "{self.at}/run"\n'
                   f'listen = "unix:{self.at}/diskd.sock"\n',
            AGENT: f'worker = "w"\ncontrol = "unix:{self.at}/none.sock"\njoin_token_file = "{self.at}/token"\n'
                   f'state_dir = "{self.at}/agent"\ndiskd = "unix:{self.at}/diskd.sock"\n',
        }[program]
        path = f"{self.at}/config.toml"
        with open(path, "w") as file:
            file.write(text + pool)
        return path

    def start(self, program, url, default_class="remote"):
        environment = dict(os.environ, AWS_ACCESS_KEY_ID="id", AWS_SECRET_ACCESS_KEY="top-secret")
        process = subprocess.Popen([program, "--config", self.config(program, url, default_class)], env=environment, text=True,
                                   stderr=subprocess.PIPE)
        self.addCleanup(process.stderr.close)
        return process

    def test_a_store_that_ignores_conditions_is_refused_by_every_daemon(self):
        store = Store(keeps_conditions=False)
        for program in (EBBD, DISKD, AGENT):
            process = self.start(program, store.url())
            said = process.communicate(timeout=60)[1]
            self.assertEqual(process.returncode, 2, said)
            self.assertIn("pool main: the store breaks promises", said)
            self.assertIn("creating an object that exists was carried out", said)
            self.assertNotIn("top-secret", said)

    def stop(self, process):
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(timeout=60), 0)

    def said_until_it_listens(self, process):
        said = ""
        for line in process.stderr:
            said += line
            if "listening on" in line:
                return said
        self.fail(f"the daemon has ended: {said}")

    def test_a_store_that_does_not_answer_is_taken_by_nobody_who_never_probed_it(self):
        for program in (EBBD, DISKD, AGENT):
            process = self.start(program, "s3://pool?endpoint=http://127.0.0.1:1&credentials=env")
            said = process.communicate(timeout=60)[1]
            self.assertEqual(process.returncode, 1, said)
            self.assertIn("pool main: it was never used from here and cannot be probed now", said)

    def test_a_known_store_that_does_not_answer_holds_no_start_up(self):
        store = Store(keeps_conditions=True)
        for program in (EBBD, DISKD):
            process = self.start(program, store.url())
            self.assertNotIn("warning: pool", self.said_until_it_listens(process))
            self.stop(process)
        url, _ = store.url(), store.shutdown()
        store.server_close()
        for program in (EBBD, DISKD):
            process = self.start(program, url)
            self.assertIn("cannot be probed now, and is used because it has passed before", self.said_until_it_listens(process))
            self.stop(process)

    def test_the_class_of_new_disks_in_a_bucket_is_nobodys_silent_guess(self):
        store = Store(keeps_conditions=True)
        for default_class, says in ((None, "must be named for a pool in a bucket: remote (a FLUSH waits for the store) or local"),
                                    ("replicated", "replicated is reserved: a peer's sync is not built yet; choose remote or local"),
                                    ("tape", "'tape' is no class of disks: choose remote or local")):
            process = self.start(EBBD, store.url(), default_class)
            said = process.communicate(timeout=60)[1]
            self.assertEqual(process.returncode, 2, said)
            self.assertIn("default_class", said)
            self.assertIn(says, said)
        self.assertFalse(store.objects, "nothing was begun")
        for url, default_class in ((store.url(), "local"), (f"dir:{self.at}/pool", None)):
            process = self.start(EBBD, url, default_class)
            self.said_until_it_listens(process)
            self.stop(process)

    def test_a_good_store_is_taken_and_nothing_but_the_probe_is_written(self):
        store = Store(keeps_conditions=True)
        process = self.start(DISKD, store.url())
        self.said_until_it_listens(process)
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(60)
            client.connect(f"{self.at}/diskd.sock")
            client.sendall(b"GET / HTTP/1.1\r\nHost: diskd\r\n\r\n")
            self.assertTrue(client.recv(1024).startswith(b"HTTP/1.1 "))
        self.stop(process)
        self.assertTrue(store.objects)
        for path in store.objects:
            self.assertTrue(path.startswith("/pool/cell/probe/"), path)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
