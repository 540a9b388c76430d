"""
How fast three servers on this machine are, with `kvapp bench`; with --peers next to a three-member
etcd on the same machine in the same run. Rounds of the systems alternate, since a machine drifts
over minutes by more than most differences; told are medians, the range, and the median of the
ratios within each round. With --peers there is a second part: what redis-benchmark finds of kvapp's
leader, of redis-server without persistence and with appendfsync always, and of the same etcd by its
own client. The last things printed are Markdown tables.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import cluster as library  # pylint: disable=wrong-import-position
import etcd  # pylint: disable=wrong-import-position
import redis_load  # pylint: disable=wrong-import-position

KINDS = ("put", "get")


class Result:
    """One measurement: ops/s, p50 and p99 in ms, and what the log did, where it is known."""

    def __init__(self, rate, p50, p99, syncs=None, entries=None):
        self.rate, self.p50, self.p99, self.syncs, self.entries = rate, p50, p99, syncs, entries


def measure_kvapp(options, cluster, kind):
    done = subprocess.run(
        [options.kvapp, "bench", "--cluster", cluster.text, "--clients", str(options.clients),
         "--requests", str(options.requests), "--value-size", str(options.value_size),
         "--pipeline", str(options.pipeline), "--json", kind],
        capture_output=True, check=False, timeout=600, env=library.environment_of())
    if done.returncode != 0:
        sys.exit("kvapp bench failed: %s" % (done.stderr + done.stdout).decode())
    report = json.loads(done.stdout)
    if report["errors"] != 0:
        sys.exit("kvapp bench counted errors: %s" % report)
    return Result(report["ops_per_second"], report["p50_us"] / 1000, report["p99_us"] / 1000,
                  report.get("log_syncs_per_second"), report.get("log_entries_per_sync"))


OWN, CHEAP = "etcd, its client", "etcd, h2load"


def measure_etcd(options, load, kind):
    return Result(*load(kind, options.clients, options.peer_requests, options.value_size))


def show(system, kind, result):
    log = ""
    if kind == "put" and result.syncs:
        log = "   %6.0f fsyncs/s of the leader, %.1f entries each" % (result.syncs, result.entries)
    print("  %-16s %-4s %8.0f ops/s   p50 %6.2f ms   p99 %6.2f ms%s" % (
        system, kind, result.rate, result.p50, result.p99, log), flush=True)


def median(values):
    return statistics.median(values) if values else 0


def table(options, found):
    """The Markdown table; found[system][kind] is a list of results, one for each round."""
    lines = ["| system | operation | ops/s, median (range) | p50 ms | p99 ms "
             "| fsyncs/s of the leader | entries an fsync |",
             "|---|---|---|---|---|---|---|"]
    for system, kinds in found.items():
        for kind in KINDS:
            results = kinds[kind]
            rates = [result.rate for result in results]
            syncs = [result.syncs for result in results if result.syncs]
            entries = [result.entries for result in results if result.entries]
            written = kind == "put" and syncs
            lines.append("| %s | %s | %s (%s–%s) | %.2f | %.2f | %s | %s |" % (
                system, kind, "{:,.0f}".format(median(rates)), "{:,.0f}".format(min(rates)),
                "{:,.0f}".format(max(rates)), median([result.p50 for result in results]),
                median([result.p99 for result in results]),
                "{:,.0f}".format(median(syncs)) if written else "",
                "%.1f" % median(entries) if written else ""))
    text = "\n".join(lines) + "\n"
    if options.peers:
        for kind in KINDS:
            for peer in OWN, CHEAP:
                ratios = [ours.rate / theirs.rate for ours, theirs in
                          zip(found["kvapp"][kind], found[peer][kind])]
                text += "\n- %s: %.1f times %s (median of the rounds' ratios, %.1f–%.1f)" % (
                    kind, median(ratios), peer, min(ratios), max(ratios))
    return text


PIPELINES = (1, 16)


def measure_redis(options, port, kind, pipeline):
    name = {"put": "set", "get": "get"}[kind]
    return Result(*redis_load.measure(port, name, options, pipeline))


def redis_rounds(options, cluster, peer, servers):
    """found[pipeline, kind][system] is a list of results, one for each round."""
    leader = int(cluster.wait_leader().client_address.rsplit(":", 1)[1])
    found = {}
    for number in range(1, options.rounds + 1):
        print("redis-benchmark, round %d of %d" % (number, options.rounds), flush=True)
        for pipeline in PIPELINES:
            for kind in KINDS:
                systems = {"kvapp": lambda k, p: measure_redis(options, leader, k, p)}
                for name, port in servers.ports.items():
                    systems[name] = lambda k, p, port=port: measure_redis(options, port, k, p)
                if pipeline == 1:
                    systems[OWN] = lambda k, _: measure_etcd(options, peer.load_own, k)
                for system, measure in systems.items():
                    result = measure(kind, pipeline)
                    found.setdefault((pipeline, kind), {}).setdefault(system, []).append(result)
                    show("%s, -P %d" % (system, pipeline), kind, result)
    return found


def redis_table(found):
    lines = ["| operation | pipeline | system | ops/s, median (range) | p50 ms | p99 ms "
             "| kvapp has, times |", "|---|---|---|---|---|---|---|"]
    for (pipeline, kind), systems in found.items():
        for system, results in systems.items():
            rates = [result.rate for result in results]
            ratios = [ours.rate / theirs.rate
                      for ours, theirs in zip(systems["kvapp"], results)]
            lines.append("| %s | %d | %s | %s (%s–%s) | %.2f | %.2f | %s |" % (
                {"put": "SET", "get": "GET"}[kind], pipeline, system,
                "{:,.0f}".format(median(rates)), "{:,.0f}".format(min(rates)),
                "{:,.0f}".format(max(rates)), median([result.p50 for result in results]),
                median([result.p99 for result in results]),
                "" if system == "kvapp" else "%.2f (%.2f–%.2f)" % (
                    median(ratios), min(ratios), max(ratios))))
    return "\n".join(lines)


def parse():
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument("--kvapp", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--peers", action="store_true", help="next to a three-member etcd")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--requests", type=int, default=100000, help="of kvapp, in a round")
    parser.add_argument("--peer-requests", type=int, default=15000, help="of etcd, in a round")
    parser.add_argument("--redis-requests", type=int, default=100000,
                        help="of redis-benchmark, in a round; four times as many in a pipeline")
    parser.add_argument("--value-size", type=int, default=100)
    parser.add_argument("--pipeline", type=int, default=1, help="of kvapp's clients")
    parser.add_argument("--io", default="auto", choices=["auto", "uring", "portable"])
    return parser.parse_args()


def run(options, folder, ports):
    cluster = library.Cluster(options.kvapp, folder, ports, arguments=["--io", options.io])
    systems = {"kvapp": lambda kind: measure_kvapp(options, cluster, kind)}
    peer, servers, by_redis = None, None, None
    try:
        cluster.start()
        if options.peers:
            peer = etcd.Etcd(folder, ports)
            peer.build_load()
            peer.start()
            systems[OWN] = lambda kind: measure_etcd(options, peer.load_own, kind)
            systems[CHEAP] = lambda kind: measure_etcd(options, peer.load, kind)
        found = {system: {kind: [] for kind in KINDS} for system in systems}
        for number in range(1, options.rounds + 1):
            print("round %d of %d" % (number, options.rounds), flush=True)
            for kind in KINDS:
                for system, measure in systems.items():
                    result = measure(kind)
                    found[system][kind].append(result)
                    show(system, kind, result)
        backend = cluster.servers[0].status().io_backend
        if options.peers:
            servers = redis_load.RedisServers(folder, ports)
            servers.start()
            by_redis = redis_rounds(options, cluster, peer, servers)
        cluster.wait_equal()
    finally:
        cluster.stop()
        if peer is not None:
            peer.stop()
        if servers is not None:
            servers.stop()
    print("\nThree servers on one machine of %d cores, %s; %d clients, %d in flight each, "
          "values of %d bytes, %d rounds.\n" % (
              os.cpu_count(), backend, options.clients, options.pipeline, options.value_size,
              options.rounds))
    print(table(options, found))
    if by_redis is not None:
        print("\nredis-benchmark, %d clients, values of %d bytes, 100,000 keys:\n" % (
            options.clients, options.value_size))
        print(redis_table(by_redis))


def main():
    options = parse()
    options.kvapp = os.path.abspath(options.kvapp)
    with library.place_for_benchmarks() as (folder, ports):
        run(options, folder, ports)


if __name__ == "__main__":
    main()
