#!/usr/bin/env python3
"""Makes the tables of this folder of the traces: derive.py HUAWEI_FOLDER ALIBABA_FOLDER. The tables are committed; this says how they came about."""

import collections
import csv
import gzip
import pathlib
import sys

here = pathlib.Path(__file__).parent
huawei, alibaba = map(pathlib.Path, sys.argv[1:])


def write(name, columns, counted):
    with open(here / name, "w") as out:
        print(columns, file=out)
        for key, count in sorted(counted.items()):
            print(",".join(map(str, (*key, count))), file=out)


racks = collections.Counter(row["rack_id"] for row in csv.DictReader(gzip.open(huawei / "host_rack.csv.gz", "rt")))
write("huawei_racks.csv", "workers,racks", collections.Counter((size,) for size in racks.values()))

# A host is as large as the most that any of them has free.
free = list(csv.DictReader(open(huawei / "pm_resources.csv")))
host = tuple(sum(max(int(row[f"numa{node}_{what}_free"]) for row in free) for node in (0, 1)) for what in ("cpu", "ram_gb"))
write("huawei_hosts.csv", "vcpus,ram_gib,hosts", {host: len(free)})

flavors, groups = collections.Counter(), collections.Counter()
for path in sorted(huawei.glob("vm_requests_C*.csv")):
    sizes = collections.Counter()
    for row in csv.DictReader(open(path)):
        flavors[int(row["flavor_vcpus"]), int(row["flavor_ram"])] += 1
        if row["strategy"]:
            sizes[row["strategy"], row["group"]] += 1
    groups.update((strategy, size) for (strategy, _), size in sizes.items() if size > 1)
    groups["none", 1] += sum(1 for row in csv.DictReader(open(path)) if not row["strategy"])
write("huawei_flavors.csv", "vcpus,ram_gib,requests", flavors)
write("huawei_groups.csv", "strategy,vms,groups", groups)

nodes = collections.Counter((int(r["cpu_milli"]), int(r["memory_mib"]), int(r["gpu"]), r["model"]) for r in csv.DictReader(open(alibaba / "openb_node_list_all_node.csv")))
write("alibaba_nodes.csv", "cpu_milli,memory_mib,gpus,model,nodes", nodes)
pods = collections.Counter((int(r["cpu_milli"]), int(r["memory_mib"]), min(1, int(r["num_gpu"]))) for r in csv.DictReader(open(alibaba / "openb_pod_list_default.csv")))
write("alibaba_pods.csv", "cpu_milli,memory_mib,needs_gpu,pods", pods)
