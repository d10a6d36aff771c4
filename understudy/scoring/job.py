"""A job: a file, a model and perhaps a canary, to a folder of parts.

Law: each row of the input is once in the output or once among the bad ones, wherever the job is killed and
however often it goes on; and it is there as it would be if nobody had killed it.
"""

from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from serving.clock import clock
from serving.errors import Conflict, InvalidInput
from serving.sources.locks import exclusive
from understudy.scoring.asked import Asked, CanaryOutcome, Note, Outcome
from understudy.scoring.canary import Trial
from understudy.scoring.chunks import Done, Work, done_of
from understudy.scoring.formats.block import Chunk
from understudy.scoring.manifest import SUCCESS, read_manifest
from understudy.scoring.opening import Opening, opening
from understudy.scoring.parts import said_of

_LOCK: Final = ".lock"


def score(asked: Asked, note: Note = lambda _done, _of: None) -> Outcome:
    """Do a job, or go on with it.

    Raises:
        ServingError: a file or a model cannot be used, the output is another one's, or there are too many
            bad rows; says which, and what would do.
        OSError: the output cannot be written.
    """
    began = clock()
    with _held(asked.folder):
        opened = opening(asked)
        done = _done_before(asked.folder, opened.work)
        before = sum(each.rows + each.bad for each in done.values())
        _Job(asked, opened, done, note).run()
        (asked.folder / SUCCESS).touch()
        return _outcome(asked, opened, done, before, clock() - began)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """The folder, for one job at a time."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"{folder}: {error.strerror or error}; the output is a folder") from None
    read_manifest(folder)  # refuses a folder of something else before a file is made in it
    try:
        with exclusive(folder / _LOCK, wait=False):
            yield
    except BlockingIOError:
        raise Conflict(f"{folder}: another job is at work there; wait for its end") from None


def _done_before(folder: Path, work: Work) -> dict[int, Done]:
    """What an earlier run did, by the number of the chunk."""
    found = ((chunk.number, said_of(folder, chunk.number)) for chunk in work.layout.chunks)
    return {number: done_of(said) for number, said in found if said is not None}


@dataclass(slots=True)
class _Job:
    """What is done, and what is left.

    Args:
        asked: what.
        opened: all that it needs.
        done: parts that are there.
        note: is told of rows.
    """

    asked: Asked
    opened: Opening
    done: dict[int, Done]
    note: Note

    def run(self) -> None:
        """Score what is not there yet."""
        for number, done in sorted(self.done.items()):
            self._judge(number, done)
        self._refuse_bad()
        self._tell()
        left = [chunk for chunk in self.opened.work.layout.chunks if chunk.number not in self.done]
        with ThreadPoolExecutor(self.asked.jobs, "chunk") as threads:
            try:
                self._run(left, threads)
            except BaseException:
                threads.shutdown(cancel_futures=True)
                raise

    def _run(self, left: list[Chunk], threads: ThreadPoolExecutor) -> None:
        under_way: dict[Future[Done], int] = {}
        while left or under_way:
            while left and len(under_way) < self.asked.jobs and (draws := self._draws(left[0])) is not None:
                chunk = left.pop(0)
                under_way[threads.submit(self.opened.work.score, chunk, draws=draws)] = chunk.number
            ended, _ = wait(under_way, return_when=FIRST_COMPLETED)
            for future in ended:
                number = under_way.pop(future)
                self.done[number] = future.result()
                self._judge(number, self.done[number])
            self._tell()
            self._refuse_bad()

    def _draws(self, chunk: Chunk) -> bool | None:
        trial = self.opened.trial
        return False if trial is None else trial.draws(chunk.number)

    def _judge(self, number: int, done: Done) -> None:
        if self.opened.trial is not None:
            self.opened.trial.add(number, done.counts)

    def _tell(self) -> None:
        chunks = self.opened.work.layout.chunks
        self.note(sum(chunks[number].rows for number in self.done), self.opened.work.layout.rows)

    def _refuse_bad(self) -> None:
        most, bad = self.asked.max_bad, sum(done.bad for done in self.done.values())
        if most is None:
            return
        limit = most if isinstance(most, int) else most * self.opened.work.layout.rows
        if bad > limit:
            raise InvalidInput(
                f"{bad:,} bad rows, --max-bad is {limit:,.0f}: {self.asked.folder}/_bad says why"
                "; the same command goes on with a higher one"
            )


def _outcome(asked: Asked, opened: Opening, done: dict[int, Done], before: int, seconds: float) -> Outcome:
    return Outcome(
        str(asked.folder),
        opened.models[0].key,
        opened.models[0].digest,
        sum(each.rows for each in done.values()),
        sum(each.bad for each in done.values()),
        len(done),
        before,
        seconds,
        None if opened.trial is None else _of_canary(opened, opened.trial, done),
    )


def _of_canary(opened: Opening, trial: Trial, done: dict[int, Done]) -> CanaryOutcome:
    return CanaryOutcome(
        opened.models[1].key,
        opened.models[1].digest,
        trial.counts.canary.requests,
        sum(each.canary for each in done.values()),
        trial.stopped,
        trial.judgement,
        opened.notes,
    )
