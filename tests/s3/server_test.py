#!/usr/bin/env python3
"""Our S3 test server as its clients see it: addressing, conditions, ranges, listing, signatures, faults, a folder that
outlives it. Usage: server_test.py PATH/TO/ebb-test-s3"""

import contextlib
import hashlib
import http.client
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from s3_client import S3Client

PROGRAM = sys.argv.pop(1)
ACCESS, SECRET = "AKIAEXAMPLE", "secret/with+signs="
ALLOWED = "".join(chr(c) for c in range(0x20, 0x7F)) + "/é"


@contextlib.contextmanager
def server(*words):
    process = subprocess.Popen([PROGRAM, "--bucket", "pool", "--access-key", ACCESS, "--secret-key", SECRET, *words],
                               stdout=subprocess.PIPE, text=True)
    try:
        yield re.fullmatch(r"listening on (\S+)\n", process.stdout.readline())[1]
    finally:
        process.terminate()
        assert process.wait(30) == 0
        process.stdout.close()


class ServerTest(unittest.TestCase):
    def setUp(self):
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        self.address = stack.enter_context(server())
        self.stack = stack
        self.s3 = self.client()

    def client(self, **more):
        words = {"access_key": ACCESS, "secret_key": SECRET, **more}
        client = S3Client(self.address, **words)
        self.stack.callback(client.close)
        return client

    def client_at(self, address, access_key=ACCESS, secret_key=SECRET):
        client = S3Client(address, access_key, secret_key)
        self.stack.callback(client.close)
        return client

    def put(self, key, body=b"body", **headers):
        return self.s3.call("PUT", "/pool/" + key, body, headers={n.replace("_", "-"): v for n, v in headers.items()})

    def get(self, key, **headers):
        return self.s3.call("GET", "/pool/" + key, headers={n.replace("_", "-"): v for n, v in headers.items()})

    def faults(self, *rules, **more):
        # On a connection of its own: the one under test may be in trouble.
        plain = self.client()
        reply = plain.send("PUT", "/-/faults", json.dumps({"rules": rules, **more}).encode())
        self.assertEqual(reply.status, 200, reply)

    def stats(self):
        return json.loads(self.client().send("GET", "/-/stats").body)

    def expect(self, reply, status, code=None):
        self.assertEqual(reply.status, status, reply)
        if code:
            self.assertIn(f"<Code>{code}</Code>".encode(), reply.body)
        return reply

    # What it stores.

    def test_gives_back_what_was_put_with_its_md5_as_tag(self):
        for size in (0, 1, 200_000, 16 << 20):
            body = hashlib.sha256(b"seed").digest() * (size // 32) + b"x" * (size % 32)
            tag = f'"{hashlib.md5(body).hexdigest()}"'
            self.assertEqual(self.expect(self.put(f"size/{size}", body), 200).etag, tag)
            reply = self.expect(self.get(f"size/{size}"), 200)
            self.assertEqual((reply.body, reply.etag), (body, tag))
            head = self.expect(self.s3.call("HEAD", f"/pool/size/{size}"), 200)
            self.assertEqual((head.headers["Content-Length"], head.etag, head.body), (str(size), tag, b""))

    def test_keys_may_hold_every_character(self):
        for key in (ALLOWED, "a//b", "a/../b", "+", "%41", "x" * 1024):
            self.expect(self.put(key, key.encode()), 200)
        for key in (ALLOWED, "a//b", "a/../b", "+", "%41", "x" * 1024):
            self.assertEqual(self.expect(self.get(key), 200).body, key.encode())
        self.expect(self.get("A"), 404, "NoSuchKey")
        self.expect(self.put("x" * 1025), 400, "KeyTooLongError")

    def test_a_host_may_name_the_bucket(self):
        by_host = self.client(host="pool.localhost:" + self.address.split(":")[1])
        self.expect(by_host.call("PUT", "/a/b", b"1"), 200)
        self.assertEqual(self.get("a/b").body, b"1")
        self.expect(self.client(host="other.localhost").call("GET", "/a/b"), 404, "NoSuchBucket")

    def test_deletes_and_knows_what_is_missing(self):
        self.expect(self.get("a"), 404, "NoSuchKey")
        self.assertEqual(self.s3.call("HEAD", "/pool/a").status, 404)
        self.put("a")
        self.expect(self.s3.call("DELETE", "/pool/a", headers={"If-Match": '"stale"'}), 412)
        for _ in range(2):
            self.expect(self.s3.call("DELETE", "/pool/a"), 204)
        self.expect(self.get("a"), 404, "NoSuchKey")
        self.expect(self.s3.call("GET", "/nothing/a"), 404, "NoSuchBucket")

    def test_makes_and_finds_buckets(self):
        self.assertEqual(self.s3.call("HEAD", "/more").status, 404)
        self.expect(self.s3.call("PUT", "/more"), 200)
        self.expect(self.s3.call("PUT", "/more"), 409, "BucketAlreadyOwnedByYou")
        self.assertEqual(self.s3.call("HEAD", "/more").status, 200)
        self.expect(self.s3.call("PUT", "/No"), 400, "InvalidBucketName")

    def test_refuses_what_it_does_not_know(self):
        self.put("a")
        self.expect(self.s3.call("PUT", "/pool/a", query={"partNumber": "1"}), 501, "NotImplemented")
        self.expect(self.s3.call("PUT", "/pool/b", headers={"x-amz-copy-source": "/pool/a"}), 501, "NotImplemented")
        self.expect(self.s3.call("GET", "/pool", query={"acl": ""}), 501, "NotImplemented")
        self.expect(self.s3.call("POST", "/pool/a"), 405, "MethodNotAllowed")

    def test_gives_parts(self):
        body = bytes(range(100))
        self.put("a", body)
        for text, part, said in (("bytes=0-9", body[:10], "0-9"), ("bytes=90-200", body[90:], "90-99"), ("bytes=50-", body[50:], "50-99"),
                                 ("bytes=-7", body[93:], "93-99"), ("bytes=-700", body, "0-99")):
            reply = self.expect(self.get("a", Range=text), 206)
            self.assertEqual((reply.body, reply.headers["Content-Range"]), (part, f"bytes {said}/100"))
        for text in ("bytes=100-", "bytes=100-200", "bytes=-0"):
            self.expect(self.get("a", Range=text), 416, "InvalidRange")
        for text in ("bytes=1-2,4-5", "lines=1-2", "bytes=9-2", "bytes=x-"):
            self.assertEqual(self.expect(self.get("a", Range=text), 200).body, body)

    # Conditions.

    def test_keeps_conditions_of_puts(self):
        one = self.expect(self.put("a", b"1", If_None_Match="*"), 200).etag
        self.expect(self.put("a", b"2", If_None_Match="*"), 412, "PreconditionFailed")
        two = self.expect(self.put("a", b"2", If_Match=one), 200).etag
        self.expect(self.put("a", b"3", If_Match=one), 412, "PreconditionFailed")
        self.assertEqual(self.get("a").body, b"2")
        self.expect(self.put("a", b"3", If_Match=two.strip('"')), 200)
        self.expect(self.put("none", b"3", If_Match=one), 404, "NoSuchKey")
        self.expect(self.put("none", b"3", If_None_Match='"x"'), 501, "NotImplemented")
        self.expect(self.get("none"), 404)
        three = self.get("a").etag
        self.assertEqual(self.get("a", If_None_Match=three).status, 304)
        self.expect(self.get("a", If_Match=one), 412, "PreconditionFailed")

    def test_can_be_strict_about_quotes(self):
        for kind, right, wrong in (("quoted", '"{}"', "{}"), ("unquoted", "{}", '"{}"')):
            with server("--if-match", kind) as address:
                client = S3Client(address, ACCESS, SECRET)
                tag = client.call("PUT", "/pool/a", b"1").etag.strip('"')
                self.expect(client.call("PUT", "/pool/a", b"2", headers={"If-Match": wrong.format(tag)}), 412)
                self.expect(client.call("PUT", "/pool/a", b"2", headers={"If-Match": right.format(tag)}), 200)
                client.close()

    def test_of_eight_racing_writers_one_wins(self):
        clients = [self.client() for _ in range(8)]
        for round in range(40):
            key = f"/pool/race/{round // 2}"  # made in one round, replaced in the next
            kind = {"If-None-Match": "*"} if round % 2 == 0 else {"If-Match": self.s3.call("GET", key).etag}
            replies = [None] * 8
            gate = threading.Barrier(8)

            def write(i):
                gate.wait()
                replies[i] = clients[i].call("PUT", key, f"{round} {i}".encode(), headers=kind).status

            threads = [threading.Thread(target=write, args=(i,)) for i in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(sorted(replies), [200] + [412] * 7)
            self.assertEqual(self.s3.call("GET", key).body, f"{round} {replies.index(200)}".encode())

    # Listing.

    def test_lists_with_prefix_delimiter_and_pages(self):
        keys = [f"v/disk-{i}/HEAD" for i in range(5)] + ["s/00/a", "s/00/b", "s/ff/c", "x&<y>"]
        for key in keys:
            self.put(key)

        def names(**query):
            found, prefixes, pages = [], [], 0
            query = {"list-type": "2", **{n.replace("_", "-"): v for n, v in query.items()}}
            while True:
                text = self.expect(self.s3.call("GET", "/pool", query=query), 200).body.decode()
                found += re.findall(r"<Contents><Key>(.*?)</Key>", text)
                prefixes += re.findall(r"<CommonPrefixes><Prefix>(.*?)</Prefix>", text)
                pages += 1
                more = re.search(r"<NextContinuationToken>(.*?)<", text)
                self.assertEqual("<IsTruncated>true" in text, more is not None)
                if not more:
                    return found, prefixes, pages
                query["continuation-token"] = more[1]

        self.assertEqual(names()[0], sorted(keys)[:-1] + ["x&amp;&lt;y&gt;"])
        self.assertEqual(names(prefix="v/", max_keys="2")[::2], (keys[:5], 3))
        self.assertEqual(names(delimiter="/", max_keys="1"), (["x&amp;&lt;y&gt;"], ["s/", "v/"], 3))
        self.assertEqual(names(prefix="s/", delimiter="/")[1], ["s/00/", "s/ff/"])
        self.assertEqual(names(prefix="s/", start_after="s/00/a")[0], ["s/00/b", "s/ff/c"])
        self.expect(self.s3.call("GET", "/pool", query={"list-type": "2", "continuation-token": "zz"}), 400, "InvalidArgument")
        first = self.expect(self.s3.call("GET", "/pool", query={"prefix": "s/", "marker": "s/00/a", "max-keys": "1"}), 200).body.decode()
        self.assertEqual(re.findall(r"<Contents><Key>(.*?)</Key>", first), ["s/00/b"])  # version 1 of listing
        self.expect(self.s3.call("GET", "/pool", query={"list-type": "3"}), 501, "NotImplemented")

    # Signatures.

    def test_lets_only_the_owner_of_the_key_in(self):
        self.put("a", b"1")
        for words, code, status in (({"secret_key": "wrong"}, "SignatureDoesNotMatch", 403), ({"access_key": "nobody"}, "InvalidAccessKeyId", 403),
                                    ({"skew_s": 901}, "RequestTimeTooSkewed", 403), ({"skew_s": -901}, "RequestTimeTooSkewed", 403),
                                    ({"region": "eu-west-1"}, "AuthorizationHeaderMalformed", 400)):
            other = self.client(**words)
            self.expect(other.call("GET", "/pool/a"), status, code)
            self.expect(other.call("PUT", "/pool/a", b"2" * 100_000), status, code)
        self.expect(self.client(skew_s=-800).call("GET", "/pool/a"), 200)
        self.expect(self.s3.send("GET", "/pool/a"), 403, "AccessDenied")
        self.assertEqual(self.get("a").body, b"1")

    def test_keeps_a_second_key_from_deleting_and_counts_by_key(self):
        with server("--no-delete-key", "WORKER:other/secret") as address:
            owner, worker = self.client_at(address), self.client_at(address, "WORKER", "other/secret")
            self.expect(worker.call("PUT", "/pool/a", b"1"), 200)
            self.expect(worker.call("DELETE", "/pool/a"), 403, "AccessDenied")
            self.expect(worker.call("GET", "/pool/a"), 200)
            self.expect(self.client_at(address, "WORKER", SECRET).call("GET", "/pool/a"), 403, "SignatureDoesNotMatch")
            self.expect(owner.call("DELETE", "/pool/a"), 204)
            counted = json.loads(owner.send("GET", "/-/stats").body)["requests_of_keys"]
            self.assertEqual(counted, {"WORKER PUT": 1, "WORKER DELETE": 1, "WORKER GET": 1, f"{ACCESS} DELETE": 1})

    def test_tells_the_rules_of_a_bucket_or_does_not(self):
        for what, none in (("lifecycle", "NoSuchLifecycleConfiguration"), ("replication", "ReplicationConfigurationNotFoundError")):
            self.expect(self.s3.call("GET", "/pool", query={what: ""}), 404, none)
            plain = self.client()
            self.assertEqual(plain.send("PUT", f"/-/{what}/pool", b"<X>1</X>").status, 200)
            self.assertEqual(self.expect(self.s3.call("GET", "/pool", query={what: ""}), 200).body, b"<X>1</X>")
            self.assertEqual(plain.send("PUT", f"/-/{what}/pool", b"").status, 200)
            self.expect(self.s3.call("GET", "/pool", query={what: ""}), 404, none)
        for kind, status, code in (("forbidden", 403, "AccessDenied"), ("not-implemented", 501, "NotImplemented")):
            with server("--bucket-rules", kind) as address:
                self.expect(self.client_at(address).call("GET", "/pool", query={"lifecycle": ""}), status, code)

    def test_a_body_or_header_changed_on_the_way_is_refused(self):
        other = hashlib.sha256(b"other").hexdigest()
        self.expect(self.s3.call("PUT", "/pool/a", b"1", headers={"x-amz-content-sha256": other}), 400, "XAmzContentSHA256Mismatch")
        self.expect(self.s3.call("PUT", "/pool/a", b"1", headers={"Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}), 400, "BadDigest")
        self.expect(self.s3.call("PUT", "/pool/a", b"1", unsigned={"x-amz-meta-a": "b"}), 403, "AccessDenied")
        self.expect(self.get("a"), 404)
        self.expect(self.s3.call("PUT", "/pool/a", b"1", headers={"x-amz-content-sha256": "UNSIGNED-PAYLOAD"}), 200)

    def test_curl_signs_alike(self):
        url = f"http://{self.address}/pool/a%20b"
        words = ["curl", "-sS", "-m", "20", "--aws-sigv4", "aws:amz:us-east-1:s3", "--user", f"{ACCESS}:{SECRET}"]
        hash = "x-amz-content-sha256: " + hashlib.sha256(b"by curl").hexdigest()
        subprocess.run([*words, "-f", "-H", hash, "-X", "PUT", "--data-binary", "by curl", "-H", "Content-Type:", url], check=True, timeout=30)
        empty = "x-amz-content-sha256: " + hashlib.sha256(b"").hexdigest()
        done = subprocess.run([*words, "-f", "-H", empty, url], check=True, capture_output=True, timeout=30)
        self.assertEqual(done.stdout, b"by curl")

    # Faults.

    def test_answers_errors_on_command(self):
        for fault, status, code in (("slow_down", 503, "SlowDown"), ("internal_error", 500, "InternalError"), ("conflict", 409, "ConditionalRequestConflict")):
            self.faults({"fault": fault, "method": "PUT", "prefix": "v/", "count": 2})
            self.expect(self.put("other"), 200)
            self.expect(self.get("v/a"), 404)
            for _ in range(2):
                self.expect(self.put("v/" + fault), status, code)
            self.expect(self.get("v/" + fault), 404)
            self.expect(self.put("v/a"), 200)
            self.s3.call("DELETE", "/pool/v/a")
        self.assertEqual(self.stats()["faults"], {"slow_down": 2, "internal_error": 2, "conflict": 2})

    def test_lies_about_what_it_did(self):
        self.faults({"fault": "false_precondition", "count": 1})
        self.expect(self.put("a", b"1", If_None_Match="*"), 412, "PreconditionFailed")
        self.assertEqual(self.get("a").body, b"1")
        self.faults({"fault": "false_error", "count": 1})
        self.expect(self.put("a", b"2"), 500)
        self.assertEqual(self.get("a").body, b"2")
        self.faults({"fault": "ignore_conditions", "method": "PUT"})
        self.expect(self.put("a", b"3", If_None_Match="*"), 200)
        self.expect(self.put("a", b"4", If_Match='"stale"'), 200)
        self.faults({"fault": "stale_read", "count": 1})
        self.assertEqual(self.get("a").body, b"3")
        self.assertEqual(self.get("a").body, b"4")
        self.faults({"fault": "stale_read", "count": 1})
        self.put("new")
        self.faults({"fault": "stale_read", "count": 1})
        self.expect(self.get("new"), 404)
        self.faults({"fault": "wrong_range", "count": 1})
        self.expect(self.get("a", Range="bytes=0-0"), 200)

    def test_breaks_connections(self):
        self.put("a", b"x" * 100_000)
        self.faults({"fault": "cut_body", "count": 1})
        with self.assertRaises(http.client.IncompleteRead) as cut:
            self.get("a")
        self.assertEqual(len(cut.exception.partial), 50_000)
        self.faults({"fault": "close_before", "count": 1})
        with self.assertRaises((http.client.RemoteDisconnected, ConnectionResetError)):
            self.put("before")
        self.expect(self.get("before"), 404)
        self.faults({"fault": "lost_reply", "count": 1})
        with self.assertRaises((http.client.RemoteDisconnected, ConnectionResetError)):
            self.put("lost", b"done")
        self.assertEqual(self.get("lost").body, b"done")

    def test_an_outage_hangs_or_refuses(self):
        self.put("a")
        self.faults({"fault": "hang"})
        slow = self.client(timeout_s=0.3)
        with self.assertRaises(TimeoutError):
            slow.call("GET", "/pool/a")
        self.faults()
        self.expect(self.get("a"), 200)
        self.faults(refuse_ms=2000)
        time.sleep(0.2)
        with self.assertRaises((http.client.RemoteDisconnected, ConnectionResetError)):
            self.get("a")  # on the connection that was open
        with self.assertRaises(ConnectionRefusedError):
            self.get("a")
        deadline = time.monotonic() + 20
        while True:
            try:
                self.expect(self.get("a"), 200)
                break
            except ConnectionRefusedError:
                self.assertLess(time.monotonic(), deadline)

    def test_latency_holds_up_nobody_else(self):
        self.put("slow")
        self.put("quick")
        self.faults({"fault": "latency", "prefix": "slow", "ms": 1500, "jitter_ms": 50})
        took = []

        def get_slowly():
            began = time.monotonic()
            self.client().call("GET", "/pool/slow")
            took.append(time.monotonic() - began)

        threads = [threading.Thread(target=get_slowly) for _ in range(10)]
        for thread in threads:
            thread.start()
        began = time.monotonic()
        for _ in range(20):
            self.get("quick")
        self.assertLess(time.monotonic() - began, 1.4)
        for thread in threads:
            thread.join()
        self.assertGreaterEqual(min(took), 1.5)
        self.assertLess(max(took), 8)
        self.assertGreaterEqual(self.stats()["in_flight_max"], 10)

    def test_the_same_seed_gives_the_same_faults(self):
        runs = []
        for _ in range(2):
            self.faults({"fault": "slow_down", "probability": 0.5}, seed=7)
            runs.append([self.get("none").status for _ in range(40)])
        self.assertEqual(runs[0], runs[1])
        self.assertEqual(set(runs[0]), {404, 503})
        self.assertEqual(self.client().send("PUT", "/-/faults", b'{"rules": [{"fault": "nonsense"}]}').status, 400)

    def test_counts(self):
        before = self.stats()
        self.put("a", b"12345")
        self.get("a")
        self.put("a", b"1", If_None_Match="*")
        after = self.stats()
        self.assertEqual((after["requests"]["PUT"], after["requests"]["GET"], after["conditional_puts"]), (2, 1, 1))
        self.assertEqual(after["bytes_in"] - before["bytes_in"], 6)
        self.assertEqual(after["objects"], 1)
        self.assertEqual(after["statuses"], {"200": 2, "412": 1})


class FolderTest(ServerTest):
    """The same on a folder, and what only a folder can."""

    def setUp(self):
        self.stack = stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        self.address = stack.enter_context(server("--folder", folder))
        self.s3 = self.client()

    def test_outlives_its_server(self):
        with tempfile.TemporaryDirectory() as folder:
            big = bytes(range(256)) * 4096
            with server("--folder", folder) as address:
                client = S3Client(address, ACCESS, SECRET)
                client.call("PUT", "/pool/a", b"old")
                tag = client.call("PUT", "/pool/a", big).etag
                client.call("PUT", "/more")
                client.call("PUT", "/more/" + "k" * 1024, b"")
                client.call("PUT", "/pool/gone", b"x")
                client.call("DELETE", "/pool/gone")
                client.close()
            with server("--folder", folder) as address:
                client = S3Client(address, ACCESS, SECRET)
                reply = client.call("GET", "/pool/a")
                self.assertEqual((reply.body, reply.etag), (big, tag))
                self.assertEqual(client.call("GET", "/more/" + "k" * 1024).status, 200)
                self.assertEqual(client.call("GET", "/pool/gone").status, 404)
                client.close()


unittest.main(verbosity=1)
