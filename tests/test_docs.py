"""The documentation: its code runs, it prints what the pages say, and the site builds.

What the blocks of a page are is told by their languages, and by an HTML comment in the line before:

- `python` blocks of a page run one after another in one namespace, with `await` at the top level. Those that start
  with `>>>` are doctests. A `text` block right after one of them shows what it printed.
- `<!-- file: NAME -->` saves the block as a file for the page's commands instead.
- `<!-- example: NAME -->` quotes a script of docs/examples, which runs as a process; a `text` block shows its output.
- `console` blocks are sessions: each line that starts with `$` is a command, followed by what it prints.
- `<!-- any order -->` before an output: its lines come in any order. `<!-- varies -->`: they are not compared.
- `<!-- Ctrl-C -->` before a session of one command that keeps results as an experiment: it is interrupted once there
  are new ones, and what it printed is not compared.
- `<!-- within the loop -->` runs a block without `await` within the event loop, as a notebook does.
- `<!-- not run: reason -->` is for what cannot run here.

Durations, rates and ports in outputs are never compared.
"""

from __future__ import annotations

import ast
import asyncio
import doctest
import inspect
import io
import os
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, redirect_stdout, suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import CodeType

import attrs
import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
EXAMPLES = sorted((DOCS / "examples").glob("*.py"))
# Warnings are errors, but for those by which other packages prepare for other versions of theirs.
WARNINGS = "error,ignore::DeprecationWarning,ignore::FutureWarning"
ENVIRONMENT = {**os.environ, "PYTHONWARNINGS": WARNINGS, "PYTHONIOENCODING": "utf-8", "NO_COLOR": "1"}


@attrs.frozen
class Block:
    """A fenced block of a page.

    :param follows: whether it stands right after another block
    """

    language: str
    text: str
    line: int
    mark: str
    follows: bool

    @property
    def code(self) -> str:
        """The text, in the same lines as in the page, so that tracebacks point there."""
        return "\n" * self.line + self.text


def blocks_of(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    blocks = []
    lines = iter(enumerate(page.read_text(encoding="utf-8").splitlines(), start=1))
    mark, follows = "", False
    for number, line in lines:
        if line.startswith("```"):
            inside = []
            for _, each in lines:
                if each.startswith("```"):
                    break
                inside.append(each)
            blocks.append(Block(line[3:].strip(), "\n".join(inside) + "\n", number, mark, follows))
            mark, follows = "", True
        elif comment := re.fullmatch(r"<!-- (.*) -->", line):
            mark = comment[1]
        elif line.strip():
            mark, follows = "", False
    return blocks


def settled(text: str, *, any_order: bool = False) -> str:
    """Return an output without what differs from one run to the next."""
    text = re.sub(r"\d[\d,.]* (µs|ms|s|min)\b", "# s", text)
    text = re.sub(r"\d[\d,.]* samples/s", "# samples/s", text)
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:#", text)
    text = re.sub(r'File "(?:[^"]*/)?([^"/]+)"', r'File "\1"', text)
    lines = [line.rstrip() for line in text.strip("\n").splitlines()]
    return "\n".join(sorted(lines) if any_order else lines)


def check(shown: str, printed: str, mark: str = "") -> None:
    """Compare what a page shows with what was printed."""
    if mark not in {"varies", "Ctrl-C"}:
        any_order = mark == "any order"
        assert settled(printed, any_order=any_order) == settled(shown, any_order=any_order)


class Session:
    """What reading a page from its top to its end amounts to."""

    def __init__(self, page: Path, folder: Path, cleanup: ExitStack) -> None:
        self.page = page
        self.folder = folder
        self.namespace: dict[str, object] = {"__name__": "__main__"}
        self._cleanup = cleanup
        self._loop = cleanup.enter_context(asyncio.Runner())
        self._addresses: dict[str, str] = {}
        self._status = 0

    def read(self) -> Iterator[tuple[Block, str]]:
        """Run the page's blocks, and give each block that shows an output, with what was printed."""
        printed: str | None = None
        for block in blocks_of(self.page):
            if block.language == "python":
                printed = self._python(block)
            elif block.language == "console":
                yield block, "".join(self._console(block))
            else:
                if block.language == "text" and block.follows and printed is not None:
                    yield block, printed
                printed = None

    def _python(self, block: Block) -> str | None:
        what, _, name = block.mark.partition(": ")
        if what == "not run":
            assert name, f"{self.page.name} line {block.line} does not say why it is not run"
            return None
        if what == "file":
            self.folder.joinpath(name).write_text(self._addressed(block.text), encoding="utf-8")
            return None
        if what == "example":
            assert block.text == DOCS.joinpath("examples", name).read_text(encoding="utf-8"), name
            return output_of(DOCS / "examples" / name)
        if block.text.startswith(">>>"):
            return self._doctest(block)
        code = compile(
            self._addressed(block.code),
            str(self.page),
            "exec",
            flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
            dont_inherit=True,
        )
        with redirect_stdout(io.StringIO()) as out:
            if code.co_flags & inspect.CO_COROUTINE:
                self._loop.run(eval(code, self.namespace))
            elif block.mark == "within the loop":
                self._loop.run(self._cell(code))
            else:
                exec(code, self.namespace)
        return out.getvalue()

    async def _cell(self, code: CodeType) -> None:
        exec(code, self.namespace)

    def _doctest(self, block: Block) -> None:
        test = doctest.DocTestParser().get_doctest(
            block.text, self.namespace, self.page.name, str(self.page), block.line
        )
        report = io.StringIO()
        results = doctest.DocTestRunner(verbose=False).run(test, out=report.write, clear_globs=False)
        self.namespace.update(test.globs)
        assert not results.failed, report.getvalue()

    def _console(self, block: Block) -> Iterator[str]:
        lines = block.text.splitlines()
        commands = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        for place, command in enumerate(commands):
            yield f"$ {command}\n"
            if command == "echo $?":
                yield f"{self._status}\n"
                continue
            arguments = arguments_of(command)
            if "aeval.testing.server" in arguments:
                yield self._serve(arguments)
                continue
            if block.mark == "Ctrl-C":
                yield interrupt_process(arguments, self.folder)
                continue
            done = run_process(arguments, self.folder)
            self._status = done.returncode
            if commands[place + 1 : place + 2] != ["echo $?"]:
                assert done.returncode == 0, done.stderr
            yield done.stdout + (done.stderr if done.returncode else "")

    def _serve(self, arguments: list[str]) -> str:
        """Start a server on a port that is free, where the page names one."""
        port = None
        if "--port" in arguments:
            place = arguments.index("--port") + 1
            port, arguments[place] = arguments[place], "0"
        server = self._cleanup.enter_context(
            subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
        )
        self._cleanup.callback(server.terminate)
        assert server.stdout is not None
        line = server.stdout.readline()
        found = re.search(r"127\.0\.0\.1:\d+", line)
        assert found is not None, f"the server printed {line!r}"
        self._addresses[f"127.0.0.1:{port}"] = found[0]
        return line

    def _addressed(self, text: str) -> str:
        for shown, real in self._addresses.items():
            text = text.replace(shown, real)
        return text


def arguments_of(command: str) -> list[str]:
    """Return a command of a page as one that runs with this Python."""
    first, *rest = shlex.split(command, comments=True)
    assert first in {"python", "aeval"}, f"{command!r} cannot be run here: make it a block of bash"
    return [sys.executable, *(["-m", "aeval"] if first == "aeval" else []), *rest]


def run_process(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a process to its end, with warnings as errors."""
    return subprocess.run(
        arguments,
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


def interrupt_process(arguments: list[str], folder: Path) -> str:
    """Press Ctrl-C in a process that keeps results in the default storage, once there are new ones."""
    path = folder / ".aeval" / "results.db"
    before = stored_results(path)
    with subprocess.Popen(
        arguments, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            until = time.monotonic() + 60
            while stored_results(path) <= before:
                assert process.poll() is None, process.communicate()[0]
                assert time.monotonic() < until, "there were no results"
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            printed, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130, printed
    return printed


def stored_results(path: Path) -> int:
    """Return how many results a database has by now."""
    with (
        suppress(sqlite3.OperationalError),
        closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as base,
    ):
        (n,) = base.execute("SELECT count(*) FROM results").fetchone()
        return int(n)
    return 0


def forget_modules(folder: Path) -> None:
    """Forget the modules that a page's blocks imported from its files."""
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(str(folder)):
            del sys.modules[name]


@cache
def output_of(script: Path) -> str:
    """Return what a script of docs/examples prints, run once."""
    done = run_process([sys.executable, str(script)], script.parent)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every code block of a page runs, and prints what the page shows."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with ExitStack() as cleanup:
        cleanup.callback(forget_modules, tmp_path)
        for block, printed in Session(page, tmp_path, cleanup).read():
            check(block.text, printed, block.mark)


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda script: script.name)
def test_example(script: Path) -> None:
    """Every example runs as it is, and a page quotes it."""
    output_of(script)
    quoted = [page for page in PAGES if f"<!-- example: {script.name} -->" in page.read_text(encoding="utf-8")]
    assert quoted, f"no page quotes {script.name}"


@pytest.mark.skipif(
    find_spec("mkdocs") is None or find_spec("material") is None,
    reason="mkdocs and mkdocs-material are not installed: pip install '.[docs]'",
)
def test_site_builds(tmp_path: Path) -> None:
    """The site builds without a warning, and its pages load nothing from elsewhere."""
    arguments = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    environment = {key: value for key, value in ENVIRONMENT.items() if key != "PYTHONWARNINGS"}
    done = subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for page in tmp_path.rglob("*.html"):
        loaded = re.findall(r'<(?:script|img|link)[^>]*(?:src|href)="(https?://[^"]+)"', page.read_text())
        assert not loaded, f"{page.name} loads {loaded}"
