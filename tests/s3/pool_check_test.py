#!/usr/bin/env python3
"""`ebb pool check` as an operator runs it: good stores end with 0, one that ignores conditions with 1 and a word about why.
Usage: pool_check_test.py PATH/TO/ebb PATH/TO/ebb-test-s3 [radosgw]"""

import contextlib
import json
import pathlib
import subprocess
import sys
import tempfile

EBB, TEST_S3 = sys.argv[1:3]
ACCESS, SECRET = "AKIAEXAMPLE", "secret/with+signs="


def check(condition, text):
    if not condition:
        sys.exit(f"FAILED: {text}")


def pool_check(url, *words):
    return subprocess.run([EBB, "pool", "check", url, *words], capture_output=True, text=True, timeout=60)


def expect_good(url):
    done = pool_check(url)
    check(done.returncode == 0, f"{url}: exit code {done.returncode}: {done.stdout}{done.stderr}")
    lines = done.stdout.splitlines()
    check(len(lines) > 3 and all(line.endswith(" ok") for line in lines), f"{url}: every line ends with ok: {done.stdout}")
    report = json.loads(pool_check(url, "--json").stdout)
    check(all(not item["wrong"] for item in report["checks"]), f"{url}: {report}")
    print(f"ok: {url.split('?')[0]} is good, {report['took_ms']} ms")


@contextlib.contextmanager
def program(*words):
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        check(line, f"{words[0]} did not start")
        yield line
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


def test_radosgw():
    with program(sys.executable, str(pathlib.Path(__file__).with_name("radosgw.py")), "--die-with-parent") as line:
        said = json.loads(line)
        expect_good(f"s3://{said['bucket']}/pool?endpoint={said['endpoint']}&credentials={said['credentials']}")


def test_folder_and_own_server():
    with tempfile.TemporaryDirectory() as folder:
        expect_good(f"dir:{folder}/pool")
        credentials = pathlib.Path(folder) / "credentials"
        credentials.write_text(f"[default]\naws_access_key_id = {ACCESS}\naws_secret_access_key = {SECRET}\n")
        faults = pathlib.Path(folder) / "faults"
        faults.write_text('{"rules": [{"fault": "ignore_conditions", "method": "PUT"}]}')
        words = (TEST_S3, "--bucket", "pool", "--access-key", ACCESS, "--secret-key", SECRET)

        def url(line, bucket="pool"):
            return f"s3://{bucket}/x?endpoint=http://{line.split()[-1]}&credentials={credentials}"

        with program(*words) as line:
            expect_good(url(line))
            done = pool_check(url(line, "nothing"))
            check(done.returncode == 1 and "nothing" in done.stderr + done.stdout, f"a bucket that is not there: {done}")
        with program(*words, "--faults", str(faults)) as line:
            done = pool_check(url(line))
            check(done.returncode == 1, f"a store that ignores conditions: exit code {done.returncode}: {done.stdout}{done.stderr}")
            check("WRONG" in done.stdout and "create if absent" in done.stdout, f"it says what is wrong: {done.stdout}")
            report = json.loads(pool_check(url(line), "--json").stdout)
            check(any(item["wrong"] for item in report["checks"]), f"{report}")
            print("ok: a store that ignores conditions is refused")


test_radosgw() if sys.argv[3:] == ["radosgw"] else test_folder_and_own_server()
