"""The benchmark of a drain measures what it says, in a short run of the build at hand. How fast that is, is not asked here: but its
exit code is that of its goals."""

import json
import pathlib
import subprocess
import sys
import tempfile

from e2e import arguments, check

args = arguments()
BENCH = pathlib.Path(__file__).resolve().parents[2] / "bench" / "drain" / "run"

with tempfile.TemporaryDirectory(prefix="ebb-bench-") as folder:
    out = pathlib.Path(folder) / "drain.json"
    done = subprocess.run([sys.executable, BENCH, "--rounds", "1", "--bin", args.bin, "--out", out], capture_output=True, text=True, timeout=400)
    check(out.exists(), f"no result: {done.stdout}{done.stderr}")
    result = json.loads(out.read_text())
    metrics = result["metrics"]
    raw = result["raw"]["interruption_ratio_median"]
    check(result["bench"] == "drain" and result["commit"] and result["runs"] == len(raw["ours"]) > 0, f"{result}")
    check(len(raw["peer"]) == 2 and raw["unit"] == "ms" and all(ms > 0 for ms in raw["ours"] + raw["peer"]), f"two floors a round: {raw}")
    ratio, overhead = metrics["interruption_ratio_median"], metrics["interruption_overhead_ms"]
    ours, floor = metrics["interruption_ms_median"], metrics["floor_ms_median"]
    check(abs(ratio - ours / floor) < 0.01 and abs(overhead - (ours - floor)) < 1, f"{metrics}")
    check(metrics["records_checked"] > 0 and metrics["records_lost"] == 0, f"{metrics}")
    is_met = ratio <= 1.5 and overhead <= 400
    check(done.returncode == (0 if is_met else 1), f"exit code {done.returncode} for {metrics}")
    check(("missed: " in done.stderr) == (not is_met), f"what is missed is named: {done.stderr}")
    print(f"ratio {ratio}, overhead {overhead} ms, exit code {done.returncode}")
