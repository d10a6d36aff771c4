"""From what is asked to all that a job needs: a file laid out, models opened, an output begun."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np

from router.counting.pairs import NO_PAIRS, PairCounts, pairs_from_json, pairs_to_json
from router.rollout.values import Rollout
from router.targets.compatibility import incompatibility
from serving.errors import InvalidInput
from understudy.offline import judging
from understudy.offline.timing import time_both
from understudy.scoring.asked import Asked
from understudy.scoring.canary import NOTHING, Trial
from understudy.scoring.chunks import Side, Work, chosen_feeds
from understudy.scoring.drawing import drawn
from understudy.scoring.feeds import Read, Reader
from understudy.scoring.formats.block import Chunk, Format, Layout, Wanted
from understudy.scoring.formats.registry import format_of
from understudy.scoring.manifest import Input, Manifest, read_manifest, refuse_another, write_manifest
from understudy.scoring.models import Ready, ready
from understudy.scoring.output import Model, Output, kept_columns, names_taken
from understudy.scoring.parts import clear
from understudy.scoring.running import Feeds, Runner

_TIMED_ROWS: Final = 200
_TIMED_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Opening:
    """All that a job needs.

    Args:
        work: what chunks need.
        models: stable and, if there is one, the canary.
        trial: of the canary.
        notes: what rows cannot tell, in words.
    """

    work: Work
    models: tuple[Model, ...]
    trial: Trial | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _File:
    """The input, laid out for the model.

    Args:
        now: as it is.
        format: its kind.
        layout: how it is cut.
        wanted: the columns that are read.
        reader: of the inputs.
        output: the columns of the output.
    """

    now: Input
    format: Format
    layout: Layout
    wanted: Wanted
    reader: Reader
    output: Output


def opening(asked: Asked) -> Opening:
    """Open what is asked for, and begin its output, if nobody has.

    Raises:
        ServingError: something of it cannot be used; says what, and what would do.
    """
    form = format_of(asked.source)
    now = Input.of(asked.source)
    layout = form.layout(asked.source)
    if not layout.chunks:  # readers of the output need its columns
        layout = replace(layout, chunks=[Chunk(0, 1, 0, 0, 0)])
    both = [ready(asked.models, asked.key)]
    if asked.canary is not None:
        both.append(ready(asked.models, asked.canary.key))
        _refuse_incompatible(*both)
    file = _file(asked, now, form, layout, both)
    document, notes = _document(asked, both)
    manifest = _manifest(asked, file, both, document)
    side = None if document is None else _side(asked, file, both[1], manifest, document)
    work = Work(
        asked.source, asked.folder, form, layout, file.wanted, file.reader,
        Runner(both[0].opened, manifest.batch, file.reader.joined), file.output, side,
    )  # fmt: skip
    trial = (
        None
        if document is None or asked.canary is None
        else _trial(manifest, document, stops=asked.canary.stops)
    )
    return Opening(work, file.output.models, trial, tuple(notes))


def _refuse_incompatible(stable: Ready, canary: Ready) -> None:
    reason = incompatibility(stable.opened.model.signature, canary.opened.model.signature)
    if reason:
        raise InvalidInput(f"{canary.opened.key} cannot stand in for {stable.opened.key}: {reason}")


def _file(asked: Asked, now: Input, form: Format, layout: Layout, both: list[Ready]) -> _File:
    joined = all(each.joined for each in both)
    signature = both[0].opened.model.signature
    reader = Reader.of(asked.source.name, list(layout.columns), signature, joined=joined)
    taken = names_taken(signature.outputs, joined=joined)
    kept = kept_columns(layout, reader.columns, asked.keep, taken)
    named = asked.keep not in {"others", "all"}
    wanted = Wanted(reader.columns, tuple(kept), further=named)
    models = tuple(Model(each.opened.key, each.opened.sha256) for each in both)
    return _File(now, form, layout, wanted, reader, Output(signature.outputs, kept, models, joined))


def _document(asked: Asked, both: list[Ready]) -> tuple[Rollout | None, list[str]]:
    """What a canary is judged by, if there is one; and what rows cannot tell of it."""
    if asked.canary is None:
        return None, []
    stable, canary = (each.opened for each in both)
    return judging.document(stable.key, canary.key, stable.model.signature, asked.canary.rollout)


def _manifest(asked: Asked, file: _File, both: list[Ready], document: Rollout | None) -> Manifest:
    """What the output was begun with; begins it where nobody has."""
    plain = Manifest(
        asdict(file.now),
        asdict(file.output.models[0]),
        list(file.output.kept),
        _canary(asked, file, document),
        len(file.layout.chunks),
    )
    begun = read_manifest(asked.folder)
    if begun is not None:
        refuse_another(asked.folder, begun, plain)
        clear(asked.folder)
        return begun
    sample = _sample(asked, file)
    batches = [asked.batch if asked.batch and each.joined else each.batch(sample.feeds) for each in both]
    pairs = NO_PAIRS
    if document is not None:
        pairs = _timed(both, _some_drawn(file, sample, plain.canary), document)
    found = replace(
        plain,
        batch=batches[0],
        canary_batch=batches[-1],
        window=asked.jobs,
        pairs=pairs_to_json(pairs),
    )
    write_manifest(asked.folder, found)
    return found


def _canary(asked: Asked, file: _File, document: Rollout | None) -> Mapping[str, Any]:
    """What is asked of the canary, as the manifest has it."""
    if asked.canary is None or document is None:
        return {}
    return {
        **asdict(file.output.models[1]),
        "share": asked.canary.share,
        "salt": asked.canary.salt or f"{asked.source.name}:{file.now.modified_ns}",
        "stops": asked.canary.stops,
        "serves": asked.canary.serves,
        "judged_by": f"{document.guards!r} {document.compare!r} {document.alpha!r}",
    }


def _sample(asked: Asked, file: _File) -> Read:
    """The first rows of the file, as the model takes them; none where it has none."""
    for chunk in file.layout.chunks[:1]:
        for block in file.format.blocks(asked.source, file.layout, chunk, file.wanted):
            if len(block):
                found = file.reader.read(block)
                found.rows = block.rows[found.rows].tolist()  # their numbers, by which they are drawn
                return found
    return Read()


def _some_drawn(file: _File, sample: Read, canary: Mapping[str, Any]) -> list[Feeds]:
    """Some rows of a sample that are drawn for the canary, each alone."""
    chosen = np.flatnonzero(drawn(np.array(sample.rows, np.int64), canary["salt"], canary["share"]))
    few = chosen[:_TIMED_ROWS].tolist()
    return [feed for row in few for feed in chosen_feeds(sample.feeds, [row], joined=file.reader.joined)]


def _timed(both: list[Ready], rows: list[Feeds], document: Rollout) -> PairCounts:
    """Both models timed beside each other on rows, for the guards on latency and speed."""
    stable, canary = (each.opened for each in both)

    def decided(pairs: PairCounts) -> bool:
        return judging.times_decided(document, replace(NOTHING, pairs=pairs))

    asked = judging.timed_for(document)
    return time_both(stable, canary, rows, asked, _TIMED_SECONDS, decided, lambda: None).pairs


def _side(asked: Asked, file: _File, canary: Ready, manifest: Manifest, document: Rollout) -> Side:
    assert asked.canary is not None
    runner = Runner(canary.opened, manifest.canary_batch, file.reader.joined)
    return Side(runner, document, asked.canary.share, manifest.canary["salt"], asked.canary.serves)


def _trial(manifest: Manifest, document: Rollout, *, stops: bool) -> Trial:
    def count(value: object, _place: str) -> int:
        return int(str(value))

    return Trial(document, pairs_from_json(manifest.pairs, count), manifest.window, stops)
