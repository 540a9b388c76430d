"""
The house rules, held by a test. Prints TAP, one case for each rule; --brief prints only what is
wrong. Each rule also carries a small tree that breaks it, and must find the break there: a rule
that can no longer fail is a failure itself.

A rule is a function from a tree (a dict from path to text) to a list of complaints. C is looked at
with comments and strings blanked out, line for line, so a word in a comment is never a call.
"""

import fnmatch
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

LINE_LENGTH_MAX = 100
FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 80

# Who may include whom: folders, or single headers of a folder. Everybody may include base and
# kvapp/err.h. The public headers count as headers of the folder that implements them.
ARROWS = {
    "base": [],
    "raft": [],
    "kv": [],
    "io": [],
    "storage": ["io"],
    "wire": ["kv/command.h", "kvapp/raft.h"],
    "node": ["raft", "storage", "kv", "wire", "io"],
    "client": ["wire", "kv/command.h", "io"],
    "cli": ["client"],
    "app": ["node", "cli", "sim", "storage", "kv/command.h", "raft/membership.h", "kvapp/raft.h",
            "wire/membership.h", "io/io.h"],
    "sim": ["node", "client", "io", "kv", "storage", "raft", "wire"],
}
PUBLIC = {
    "kvapp/err.h": "base",
    "kvapp/raft.h": "raft",
    "kvapp/node.h": "node",
    "kvapp/client.h": "client",
    "kvapp/reads.h": "base",
}

# Files over FILE_LINES_MAX, each with the reason.
LONG_FILES = {}

# Functions over FUNCTION_LINES_MAX, each with the reason: (file, function).
LONG_FUNCTIONS = {}

# Never, anywhere: they overflow, are not reentrant, or hide what they do.
UNSAFE = """strcpy strcat sprintf vsprintf strncpy strncat gets alloca strtok atoi atol atoll atof
    rand srand random srandom drand48 setjmp longjmp system popen asctime ctime gmtime localtime
    tmpnam mktemp""".split()

# Only where kvapp meets the world.
SYSTEM = """open openat creat close read write pread pwrite readv writev preadv pwritev pwritev2
    lseek fsync fdatasync sync ftruncate fallocate rename renameat unlink unlinkat mkdir rmdir
    opendir readdir scandir stat fstat lstat access mmap munmap flock fcntl ioctl fopen fclose fread
    fwrite fgets getline remove socket bind listen accept accept4 connect send sendto sendmsg recv
    recvfrom recvmsg setsockopt getsockopt shutdown poll ppoll select epoll_create1 epoll_ctl
    epoll_wait getaddrinfo gethostbyname pipe pipe2 eventfd timerfd_create signalfd fork execv
    execve execvp kill signal sigaction time clock gettimeofday clock_gettime nanosleep usleep sleep
    getrandom getentropy getenv setenv""".split()
SYSTEM_FOLDERS = ("io", "cli", "app")

# Only where kvapp talks to a person.
PRINTING = "printf vprintf puts putchar fprintf vfprintf fputs fputc perror".split()
PRINTING_FOLDERS = ("cli", "app")
EXITING = "exit _exit quick_exit abort".split()
EXITING_FOLDERS = ("cli", "app")
# The two last resorts: a broken invariant and the end of memory.
LAST_RESORTS = ("src/base/assert.c", "src/base/memory.c")

DOCUMENTS = """README.md HACKING.md LICENSE docs/TOUR.md docs/PROTOCOL.md docs/DECISIONS.md
    docs/PERFORMANCE.md docs/RAFT.md docs/OPERATING.md docs/LOCKS.md""".split()

KEYWORDS = ("if", "for", "while", "switch", "return", "sizeof", "do", "else")


# ---- looking at C ----

BLANK = re.compile(
    r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", re.DOTALL)


def code_of(text):
    """The text with comments and strings replaced by blanks; lines stay where they are."""
    return BLANK.sub(lambda match: re.sub(r"[^\n]", " ", match.group(0)), text)


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


def sources(tree, pattern="src/*.[ch]"):
    return sorted(path for path in tree if fnmatch.fnmatch(path, pattern))


def folder_of(path):
    parts = path.split("/")
    if parts[0] == "include":
        return PUBLIC.get("/".join(parts[1:]), "")
    return parts[1] if parts[0] == "src" and len(parts) > 2 else ""


def calls(tree, path, names):
    """
    (line, name) of each call of one of the names; methods of structs, and functions of that name
    which the file itself defines, are left out.
    """
    code = code_of(tree[path])
    own = set(re.findall(r"^static [^;({]*?\b(\w+)\(", code, re.MULTILINE))
    found = re.compile(r"(?<![\w.>])(%s)\s*\(" % "|".join(names))
    return [(line_of(code, match.start()), match.group(1)) for match in found.finditer(code)
            if match.group(1) not in own]


def functions(text):
    """(name, first line, lines) of each function: its brace stands in the first column."""
    lines = code_of(text).split("\n")
    start = None
    for number, line in enumerate(lines, 1):
        if line == "{":
            start = number
        elif line == "}" and start is not None:
            signature = start - 1
            while signature > 1 and lines[signature - 1][:1] in (" ", "", ")"):
                signature -= 1
            name = re.search(r"(\w+)\s*\(", "".join(lines[signature - 1:start - 1]))
            yield name.group(1) if name else "?", signature, number - signature + 1
            start = None


def statements(code):
    """(line, text) of each statement outside all braces, bodies cut out."""
    code = re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", lambda m: "\n" * m.group(0).count("\n"), code,
                  flags=re.MULTILINE)
    depth = 0
    begin, text = None, ""
    line = 1
    for character in code:
        if character == "\n":
            line += 1
        if character == "{":
            depth += 1
            text += "{" if depth == 1 else ""
        elif character == "}":
            depth -= 1
            text += "}" if depth == 0 else ""
            # The end of a function has no semicolon.
            if depth == 0 and re.search(r"\)\s*\{\}$", text):
                begin, text = None, ""
        elif depth == 0:
            if begin is None and not character.isspace():
                begin = line
            if character == ";":
                yield begin, " ".join(text.split())
                begin, text = None, ""
            elif begin is not None:
                text += character


# ---- the rules ----

def includes_follow_the_arrows(tree):
    wrong = []
    for path in sources(tree):
        folder = folder_of(path)
        allowed = ARROWS.get(folder)
        if allowed is None:
            wrong.append("%s: the folder has no line in the table of arrows" % path)
            continue
        for number, line in enumerate(tree[path].split("\n"), 1):
            match = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
            if not match:
                continue
            header = match.group(1)
            target = PUBLIC.get(header, header.split("/")[0])
            if target in (folder, "base") or target in allowed or header in allowed:
                continue
            wrong.append("%s:%d: %s may not include %s" % (path, number, folder, header))
    return wrong


def includes_have_no_cycles(tree):
    arrows = {}
    for path in sources(tree, "src/*.h") + sources(tree, "include/*.h"):
        name = path.split("/", 1)[1]
        arrows[name] = re.findall(r'^\s*#\s*include\s+"([^"]+)"', tree[path], re.MULTILINE)
    wrong, state = [], {}

    def visit(name, way):
        if state.get(name) == "done":
            return
        if state.get(name) == "open":
            wrong.append("headers include each other: %s" % " > ".join(way + [name]))
            return
        state[name] = "open"
        for other in arrows.get(name, []):
            visit(other, way + [name])
        state[name] = "done"

    for name in sorted(arrows):
        visit(name, [])
    return wrong


def unsafe_functions_are_not_called(tree):
    return ["%s:%d: %s()" % (path, line, name)
            for path in sources(tree) + sources(tree, "test/*.[ch]")
            for line, name in calls(tree, path, UNSAFE)]


def system_calls_stay_in_io(tree):
    return ["%s:%d: %s() belongs into src/io" % (path, line, name)
            for path in sources(tree) if folder_of(path) not in SYSTEM_FOLDERS
            for line, name in calls(tree, path, SYSTEM)]


def libraries_neither_print_nor_exit(tree):
    wrong = []
    for path in sources(tree):
        if path in LAST_RESORTS:
            continue
        for names, folders in ((PRINTING, PRINTING_FOLDERS), (EXITING, EXITING_FOLDERS)):
            if folder_of(path) not in folders:
                wrong += ["%s:%d: %s()" % (path, line, name)
                          for line, name in calls(tree, path, names)]
    return wrong


def there_are_no_mutable_globals(tree):
    wrong = []
    harmless = re.compile(r"^(typedef|extern|STATIC_CHECK|_Static_assert|static_assert)\b")
    for path in sources(tree):
        code = code_of(tree[path])
        for line, text in statements(code):
            head = text.split("=")[0]
            if harmless.match(text) or re.match(r"^(struct|enum|union)\b[\w\s]*(\{\})?$", text):
                continue
            if "=" not in text and "(" in text:
                continue
            constant = re.search(r"\*\s*const\b[^*]*$" if "*" in head else r"\bconst\b", head)
            if not constant:
                wrong.append("%s:%d: %s" % (path, line, text[:60]))
        for match in re.finditer(r"^[ \t]+static\s+(?!const\b|inline\b)[^;({]*", code,
                                 re.MULTILINE):
            wrong.append("%s:%d: static inside a function" % (path, line_of(code, match.end())))
    return wrong


def files_are_short(tree):
    wrong = []
    for path in sources(tree):
        count = tree[path].count("\n")
        if count > FILE_LINES_MAX and path not in LONG_FILES:
            wrong.append("%s: %d lines, more than %d" % (path, count, FILE_LINES_MAX))
    return wrong


def functions_fit_a_screen(tree):
    return ["%s:%d: %s() has %d lines, more than %d" % (path, line, name, count, FUNCTION_LINES_MAX)
            for path in sources(tree) + sources(tree, "test/*.c")
            for name, line, count in functions(tree[path])
            if count > FUNCTION_LINES_MAX and (path, name) not in LONG_FUNCTIONS]


def nothing_is_left_to_do(tree):
    words = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX|HA" r"CK)\b")
    wrong = []
    for path, text in sorted(tree.items()):
        # The protocol of the tests has a directive of that name.
        if path.startswith("test/lib/") or path == "LICENSE":
            continue
        for number, line in enumerate(text.split("\n"), 1):
            if words.search(line):
                wrong.append("%s:%d: %s" % (path, number, line.strip()[:60]))
    return wrong


def lines_are_clean(tree):
    wrong = []
    for path, text in sorted(tree.items()):
        if path == "LICENSE":
            continue
        prose = path.endswith(".md")
        recorded = path.endswith((".txt", "meson.build"))
        npm = path.endswith("package-lock.json")  # npm writes it.
        if text and not text.endswith("\n"):
            wrong.append("%s: no newline at the end" % path)
        for number, line in enumerate(text.split("\n"), 1):
            if "\t" in line and not (recorded or path.endswith(".go")):
                wrong.append("%s:%d: a tab" % (path, number))
            if line != line.rstrip():
                wrong.append("%s:%d: blanks at the end" % (path, number))
            if len(line) > LINE_LENGTH_MAX and not (prose or recorded or npm):
                wrong.append("%s:%d: %d columns" % (path, number, len(line)))
    return wrong


def headers_are_guarded_and_explained(tree):
    wrong = []
    for path in sources(tree, "src/*.h") + sources(tree, "include/*.h") + sources(tree, "test/*.h"):
        text = tree[path]
        if not text.startswith("/*"):
            wrong.append("%s: does not open with a comment that says what it is" % path)
        code = code_of(text).strip()
        guard = re.match(r"#ifndef (\w+)\n#define (\w+)\n", code)
        if not guard or guard.group(1) != guard.group(2) or not code.endswith("#endif"):
            wrong.append("%s: no include guard around everything" % path)
    return wrong


def a_source_includes_its_own_header_first(tree):
    wrong = []
    for path in sources(tree, "src/*.c"):
        own = path[len("src/"):-2] + ".h"
        first = re.search(r'^\s*#\s*include\s+"([^"]+)"', tree[path], re.MULTILINE)
        if "src/" + own not in tree:
            continue
        # A header of the folder may stand for it, when that one includes it.
        inner = tree.get("src/" + first.group(1), "") if first else ""
        if not first or (first.group(1) != own and '#include "%s"' % own not in inner):
            wrong.append("%s: does not include %s first" % (path, own))
    return wrong


def every_folder_is_explained(tree):
    wrong = []
    folders = {"/".join(path.split("/")[:2]) for path in sources(tree)}
    for folder in sorted(folders):
        readme = tree.get(folder + "/README.md")
        if readme is None:
            wrong.append("%s: no README.md" % folder)
            continue
        for path in sources(tree, folder + "/*.c"):
            name = path.rsplit("/", 1)[1]
            if name not in readme:
                wrong.append("%s/README.md: says nothing of %s" % (folder, name))
    return wrong


def promised_documents_exist(tree):
    return ["%s: missing" % name for name in DOCUMENTS if not tree.get(name)]


def anchors(text):
    found = set()
    for heading in re.findall(r"^#+\s+(.*)$", text, re.MULTILINE):
        plain = re.sub(r"[^\w\- ]", "", heading.lower())
        found.add(plain.replace(" ", "-"))
    return found


def links_lead_somewhere(tree):
    wrong = []
    for path in sources(tree, "*.md"):
        folder = os.path.dirname(path)
        for target in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", tree[path]):
            if re.match(r"[a-z]+:", target):
                continue
            file, _, anchor = target.partition("#")
            full = os.path.normpath(os.path.join(folder, file)) if file else path
            is_folder = any(name.startswith(full + "/") for name in tree)
            if full not in tree and not is_folder:
                wrong.append("%s: no %s" % (path, target))
            elif anchor and full in tree and anchor not in anchors(tree[full]):
                wrong.append("%s: no heading for %s" % (path, target))
    return wrong


def named_files_exist(tree):
    wrong = []
    basenames = {name.rsplit("/", 1)[-1] for name in tree}
    # What a build, a running server or an installation makes is not in the tree.
    rooted = re.compile(r"(?<![\w/.-])((?:src|test|docs|include|\.ci)/[\w./*\[\]-]*\w\*?)")
    single = re.compile(r"`([\w-]+\.(?:c|h|py|md|txt))`")
    for path in sources(tree, "*.md"):
        for name in rooted.findall(tree[path]):
            folder = name.rstrip("/")
            if not any(fnmatch.fnmatch(known, folder) or fnmatch.fnmatch(known, folder + "/*")
                       for known in tree):
                wrong.append("%s: names %s, which is not there" % (path, name))
        for name in single.findall(tree[path]):
            if name not in basenames:
                wrong.append("%s: names %s, which is not there" % (path, name))
    return wrong


def named_functions_are_there(tree):
    """Prose that says `one`, `two` (src/file.c), or test/file.py: `one`, `two`."""
    names = r"((?:`\w+`(?:,\s+(?:and\s+)?|\s+and\s+)?)+)"
    file = r"((?:src|test)/[\w/-]+\.(?:c|py))\b"
    # A test may have its name from a table.
    definition = re.compile(r'^def (\w+)\(|^ +[{.\w =]*"(\w+)"', re.MULTILINE)
    wrong = []
    for path in sources(tree, "*.md"):
        text = tree[path]
        said = [(match[1], match[0]) for match in re.findall(names + r"\s+\(" + file, text)]
        said += re.findall(file + r":\s+" + names, text)
        for target, list_of_names in said:
            code = tree.get(target, "")
            there = {name for name, _, _ in functions(code)}
            there.update("".join(match) for match in definition.findall(code))
            wrong += ["%s: names %s() of %s, which is not there" % (path, name, target)
                      for name in re.findall(r"`(\w+)`", list_of_names) if name not in there]
    return wrong


def names_in(tree, path):
    """In rows of a table: a line or a part of one that sets .name, or the flag's first text."""
    row = r'(?:^ +(?:\.|\[.*, \.)name = |=\s+FLAG\([\w\s|]+,\s+)"([\w-]+)"'
    return set(re.findall(row, tree.get(path, ""), re.MULTILINE))


def commands_of(text):
    """(line, words) of each call of kvapp in prose, or alone on a line of an example."""
    joined = re.sub(r"\\\n", lambda match: " \0", text)
    example = r"^ {4,}(?:\$ )?(?:[\w/.-]*/)?kvapp +([a-z-]+(?: .*)?)$"
    for match in re.finditer(example + r"|`kvapp ([a-z-]+(?: [^`]*)?)`", joined, re.MULTILINE):
        before = joined[:match.start()]
        line = before.count("\n") + before.count("\0") + 1
        yield line, (match.group(1) or match.group(2)).replace("\0", "").split()


def named_commands_exist(tree):
    """Each subcommand, command and option of kvapp that a document names."""
    table = tree.get("src/cli/options_table.c", "")
    options = names_in(tree, "src/cli/options_table.c")
    valued = {name for name in options
              if re.search(r'"%s",\s+\.value_name' % re.escape(name), table)}
    levels = {"kvapp": names_in(tree, "src/cli/subcommand_table.c") | {"help"},
              "client": names_in(tree, "src/cli/verbs.c"),
              "member": names_in(tree, "src/cli/member.c"), "leader": {"transfer"}}
    wrong = []
    for path in sources(tree, "*.md"):
        said = list(commands_of(tree[path]))
        for line, words in said:
            level, skip = "kvapp", False
            for word in words:
                option = re.match(r"--([a-z-]+)$", word)
                if option and option.group(1) not in options:
                    wrong.append("%s:%d: there is no option %s" % (path, line, word))
                if option or skip or word.startswith("-") or level not in levels:
                    skip = bool(option) and option.group(1) in valued
                    continue
                if re.match(r"[a-z-]+$", word) and word not in levels[level]:
                    wrong.append("%s:%d: %s has no %s" % (path, line, level, word))
                level = word
        for match in re.finditer(r"`--([a-z-]+)[^`]*`", tree[path]):
            if match.group(1) not in options:
                wrong.append("%s:%d: there is no option --%s"
                             % (path, line_of(tree[path], match.start()), match.group(1)))
    return wrong


def nobodys_machine_is_named(tree):
    own = re.compile(r"/(?:home|root|work|Users)/\w")
    return ["%s:%d: a path of somebody's machine" % (path, number)
            for path, text in sorted(tree.items())
            for number, line in enumerate(text.split("\n"), 1) if own.search(line)]


def exceptions_are_still_needed(tree):
    wrong = ["%s: not long any more" % path for path in LONG_FILES
             if tree.get(path, "").count("\n") <= FILE_LINES_MAX]
    for path, name in LONG_FUNCTIONS:
        lengths = [count for other, _, count in functions(tree.get(path, "")) if other == name]
        if not lengths or max(lengths) <= FUNCTION_LINES_MAX:
            wrong.append("%s: %s() is not long any more" % (path, name))
    return wrong


# Each rule, and a tree in which it must find something.
HEADER = "/* It. */\n#ifndef A\n#define A\n%s#endif\n"
RULES = [
    (includes_follow_the_arrows, {"src/raft/a.c": '#include "io/io.h"\n'}),
    (includes_have_no_cycles, {"src/kv/a.h": '#include "kv/b.h"\n',
                               "src/kv/b.h": '#include "kv/a.h"\n'}),
    (unsafe_functions_are_not_called, {"src/cli/a.c": "void f(void)\n{\n    strcpy(a, b);\n}\n"}),
    (system_calls_stay_in_io, {"src/node/a.c": "int f(void)\n{\n    return time(NULL);\n}\n"}),
    (libraries_neither_print_nor_exit, {"src/kv/a.c": 'void f(void)\n{\n    puts("x");\n}\n'}),
    (there_are_no_mutable_globals, {"src/kv/a.c": "static int count;\n"}),
    (there_are_no_mutable_globals, {"src/kv/a.c": "static const char *names[] = {0};\n"}),
    (there_are_no_mutable_globals, {"src/kv/a.c": "int f(void)\n{\n    static int n;\n}\n"}),
    (files_are_short, {"src/kv/a.c": "int a;\n" * (FILE_LINES_MAX + 1)}),
    (functions_fit_a_screen, {"src/kv/a.c": "int f(void)\n{\n" + "    g();\n" * 90 + "}\n"}),
    (nothing_is_left_to_do, {"src/kv/a.c": "/* TO" "DO: all of it */\n"}),
    (lines_are_clean, {"src/kv/a.c": "int a; \n"}),
    (lines_are_clean, {"src/kv/a.c": "\tint a;\n"}),
    (lines_are_clean, {"src/kv/a.c": "x" * 101 + "\n"}),
    (headers_are_guarded_and_explained, {"src/kv/a.h": "/* It. */\nint a(void);\n"}),
    (headers_are_guarded_and_explained, {"src/kv/a.h": "#ifndef A\n#define A\n#endif\n"}),
    (a_source_includes_its_own_header_first, {"src/kv/a.c": '#include "base/bytes.h"\n',
                                              "src/kv/a.h": HEADER % ""}),
    (every_folder_is_explained, {"src/kv/a.c": "int a(void);\n"}),
    (every_folder_is_explained, {"src/kv/a.c": "", "src/kv/README.md": "It is.\n"}),
    (promised_documents_exist, {}),
    (links_lead_somewhere, {"README.md": "See [this](docs/NOWHERE.md).\n"}),
    (links_lead_somewhere, {"README.md": "# One\n\nSee [this](#two).\n"}),
    (named_files_exist, {"README.md": "See `nowhere.c`.\n"}),
    (named_files_exist, {"README.md": "See src/nowhere.c.\n"}),
    (named_functions_are_there, {"README.md": "See `f`, `g` (src/kv/a.c).\n",
                                 "src/kv/a.c": "int g(void)\n{\n}\n"}),
    (named_functions_are_there, {"README.md": "See test/e2e/a.py: `f`.\n",
                                 "test/e2e/a.py": "g = f()\n"}),
    (named_commands_exist, {"README.md": "    $ kvapp sing\n"}),
    (named_commands_exist, {"README.md": "    $ kvapp client --json member \\\n        sing\n",
                            "src/cli/subcommand_table.c": '    .name = "client",\n',
                            "src/cli/options_table.c": '    .name = "json",\n',
                            "src/cli/verbs.c": '    .name = "member",\n'}),
    (named_commands_exist, {"README.md": "Say `kvapp help --loud`.\n"}),
    (named_commands_exist, {"README.md": "Say `--loud 3`.\n"}),
    (nobodys_machine_is_named, {"README.md": "/ho" "me/somebody\n"}),
]


def load():
    """Every text file that git knows or would take."""
    names = subprocess.run(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT,
                           capture_output=True, check=False)
    if names.returncode == 0:
        paths = names.stdout.decode().split("\0")
    else:
        paths = [os.path.relpath(os.path.join(folder, name), ROOT)
                 for folder, _, files in os.walk(ROOT) for name in files
                 if not re.search(r"/(build|\.git)", folder)]
    tree = {}
    for path in filter(None, paths):
        try:
            with open(os.path.join(ROOT, path), encoding="utf-8") as file:
                tree[path] = file.read()
        except (OSError, UnicodeDecodeError):
            continue
    return tree


def main():
    brief = "--brief" in sys.argv[1:]
    tree = load()
    rules = list(dict.fromkeys(rule for rule, _ in RULES)) + [exceptions_are_still_needed]
    cases = [(rule.__name__, rule(tree)) for rule in rules]
    cases.append(("every_rule_finds_a_planted_break",
                  ["%s finds nothing in %r" % (rule.__name__, planted)
                   for rule, planted in RULES if not rule(planted)]))
    if not brief:
        print("1..%d" % len(cases))
    for number, (name, wrong) in enumerate(cases, 1):
        if brief:
            for complaint in wrong:
                print(complaint)
            continue
        print("%s %d - %s" % ("not ok" if wrong else "ok", number, name))
        for complaint in wrong:
            print("# " + complaint)
    sys.exit(1 if any(wrong for _, wrong in cases) else 0)


if __name__ == "__main__":
    main()
