from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import openai
import pytest

from aeval import (
    Concurrency,
    Evaluation,
    Rate,
    Result,
    Retry,
    Score,
    Usage,
    exact_match,
    record_usage,
    run,
    stack,
)
from aeval.context import Record
from aeval.errors import ConfigurationError, ServerError, StorageError
from aeval.middleware import Cache
from aeval.models import AnthropicModel, ChatModel
from aeval.testing import ModelRequest, ModelServer, run_virtual

pytestmark = pytest.mark.anyio

KEY = "sk-very-secret"


class Memory:
    """A storage in a dictionary."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.reads = 0

    async def recall(self, key: str) -> bytes | None:
        self.reads += 1
        return self.kept.get(key)

    async def keep(self, key: str, value: bytes) -> None:
        self.kept[key] = value


class Broken(Memory):
    """A storage that cannot be read or written."""

    async def recall(self, key: str) -> bytes | None:
        self.reads += 1
        raise StorageError("the disk is gone")

    async def keep(self, key: str, value: bytes) -> None:
        raise StorageError("the disk is gone")


class Gate:
    """A call that waits to be let through, and what was seen of its calls."""

    settings: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.opened = asyncio.Event()
        self.outcomes: list[Any] = []

    async def ask(self, question: Any) -> Any:
        self.asked.append(question)
        await self.opened.wait()
        outcome = self.outcomes.pop(0) if self.outcomes else f"answer {len(self.asked)}"
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


async def settled() -> None:
    """Let every task go on until it waits."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
def address() -> Iterator[Any]:
    def echo(request: ModelRequest) -> str:
        return f"{request.model}: {request.prompt}"

    server = ModelServer(echo)
    with server.serving() as where:
        yield type("Served", (), {"server": server, "url": where.openai_url, "root": where.anthropic_url})


def open_chat(address: Any, name: str = "m", **options: Any) -> ChatModel:
    return ChatModel(name, base_url=address.url, api_key=KEY, **options)


async def test_an_equal_call_makes_no_request(address: Any) -> None:
    """A call that was made before is answered without a request; another prompt, option or model makes one."""
    store = Memory()
    async with (
        open_chat(address) as model,
        open_chat(address, "m2") as other,
        open_chat(address, seed=1) as seeded,
    ):
        ask = Cache(store)(model.generate)
        assert [await ask("a"), await ask("a")] == ["m: a", "m: a"]
        assert len(address.server.requests) == 1
        await ask("b")
        await ask("a", temperature=1)
        assert await Cache(store)(other.generate)("a") == "m2: a"
        await Cache(store)(seeded.generate)("a")
        assert len(address.server.requests) == 5
        # Another object of the same settings, in another process perhaps, shares them.
        async with open_chat(address) as again:
            assert await Cache(store)(again.generate)("a") == "m: a"
        assert len(address.server.requests) == 5


async def test_replies_come_back_whole(address: Any) -> None:
    """A reply of aeval's models comes back as it was, its raw answer included."""
    for model in (
        open_chat(address),
        AnthropicModel("m", base_url=address.root, api_key=KEY),
    ):
        async with model:
            ask = Cache(Memory())(model.chat)
            messages = [{"role": "user", "content": "a"}]
            first, second = await ask(messages), await ask(messages)
            assert first == second
            assert first is not second
    assert len(address.server.requests) == 2


async def test_openai_client_is_understood(address: Any) -> None:
    """The openai client's own method is cached by model, messages and address, and its answer comes back whole."""
    store = Memory()
    question = {"model": "m", "messages": [{"role": "user", "content": "a"}]}
    for round_ in range(2):
        async with openai.AsyncOpenAI(base_url=address.url, api_key=KEY, max_retries=0) as client:
            ask = Cache(store)(client.chat.completions.create)
            answer = await ask(**question)
            assert answer.choices[0].message.content == "m: a"
            assert answer == await ask(**question)
            await ask(**{**question, "model": "m2"})
            assert len(address.server.requests) == 2, round_
            async with openai.AsyncOpenAI(base_url=f"{address.root}/v1/", api_key="other") as same:
                assert answer == await Cache(store)(same.chat.completions.create)(**question)
    assert answer._request_id


async def test_streams_are_handed_on_and_not_kept(address: Any) -> None:
    """An answer that cannot be restored is given to its caller as it is, never kept, and told of once."""
    store = Memory()
    async with openai.AsyncOpenAI(base_url=address.url, api_key=KEY) as client:
        ask = Cache(store)(client.chat.completions.create)
        question = {"model": "m", "messages": [{"role": "user", "content": "a"}], "stream": True}
        with pytest.warns(RuntimeWarning, match="AsyncStream' cannot be restored exactly") as told:
            streams = await asyncio.gather(*(ask(**question) for _ in range(3)))
        for stream in streams:
            assert [chunk async for chunk in stream]
    assert len(told) == 1
    assert not store.kept
    assert len(address.server.requests) == 3


async def test_no_key_is_stored(address: Any) -> None:
    """Neither keys nor values of the storage hold an API key."""
    store = Memory()
    async with (
        open_chat(address, headers={"X-Api-Key": KEY}) as model,
        openai.AsyncOpenAI(base_url=address.url, api_key=KEY) as client,
    ):
        await Cache(store)(model.chat)("a")
        await Cache(store)(lambda question: model.chat([{"role": "user", "content": question}]))("b")
        await Cache(store)(client.chat.completions.create)(
            model="m", messages=[{"role": "user", "content": "c"}]
        )
    assert len(store.kept) == 3
    for key, value in store.kept.items():
        assert KEY.encode() not in value
        assert len(key) == 64


async def test_equal_calls_in_flight_are_one_request(address: Any) -> None:
    """Of equal calls that are made at one time one is made, each gets an answer of its own, the rest count as hits."""
    async with open_chat(address) as model:
        ask = Cache(Memory())(model.chat)
        replies = await asyncio.gather(*(ask("a") for _ in range(20)))
    assert len(address.server.requests) == 1
    assert len({id(reply.raw) for reply in replies}) == 20


async def test_an_error_is_not_kept_and_the_next_one_asks() -> None:
    """Where the call that others wait for fails, only its caller gets the error, and the next in line makes the call."""
    gate, cache = Gate(), Cache(Memory())
    gate.outcomes = [ServerError("a", status_code=500), ServerError("b", status_code=500), "fine"]
    ask = cache(gate.ask)
    tasks = [asyncio.create_task(ask("q")) for _ in range(5)]
    await settled()
    assert gate.asked == ["q"]
    gate.opened.set()
    got = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(each) for each in got] == ["a", "b", "fine", "fine", "fine"]
    assert len(gate.asked) == 3
    assert await ask("q") == "fine"


async def test_a_cancelled_call_cancels_no_other() -> None:
    """Where the call that others wait for is cancelled, the next in line makes it; a cancelled waiter leaves the line."""
    gate, cache = Gate(), Cache(Memory())
    ask = cache(gate.ask)
    tasks = [asyncio.create_task(ask("q")) for _ in range(5)]
    await settled()
    tasks[2].cancel()
    await settled()
    # The second is cancelled in the very moment in which the call is handed to it.
    tasks[0].cancel()
    await asyncio.sleep(0)
    tasks[1].cancel()
    await settled()
    gate.opened.set()
    got = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in got] == [asyncio.CancelledError] * 3 + [str] * 2
    assert got[3] == got[4] == f"answer {len(gate.asked)}"
    assert all(not len(place.flights) for place in cache._places.values())


@pytest.mark.parametrize("moment", range(12))
async def test_cancelled_at_any_moment_nothing_is_left(moment: int) -> None:
    """At whatever step a call is cancelled, no other one is held up, and no flight is left behind."""
    gate, cache = Gate(), Cache("memory://")
    ask = cache(gate.ask)
    gate.opened.set()
    first, second = (asyncio.create_task(ask("q")) for _ in range(2))
    for _ in range(moment):
        await asyncio.sleep(0)
    first.cancel()
    assert (await second).startswith("answer")
    with suppress(asyncio.CancelledError):
        await first
    assert all(not len(place.flights) for place in cache._places.values())
    await cache.aclose()


async def test_hits_are_counted(record: Record, address: Any) -> None:
    """An answer from the cache counts as a hit, with no request and no tokens."""
    async with open_chat(address) as model:
        ask = Cache(Memory())(model.generate)
        await ask("a")
        asked = record.usage
        assert asked is not None
        assert (asked.requests, asked.cache_hits) == (1, 0)
        await ask("a")
        assert record.usage == asked + Usage(cache_hits=1)


async def test_repeats_have_answers_of_their_own(address: Any) -> None:
    """Each repeat of a row asks for itself, and running again asks nothing; with per_repeat=False they share one."""

    async def requests(cache: Cache) -> list[int]:
        counts = []
        async with open_chat(address) as model:
            ask = cache(model.generate)

            async def score(question: str, expected: str) -> Score:
                return exact_match(await ask(question), expected)

            for _ in range(2):
                before = len(address.server.requests)
                report = await run(Evaluation([("a", "m: a"), ("b", "m: b")], score), repeats=3)
                counts.append(len(address.server.requests) - before)
                assert report.summary["exact_match"]["accuracy"] == 1
                assert report.usage is not None
                assert report.usage.cache_hits + report.usage.requests == 6
        assert "6 calls answered from the cache" in str(report)
        assert report.to_dict()["usage"]["cache_hits"] == 6
        return counts

    assert await requests(Cache(Memory())) == [6, 0]
    assert await requests(Cache(Memory(), per_repeat=False)) == [2, 0]


def test_a_hit_takes_no_slot_and_no_rate() -> None:
    """Outside of Rate and Concurrency, an answer from the cache waits for neither."""

    async def main() -> float:
        gate = Gate()
        gate.opened.set()
        ask = stack(Cache(Memory()), Retry(), Rate(1, per=60), Concurrency(1))(gate.ask)
        await ask("q")
        await asyncio.gather(*(ask("q") for _ in range(100)))
        return asyncio.get_running_loop().time()

    assert run_virtual(main) == 0


async def test_own_key_stands_for_the_arguments() -> None:
    """What `key=` returns stands for the arguments, whatever they hold; models are still told apart."""
    store, gate = Memory(), Gate()
    gate.opened.set()
    ask = Cache(store, key=lambda question: question["id"])(gate.ask)
    assert await ask({"id": 1, "at": object()}) == await ask({"id": 1, "at": object()}) == "answer 1"
    assert await ask({"id": 2}) == "answer 2"
    other = Gate()
    other.settings = {"temperature": 1}
    other.opened.set()
    assert await Cache(store, key=lambda question: 1)(other.ask)("q") == "answer 1"
    with pytest.raises(
        ConfigurationError, match=r"key function returned for 'ask' an object of the class 'builtins:object'"
    ):
        await Cache(store, key=lambda question: object())(gate.ask)("q")


async def test_arguments_that_cannot_be_told_are_an_error() -> None:
    """An argument that may hold anything is an error that names it and the way out, and shares no answer."""
    gate = Gate()
    ask = Cache(Memory())(gate.ask)
    for call in (lambda: ask(object()), lambda: ask(question=[object()])):
        with pytest.raises(ConfigurationError, match=r"the argument 'question'.*'builtins:object'.*key="):
            await call()
    assert not gate.asked


async def test_a_broken_storage_costs_no_answer() -> None:
    """A storage that fails is told of once, left alone for a while, and every call is made."""
    gate, store = Gate(), Broken()
    gate.opened.set()
    ask = Cache(store)(gate.ask)
    with pytest.warns(
        RuntimeWarning, match="its storage failed, and calls go on without it: StorageError"
    ) as told:
        assert [await ask("q") for _ in range(3)] == ["answer 1", "answer 2", "answer 3"]
    assert len(told) == 1
    assert store.reads == 1


def test_a_storage_that_came_back_is_used_again() -> None:
    """After a while a storage that failed is tried again."""

    async def main() -> tuple[int, int]:
        gate, store = Gate(), Broken()
        gate.opened.set()
        ask = Cache(store)(gate.ask)
        with pytest.warns(RuntimeWarning, match="calls go on without it"):
            await ask("q")
        await asyncio.sleep(61)
        store.recall = Memory().recall  # type: ignore[method-assign]
        store.keep = (kept := Memory()).keep  # type: ignore[method-assign]
        await ask("q")
        return len(gate.asked), len(kept.kept)

    assert run_virtual(main) == (2, 1)


async def test_what_was_damaged_is_asked_again() -> None:
    """What cannot be read any more is a miss, and is replaced."""
    gate, store = Gate(), Memory()
    gate.opened.set()
    ask = Cache(store)(gate.ask)
    await ask("q")
    (key,) = store.kept
    store.kept[key] = b"no JSON"
    assert [await ask("q"), await ask("q")] == ["answer 2", "answer 2"]


async def test_a_large_answer_comes_back() -> None:
    """An answer of several megabytes comes back as it was."""
    gate = Gate()
    gate.opened.set()
    gate.outcomes = [["x" * 3_000_000]]
    ask = Cache(Memory())(gate.ask)
    assert await ask("q") == await ask("q")
    assert len(gate.asked) == 1


def test_a_cache_serves_one_loop_after_another(tmp_path: Path) -> None:
    """A cache by URL serves several event loops, unclosed, and leaves no thread and no warning behind."""
    cache = Cache(f"sqlite:///{tmp_path}/answers.db")
    before = threading.active_count()

    async def answers() -> list[Any]:
        gate = Gate()
        gate.opened.set()
        return [await cache(gate.ask)("q"), *await asyncio.gather(*(cache(gate.ask)(n) for n in (1, 1, 2)))]

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = asyncio.run(answers())
        assert asyncio.run(answers()) == first
        gc.collect()
    for thread in threading.enumerate():
        if thread.name.startswith("aeval-sqlite"):
            thread.join(5)
    assert threading.active_count() <= before


SCRIPT = """
import asyncio, sys
import openai
from aeval.middleware import Cache
from aeval.models import ChatModel

WORDS = {"one", "two", "three"}
storage, url, key = sys.argv[1:]
model = ChatModel("m", base_url=url, api_key=key, temperature=0)
client = openai.AsyncOpenAI(base_url=url, api_key=key)

async def ask(question):
    if question in {"a", "b", "c"}:
        return await model.chat(question, stop=sorted(WORDS))

async def main():
    async with Cache(storage) as cache:
        print((await cache(ask)("a")).text)
        messages = [{"role": "user", "content": "b"}]
        print((await cache(client.chat.completions.create)(model="m", messages=messages)).choices[0].message.content)
        await model.aclose()
        await client.close()

asyncio.run(main())
"""


async def test_answers_outlive_the_process_and_keys_do_not(address: Any, tmp_path: Path) -> None:
    """Another process, with another key and hash seed, finds the answers; no file of the storage holds a key."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    for seed in ("1", "2"):
        arguments = [sys.executable, str(script), f"sqlite:///{tmp_path}/answers.db", address.url, KEY + seed]
        done = await anyio.run_process(arguments, env={**os.environ, "PYTHONHASHSEED": seed})
        assert done.stdout.decode().split("\n")[:2] == ["m: a", "m: b"]
        assert not done.stderr
    assert len(address.server.requests) == 2
    files = [path for path in tmp_path.iterdir() if path != script]
    assert files
    for path in files:
        assert KEY.encode() not in path.read_bytes()


async def test_a_closed_cache_opens_anew(tmp_path: Path) -> None:
    """`async with` closes the storage; used again, the cache opens it again. Closing one that was not opened is fine."""
    gate = Gate()
    gate.opened.set()
    cache = Cache(f"sqlite:///{tmp_path}/answers.db")
    await cache.aclose()
    for _ in range(2):
        async with cache:
            assert await cache(gate.ask)("q") == "answer 1"


async def test_a_wrong_url_is_an_error() -> None:
    """A URL that cannot work is an error of each call."""
    gate = Gate()
    ask = Cache("sqlitee:///x")(gate.ask)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="sqlitee"):
            await ask("q")
    assert not gate.asked


async def test_a_storage_that_cannot_be_opened_costs_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the storage of a URL cannot be opened every call is made; once it can be, answers are kept."""
    opened: list[str] = []

    class Reluctant(Memory):
        async def open(self) -> None:
            opened.append("open")
            if len(opened) == 1:
                raise StorageError("nobody is there")

        async def aclose(self) -> None:
            opened.append("close")

    monkeypatch.setattr("aeval.storage.open_storage", lambda url: Reluctant())
    monkeypatch.setattr("aeval.middleware.store.PAUSE_SECONDS", 0.0)
    gate = Gate()
    gate.opened.set()
    async with Cache("postgresql://me:secret@host/db") as cache:
        ask = cache(gate.ask)
        with pytest.warns(RuntimeWarning, match=r"host/db'\): its storage failed.*nobody is there"):
            assert [await ask("q"), await ask("q")] == ["answer 1", "answer 1"]
    assert opened == ["open", "close", "open", "close"]


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Cache(3), "storage is a int"),  # type: ignore[arg-type]
        (lambda: Cache(Memory(), key="id"), "key is 'id'"),  # type: ignore[arg-type]
    ],
)
def test_arguments_that_cannot_work_are_refused(make: Callable[[], Cache], match: str) -> None:
    """A storage or key that cannot work is refused when the cache is made."""
    with pytest.raises(ConfigurationError, match=match):
        make()


def test_the_repr_shows_no_password() -> None:
    """A cache shows where its storage is, without user, password and options."""
    assert repr(Cache("postgresql://me:secret@host/db?password=secret")) == "Cache('postgresql://***@host/db')"
    assert repr(Cache(Memory())) == "Cache(Memory)"


def test_a_cache_around_a_cache_does_not_wait_for_itself() -> None:
    """The same cache twice around one call answers."""

    async def main() -> Any:
        gate, cache = Gate(), Cache(Memory())
        gate.opened.set()
        return await cache(cache(gate.ask))("q")

    assert run_virtual(main) == "answer 1"


# Whole samples.


async def outcomes(evaluation: Evaluation[Any, Any], cache: Cache, **options: Any) -> list[Result[Any, Any]]:
    return [result async for result in run(evaluation, middleware=[cache], ordered=True, **options)]


def stated(result: Result[Any, Any]) -> Any:
    return result.id, result.repeat, result.row, result.output, result.scores, result.error, result.metadata


@pytest.mark.parametrize("with_task", [False, True])
async def test_whole_samples_are_restored(with_task: bool) -> None:
    """Around whole samples neither task nor scorers run again, and the results are the same but for their usage."""
    ran = 0

    def note() -> None:
        nonlocal ran
        ran += 1

    async def task(question: str) -> Any:
        note()
        record_usage(input_tokens=5)
        return {"text": question, "parts": (1, 2)}

    def judged(output: Any, expected: str) -> Result[Any, Any]:
        note()
        text = output["text"] if with_task else output
        return Result(exact_match(text, expected), prompt="p", usage=Usage(input_tokens=1, requests=1))

    def long(output: Any) -> bool:
        note()
        return len(output) > 1

    rows = [("a", "a"), ("b", "c")]
    evaluation = (
        Evaluation(rows, [judged, long], task=task)
        if with_task
        else Evaluation(rows, judged, columns="output,expected")
    )
    cache = Cache(Memory())
    first = await outcomes(evaluation, cache, repeats=2)
    made = ran
    second = await outcomes(evaluation, cache, repeats=2)
    assert ran == made == 4 * len(first[0].scores) + 4 * with_task
    assert [stated(result) for result in first] == [stated(result) for result in second]
    assert all(result.ok for result in first)
    assert {result.usage for result in second} == {Usage(cache_hits=1)}


async def test_a_sample_is_evaluated_again_when_it_changed() -> None:
    """Another row, scorer, setting or name is another sample."""
    store = Memory()
    ran: list[Any] = []

    def evaluation(expected: str = "a", *, ignore_case: bool = True, name: str = "e") -> Evaluation[Any, Any]:
        def score(answer: str, expected: str) -> Score:
            return exact_match(answer, expected, ignore_case=ignore_case)

        return Evaluation([{"id": "1", "answer": "a", "expected": expected}], score, name=name)

    for options in [{}, {"expected": "b"}, {"ignore_case": False}, {"name": "f"}, {}]:
        (result,) = await outcomes(evaluation(**options), Cache(store))  # type: ignore[arg-type]
        ran.append(result.usage)
    assert ran == [None] * 4 + [Usage(cache_hits=1)]


class Judge:
    """A scorer that gives one outcome after another."""

    settings: dict[str, Any] = {}  # noqa: RUF012
    __name__ = "judge"

    def __init__(self, *outcomes: Any) -> None:
        self.outcomes = [*outcomes]

    async def __call__(self, row: Any) -> Any:
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


async def test_errors_of_samples_are_not_kept() -> None:
    """A sample that errored, or whose scorer returned what is no score, is evaluated again."""
    judge, cache = Judge(ServerError("down", status_code=500), None, True), Cache(Memory())
    kinds = []
    for _ in range(4):
        (result,) = await outcomes(Evaluation(["a"], judge), cache)
        kinds.append(result.error.kind if result.error else result.usage)
    assert kinds == ["ServerError", "ScoreError", None, Usage(cache_hits=1)]


async def test_rows_that_cannot_be_told_are_an_error_of_their_sample() -> None:
    """A row that may hold anything is an error of its sample that names the way out, and the way out works."""

    def score(row: Any) -> bool:
        return True

    rows = [object(), object()]
    results = await outcomes(Evaluation(rows, score), Cache(Memory()))
    assert {result.error.kind for result in results if result.error} == {"ConfigurationError"}
    assert "key=lambda sample" in str(results[0].error)
    cache = Cache(Memory(), key=lambda sample: sample.index)
    for hits in (None, Usage(cache_hits=1)):
        assert [result.usage for result in await outcomes(Evaluation(rows, score), cache)] == [hits, hits]
