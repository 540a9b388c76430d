"""
redis-benchmark, and the redis-servers that kvapp is measured next to: one that keeps everything in
memory only, and one that syncs its file before it answers.
"""

import csv
import os
import socket
import subprocess
import sys
import time

MEMORY, ALWAYS = "redis-server, no persistence", "redis-server, appendfsync always"


class RedisServers:
    """Both of them, each on a port of its own."""

    def __init__(self, folder, ports):
        self.folder = folder
        self.ports = {MEMORY: ports.take(), ALWAYS: ports.take()}
        self.processes = []

    def start(self):
        for name, port in self.ports.items():
            place = os.path.join(self.folder, "redis-%d" % port)
            os.makedirs(place)
            keeps = ["--appendonly", "yes", "--appendfsync", "always"] if name == ALWAYS else []
            self.processes.append(subprocess.Popen(  # pylint: disable=consider-using-with
                ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "",
                 "--dir", place] + keeps, stdout=subprocess.DEVNULL))
            wait_for(port)

    def stop(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait()


def wait_for(port):
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit("nobody listens on port %d" % port)


def measure(port, kind, options, pipeline):
    """Operations a second, p50 and p99 in ms, of redis-benchmark's SET or GET."""
    requests = options.redis_requests * (4 if pipeline > 1 else 1)
    done = subprocess.run(
        ["redis-benchmark", "-h", "127.0.0.1", "-p", str(port), "-t", kind, "-n", str(requests),
         "-c", str(options.clients), "-P", str(pipeline), "-d", str(options.value_size),
         "-r", "100000", "-e", "--csv"],
        capture_output=True, check=False, timeout=120)
    rows = [row for row in csv.reader(done.stdout.decode().splitlines()) if len(row) == 8]
    if done.returncode != 0 or len(rows) != 2:
        sys.exit("redis-benchmark failed: %s" % (done.stdout + done.stderr).decode())
    found = dict(zip(rows[0], rows[1]))
    return float(found["rps"]), float(found["p50_latency_ms"]), float(found["p99_latency_ms"])
