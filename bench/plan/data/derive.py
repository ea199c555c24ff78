#!/usr/bin/env python3
"""Makes shapes.csv and group_sizes.csv of the traces: derive.py AZURE_FOLDER HUAWEI_FOLDER. The tables are committed; this says how they came about."""

import collections
import csv
import gzip
import pathlib
import sys

here = pathlib.Path(__file__).parent
azure, huawei = map(pathlib.Path, sys.argv[1:])

day = 7
shapes = collections.Counter()
for trace in sorted(azure.glob("*_1pcnt_0.csv.gz")):
    for row in csv.DictReader(gzip.open(trace, "rt")):
        if float(row["starttime"]) <= day < float(row["endtime"]):
            shapes[int(float(row["cores"])), int(float(row["ram"]))] += 1
with open(here / "shapes.csv", "w") as out:
    print("cores,ram,alive", file=out)
    for (cores, ram), count in sorted(shapes.items()):
        print(f"{cores},{ram},{count}", file=out)

sizes = collections.Counter()
for requests in sorted(huawei.glob("vm_requests_C*.csv")):
    groups = collections.Counter(row["group"] for row in csv.DictReader(open(requests)) if row["strategy"] == "anti-affinity")
    sizes.update(size for size in groups.values() if size > 1)
with open(here / "group_sizes.csv", "w") as out:
    print("size,groups", file=out)
    for size, count in sorted(sizes.items()):
        print(f"{size},{count}", file=out)
