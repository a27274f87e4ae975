"""README and docs as data, and a shell that runs their samples.

A fenced block is run unless it is a `text` block. An HTML comment on the line before it says what else is to be known:

    <!-- not run: REASON -->     one of NOT_RUN
    <!-- slow -->                run by `make soak` only
    <!-- runs until Ctrl-C -->   left running while the rest of the document runs
    <!-- cluster: 3 nodes -->    a cluster of so many nodes must be up
"""

import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NOT_RUN = {"make targets", "needs several hosts", "needs Maelstrom"}
OPTIONAL_TOOLS = {"redis-cli", "sqlite3", "curl"}
"""A command that needs one of these is left out where the tool is not installed."""

LIMIT_S = 30.0
_BLOCK = re.compile(r"^(?:<!-- (?P<mark>[^\n]*) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)
_ANY_TEXT = "…"
_VARIES = {r"\d+\.\d+\ s": r"\d+\.\d+ s", r"pid\ \d+": r"pid \d+"}
"""Parts of an expected output that differ from run to run, once escaped, and what they match."""


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    document: Path
    line: int
    language: str
    mark: str
    text: str

    def commands(self) -> Iterator[tuple[str, str]]:
        """Of a `console` block: each command, with a here-document if it has one, and the output shown after it."""
        for part in re.split(r"^\$ ", self.text, flags=re.M)[1:]:
            lines = part.splitlines()
            here = re.search(r"<<'(\w+)'", lines[0])
            end = lines.index(here[1]) + 1 if here else 1
            yield "\n".join(lines[:end]), "\n".join(lines[end:]).strip()


def blocks(document: Path) -> list[Block]:
    """Every fenced block of a document."""
    text = document.read_text()
    return [
        Block(
            document,
            text.count("\n", 0, found.start("language")) + 1,
            found["language"],
            found["mark"] or "",
            found["text"],
        )
        for found in _BLOCK.finditer(text)
    ]


def shown_by(python: str) -> str:
    """The output that a Python sample says it has: comments after its prints, up to a colon."""
    return "\n".join(re.findall(r"print\(.*\)  # ([^:\n]*)", python))


class Shell:
    """One bash in a directory of its own, with the commands of this installation in its path."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._base = _free_ports()
        environment = {name: value for name, value in os.environ.items() if name != "COUNTER_DIR"}
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
        self._environment = environment
        self._bash = self._start("bash --norc", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._background: list[tuple[subprocess.Popen[str], Path]] = []

    def _start(self, command: str, **options: object) -> "subprocess.Popen[str]":
        return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
            ["bash", "-c", f"exec {command}"],
            cwd=self._directory,
            env=self._environment,
            text=True,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **options,
        )

    def run(self, block: Block) -> None:
        """Do what a block says, and check that it does what it shows."""
        if nodes := re.fullmatch(r"cluster: (\d+) nodes", block.mark):
            self._need_cluster(int(nodes[1]))
        match block.language:
            case "console" if block.mark == "runs until Ctrl-C":
                self._run_in_background(*next(block.commands()))
            case "console":
                for command, shown in block.commands():
                    self._run_command(command, shown)
            case "python":
                (self._directory / "sample.py").write_text(self._real(block.text))
                self._run_command("python sample.py", shown_by(block.text))
            case "toml":
                self._try_members_file(block.text)

    def _run_command(self, command: str, shown: str) -> None:
        if command.split(maxsplit=1)[0] in {tool for tool in OPTIONAL_TOOLS if not shutil.which(tool)}:
            return
        printed = self.output(self._real(command))
        assert matches(shown, printed), f"$ {command}\nshows\n{shown}\nand is\n{printed}"

    def output(self, command: str) -> str:
        """What a command prints. Ports are those of the documents."""
        assert self._bash.stdin
        assert self._bash.stdout
        self._bash.stdin.write(f"{{ {command}\n}} </dev/null 2>&1; printf '\\n\\1\\n'\n")
        self._bash.stdin.flush()
        lines = iter(self._bash.stdout.readline, "\1\n")
        return self._as_documented("".join(lines)).strip()

    def _run_in_background(self, command: str, shown: str) -> None:
        written = self._directory / f"background-{len(self._background)}"
        with written.open("w") as out:
            process = self._start(self._real(command), stdin=subprocess.DEVNULL, stdout=out)
        self._background.append((process, written))
        deadline = time.monotonic() + LIMIT_S
        while not matches(shown + "\n…", self._as_documented(written.read_text())):
            assert time.monotonic() < deadline, f"$ {command}\nprints\n{written.read_text()}"
            time.sleep(0.02)  # between two looks: a command can't be asked to report what it has printed

    def _need_cluster(self, nodes: int) -> None:
        if not (self._directory / ".counter").exists():
            printed = self.output(self._real(f"cluster up -n {nodes} --detach"))
            assert f"{nodes} nodes up" in printed

    def _try_members_file(self, text: str) -> None:
        """A node reads it: then all that keeps this one from starting is that it is no member."""
        name, *_ = text.removeprefix("# ").splitlines()
        (self._directory / name).write_text(text)
        printed = self.output(f"counter-node --name nobody --members {name}")
        assert "list nobody in the --members file" in printed

    def _real(self, text: str) -> str:
        """A command or a sample with the ports that are free here."""
        text = re.sub(r"\b([78])10(\d)\b", lambda found: str(self._port(found)), text)
        text = re.sub(r"\bcluster up\b", f"cluster up --base-port {self._base}", text)
        return re.sub(r"^redis-cli\b", "redis-cli --no-raw", text)

    def _port(self, found: "re.Match[str]") -> int:
        return self._base + int(found[2]) - 1 + (1000 if found[1] == "8" else 0)

    def _as_documented(self, text: str) -> str:
        for at in range(9):
            text = re.sub(rf"\b{self._base + at}\b", str(7101 + at), text)
        return text

    def end(self) -> None:
        """Stop everything that was started, and check that what waits for Ctrl-C ends by it."""
        os.killpg(self._bash.pid, signal.SIGKILL)
        for manifest in self._directory.rglob("cluster.json"):
            down = [sys.executable, "-m", "gossip_counter.cluster", "down", "--dir", str(manifest.parent)]
            subprocess.run(down, capture_output=True, timeout=LIMIT_S, check=False)  # it may be down already
        for process, written in self._background:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)
            process.wait(LIMIT_S)
            assert "Traceback" not in written.read_text()
        self._bash.communicate()


@contextmanager
def shell(directory: Path) -> Iterator[Shell]:
    """A shell that leaves nothing behind."""
    made = Shell(directory)
    try:
        yield made
    finally:
        made.end()


def matches(shown: str, printed: str) -> bool:
    """Whether an output is as a document shows it: `…` stands for anything, times, process ids and columns vary."""
    pattern = re.escape(shown).replace(_ANY_TEXT, ".*").replace("\\\n.*", "(\n.*)?")
    pattern = re.sub(r"(\\ ){2,}", "  +", pattern)
    for varies, by in _VARIES.items():
        pattern = re.sub(varies.replace("\\", "\\\\").replace(r"\\d", r"\d"), by.replace("\\", r"\\"), pattern)
    return re.fullmatch(pattern, printed.strip(), re.S) is not None


def _free_ports() -> int:
    """The first of ten ports, and those a thousand above, that nobody uses; below those that the system gives out."""
    while True:
        base = random.randrange(20_001, 31_000, 10)
        with suppress(OSError):
            for port in (*range(base, base + 5), *range(base + 1000, base + 1005)):
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    with socket.socket(socket.AF_INET, kind) as tried:
                        tried.bind(("127.0.0.1", port))
            return base
