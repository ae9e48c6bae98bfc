"""What the run of jobs needs of a transfer, asked of every kind of job and every kind of database that are registered.

The failpoints stand behind the steps of a chunk (`kinds.py`). Those between the steps of a target's transaction are the
matter of `test_targets.py`, and processes that are killed that of `tests/chaos`.
"""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import pytest

from ladingd.core.bill import Counts, total
from ladingd.core.errors import AttemptSuperseded, InvalidSpec, PlanOutdated, TechnicalError
from ladingd.core.plan import CommittedChunk, ImportPlan, Plan
from ladingd.core.spec import JobSpec
from ladingd.data.formats.registry import FORMATS
from ladingd.data.mapping import reconciliation
from ladingd.data.transfer import KINDS, BulkTransfer
from tests.contract.kinds import JOBS, ROWS, MergeJob, TestJob, job_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ladingd.core.plan import Chunk
    from ladingd.data.storage.work_dir import WorkDir
    from tests.contract.databases import TestDatabase

JOB = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"
OTHER = "0b8f6c1e-5a53-4a39-9f0e-3d0f5c7d2b11"


@dataclass(frozen=True, kw_only=True)
class Voyage:
    """A job that is planned, and the transfer that carries it out."""

    job: TestJob
    transfer: BulkTransfer
    spec: JobSpec
    plan: Plan

    def chunks(self, limit: int = 3, phase: int = 0) -> list[Chunk]:
        """All chunks of a phase, asked for in portions."""
        chunks: list[Chunk] = []
        while len(more := self.transfer.cut(JOB, self.plan, chunks[-1] if chunks else None, limit, phase)) == limit:
            chunks += more
        return [*chunks, *more]

    def process(self, chunk: Chunk, attempt: int = 1, uid: str = JOB) -> Counts:
        return self.transfer.process(uid, attempt, self.plan, chunk)

    def begin(self, attempt: int = 1, uid: str = JOB) -> tuple[CommittedChunk, ...]:
        return self.transfer.begin(uid, attempt, self.plan)

    def complete(self, attempt: int = 1, uid: str = JOB) -> Counts:
        """Do the rest of the job, or all of it, and return its counts."""
        self.begin(attempt, uid)
        chunks = self.chunks()
        counts = total(self.process(chunk, attempt, uid) for chunk in chunks)
        return counts + self.finish(chunks, attempt, uid)

    def finish(self, chunks: list[Chunk], attempt: int = 1, uid: str = JOB) -> Counts:
        """Do the phases after the first one, whose chunks are moved, and finish. Returns the counts of these phases."""
        chunks, counts = self.later(chunks, attempt, uid)
        self.transfer.finish(uid, self.plan, chunks)
        return counts

    def later(self, chunks: list[Chunk], attempt: int = 1, uid: str = JOB) -> tuple[list[Chunk], Counts]:
        """Do the phases after the first one. Returns the chunks of the last phase, and the counts."""
        counts = Counts()
        for phase in range(1, len(self.plan.phases)):
            chunks = self.advance(chunks, phase, attempt, uid)
            counts += total(self.process(chunk, attempt, uid) for chunk in chunks)
        return chunks, counts

    def advance(self, chunks: list[Chunk], phase: int, attempt: int = 1, uid: str = JOB) -> list[Chunk]:
        """Go to another phase. Returns its chunks."""
        self.transfer.advance(uid, attempt, self.plan, phase, chunks)
        return self.cut(chunks[-1] if chunks else None, phase)

    def cut(self, previous: Chunk | None, phase: int) -> list[Chunk]:
        """The chunks of a later phase."""
        return list(self.transfer.cut(JOB, self.plan, previous, 100, phase))

    def files(self) -> dict[str, bytes]:
        """The files beneath the root."""
        return {path.name: path.read_bytes() for path in self.job.directory.iterdir()}

    def work(self) -> set[str]:
        """The files in the work directory."""
        work = self.transfer.work_dir.directory
        return {str(path.relative_to(work)) for path in work.rglob("*") if path.is_file()}


@pytest.fixture(params=FORMATS[-1:], ids=lambda form: form.name)
def job(request: pytest.FixtureRequest, kind: str, database: TestDatabase, tmp_path: Path) -> TestJob:
    """A job with a file in one format; the tests of whole jobs ask for all."""
    directory = tmp_path / "files"
    directory.mkdir()
    return job_of(kind, database=database, directory=directory, format=request.param)


@pytest.fixture(params=JOBS)
def kind(request: pytest.FixtureRequest) -> str:
    """Every kind of job."""
    name: str = request.param
    return name


@pytest.fixture
def transfer(job: TestJob, work_dir: WorkDir) -> BulkTransfer:
    """A transfer that has crossed the border of a process, as every one has that moves records."""
    made = BulkTransfer(
        connections={"harbour": job.database.connection}, roots={"local": job.directory}, work_dir=work_dir
    )
    sent: BulkTransfer = pickle.loads(pickle.dumps(made))
    assert sent == made
    return sent


@pytest.fixture
def voyage(job: TestJob, transfer: BulkTransfer) -> Voyage:
    """A job with several chunks that has not begun."""
    spec = job.prepare()
    return Voyage(job=job, transfer=transfer, spec=spec, plan=transfer.plan(spec))


class Strike(Exception):
    """Something that nobody foresaw."""


Arm = Callable[..., None]


@pytest.fixture
def strike(monkeypatch: pytest.MonkeyPatch) -> Arm:
    """Lets something happen behind the next call of a function: by default, an end."""

    def fail() -> None:
        raise Strike

    def arm(step: str, happen: Callable[[], object] = fail) -> None:
        owner, _, name = step.rpartition(".")
        function, waiting = getattr(resolve_name(owner), name), [happen]

        def struck(*args: Any, **kwargs: Any) -> Any:
            result = function(*args, **kwargs)
            if waiting:
                waiting.pop()()
            return result

        monkeypatch.setattr(step, struck)

    return arm


def steps(of: Callable[[type[TestJob]], Sequence[str]]) -> pytest.MarkDecorator:
    """Every kind of job with each of these steps."""
    pairs = [pytest.param(kind, step, id=step.rpartition(".")[2]) for kind, job in JOBS.items() for step in of(job)]
    return pytest.mark.parametrize(("kind", "step"), pairs, indirect=["kind"])


def test_every_kind_of_job_is_in_the_suite() -> None:
    kinds = set(KINDS)
    assert kinds == {job.kind for job in JOBS.values()}
    for union in (JobSpec, Plan):
        assert kinds == {kind for each in get_args(union) for kind in get_args(get_type_hints(each)["kind"])}


@pytest.mark.parametrize("job", FORMATS, indirect=True, ids=lambda form: form.name)
def test_every_record_is_moved_once_and_the_bill_balances(voyage: Voyage) -> None:
    counts = voyage.complete()
    assert counts == voyage.job.counts
    assert counts.balances
    assert voyage.job.moved() == ROWS


def test_planning_changes_nothing(voyage: Voyage) -> None:
    files, tables = voyage.files(), voyage.job.database.tables()
    again = voyage.transfer.plan(voyage.spec)
    if isinstance(again, ImportPlan) and isinstance(voyage.plan, ImportPlan):
        again = replace(again, variables=voyage.plan.variables, time=voyage.plan.time)  # A second may have passed.
    assert again == voyage.plan
    assert pickle.loads(pickle.dumps(voyage.plan)) == voyage.plan
    assert (voyage.files(), voyage.job.database.tables()) == (files, tables)
    assert not [name for name in tables if name.startswith("lading")]
    assert voyage.transfer.work_dir.uids() == []
    assert voyage.begin() == ()


def test_a_source_without_records_is_a_job_of_zeros(job: TestJob, transfer: BulkTransfer) -> None:
    spec = job.prepare([])
    voyage = Voyage(job=job, transfer=transfer, spec=spec, plan=transfer.plan(spec))
    assert voyage.complete() == Counts()
    assert job.moved() == []


def test_chunks_follow_each_other_and_are_the_same_every_time(voyage: Voyage) -> None:
    chunks = voyage.chunks()
    assert len(chunks) > 2
    assert [chunk.ordinal for chunk in chunks] == list(range(len(chunks)))
    assert all(after.start == before.end > before.start for before, after in itertools.pairwise(chunks))
    assert {chunk.phase for chunk in chunks} == {0}
    for limit in (1, len(chunks)):
        assert voyage.chunks(limit) == chunks
    assert list(voyage.transfer.cut(JOB, voyage.plan, chunks[1], 100)) == chunks[2:]
    voyage.begin()
    assert total(voyage.process(chunk) for chunk in chunks).read == voyage.job.counts.read
    assert voyage.chunks() == chunks, "the same after they were moved"


def test_chunks_are_moved_in_whatever_order(voyage: Voyage) -> None:
    voyage.begin()
    chunks = voyage.chunks()
    counts = total(voyage.process(chunk) for chunk in reversed(chunks))
    assert counts + voyage.finish(chunks) == voyage.job.counts
    assert voyage.job.moved() == ROWS


def test_a_chunk_is_moved_once_however_often_it_is_processed(voyage: Voyage) -> None:
    voyage.begin()
    chunks = voyage.chunks()
    counts = [voyage.process(chunk) for chunk in chunks]
    committed = tuple(CommittedChunk(ordinal=place, counts=each) for place, each in enumerate(counts))
    work, files = voyage.work(), voyage.files()
    for attempt in (1, 2):
        assert voyage.begin(attempt) == committed
        assert [voyage.process(chunk, attempt) for chunk in chunks] == counts
        assert (voyage.work(), voyage.files()) == (work, files)
    voyage.finish(chunks, attempt=2)
    assert voyage.job.moved() == ROWS


def test_an_attempt_shuts_out_earlier_ones(voyage: Voyage) -> None:
    voyage.begin()
    first, second, *_ = voyage.chunks()
    counts = voyage.process(first)
    known = (CommittedChunk(ordinal=0, counts=counts),)
    assert voyage.begin(2) == known
    for late in (
        lambda: voyage.process(second),
        lambda: voyage.begin(1),
        lambda: voyage.transfer.committed(JOB, 1, voyage.plan),
    ):
        with pytest.raises(AttemptSuperseded):
            late()
    assert voyage.begin(2) == known, "an attempt may begin again, and late ones have written nothing"
    assert voyage.complete(attempt=2) == voyage.job.counts
    assert voyage.job.moved() == ROWS


def test_asking_for_the_ledger_shuts_out_earlier_attempts(voyage: Voyage) -> None:
    voyage.begin()
    first, second, *_ = voyage.chunks()
    known = (CommittedChunk(ordinal=0, counts=voyage.process(first)),)
    assert voyage.transfer.committed(JOB, 2, voyage.plan) == known
    with pytest.raises(AttemptSuperseded):
        voyage.process(second)
    assert voyage.transfer.committed(JOB, 2, voyage.plan) == known


def test_an_attempt_that_is_overtaken_while_it_works_writes_nothing(voyage: Voyage, strike: Arm) -> None:
    voyage.begin()
    first, *_ = voyage.chunks()
    strike(voyage.job.reading, lambda: voyage.begin(2))
    with pytest.raises(AttemptSuperseded):
        voyage.process(first)
    assert voyage.begin(2) == ()
    assert voyage.complete(attempt=2) == voyage.job.counts
    assert voyage.job.moved() == ROWS


def test_a_job_that_never_began_has_nothing_committed(voyage: Voyage) -> None:
    tables, files = voyage.job.database.tables(), voyage.files()
    assert voyage.transfer.committed(JOB, 1, voyage.plan) == ()
    assert (voyage.job.database.tables(), voyage.files()) == (tables, files)
    voyage.transfer.discard(JOB, voyage.plan)
    assert (voyage.job.database.tables(), voyage.files()) == (tables, files)


@steps(lambda job: job.steps)
def test_a_chunk_that_is_struck_at_any_moment_is_moved_once(voyage: Voyage, strike: Arm, step: str) -> None:
    voyage.begin()
    first, second, *_ = voyage.chunks()
    counts = voyage.process(first)
    strike(step)
    with pytest.raises(Strike):
        voyage.process(second)
    known = voyage.begin(2)
    assert known[0] == CommittedChunk(ordinal=0, counts=counts)
    assert [entry.ordinal for entry in known] == ([0, 1] if step == voyage.job.steps[-1] else [0])
    assert voyage.complete(attempt=2) == voyage.job.counts
    assert voyage.job.moved() == ROWS


@pytest.fixture
def merging(job: TestJob, transfer: BulkTransfer, monkeypatch: pytest.MonkeyPatch) -> Voyage:
    """A job whose records are staged, and will be merged in several slices."""
    monkeypatch.setattr(reconciliation, "_SMALL", 0)
    target = job.database.provider.target(job.database.connection, transfer.work_dir)
    monkeypatch.setattr(type(target), "slice_bytes", 40)
    spec = job.prepare()
    return Voyage(job=job, transfer=transfer, spec=spec, plan=transfer.plan(spec))


@steps(lambda job: MergeJob.slice_steps if job is MergeJob else ())
def test_a_slice_that_is_struck_at_any_moment_is_merged_once(merging: Voyage, strike: Arm, step: str) -> None:
    merging.begin()
    staged = merging.chunks()
    counts = total(merging.process(chunk) for chunk in staged)
    slices = merging.advance(staged, 1)
    assert len(slices) > 1
    counts += merging.process(slices[0])
    strike(step)
    with pytest.raises(Strike):
        merging.process(slices[1])
    known = merging.transfer.begin(JOB, 2, merging.plan, 1)
    struck = [entry.ordinal for entry in known if entry.ordinal == slices[1].ordinal]
    assert bool(struck) == (step == merging.job.steps[-1])
    merging.transfer.advance(JOB, 2, merging.plan, 1, staged)
    assert merging.process(slices[0], 2) == next(e.counts for e in known if e.ordinal == slices[0].ordinal)
    counts += total(merging.process(chunk, 2) for chunk in slices[1:])
    for _ in range(2):
        merging.transfer.finish(JOB, merging.plan, slices)
    assert counts == merging.job.counts
    assert merging.job.moved() == ROWS
    assert not [name for name in merging.job.database.tables() if "stage" in name]


@pytest.mark.parametrize("kind", ["merge"], indirect=True)
def test_a_slice_of_an_attempt_that_is_overtaken_is_not_merged(merging: Voyage) -> None:
    merging.begin()
    staged = merging.chunks()
    counts = total(merging.process(chunk) for chunk in staged)
    slices = merging.advance(staged, 1)
    merging.transfer.begin(JOB, 2, merging.plan, 1)
    for late in (
        lambda: merging.process(slices[0]),
        lambda: merging.transfer.advance(JOB, 1, merging.plan, 1, staged),
    ):
        with pytest.raises(AttemptSuperseded):
            late()
    counts += total(merging.process(chunk, 2) for chunk in reversed(slices))
    merging.transfer.finish(JOB, merging.plan, slices)
    assert counts == merging.job.counts
    assert merging.job.moved() == ROWS


@pytest.mark.parametrize("kind", ["merge"], indirect=True)
def test_discard_leaves_no_staged_records(merging: Voyage) -> None:
    merging.begin()
    staged = merging.chunks()
    for chunk in staged:
        merging.process(chunk)
    merging.process(merging.advance(staged, 1)[0])
    merging.transfer.discard(JOB, merging.plan)
    assert not [name for name in merging.job.database.tables() if "stage" in name]


@steps(lambda job: job.last_steps)
def test_an_end_that_is_struck_comes_all_the_same(voyage: Voyage, strike: Arm, step: str) -> None:
    strike(step)
    with pytest.raises(Strike):
        voyage.complete()
    chunks = voyage.chunks()
    assert len(voyage.begin(2)) == len(chunks)
    notes = voyage.transfer.finish(JOB, voyage.plan, chunks)
    assert voyage.transfer.finish(JOB, voyage.plan, chunks) == notes
    assert voyage.job.moved() == ROWS


def resume(voyage: Voyage, chunks: list[Chunk]) -> None:
    """As a later attempt begins."""
    voyage.begin(2)
    voyage.transfer.check_source(JOB, voyage.plan, chunks)


WAYS: dict[str, Callable[[Voyage, list[Chunk]], object]] = {
    "resume": resume,
    "process": lambda voyage, chunks: voyage.process(chunks[1]),
    "finish": lambda voyage, chunks: voyage.finish(chunks),
}
"""Each way in which a job meets its source and its target again."""


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_a_source_that_changed_is_noticed(voyage: Voyage, way: Callable[[Voyage, list[Chunk]], object]) -> None:
    voyage.begin()
    chunks = voyage.chunks()
    counts = [voyage.process(chunks[0])]
    if way is WAYS["finish"]:
        counts += [voyage.process(chunk) for chunk in chunks[1:]]
    voyage.transfer.check_source(JOB, voyage.plan, chunks)
    voyage.job.change_source()
    with pytest.raises(PlanOutdated):
        way(voyage, chunks)
    assert [entry.counts for entry in voyage.transfer.committed(JOB, 2, voyage.plan)] == counts


def test_chunks_are_checked_against_a_source_that_may_not_change(voyage: Voyage) -> None:
    chunks = voyage.chunks()
    voyage.transfer.check_source(JOB, voyage.plan, chunks)
    voyage.job.change_source()
    with pytest.raises(PlanOutdated) if voyage.job.source_is_fixed else nullcontext():
        voyage.transfer.check_source(JOB, voyage.plan, chunks)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_a_target_without_what_was_moved_is_noticed(
    voyage: Voyage, way: Callable[[Voyage, list[Chunk]], object]
) -> None:
    voyage.begin()
    chunks = voyage.chunks()
    for chunk in chunks if way is WAYS["finish"] else chunks[:1]:
        voyage.process(chunk)
    voyage.job.lose_target()
    with pytest.raises(TechnicalError):
        way(voyage, chunks)


def test_discard_forgets_a_job_and_leaves_nothing_of_it(voyage: Voyage) -> None:
    files = voyage.files()
    left = []
    for uid in (JOB, OTHER):
        voyage.begin(uid=uid)
        first, second, *_ = voyage.chunks()
        voyage.process(second, uid=uid)
        voyage.process(first, uid=uid)
        voyage.transfer.discard(uid, voyage.plan)
        left.append(voyage.work())
        assert voyage.files() == files
        with pytest.raises(AttemptSuperseded):
            voyage.process(first, uid=uid)
        voyage.transfer.discard(uid, voyage.plan)
        assert voyage.work() == left[-1]
        assert not [path for path in left[-1] if uid in path]
    assert left[1] == left[0]
    assert voyage.transfer.committed(JOB, 2, voyage.plan) == ()


def test_discard_leaves_what_was_moved(voyage: Voyage) -> None:
    voyage.complete()
    files = voyage.files()
    voyage.transfer.discard(JOB, voyage.plan)
    assert voyage.files() == files
    assert voyage.job.moved() == ROWS
    assert not [path for path in voyage.work() if JOB in path]


def test_jobs_have_their_own_chunks_and_attempts(voyage: Voyage) -> None:
    voyage.begin()
    first, *_ = voyage.chunks()
    known = (CommittedChunk(ordinal=0, counts=voyage.process(first)),)
    assert voyage.begin(7, uid=OTHER) == ()
    voyage.process(first, 7, uid=OTHER)
    voyage.transfer.discard(OTHER, voyage.plan)
    assert voyage.begin(1) == known
    assert voyage.complete() == voyage.job.counts
    assert voyage.job.moved() == ROWS


def test_a_job_whose_connection_is_gone_is_refused(voyage: Voyage) -> None:
    voyage.begin()
    chunks = voyage.chunks()
    for chunk in chunks:
        voyage.process(chunk)
    without = replace(voyage, transfer=replace(voyage.transfer, connections={}))
    for refused in (
        lambda: without.transfer.plan(voyage.spec),
        lambda: without.begin(2),
        lambda: without.transfer.finish(JOB, voyage.plan, chunks),
    ):
        with pytest.raises(InvalidSpec, match="harbour"):
            refused()
    voyage.finish(chunks)
    assert voyage.job.moved() == ROWS
