"""What every backend promises, against each of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import anyio
import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stores import Store, added, entries, entry, outputs, pages

from aeval.sample import SampleId
from aeval.storage.base import Backend, Counts, DuplicateSample, Entry, Known, Session, StoredRun
from aeval.storage.codec import decode
from aeval.storage.owner import Owner

pytestmark = pytest.mark.anyio


async def experiments(backend: Backend, size: int = 100) -> list[str]:
    found: list[str] = []
    while page := await backend.experiments(found[-1] if found else "", size):
        assert len(page) <= size
        found += page
    return found


async def runs(backend: Backend, experiment: str, size: int = 100) -> list[StoredRun]:
    found: list[StoredRun] = []
    while page := await backend.runs(experiment, found[-1].key if found else 0, size):
        assert len(page) <= size
        found += page
    return found


# Runs.


async def test_run_comes_back_as_it_was(backend: Backend) -> None:
    """A run is read back with all of its fields, and with a key and version from the storage."""
    session = Session(
        1000.5, "0.1.0", "3.11.2", "python 'x\u00e9\u2028' \\ \"y\"", "abc", True, "Retry", "gsm8k", "def"
    )
    owner = Owner("host", 17, "boot:1", 1000.5, 1001.5)
    run = StoredRun(
        experiment="exp \u00e9",
        evaluation="sums",
        number=3,
        started=1000.5,
        status="interrupted",
        ended=1002.0,
        seconds=2.5,
        samples=100,
        repeats=4,
        rescored=2,
        row_type="tuple",
        columns=("question", "answer"),
        owner=owner,
        sessions=(session, session),
    )
    stored = await backend.add_run(run)
    assert stored is not None
    assert stored.key > 0
    assert attrs.evolve(stored, key=0, version=0) == run
    assert await runs(backend, "exp \u00e9") == [stored]


async def test_taken_number_is_not_added(backend: Backend) -> None:
    """A second run of the same experiment, evaluation and number is not added; its neighbours are."""
    first = await added(backend)
    assert await backend.add_run(StoredRun("first", "sums", 1, 2000.0)) is None
    others = [
        await added(backend, number=2),
        await added(backend, evaluation="words"),
        await added(backend, experiment="second"),
    ]
    assert len({run.key for run in [first, *others]}) == 4
    assert await runs(backend, "first") == [first, *others[:2]]


async def test_update_takes_only_the_version_that_it_knows(backend: Backend) -> None:
    """A run is changed by whoever knows its version, and by nobody else."""
    run = await added(backend)
    updated = await backend.update_run(attrs.evolve(run, status="finished", ended=5.0))
    assert updated is not None
    assert updated.version != run.version
    assert (updated.status, updated.ended, updated.key) == ("finished", 5.0, run.key)
    assert await backend.update_run(attrs.evolve(run, status="failed")) is None
    assert await runs(backend, "first") == [updated]
    again = await backend.update_run(attrs.evolve(updated, status="running"))
    assert again is not None
    assert again.version not in {run.version, updated.version}


async def test_of_many_updates_at_once_one_wins(backend: Backend) -> None:
    """Of several changes that start from the same version, exactly one is made."""
    run = await added(backend)
    done: list[StoredRun | None] = []

    async def update(samples: int) -> None:
        done.append(await backend.update_run(attrs.evolve(run, samples=samples)))

    async with anyio.create_task_group() as tasks:
        for samples in range(8):
            tasks.start_soon(update, samples)
    (winner,) = [updated for updated in done if updated is not None]
    assert await runs(backend, "first") == [winner]


async def test_of_many_additions_at_once_one_wins(backend: Backend) -> None:
    """Of several runs that are added under the same number at once, exactly one is."""
    done: list[StoredRun | None] = []

    async def add(samples: int) -> None:
        done.append(await backend.add_run(StoredRun("first", "sums", 1, 1000.5, samples=samples)))

    async with anyio.create_task_group() as tasks:
        for samples in range(8):
            tasks.start_soon(add, samples)
    (winner,) = [run for run in done if run is not None]
    assert await runs(backend, "first") == [winner]


async def test_run_that_is_gone_cannot_be_updated(backend: Backend) -> None:
    """A run that was deleted is not changed, and does not come back."""
    run = await added(backend)
    await backend.delete_run(run.key)
    assert await backend.update_run(attrs.evolve(run, status="finished")) is None
    assert await runs(backend, "first") == []
    assert await experiments(backend) == []


@pytest.mark.parametrize("size", [1, 3, 100])
async def test_runs_come_in_pages_in_the_order_of_their_making(backend: Backend, size: int) -> None:
    """Runs are read in pages of any size, in the order in which they were added."""
    names = [("words", 1), ("sums", 2), ("sums", 1), ("a", 7), ("words", 2), ("\u00e9", 1), ("b", 1)]
    made = [await added(backend, *name) for name in names]
    await added(backend, experiment="other")
    assert await runs(backend, "first", size) == made
    assert await runs(backend, "missing", size) == []


@pytest.mark.parametrize("size", [1, 2, 100])
async def test_experiments_come_in_pages_by_code_points(backend: Backend, size: int) -> None:
    """Names of experiments are read in pages of any size, each once, sorted by code points."""
    names = ["b", "a", "B", "_", "a b", "ab", "\u00e9", "z", "\U0001f600", "\uff5e", "a-b", "10", "9"]
    for name in names:
        await added(backend, experiment=name)
        await added(backend, experiment=name, number=2)
    assert await experiments(backend, size) == sorted(names)


async def test_experiment_is_renamed_with_its_runs(backend: Backend) -> None:
    """A renamed experiment has its runs and results under the new name, and nothing under the old one."""
    run, second = await added(backend), await added(backend, number=2)
    await backend.commit(run.key, entries(3))
    assert await backend.rename("first", "renamed")
    assert await experiments(backend) == ["renamed"]
    assert await runs(backend, "first") == []
    found = await runs(backend, "renamed")
    assert [(one.key, one.experiment) for one in found] == [(run.key, "renamed"), (second.key, "renamed")]
    assert (await backend.counts(run.key)).n == 3
    # A name that is free again can be taken.
    await added(backend)
    # Who knew it by its old name has not seen the change, and does not undo it.
    assert await backend.update_run(attrs.evolve(run, status="finished")) is None
    assert await backend.update_run(attrs.evolve(found[0], status="finished")) is not None
    assert [one.status for one in await runs(backend, "renamed")] == ["finished", "running"]


async def test_experiment_cannot_take_another_ones_name(backend: Backend) -> None:
    """An experiment is not renamed to one that is there, itself among them, nor is one that is not there."""
    one, other = await added(backend), await added(backend, experiment="second")
    assert not await backend.rename("first", "second")
    assert not await backend.rename("first", "first")
    assert not await backend.rename("missing", "third")
    assert not await backend.rename("missing", "first")
    assert await runs(backend, "first") == [one]
    assert await runs(backend, "second") == [other]


async def test_deleting_removes_results_and_history(backend: Backend) -> None:
    """A deleted run is gone with its results and their history; the runs beside it keep theirs."""
    run, other = await added(backend), await added(backend, number=2)
    for key in (run.key, other.key):
        await backend.commit(key, entries(4))
        await backend.commit(key, entries(2, replaces=True))
    await backend.delete_run(run.key)
    assert await runs(backend, "first") == [other]
    assert await backend.counts(run.key) == Counts(0, 0, 0)
    assert await pages(backend, run.key) == []
    assert await pages(backend, run.key, history=True) == []
    assert await backend.lookup(run.key, [0, 1, 2, 3], 1) == {}
    assert (await backend.counts(other.key)).n == 4
    assert len(await pages(backend, other.key, history=True)) == 2


async def test_number_of_a_deleted_run_is_free(backend: Backend) -> None:
    """A run made in the place of a deleted one begins empty, under another key."""
    run = await added(backend)
    await backend.commit(run.key, entries(4))
    await backend.delete_run(run.key)
    again = await added(backend)
    assert again.key != run.key
    assert await backend.counts(again.key) == Counts(0, 0, 0)
    await backend.commit(again.key, entries(4))
    assert (await backend.counts(again.key)).n == 4


# Results.


async def test_unknown_run_has_nothing(backend: Backend) -> None:
    """A run that was never made has no results, and deleting it does nothing."""
    await added(backend)
    assert await backend.counts(12345) == Counts(0, 0, 0)
    assert await backend.page(12345, 0, 10) == []
    assert await backend.lookup(12345, [1, "1"], 2) == {}
    assert not await backend.settled(12345, [1], 1, 7)
    await backend.delete_run(12345)
    assert len(await runs(backend, "first")) == 1


async def test_empty_run_has_nothing(backend: Backend) -> None:
    """A run without results has none of any sort."""
    run = await added(backend)
    assert await backend.counts(run.key) == Counts(0, 0, 0)
    for ok in (None, True, False):
        for history in (False, True):
            assert await backend.page(run.key, 0, 10, ok=ok, history=history) == []
    assert await backend.lookup(run.key, [], 1) == {}
    assert await backend.lookup(run.key, [1], 1) == {}
    assert not await backend.settled(run.key, [1], 1, 7)


async def test_committed_results_are_counted_and_read(backend: Backend) -> None:
    """What was committed is counted, and is read back whole in the order of its commits."""
    run = await added(backend)
    first, second = entries(5), [entry("x", error="broken"), entry("y", output={"a": [1, None]})]
    await backend.commit(run.key, first)
    await backend.commit(run.key, second)
    found = await pages(backend, run.key)
    numbers = [number for number, _ in found]
    assert numbers == sorted(set(numbers))
    assert numbers[0] > 0
    assert await backend.counts(run.key) == Counts(7, 1, numbers[-1])
    for (_, body), committed in zip(found, [*first, *second], strict=True):
        assert decode(body, "sums") == committed.result


@pytest.mark.parametrize("history", [False, True])
@pytest.mark.parametrize("ok", [None, True, False])
async def test_small_pages_are_one_large_page(backend: Backend, ok: bool | None, history: bool) -> None:
    """Pages of any size give the same results: all of them, those that were scored, or those that errored."""
    run = await added(backend)
    for start in range(0, 40, 8):
        await backend.commit(
            run.key,
            [entry(number, error="no" if number % 3 == 0 else None) for number in range(start, start + 8)],
        )
    for number in (3, 4, 9, 10, 33):
        await backend.commit(run.key, [entry(number, output="again", replaces=True)])
    whole = await backend.page(run.key, 0, 1000, ok=ok, history=history)
    replaced = {3: True, 4: False, 9: True, 10: False, 33: True}
    errored = {number: number % 3 == 0 for number in range(40)}
    wanted = replaced if history else errored | dict.fromkeys(replaced, False)
    read = [decode(body, "sums") for _, body in whole]
    assert {result.id for result in read} == {key for key, error in wanted.items() if ok is None or ok != error}
    assert len(read) == len({result.id for result in read})
    for size in (1, 2, 7, len(whole), len(whole) + 1):
        assert await pages(backend, run.key, size, ok=ok, history=history) == whole


async def test_replaced_results_become_history(backend: Backend) -> None:
    """What replaces a record counts in its place, at the end; what it replaced is kept as history."""
    run = await added(backend)
    await backend.commit(run.key, [entry(1, output="a"), entry(2, error="no"), entry(3, output="c")])
    await backend.commit(run.key, [entry(2, output="b", replaces=True), entry(4, output="d")])
    await backend.commit(run.key, [entry(2, output="bb", replaces=True), entry(1, error="no", replaces=True)])
    assert await outputs(backend, run.key) == [(3, "c"), (4, "d"), (2, "bb"), (1, "out")]
    assert sorted(await outputs(backend, run.key, history=True), key=str) == [(1, "a"), (2, "b"), (2, "out")]
    counts = await backend.counts(run.key)
    assert (counts.n, counts.errored) == (4, 1)
    assert counts.last == (await pages(backend, run.key))[-1][0]
    known = await backend.lookup(run.key, [1, 2, 3, 4], 1)
    assert {key: value.ok for key, value in known.items()} == {
        (1, 0): False,
        (2, 0): True,
        (3, 0): True,
        (4, 0): True,
    }


async def test_replaced_row_has_its_new_digest(backend: Backend) -> None:
    """After a row changed, the storage knows the digest that it has now."""
    run = await added(backend)
    old, new = entry(1, row={"q": 1}), entry(1, row={"q": 2}, replaces=True)
    assert old.digest != new.digest
    await backend.commit(run.key, [old])
    assert await backend.settled(run.key, [1], 1, old.digest)
    await backend.commit(run.key, [new])
    assert await backend.lookup(run.key, [1], 1) == {(1, 0): Known(new.digest, True)}
    assert await backend.settled(run.key, [1], 1, new.digest)
    assert not await backend.settled(run.key, [1], 1, old.digest)


async def test_replacing_touches_one_run_and_one_repeat(backend: Backend) -> None:
    """A record is replaced in its own run and repeat, and nowhere else."""
    run, other = await added(backend), await added(backend, number=2)
    for key in (run.key, other.key):
        await backend.commit(key, [entry(1, repeat, output="old") for repeat in range(3)])
    await backend.commit(run.key, [entry(1, 1, output="new", replaces=True)])
    assert await outputs(backend, run.key) == [(1, "old"), (1, "old"), (1, "new")]
    assert await outputs(backend, other.key) == [(1, "old")] * 3
    assert await pages(backend, other.key, history=True) == []


@pytest.mark.parametrize("place", [0, 3, 9])
async def test_duplicate_commits_nothing(backend: Backend, place: int) -> None:
    """An entry that is new and has a record already is refused by its name, and with it the whole batch."""
    run = await added(backend)
    await backend.commit(run.key, [entry("taken", index=2)])
    batch = entries(10)
    batch[place] = entry("taken", index=77)
    with pytest.raises(DuplicateSample, match="'taken'") as caught:
        await backend.commit(run.key, batch)
    assert (caught.value.id, caught.value.index) == ("taken", 77)
    assert (await backend.counts(run.key)).n == 1
    del batch[place]
    await backend.commit(run.key, batch)
    assert (await backend.counts(run.key)).n == 10


async def test_duplicate_beside_replacements_commits_nothing(backend: Backend) -> None:
    """Where a batch is refused, what it would have replaced stays."""
    run = await added(backend)
    await backend.commit(run.key, [entry(1, output="a"), entry(2, output="b")])
    with pytest.raises(DuplicateSample) as caught:
        await backend.commit(run.key, [entry(1, output="aa", replaces=True), entry(3), entry(2, index=5)])
    assert (caught.value.id, caught.value.index) == (2, 5)
    assert await outputs(backend, run.key) == [(1, "a"), (2, "b")]
    assert await pages(backend, run.key, history=True) == []
    assert (await backend.counts(run.key)).n == 2


async def test_same_id_twice_in_a_batch_is_refused(backend: Backend) -> None:
    """Of two entries of a batch with one id, the later is named, and neither is committed."""
    run = await added(backend)
    with pytest.raises(DuplicateSample) as caught:
        await backend.commit(run.key, [entry("a", index=1), entry("b", index=2), entry("a", index=3)])
    assert (caught.value.id, caught.value.index) == ("a", 3)
    assert await backend.counts(run.key) == Counts(0, 0, 0)


IDS: list[SampleId] = [
    0,
    1,
    -1,
    "1",
    "-1",
    "i1",
    "s1",
    "",
    " ",
    "1 ",
    2**63 - 1,
    2**63,
    2**64,
    2**70,
    -(2**70),
    str(2**70),
    2**2000,
    "a",
    "A",
    "\u00e9",
    "e\u0301",
    "\U0001f600",
    "a\x00b",
    "\x00",
    "it's",
    'say "x"',
    "back\\slash",
    "line\nbreak\r\n",
    "tab\t",
    "%s {} $1 ?",
    "../../etc/passwd",
    "x" * 199,
    "x" * 200,
    "x" * 20_000,
    "x" * 20_000 + "y",
    "\u2028",
]


async def test_ids_of_all_kinds_are_kept_apart(store: Store) -> None:
    """Ids are integers of any size and any texts; 1 and "1" are two of them, also in a backend that is opened later."""
    backend = await store.open()
    run = await added(backend)
    await backend.commit(run.key, [entry(sample_id, output=place) for place, sample_id in enumerate(IDS)])
    if store.shared:
        await store.close(backend)
        backend = await store.open()
    assert await outputs(backend, run.key) == [(sample_id, place) for place, sample_id in enumerate(IDS)]
    known = await backend.lookup(run.key, IDS, 1)
    assert known == {(one.result.id, 0): Known(one.digest, True) for one in map(entry, IDS)}
    assert {type(sample_id) for sample_id, _ in known} == {int, str}
    assert await backend.settled(run.key, IDS, 1, sum(entry(sample_id).digest for sample_id in IDS))
    for sample_id in IDS:
        with pytest.raises(DuplicateSample) as caught:
            await backend.commit(run.key, [entry(sample_id)])
        assert caught.value.id == sample_id
        await backend.commit(run.key, [entry(sample_id, output="new", replaces=True)])
    assert await outputs(backend, run.key) == [(sample_id, "new") for sample_id in IDS]


async def test_repeats_are_records_of_their_own(backend: Backend) -> None:
    """Each repeat of a sample has its record; only repeats below the number asked for are looked at."""
    run = await added(backend)
    batch = [entry(number, repeat) for number in range(4) for repeat in range(3)]
    await backend.commit(run.key, batch)
    assert (await backend.counts(run.key)).n == 12
    checksum = sum(entry(number).digest for number in range(4))
    for repeats in (1, 2, 3):
        assert await backend.settled(run.key, range(4), repeats, checksum)
        known = await backend.lookup(run.key, range(4), repeats)
        assert set(known) == {(number, repeat) for number in range(4) for repeat in range(repeats)}
    assert not await backend.settled(run.key, range(4), 4, checksum)
    assert len(await backend.lookup(run.key, range(4), 4)) == 12


async def test_settled_only_if_all_are_scored_with_their_rows(backend: Backend) -> None:
    """Samples are settled where each was scored with the row that it has; an error, a gap or a change unsettles."""
    run = await added(backend)
    batch = entries(20)
    await backend.commit(run.key, batch)
    ids, digests = [one.result.id for one in batch], [one.digest for one in batch]
    assert await backend.settled(run.key, ids, 1, sum(digests))
    assert await backend.settled(run.key, ids[5:9], 1, sum(digests[5:9]))
    assert not await backend.settled(run.key, ids, 1, sum(digests) + 1)
    assert not await backend.settled(run.key, [*ids, 20], 1, sum(digests) + entry(20).digest)
    await backend.commit(run.key, [entry(7, error="no", replaces=True)])
    assert not await backend.settled(run.key, ids, 1, sum(digests))
    assert await backend.settled(run.key, ids[:7], 1, sum(digests[:7]))
    await backend.commit(run.key, [entry(7, replaces=True)])
    assert await backend.settled(run.key, ids, 1, sum(digests))


async def test_a_thousand_ids_at_once(backend: Backend) -> None:
    """1,024 ids are settled and looked up in one call, whatever they are and however large their digests."""
    run = await added(backend)
    most = 2**52 - 1
    batch = [
        entry(number if number % 2 else f"id {number}", repeat)._replace(digest=most)
        for number in range(1024)
        for repeat in range(3)
    ]
    for start in range(0, len(batch), 512):
        await backend.commit(run.key, batch[start : start + 512])
    ids = [one.result.id for one in batch[::3]]
    assert await backend.settled(run.key, ids, 3, most * 1024)
    assert not await backend.settled(run.key, ids, 3, most * 1024 - 1)
    assert await backend.lookup(run.key, ids, 3) == {
        (one.result.id, one.result.repeat): (most, True) for one in batch
    }


async def test_one_batch_of_many(backend: Backend) -> None:
    """A batch may be as large as it likes."""
    run = await added(backend)
    await backend.commit(run.key, entries(9000))
    assert (await backend.counts(run.key)).n == 9000
    assert [sample_id for sample_id, _ in await outputs(backend, run.key)] == list(range(9000))
    await backend.commit(run.key, entries(9000, replaces=True))
    assert (await backend.counts(run.key)).n == 9000


async def test_large_and_odd_outputs(store: Store) -> None:
    """Outputs of megabytes, and texts with every odd character, come back as they were."""
    backend = await store.open()
    run = await added(backend)
    noise = random.Random(5)
    given: list[Any] = [
        "".join(noise.choices('abcdefghij \u00e9\n"\\', k=5_000_000)),
        "a\x00b\x1f\u2028\U0001f600",
        "\r\n",
        "",
        {"nested": ["\x00", {"\x00": None}]},
        float("inf"),
    ]
    await backend.commit(run.key, [entry(place, output=output) for place, output in enumerate(given)])
    if store.shared:
        await store.close(backend)
        backend = await store.open()
    assert await outputs(backend, run.key) == list(enumerate(given))


async def test_loop_goes_on_while_a_large_batch_is_committed(backend: Backend) -> None:
    """The event loop is not held up by a large batch that is being committed."""
    run = await added(backend)
    done = anyio.Event()
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        last = anyio.current_time()
        while not done.is_set():
            await anyio.sleep(0)
            longest = max(longest, anyio.current_time() - last)
            last = anyio.current_time()

    batch = [entry(number, output=["word"] * 1_000_000) for number in range(4)]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        await backend.commit(run.key, batch)
        done.set()
    assert longest < 0.5


async def test_commits_of_several_tasks_at_once(backend: Backend) -> None:
    """Commits of several tasks, to one run and to several, are all there, each batch whole and in its order."""
    keys = [(await added(backend, number=number)).key for number in (1, 2)]

    async def write(key: int, start: int) -> None:
        for batch in range(5):
            await backend.commit(key, entries(10, start + 10 * batch, output=start))

    async with anyio.create_task_group() as tasks:
        for key in keys:
            for start in range(0, 400, 100):
                tasks.start_soon(write, key, start)
    for key in keys:
        found = await outputs(backend, key)
        assert len(found) == len(set(found)) == 200
        for start in range(0, 400, 100):
            mine = [sample_id for sample_id, output in found if output == start]
            assert mine == list(range(start, start + 50))
        for place in range(0, 200, 10):
            assert len({output for _, output in found[place : place + 10]}) == 1


async def test_duplicates_of_several_tasks_at_once(backend: Backend) -> None:
    """Of several tasks that commit the same new sample at once, one does, and the others are told."""
    run = await added(backend)
    refused: list[bool] = []

    async def write(place: int) -> None:
        try:
            await backend.commit(run.key, [entry("same", index=place), entry(place)])
        except DuplicateSample as duplicate:
            refused.append(duplicate.index == place)

    async with anyio.create_task_group() as tasks:
        for place in range(6):
            tasks.start_soon(write, place)
    assert refused == [True] * 5
    assert (await backend.counts(run.key)).n == 2


async def test_reading_while_writing_misses_nothing(backend: Backend) -> None:
    """Who reads the pages of a run that is being written gets each result once, in order."""
    run = await added(backend)
    found: list[int] = []

    async def read() -> None:
        after = 0
        while len(found) < 500:
            page = await backend.page(run.key, after, 7)
            if not page:
                await anyio.sleep(0)
                continue
            after = page[-1][0]
            found.extend(decode(body, "sums").id for _, body in page)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            for start in range(0, 500, 10):
                await backend.commit(run.key, entries(10, start))
    assert found == list(range(500))


async def test_cancelled_commit_is_whole_or_not_there(backend: Backend) -> None:
    """A commit that is cancelled wrote all or nothing, and the backend goes on to work."""
    run = await added(backend)
    for attempt in range(12):
        before = (await backend.counts(run.key)).n
        with anyio.move_on_after(0.0004 * attempt):
            await backend.commit(run.key, entries(200, 200 * attempt))
        assert (await backend.counts(run.key)).n - before in {0, 200}
    await backend.commit(run.key, [entry("last")])
    assert (await outputs(backend, run.key))[-1] == ("last", "out")


# Several backends on one storage.


async def test_closed_storage_is_found_as_it_was(store: Store) -> None:
    """What was written is there when the storage is opened again, and goes on from there."""
    if not store.shared:
        pytest.skip("is in the memory of one process")
    backend = await store.open()
    run = await added(backend)
    await backend.commit(run.key, entries(10))
    await backend.commit(run.key, [entry(3, output="new", replaces=True), entry("e", error="no")])
    await backend.keep("key", b"value")
    pages_before = await pages(backend, run.key), await pages(backend, run.key, history=True)
    counts = await backend.counts(run.key)
    await store.close(backend)

    backend = await store.open()
    assert await runs(backend, "first") == [run]
    assert await backend.counts(run.key) == counts
    assert (await pages(backend, run.key), await pages(backend, run.key, history=True)) == pages_before
    assert await backend.recall("key") == b"value"
    with pytest.raises(DuplicateSample):
        await backend.commit(run.key, [entry(4)])
    await backend.commit(run.key, entries(10, 100))
    assert (await backend.counts(run.key)).n == 21
    assert len(await pages(backend, run.key)) == 21


async def test_backend_can_be_opened_again(store: Store) -> None:
    """A backend that was closed can be opened again."""
    if not store.shared:
        pytest.skip("is gone when it is closed")
    backend = await store.open()
    run = await added(backend)
    await backend.aclose()
    await backend.open()
    await backend.commit(run.key, entries(3))
    assert (await backend.counts(run.key)).n == 3


async def test_two_backends_write_different_runs_at_once(store: Store) -> None:
    """Two backends on one storage write different runs at the same time, and each sees the other's."""
    if not store.shared:
        pytest.skip("is in the memory of one backend")
    backends = [await store.open(), await store.open()]
    keys = [(await added(backend, number=number)).key for number, backend in enumerate(backends, 1)]

    async def write(backend: Backend, key: int) -> None:
        for start in range(0, 300, 20):
            await backend.commit(key, entries(20, start, output=key))
        await backend.commit(key, entries(50, output="new", replaces=True))

    async with anyio.create_task_group() as tasks:
        for backend, key in zip(backends, keys, strict=True):
            tasks.start_soon(write, backend, key)
    for backend in backends:
        for key in keys:
            assert (await backend.counts(key)).n == 300
            assert await outputs(backend, key) == [
                *((number, key) for number in range(50, 300)),
                *((number, "new") for number in range(50)),
            ]


async def test_two_backends_see_each_others_runs(store: Store) -> None:
    """A run that one backend adds, changes, renames or deletes is seen so by the other."""
    if not store.shared:
        pytest.skip("is in the memory of one backend")
    one, other = await store.open(), await store.open()
    run = await added(one)
    assert await runs(other, "first") == [run]
    assert await other.add_run(StoredRun("first", "sums", 1, 7.0)) is None
    updated = await other.update_run(attrs.evolve(run, status="finished"))
    assert updated is not None
    assert await one.update_run(attrs.evolve(run, status="failed")) is None
    assert await runs(one, "first") == [updated]
    assert await other.rename("first", "second")
    assert await experiments(one) == ["second"]
    await other.delete_run(run.key)
    assert await experiments(one) == []


async def test_run_is_taken_over_by_another_backend(store: Store) -> None:
    """What one backend committed to a run is known to another that goes on with it, and the other way round."""
    if not store.shared:
        pytest.skip("is in the memory of one backend")
    one, other = await store.open(), await store.open()
    run = await added(one)
    await one.commit(run.key, entries(5))
    await other.commit(run.key, entries(5, 5))
    with pytest.raises(DuplicateSample):
        await other.commit(run.key, [entry(2)])
    await one.commit(run.key, [*entries(5, 10), entry(7, output="new", replaces=True)])
    with pytest.raises(DuplicateSample):
        await one.commit(run.key, [entry(8)])
    for backend in (one, other):
        assert (await backend.counts(run.key)).n == 15
        assert [sample_id for sample_id, _ in await outputs(backend, run.key)] == [*range(7), *range(8, 15), 7]


# The cache of responses.


async def test_cache_keeps_the_latest_value(backend: Backend) -> None:
    """A value is found under its key, also an empty one, until another takes its place."""
    assert await backend.recall("a") is None
    await backend.keep("a", b"first \x00\xff")
    await backend.keep("b", b"")
    assert await backend.recall("a") == b"first \x00\xff"
    assert await backend.recall("b") == b""
    await backend.keep("a", b"second")
    assert await backend.recall("a") == b"second"
    assert await backend.recall("A") is None


async def test_cache_takes_any_key_and_large_values(backend: Backend) -> None:
    """Keys may be any texts, of any length, and values may have megabytes."""
    keys = ["", "\u00e9", "a/b", "..", "it's", "k" * 20_000, "k" * 19_999, "\U0001f600"]
    for place, key in enumerate(keys):
        await backend.keep(key, b"%d" % place)
    await backend.keep("large", bytes(range(256)) * 20_000)
    assert [await backend.recall(key) for key in keys] == [b"%d" % place for place in range(len(keys))]
    assert await backend.recall("large") == bytes(range(256)) * 20_000


async def test_cache_is_kept_by_several_tasks_at_once(backend: Backend) -> None:
    """Of several tasks that keep a value under one key at once, one has the last word, and none fails."""
    async with anyio.create_task_group() as tasks:
        for place in range(8):
            tasks.start_soon(backend.keep, "same", b"%d" % place)
    assert await backend.recall("same") in {b"%d" % place for place in range(8)}


# Against a model.


class Model:
    """What a run should hold, as plain dicts."""

    def __init__(self) -> None:
        self.records: dict[tuple[type, SampleId, int], Entry] = {}
        self.history: list[Entry] = []

    def commit(self, batch: Sequence[Entry]) -> Entry | None:
        """Commit a batch; return the entry for which it is refused instead."""
        for one in batch:
            if not one.replaces and self._key(one) in self.records:
                return one
        for one in batch:
            if one.replaces:
                self.history.append(self.records.pop(self._key(one)))
            self.records[self._key(one)] = one
        return None

    @staticmethod
    def _key(one: Entry) -> tuple[type, SampleId, int]:
        return type(one.result.id), one.result.id, one.result.repeat

    async def check(self, backend: Backend, key: int, size: int) -> None:
        current = list(self.records.values())
        counts = await backend.counts(key)
        assert counts.n == len(current)
        assert counts.errored == sum(one.result.error is not None for one in current)
        for ok in (None, True, False):
            for history, wanted in ((False, current), (True, self.history)):
                found = [
                    decode(body, "sums") for _, body in await pages(backend, key, size, ok=ok, history=history)
                ]
                kept = [one.result for one in wanted if ok is None or ok == (one.result.error is None)]
                assert found == kept if not history else sorted(map(repr, found)) == sorted(map(repr, kept))
        ids = list({(kind, sample_id): sample_id for kind, sample_id, _ in self.records}.values())
        for repeats in (1, 2):
            known = await backend.lookup(key, ids, repeats)
            assert known == {
                (one.result.id, one.result.repeat): Known(one.digest, one.result.error is None)
                for one in current
                if one.result.repeat < repeats
            }
            by_id = {sample_id: known.get((sample_id, 0), Known(0, False)) for sample_id in ids}
            checksum = sum(one.digest for one in by_id.values())
            settled = all(
                (sample_id, repeat) in known and known[sample_id, repeat] == (by_id[sample_id].digest, True)
                for sample_id in ids
                for repeat in range(repeats)
            )
            if ids and not settled:
                assert not await backend.settled(key, ids, repeats, checksum)
            elif ids:
                assert await backend.settled(key, ids, repeats, checksum)


SAMPLES = st.tuples(st.sampled_from([0, 1, 2, "0", "1", "a", -1]), st.integers(0, 1))
BATCHES = st.lists(
    st.tuples(SAMPLES, st.booleans(), st.booleans(), st.integers(0, 3)),
    min_size=1,
    max_size=5,
    unique_by=lambda b: b[0],
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(BATCHES, max_size=8), size=st.integers(1, 10))
async def test_any_sequence_of_commits(backend: Backend, batches: list[Any], size: int) -> None:
    """After any sequence of commits, replacements and refusals a run holds what a dict would."""
    number = len(await runs(backend, "model", 1000)) + 1
    run = await added(backend, number=number, experiment="model")
    model = Model()
    for place, batch in enumerate(batches):
        made = [
            entry(
                sample_id,
                repeat,
                output=f"{place}.{content}",
                row={"content": content},
                error="no" if errs else None,
                # What replaces a record that is not there is not asked of a backend.
                replaces=replaces and (type(sample_id), sample_id, repeat) in model.records,
                index=place,
            )
            for (sample_id, repeat), errs, replaces, content in batch
        ]
        refused = model.commit(made)
        if refused is None:
            await backend.commit(run.key, made)
        else:
            with pytest.raises(DuplicateSample) as caught:
                await backend.commit(run.key, made)
            assert (caught.value.id, caught.value.index) == (refused.result.id, place)
    await model.check(backend, run.key, size)
