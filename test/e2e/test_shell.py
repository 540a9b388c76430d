"""The shell, over a pipe and on a terminal, word for word."""

import os
import pty
import select
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import cluster as library  # pylint: disable=wrong-import-position
from tap import case, expect, expect_equal, run, wait_until  # pylint: disable=wrong-import-position

GREETING = ["Connected to kvapp cluster",
            "Type 'help' for available commands, 'quit' to exit"]
PROMPT = "kvapp> "


def shell(env, cluster, text):
    """The lines that a shell over a pipe prints, prompts left out."""
    done = env.client(cluster, stdin=text)
    output = (done.stdout + done.stderr).decode()
    return done, [line.replace(PROMPT, "") for line in output.splitlines()]


@case()
def shell_over_a_pipe_answers_word_for_word(env):
    cluster = env.cluster()
    done, lines = shell(env, cluster, "\n".join((
        "list", "get k", "put k v", "get k", "put k  two   words", "get k",
        'put q "  kept  spaces "', "get q", "put z 'it is \\n raw'", "get z",
        "list", "list q", "list nothing", "delete k", "delete k", "get k", "quit")) + "\n")
    expect_equal(lines, GREETING + [
        "No keys found", "Key not found", "OK", "v", "OK", "two words",
        "OK", "  kept  spaces ", "OK", "it is \\\\n raw",
        "k", "q", "z", "q", "No keys found", "OK", "Key not found", "Key not found", "Goodbye!"],
                 "lines")
    expect_equal(done.returncode, 1, "the highest status of its commands")


@case()
def shell_over_a_pipe_of_good_commands_ends_with_status_0(env):
    cluster = env.cluster()
    done, lines = shell(env, cluster, "put k v\nget k\nexit\n")
    expect_equal((done.returncode, lines), (0, GREETING + ["OK", "v", "Goodbye!"]), "shell")
    # The end of the input is as good as quit.
    done, lines = shell(env, cluster, "get k\n")
    expect_equal((done.returncode, lines[:3]), (0, GREETING + ["v"]), "shell")
    done, lines = shell(env, cluster, "get k")
    expect_equal((done.returncode, lines[:3]), (0, GREETING + ["v"]), "without a last newline")


@case()
def wrong_commands_are_told_and_the_shell_goes_on(env):
    cluster = env.cluster()
    _, lines = shell(env, cluster, "\n".join((
        "frob x", "put", "put k", "get", "get a b", "delete", "list a b", "", "   ",
        'put k "open', "put k v", "get k", "quit")) + "\n")
    text = "\n".join(lines)
    expect("Unknown command: frob. Type 'help' for available commands." in lines, "unknown", text)
    usages = [line for line in lines if line.startswith("Usage: ")]
    expect(len(usages) >= 6, "usages", text)
    expect(lines[-3:] == ["OK", "v", "Goodbye!"], "it goes on", text)


@case()
def help_lists_every_command(env):
    cluster = env.cluster(size=1)
    _, lines = shell(env, cluster, "help\nquit\n")
    text = "\n".join(lines)
    for word in ("get", "put", "delete", "list", "status", "help", "quit"):
        expect(word in text, "help names " + word, text)


@case()
def bytes_that_are_not_printable_are_shown_escaped_and_can_be_typed(env):
    cluster = env.cluster()
    with cluster.client() as client:
        client.put(b"bin", b"a\x00\x1b[31m\xff\\")
        client.put("schlüssel".encode(), "wört ✓".encode())
    _, lines = shell(env, cluster, 'get bin\nget schlüssel\nput "t\\x00\\xffz" v\nlist\nquit\n')
    expect_equal(lines[2], "a\\x00\\x1b[31m\\xff\\\\", "escaped")
    expect_equal(lines[3], "wört ✓", "printable UTF-8 as it is")
    with cluster.client() as client:
        expect_equal(client.get(b"t\x00\xffz")[0], b"v", "typed escapes")


@case()
def list_of_many_keys_comes_whole_and_in_order(env):
    cluster = env.cluster()
    count = 10500
    import native  # pylint: disable=import-outside-toplevel
    with native.Connection(cluster.wait_leader().client_address, 20) as connection:
        for start in range(0, count, 500):
            connection.send(b"".join(
                native.request(n, native.command(native.PUT, key=b"key%06d" % n, value=b""))
                for n in range(start, start + 500)))
            for _ in range(500):
                expect_equal(connection.receive().status, 0, "put")
    done = env.client(cluster, "list", "key")
    expect_equal(done.stdout.decode().split(), ["key%06d" % n for n in range(count)], "keys")


@case()
def shell_without_a_cluster_does_not_claim_to_be_connected(env):
    cluster = env.cluster(start=False)
    done = env.client(cluster, "--timeout", "1000", stdin="quit\n")
    text = (done.stdout + done.stderr).decode()
    expect("Connected to kvapp cluster" not in text, "no claim", text)
    expect("Error: " in text, "an error", text)
    expect_equal(done.returncode, 3, "exit status")


@case()
def shell_survives_a_change_of_leader(env):
    cluster = env.cluster()
    command = [env.binary, "client", "--cluster", cluster.text]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, env=library.environment_of()) as process:
        try:
            process.stdin.write(b"put k v\n")
            process.stdin.flush()
            seen = b""
            while b"OK" not in seen:
                seen += os.read(process.stdout.fileno(), 4096)
            cluster.wait_leader().kill()
            process.stdin.write(b"get k\nput k w\nget k\nquit\n")
            process.stdin.close()
            rest = process.stdout.read().decode().replace(PROMPT, "").splitlines()
            expect_equal(rest[-4:], ["v", "OK", "w", "Goodbye!"], "after the leader's death")
            expect_equal(process.wait(10), 0, "exit status")
        finally:
            process.kill()


class Terminal:
    """The shell on a terminal of its own."""

    def __init__(self, env, cluster, home, *words):
        master, slave = pty.openpty()
        self.master = master
        self.seen = ""
        self.process = subprocess.Popen(
            [env.binary, "client", "--cluster", cluster.text] + list(words), stdin=slave,
            stdout=slave, stderr=slave, env=library.environment_of(HOME=home, TERM="xterm"),
            close_fds=True, start_new_session=True)
        os.close(slave)

    def type(self, text):
        os.write(self.master, text.encode())

    def wait_for(self, text, timeout=10.0):
        """Reads until the text was printed; gives what came up to there."""
        deadline = time.monotonic() + timeout
        while text not in self.seen:
            left = deadline - time.monotonic()
            expect(left > 0, "the terminal did not show %r but" % text, self.seen)
            if select.select([self.master], [], [], left)[0]:
                try:
                    self.seen += os.read(self.master, 4096).decode("utf-8", "replace")
                except OSError:
                    expect(False, "the shell ended; it had shown", self.seen)
        before, self.seen = self.seen.split(text, 1)
        return before

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)


@case()
def shell_on_a_terminal_prompts_completes_and_remembers(env):
    cluster = env.cluster()
    terminal = Terminal(env, cluster, env.folder)
    try:
        for line in GREETING:
            terminal.wait_for(line)
        terminal.wait_for(PROMPT)
        terminal.type("put colour green\n")
        terminal.wait_for("OK")
        terminal.wait_for(PROMPT)
        # "de", Tab completes to "delete ".
        terminal.type("de\tcolour\n")
        terminal.wait_for("OK")
        terminal.wait_for(PROMPT)
        # Up twice: the put again.
        terminal.type("\x1b[A\x1b[A\n")
        terminal.wait_for("OK")
        terminal.wait_for(PROMPT)
        terminal.type("get colour\n")
        terminal.wait_for("green")
        terminal.wait_for(PROMPT)
        # An interrupt drops the line and not the shell.
        terminal.type("half a li\x03")
        terminal.wait_for(PROMPT)
        terminal.type("get colour\n")
        terminal.wait_for("green")
        terminal.wait_for(PROMPT)
        terminal.type("quit\n")
        terminal.wait_for("Goodbye!")
        expect_equal(terminal.process.wait(10), 0, "exit status")
    finally:
        terminal.close()


@case()
def end_of_input_on_a_terminal_ends_the_shell(env):
    cluster = env.cluster(size=1)
    terminal = Terminal(env, cluster, env.folder)
    try:
        terminal.wait_for(PROMPT)
        terminal.type("\x04")
        expect_equal(terminal.process.wait(10), 0, "exit status")
    finally:
        terminal.close()


@case()
def a_write_in_doubt_can_be_asked_for_by_another_client(env):
    cluster = env.cluster(size=1)
    terminal = Terminal(env, cluster, env.folder, "--timeout", "500")
    try:
        terminal.wait_for(PROMPT)
        terminal.type("put k v\n")
        terminal.wait_for("OK")
        cluster.servers[0].pause()
        terminal.type("put k w\n")
        terminal.wait_for("'outcome ")
        session, sequence = terminal.wait_for("'").split()
        terminal.type("quit\n")
        terminal.wait_for("Goodbye!")
        terminal.process.wait(10)
    finally:
        terminal.close()
    cluster.servers[0].resume()
    # What was sent to the server while it was stopped it finds now.
    wait_until(lambda: env.json(cluster, "outcome", session, sequence)["outcome"] == "applied", 10,
               "the write")
    told = env.json(cluster, "cancel", session, sequence)
    expect_equal((told["outcome"], told["revision"]),
                 ("applied", env.json(cluster, "get", "k")["revision"]), "too late to cancel")
    expect_equal(env.client(cluster, "cancel", session, str(int(sequence) + 1)).stdout,
                 b"Had no effect, and will have none\n", "one that was never sent")
    expect_equal(env.client(cluster, "outcome", "999999", "1").stdout,
                 b"Not known any more; if it was not applied, it will not be from now on: "
                 b"read the key\n", "of another session")


run()
