"""What every benchmark ends with: a table for people, and build/bench/NAME.json for machines. A ratio is that of medians."""

import json
import pathlib
import platform
import statistics
import subprocess

REPO = pathlib.Path(__file__).resolve().parents[1]


def commit():
    done = subprocess.run(["git", "-C", str(REPO), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


class Report:
    def __init__(self, bench):
        self.bench, self.metrics, self.raw, self.skipped, self.rows, self.notes = bench, {}, {}, {}, [], []

    def ratio(self, key, ours, peers, unit, goal, higher_is_better=True, limit=None):
        """`peers`: name -> values; the better of them counts. `limit`: values of what the machine can do at best."""
        limit = statistics.median(limit) if limit else None
        best = (max if higher_is_better else min)(peers, key=lambda name: statistics.median(peers[name]))
        mine, theirs = statistics.median(ours), statistics.median(peers[best])
        self.metrics[key] = round(mine / theirs, 3)
        self.raw[key] = {"ours": ours, "peer": peers[best], "peer_name": best, "unit": unit, "all_peers": peers, "limit": limit}
        others = ", ".join(f"{name} {statistics.median(v):,.0f}" for name, v in peers.items())
        self.rows.append((key, f"{mine:,.0f} {unit}", others, f"{mine / theirs:.2f}", goal, f"{limit:,.0f} {unit}" if limit else "-"))

    def number(self, key, value, goal):
        self.metrics[key] = value
        self.rows.append((key, str(value), "-", str(value), goal, "-"))

    def skip(self, key, why):
        self.skipped[key] = why
        self.rows.append((key, "skipped", why, "-", "-", "-"))

    def note(self, text):
        """What a reader of the figures must know beside them."""
        self.notes.append(text)

    def write(self):
        out = REPO / "build" / "bench" / f"{self.bench}.json"
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps({"bench": self.bench, "commit": commit(), "host": f"{platform.node()} {platform.release()}",
                                   "metrics": self.metrics, "raw": self.raw, "skipped": self.skipped, "notes": self.notes}, indent=1) + "\n")
        rows = [("what", "ours", "peers", "ratio", "goal", "the machine's best"), *self.rows]
        widths = [max(len(r[i]) for r in rows) for i in range(6)]
        for row in rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
        for text in self.notes:
            print(f"({text})")
