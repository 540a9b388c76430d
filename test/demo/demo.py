"""
What ./dev demo shows: three servers, a leader killed with -9 while four clients write, and nothing
that was acknowledged lost. Everything goes through the program as a person would use it: servers
are `kvapp server`, the load are shells of `kvapp client` fed through pipes.

Exit status 0 when all of it was seen to be true, 1 otherwise.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import cluster as library  # pylint: disable=wrong-import-position

WRITERS = 4
WRITE_PAUSE = 0.002
SECONDS_BEFORE = 1.5
SECONDS_AFTER = 1.5
PATIENCE = 10.0

COLOURS = {"bold": "\x1b[1m", "green": "\x1b[32m", "red": "\x1b[31m", "yellow": "\x1b[33m",
           "dim": "\x1b[2m", "plain": "\x1b[0m"}


class DemoFailed(Exception):
    """What should be true was not; the text says what."""


class Screen:
    """Short aligned lines, each with the seconds since the start."""

    def __init__(self, coloured):
        self.coloured = coloured
        self.start = time.monotonic()

    def paint(self, colour, text):
        return COLOURS[colour] + text + COLOURS["plain"] if self.coloured else text

    def title(self, text):
        print("\n" + self.paint("bold", text))
        self.start = self.start or time.monotonic()

    def line(self, text, colour=None):
        elapsed = "%6.2f s" % (time.monotonic() - self.start)
        print("  %s  %s" % (self.paint("dim", elapsed), self.paint(colour, text) if colour
                            else text), flush=True)

    def inset(self, text):
        print("            " + text, flush=True)


class Writer:
    """
    One shell of `kvapp client`: puts one key after the other, each only after the reply to the one
    before, and remembers what was acknowledged and when.
    """

    def __init__(self, binary, cluster, number):
        self.number = number
        self.acknowledged = []
        self.times = []
        self.other_answers = []
        self.stopping = threading.Event()
        self.process = subprocess.Popen(
            [binary, "client", "--cluster", cluster.text], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=library.environment_of(),
            preexec_fn=library.die_with_parent)
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def answer(self):
        """The next line that is not part of the greeting."""
        while True:
            line = self.process.stdout.readline()
            if not line:
                return None
            text = line.decode().replace("kvapp> ", "").strip()
            if text and not text.startswith(("Connected to", "Type 'help'")):
                return text

    def work(self):
        count = 0
        while not self.stopping.is_set():
            count += 1
            key = "load-%d-%05d" % (self.number, count)
            try:
                self.process.stdin.write(b"put %s value-of-%s\n" % (key.encode(), key.encode()))
                self.process.stdin.flush()
            except OSError:
                return
            text = self.answer()
            if text is None:
                return
            if text == "OK":
                self.acknowledged.append(key)
                self.times.append(time.monotonic())
            else:
                self.other_answers.append(text)
            time.sleep(WRITE_PAUSE)

    def stop(self):
        self.stopping.set()
        self.thread.join(PATIENCE)
        try:
            self.process.stdin.close()
        except OSError:
            pass
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise DemoFailed("writer %d did not come to an end" % self.number) from None


class Demo:
    """The acts, in their order."""

    def __init__(self, binary, screen, folder, ports):
        self.binary, self.screen = binary, screen
        self.folder = folder
        self.cluster = library.Cluster(binary, folder, ports)
        self.writers = []
        self.killed = None
        self.kill_time = None
        self.new_leader = None
        self.gap = None

    # ---- asking ----

    def client(self, *words, stdin=None):
        return subprocess.run([self.binary, "client", "--cluster", self.cluster.text] + list(words),
                              input=stdin, capture_output=True, timeout=30, check=False,
                              env=library.environment_of())

    def status(self):
        done = self.client("--json", "status")
        try:
            return json.loads(done.stdout)
        except ValueError:
            raise DemoFailed("no status: %s" % (done.stderr or done.stdout).decode()) from None

    def wait_for(self, condition, what):
        """Asks for the status until the condition holds of it."""
        deadline = time.monotonic() + PATIENCE
        while True:
            status = self.status()
            if condition(status):
                return status
            if time.monotonic() > deadline:
                raise DemoFailed("not within %.0f s: %s" % (PATIENCE, what))
            time.sleep(0.05)

    @staticmethod
    def leads(status, besides=None):
        """Whether one reachable member leads, and is not `besides`."""
        leaders = [member for member in status["members"]
                   if member["reachable"] and member["role"] == "leader"]
        return (len(leaders) == 1 and leaders[0]["id"] == status["leader"]
                and status["leader"] != besides)

    def member(self, status, number):
        return next(member for member in status["members"] if member["id"] == number)

    # ---- the acts ----

    def act_start(self):
        self.screen.title("Three servers start")
        for server in self.cluster.servers:
            server.start()
            self.screen.line("server %d   %s   clients %s" % (
                server.id, server.address, server.client_address))
        status = self.wait_for(self.leads, "a leader")
        leader = self.member(status, status["leader"])
        self.screen.line("server %d was elected leader, term %d" % (leader["id"], leader["term"]),
                         "green")

    def act_write_and_read(self):
        self.screen.title("Write and read through the client")
        for words, wanted in ((("put", "planet", "earth"), "OK"), (("get", "planet"), "earth"),
                              (("put", "moon", "one"), "OK"), (("list",), "moon\nplanet"),
                              (("delete", "moon"), "OK"), (("get", "moon"), "Key not found")):
            shown = self.client(*words).stdout.decode().strip()
            self.screen.line("%s %s" % (("kvapp client " + " ".join(words)).ljust(32),
                                        self.screen.paint("bold", shown.replace("\n", ", "))))
            if shown != wanted:
                raise DemoFailed("%r gave %r instead of %r" % (" ".join(words), shown, wanted))

    def act_kill(self):
        self.screen.title("The leader is killed while %d clients write" % WRITERS)
        self.writers = [Writer(self.binary, self.cluster, number + 1)
                        for number in range(WRITERS)]
        time.sleep(SECONDS_BEFORE)
        status = self.wait_for(self.leads, "a leader")
        self.killed = self.cluster.server(status["leader"])
        before = sum(len(writer.acknowledged) for writer in self.writers)
        self.screen.line("%d writes acknowledged so far; server %d leads" % (before,
                                                                             self.killed.id))
        self.kill_time = time.monotonic()
        self.killed.kill()
        self.screen.line("kill -9 of server %d" % self.killed.id, "red")
        status = self.wait_for(lambda status: self.leads(status, self.killed.id), "a new leader")
        self.new_leader = status["leader"]
        term = self.member(status, self.new_leader)["term"]
        self.screen.line("server %d was elected leader, term %d" % (self.new_leader, term),
                         "green")
        time.sleep(SECONDS_AFTER)
        for writer in self.writers:
            writer.stop()
        self.gap = self.longest_silence()
        self.screen.line("writes waited for %.0f ms, then went on" % (1000 * self.gap), "yellow")
        self.screen.line("%d writes acknowledged in all" % self.acknowledged_count())

    def longest_silence(self):
        """The longest time from the kill on in which no write of any client was acknowledged."""
        times = sorted(moment for writer in self.writers for moment in writer.times)
        last_before = max((moment for moment in times if moment <= self.kill_time),
                          default=self.kill_time)
        after = [moment for moment in times if moment > self.kill_time]
        if not after:
            raise DemoFailed("no write was acknowledged after the kill")
        return max(later - earlier for earlier, later in zip([last_before] + after, after))

    def acknowledged_count(self):
        return sum(len(writer.acknowledged) for writer in self.writers)

    def act_read_back(self):
        self.screen.title("Every acknowledged write is read back")
        keys = [key for writer in self.writers for key in writer.acknowledged]
        text = "".join("get %s\n" % key for key in keys).encode()
        done = self.client(stdin=text + b"quit\n")
        lines = done.stdout.decode().replace("kvapp> ", "").splitlines()[2:]
        if len(lines) < len(keys):
            raise DemoFailed("%d of %d reads were answered" % (len(lines), len(keys)))
        lost = [key for key, line in zip(keys, lines) if line != "value-of-" + key]
        if lost:
            raise DemoFailed("%d acknowledged writes are gone, such as %s" % (len(lost), lost[0]))
        self.screen.line("%d keys read, all there, each with its value" % len(keys), "green")

    def act_restart(self):
        self.screen.title("The dead server comes back")
        status = self.status()
        newest = self.member(status, status["leader"])["last_index"]
        self.killed.start()
        self.screen.line("server %d starts again; the others are at index %d" % (
            self.killed.id, newest))

        def caught_up(status):
            members = status["members"]
            return (self.leads(status) and all(member["reachable"] for member in members)
                    and len({member["applied"] for member in members}) == 1
                    and members[0]["applied"] >= newest)

        status = self.wait_for(caught_up, "server %d catches up" % self.killed.id)
        digests = {member["digest"] for member in status["members"]}
        if len(digests) != 1:
            raise DemoFailed("the servers' states differ: %s" % ", ".join(sorted(digests)))
        self.screen.line("it has caught up; the digest of all three states is equal", "green")
        self.screen.inset(self.screen.paint("bold", "server  role       term  applied  digest"))
        for member in status["members"]:
            self.screen.inset("%-6d  %-9s  %4d  %7d  %s" % (
                member["id"], member["role"], member["term"], member["applied"],
                member["digest"]))

    def act_summary(self):
        self.screen.title("Summary")
        for name, value in (("acknowledged writes", "%d" % self.acknowledged_count()),
                            ("lost", "0"),
                            ("no writes for", "%.0f ms" % (1000 * self.gap)),
                            ("leader", "server %d, then server %d" % (self.killed.id,
                                                                      self.new_leader)),
                            ("states", "equal on all three servers")):
            self.screen.inset("%-20s %s" % (name, self.screen.paint("bold", value)))

    def play(self):
        print(self.screen.paint("bold", "kvapp: one store on three servers"), flush=True)
        self.screen.inset(self.screen.paint("dim", "data and logs in %s" % self.folder))
        self.act_start()
        self.act_write_and_read()
        self.act_kill()
        self.act_read_back()
        self.act_restart()
        self.act_summary()

    def stay(self):
        """The shell, on the cluster that was just shown."""
        self.screen.title("The cluster stays up until you quit")
        self.client("delete-range", "load-")
        self.screen.inset("in another terminal:  %s client --cluster %s" % (
            os.path.relpath(self.binary), self.cluster.text))
        print(flush=True)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        subprocess.run([self.binary, "client", "--cluster", self.cluster.text], check=False,
                       env=library.environment_of(),
                       preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))

    def end(self):
        """Stops everything; the exit statuses that were not 0."""
        for writer in self.writers:
            if writer.process.poll() is None:
                writer.process.kill()
                writer.process.wait()
        wrong = []
        for server in self.cluster.servers:
            if not server.running:
                continue
            try:
                status = server.terminate()
            except subprocess.TimeoutExpired:
                server.kill()
                status = "killed, since it did not end"
            if status != 0:
                wrong.append("server %d ended with status %s" % (server.id, status))
        return wrong


def main():
    parser = argparse.ArgumentParser(prog="./dev demo")
    parser.add_argument("--kvapp", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--stay", action="store_true",
                        help="leave the cluster up and open the shell")
    options = parser.parse_args()
    screen = Screen(sys.stdout.isatty() and os.environ.get("NO_COLOR") is None)
    folder = tempfile.mkdtemp(prefix="kvapp-demo-")
    ports = library.Ports()
    demo = Demo(os.path.abspath(options.kvapp), screen, folder, ports)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    failure = None
    try:
        demo.play()
        if options.stay:
            demo.stay()
    except (DemoFailed, subprocess.TimeoutExpired) as error:
        failure = str(error)
    except KeyboardInterrupt:
        failure = "interrupted"
    finally:
        wrong = demo.end()
        ports.give_back()
    failures = [failure] * bool(failure) + wrong
    if failures:
        for text in failures:
            print("\n" + screen.paint("red", "demo: " + text), file=sys.stderr)
        print("demo: data and logs are left in %s" % folder, file=sys.stderr)
        sys.exit(1)
    shutil.rmtree(folder, ignore_errors=True)
    screen.line("three servers stopped cleanly, everything removed")


if __name__ == "__main__":
    main()
