"""A graph that was verified, made ready to run."""

from dataclasses import replace

from serving.errors import InvalidModel
from serving.models.files.graph_bytes import unfolded
from serving.models.files.graph_file import GRAPH_FILE, parse_graph
from serving.models.files.repository import MODEL_FILE, ModelEntry, ModelFiles, read
from serving.models.graphs.stepped import Stepped, files_of
from serving.models.session.onnx_model import OnnxModel
from serving.models.session.warmup import Trial


def load(
    entry: ModelEntry,
    threads: int,
    sha256: str,
    trial: Trial | None,
    fused: bytes,
    form: str,
    *,
    measured: bool,
) -> OnnxModel | Stepped:
    """Read a graph and make it ready to run, in the form that verification found.

    Args:
        entry: what to load.
        threads: of one run, unless its configuration says otherwise.
        sha256: what was verified.
        trial: as of `OnnxModel`.
        fused: the one model that it was made into; empty to run it step by step.
        form: what is said of that.
        measured: as of `OnnxModel`.

    Raises:
        InvalidModel: it has changed since, or a model in it cannot be opened.
    """
    files = read(entry)
    if sha256 != files.sha256:
        raise InvalidModel("its files changed while it was checked; load it again")
    graph = parse_graph(files.content, f"{entry.name}/{entry.version}/{GRAPH_FILE}")
    model: OnnxModel | Stepped
    if fused:
        model = one_session(entry, files, fused, threads, trial, measured=measured)
        named = (unfolded(own.content)[1] for own in reversed(files_of(graph, files).values()))
        model.labels = model.labels or next(filter(None, named), ())
    else:
        model = Stepped(graph, entry, files, threads, trial, measured=measured)
    model.form = form
    return model


def one_session(
    entry: ModelEntry,
    files: ModelFiles,
    fused: bytes,
    threads: int,
    trial: Trial | None = None,
    *,
    measured: bool = True,
) -> OnnxModel:
    """The session of a fused graph; its external data is among the files, relative to the graph's folder."""
    data = {place: part for place, part in files.external.items() if not place.endswith(f"/{MODEL_FILE}")}
    one = replace(files, content=fused, external=data)
    return OnnxModel(entry, one, threads, trial, measured=measured)
