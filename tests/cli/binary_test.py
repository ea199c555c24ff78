#!/usr/bin/env python3
"""The `ebb` program itself: real sockets, a real terminal, real signals, against a scripted HTTP server.

Usage: binary_test.py PATH_OF_EBB
"""
import http.server
import json
import os
import pty
import select
import socket
import subprocess
import sys
import threading
import time
import unittest

EBB = sys.argv.pop() if len(sys.argv) > 1 else "ebb"
PHASES = ["reserving", "preparing", "freezing", "moving_lease", "starting", "releasing", "done"]
PHASE_MS = 200


class Cell:
    """A control plane with one worker whose one VM moves, a phase every PHASE_MS, once a drain was started."""

    def __init__(self):
        self.started_at = None
        self.requests = []

    def plan(self):
        move = {"vm": "db-1", "mechanism": "pointer", "target": "worker-2", "order": 0, "predicted_interruption_ms": 900,
                "predicted_total_ms": 2300}
        return {"workers": ["worker-1"], "moves": [move], "blockers": [], "eta_ms": 2300, "critical_path": "", "state_hash": "h"}

    def drain(self):
        now = int(time.time() * 1000)
        began = self.started_at or now
        reached = min(1 + (now - began) // PHASE_MS, len(PHASES))
        history = [{"phase": p, "entered_at": began + i * PHASE_MS} for i, p in enumerate(PHASES[:reached])]
        done = reached == len(PHASES)
        migration = {"id": "M-1", "vm": "db-1", "source": "worker-1", "target": "worker-2", "mechanism": "pointer",
                     "source_epoch": 1, "target_epoch": 2, "drain": "D-1", "phase": PHASES[reached - 1], "history": history}
        view = {"migration": migration, "waiting_for": [], "progress": reached / len(PHASES)}
        drain = {"id": "D-1", "workers": ["worker-1"], "state": "done" if done else "running", "created_at": began}
        return {"drain": drain, "status": drain["state"], "migrations": [view], "blockers": [], "waiting_for": [],
                "moved": int(done), "remaining": int(reached < 4), "eta_ms": 1000}

    def answer(self, method, path, body):
        self.requests.append((method, path))
        if method == "POST" and path == "/v1/drains":
            if body.get("validate_only"):
                return 200, self.plan()
            self.started_at = int(time.time() * 1000)
            return 201, self.drain()
        if method == "GET" and path == "/v1/drains/D-1":
            return 200, self.drain()
        return 404, {"code": "not_found", "message": f"there is no {path}"}


def serve(cell):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def reply(self, status, value):
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def handle_any(self):
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if self.headers.get("authorization") != "Bearer secret":
                return self.reply(401, {"code": "invalid", "message": "the token is not known"})
            return self.reply(*cell.answer(self.command, self.path, json.loads(body or b"{}")))

        do_GET = do_POST = do_DELETE = handle_any

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


class EbbProgram(unittest.TestCase):
    def setUp(self):
        self.cell = Cell()
        self.server = serve(self.cell)
        self.environment = {"EBB_SERVER": f"127.0.0.1:{self.server.server_port}", "EBB_TOKEN": "secret", "TERM": "xterm",
                            "PATH": os.environ.get("PATH", "")}

    def tearDown(self):
        self.server.shutdown()
        self.server.server_close()

    def ebb(self, *args, **environment):
        return subprocess.run([EBB, *args], env={**self.environment, **environment}, capture_output=True, text=True, timeout=60)

    def ebb_on_a_terminal(self, args, interrupt_when=None):
        """Exit code and output; Ctrl-C is typed once `interrupt_when` holds of the output so far."""
        pid, terminal = pty.fork()
        if pid == 0:
            os.execve(EBB, [EBB, *args], self.environment)
        output = b""
        while True:
            ready, _, _ = select.select([terminal], [], [], 60)
            try:
                more = os.read(terminal, 65536) if ready else b""
            except OSError:  # EIO: the other side is closed
                break
            if not more:
                break
            output += more
            if interrupt_when and interrupt_when(output):
                os.write(terminal, b"\x03")
                interrupt_when = None
        os.close(terminal)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), output.decode()

    def test_a_drain_in_a_pipe_tells_each_phase_and_ends_with_0(self):
        done = self.ebb("drain", "worker-1")
        self.assertEqual(done.returncode, 0, done.stderr)
        for phase in PHASES:
            self.assertIn(f"db-1  {phase}  worker-1 -> worker-2", done.stdout)
        self.assertNotIn("\x1b", done.stdout)
        self.assertIn("drain D-1 of worker-1 done: 1 VM moved", done.stdout)

    def test_a_drain_on_a_terminal_is_redrawn_in_place(self):
        code, output = self.ebb_on_a_terminal(["drain", "worker-1"])
        self.assertEqual(code, 0, output)
        self.assertGreaterEqual(output.count("drain D-1  worker-1"), 4)
        self.assertIn("drain D-1 of worker-1 done: 1 VM moved", output)

    def test_ctrl_c_leaves_the_drain_and_exits_130(self):
        code, output = self.ebb_on_a_terminal(["drain", "worker-1"], lambda text: b"drain D-1  worker-1" in text)
        self.assertEqual(code, 130, output)
        self.assertIn("drain D-1 goes on", output)
        self.assertFalse([r for r in self.cell.requests if "cancel" in r[1]])

    def test_exit_codes(self):
        with socket.socket() as unused:  # bound, but not listening: connections are refused
            unused.bind(("127.0.0.1", 0))
            nobody = f"127.0.0.1:{unused.getsockname()[1]}"
            for args, environment, code, words in [
                (["vms", "show", "x"], {}, 4, "there is no /v1/vms/x"),
                (["vms", "show"], {}, 2, "VM is required"),
                (["workers"], {"EBB_TOKEN": "wrong"}, 2, "the token is not known"),
                (["workers"], {"EBB_SERVER": nobody}, 5, f"cannot reach the control plane at {nobody}: start it or give --server"),
                (["images", "import", "i", "--kernel", "/nowhere"], {}, 2, "cannot open /nowhere"),
            ]:
                done = self.ebb(*args, **environment)
                self.assertEqual(done.returncode, code, done.stderr)
                self.assertIn(words, done.stderr)
                self.assertEqual(done.stdout, "")


if __name__ == "__main__":
    unittest.main(verbosity=2)
