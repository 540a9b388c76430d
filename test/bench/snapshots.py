"""
What a snapshot costs those who write meanwhile: p99 of puts over a large key space, by turns
without one and while all three servers take theirs at once. With --next-to another binary does the
same in the same rounds. Told are each round, and the medians of the rounds' ratios.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import cluster as library  # pylint: disable=wrong-import-position


def bench(cluster, options, kind, requests, *more):
    done = subprocess.run(
        [options.kvapp, "bench", "--cluster", cluster.text, "--clients", str(options.clients),
         "--requests", str(requests), "--key-space", str(options.keys), "--json", *more, kind],
        capture_output=True, check=False, timeout=600, env=library.environment_of())
    if done.returncode != 0:
        sys.exit("kvapp bench failed: %s" % (done.stderr + done.stdout).decode())
    return json.loads(done.stdout)["p99_us"] / 1000


def one_round(name, cluster, options):
    """p99 with a snapshot by p99 without one."""
    alone = bench(cluster, options, "put", options.requests)
    began = time.monotonic()
    taking = subprocess.Popen([options.kvapp, "client", "--cluster", cluster.text, "--timeout",
                               "60000", "snapshot"], stdout=subprocess.DEVNULL,
                              env=library.environment_of())
    beside = bench(cluster, options, "put", options.requests)
    wrote = time.monotonic() - began
    over = taking.poll() is not None
    if taking.wait(120) != 0:
        sys.exit("%s: the snapshot failed" % name)
    print("  %-10s p99 %6.2f ms without, %6.2f ms with a snapshot: %.2f times%s" % (
        name, alone, beside, beside / alone,
        "   (it was over before the %.1f s of the puts)" % wrote if over else
        "   (it took %.1f s)" % (time.monotonic() - began)), flush=True)
    return beside / alone


def run(options, folder, ports):
    binaries = {"kvapp": options.kvapp}
    if options.next_to:
        binaries["the other"] = options.next_to
    clusters = {}
    try:
        for number, (name, binary) in enumerate(binaries.items()):
            there = os.path.join(folder, str(number))
            os.mkdir(there)
            clusters[name] = library.Cluster(binary, there, ports,
                                             arguments=["--snapshot-entries", "1000000000"])
            clusters[name].start()
            # What is read is written first, all of it.
            bench(clusters[name], options, "get", 1000, "--pipeline", "32")
        ratios = {name: [] for name in clusters}
        for number in range(1, options.rounds + 1):
            print("round %d of %d" % (number, options.rounds), flush=True)
            for name, cluster in clusters.items():
                ratios[name].append(one_round(name, cluster, options))
        for name, found in ratios.items():
            print("%s: %.2f times (median, %.2f–%.2f)" % (name, statistics.median(found),
                                                          min(found), max(found)))
    finally:
        for cluster in clusters.values():
            cluster.stop()


def main():
    parser = argparse.ArgumentParser(prog="./dev bench --snapshots", description=__doc__)
    parser.add_argument("--kvapp", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--snapshots", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--next-to", metavar="KVAPP", help="another binary")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--requests", type=int, default=40000, help="puts in each half of a round")
    parser.add_argument("--keys", type=int, default=1000000)
    options = parser.parse_args()
    options.kvapp = os.path.abspath(options.kvapp)
    with library.place_for_benchmarks() as (folder, ports):
        run(options, folder, ports)


if __name__ == "__main__":
    main()
