#!/usr/bin/env python3
"""Where `ebbd` listens: its configuration says it, --listen says it instead, and neither leaves this machine without TLS.

Usage: listen_test.py EBBD
"""
import os
import re
import signal
import subprocess
import sys
import tempfile
import unittest
import urllib.request

EBBD = sys.argv[1]


class Listen(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="ebb-test-")
        self.addCleanup(folder.cleanup)
        self.at = folder.name
        os.mkdir(f"{self.at}/pool")

    def words(self, listen, *more):
        with open(f"{self.at}/ebbd.toml", "w") as file:
            file.write(f'state_dir = "{self.at}/control"\nlisten = "{listen}"\n[pools.main]\nurl = "dir:{self.at}/pool"\n')
        return [EBBD, "--config", f"{self.at}/ebbd.toml", *more]

    def refused(self, listen, *more):
        done = subprocess.run(self.words(listen, *more), capture_output=True, text=True, timeout=30)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertFalse(os.path.exists(f"{self.at}/control"), "nothing was begun")
        return done.stderr

    def test_elsewhere_is_refused_by_file_and_by_flag(self):
        for elsewhere in ("0.0.0.0:7400", "10.0.0.1:7400", "[::]:7400", "example.org:7400"):
            self.assertRegex(self.refused(elsewhere), r"ebbd\.toml:2: .*listen.*loopback")
            self.assertRegex(self.refused("127.0.0.1:0", "--listen", elsewhere),
                             f"--listen {re.escape(elsewhere)}: only a loopback address")

    def test_a_flag_without_its_address_is_a_wrong_command_line(self):
        self.assertIn("usage: ebbd", self.refused("127.0.0.1:0", "--listen"))

    def test_the_flag_stands_for_the_file(self):
        process = subprocess.Popen(self.words(f"unix:{self.at}/sock", "--listen", "127.0.0.1:0"), stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.kill)
        for line in process.stderr:
            found = re.search(r"listening on (127\.0\.0\.1:\d+)", line)
            if found:
                break
        else:
            self.fail("it does not listen")
        with urllib.request.urlopen(f"http://{found.group(1)}/readyz", timeout=10) as reply:
            self.assertEqual(reply.status, 200)
        self.assertFalse(os.path.exists(f"{self.at}/sock"))
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(timeout=10), 0)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
