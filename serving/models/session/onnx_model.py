"""One model in memory: an onnxruntime session, what it takes and gives, how long it runs.

Law: once constructed, a model never touches the disk again; neither external data nor libraries of custom
operators are loaded from it.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.errors import InvalidModel, ServingError
from serving.models.files.config import ModelConfig
from serving.models.files.graph_bytes import unfolded, unranked
from serving.models.files.lineage import MOST_CHARACTERS
from serving.models.files.repository import ModelEntry, ModelFiles, read
from serving.models.ort import onnxruntime
from serving.models.session.measured import Measured
from serving.models.session.model_errors import failed, refused, unequal_lengths
from serving.models.session.ort_values import ValueRunner
from serving.models.session.trials import Dims
from serving.models.session.warmup import Trial
from serving.wire.tensors import Signature, TensorSpec

Array = npt.NDArray[np.generic]

_NOWHERE = "/dev/null"  # a file, so that no folder of that name will ever exist
_QUIET = 4  # fatal errors only: faults are raised, and reported by who catches them

_LEVELS = {
    "none": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "layout": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_LAYOUT,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}

_DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "bfloat16": "BF16",
    "float": "FP32",
    "double": "FP64",
    "string": "BYTES",
}


MOST_SAID = 32
"""Entries of a model's metadata that are looked at."""


class OnnxModel(Measured):
    """A loaded `model.onnx`, which is a `Runnable`; its last ZipMaps are unfolded.

    Args:
        entry: its configuration.
        files: what was read from disk.
        threads: of one run, unless the configuration says otherwise.
        trial: what it is warmed with where its configuration names no .npz; None for the plain one.
        measured: whether there is input that it can be warmed with; without it is neither warmed nor joined.

    Attributes:
        dims: of every input that it needs, in their order.
        said: what its file says of itself, by name: `producer`, and its metadata.
        native: the session of onnxruntime, without the wrapper that checks once more.

    Raises:
        InvalidModel: it is corrupt or of a kind that cannot be served.
    """

    __slots__ = (
        "_has_run", "_session_run", "dims", "form", "identity", "labels", "native", "outside", "said",
        "sha256", "steps",
    )  # fmt: skip

    def __init__(
        self,
        entry: ModelEntry,
        files: ModelFiles,
        threads: int,
        trial: Trial | None = None,
        *,
        measured: bool = True,
    ) -> None:
        config = entry.config
        threads = config.threads or threads
        graph, labels = unfolded(files.content)
        session = _opened(graph, _options(files, threads, config), config.providers)
        self.native = session._sess  # noqa: SLF001
        self.labels = config.labels or labels
        self.form = ""
        self.steps: tuple[str, ...] = ()
        self.outside: None = None
        self.said = _said(session)
        self.sha256 = files.sha256
        self.identity = files.identity
        inputs, outputs = session.get_inputs(), session.get_outputs()
        scalars = any(not node.shape for node in (*inputs, *outputs))
        any_rank = unranked(graph) if scalars else frozenset()
        signature = Signature(
            _specs("input", inputs, any_rank) + _optional(session.get_overridable_initializers()),
            _specs("output", outputs, any_rank),
        )
        self.dims = tuple(None if node.name in any_rank else _dims(node) for node in inputs)
        # The wrapper's own run() checks what serving.wire.protocol has checked, for 0.6 us.
        self._session_run = _runner(session, self.native, signature)
        self._run = self._first_run
        self._has_run = False
        batchable = _is_batchable(inputs, outputs)
        super().__init__(
            signature, config, threads, files.warmup, trial, batchable=batchable, measured=measured
        )

    @classmethod
    def load(
        cls,
        entry: ModelEntry,
        threads: int,
        sha256: str | None = None,
        trial: Trial | None = None,
        *,
        measured: bool = True,
    ) -> "OnnxModel":
        """Read a model and make it ready to run.

        Args:
            entry: what to load.
            threads: of one run, unless the configuration says otherwise.
            sha256: what was verified; files that have changed since are refused.
            trial: what verification found to warm it with; None for plain input.
            measured: whether it found any.

        Raises:
            InvalidModel: it cannot be read, has changed, is corrupt, or of a kind that cannot be served.
        """
        files = read(entry)
        if sha256 not in {None, files.sha256}:
            raise InvalidModel("its files changed while it was checked; load it again")
        return cls(entry, files, threads, trial, measured=measured)

    def _first_run(
        self, output_names: Sequence[str], feeds: Mapping[str, Array], options: None
    ) -> list[Array]:
        """As the session's own run, which takes its place once it went well."""
        outputs: list[Array] = self._session_run(output_names, feeds, options)
        self._has_run = True
        self._run = self._session_run
        return outputs

    def _fault(self, error: Exception, feeds: Mapping[str, Array], *, tried: bool) -> ServingError:
        """As `Measured`."""
        shapes = {name: array.shape for name, array in feeds.items()}
        known = zip(self.signature.input_by_name, self.dims, strict=False)
        dims = {name: shape for name, shape in known if shape is not None}
        return failed(error, has_run=tried or self._has_run, unequal=unequal_lengths(dims, shapes))


def _options(files: ModelFiles, threads: int, config: ModelConfig) -> Any:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = _LEVELS[config.optimization]
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _QUIET
    # The arena keeps the memory of the largest request for ever, and memory patterns one plan for every
    # shape seen, which clients choose. Leaving both out costs nothing that could be measured.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if config.spinning else "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.add_session_config_entry("session.load_model_format", "ONNX")
    # onnxruntime maps external files instead of reading them, so that overwriting one changes a model in
    # use, and looks for those of subgraphs in the current folder. Hence all come from memory (it copies
    # them), and the folder that it would look in for more cannot exist.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", _NOWHERE)
    if files.external:
        names, contents = list(files.external), list(files.external.values())
        options.add_external_initializers_from_files_in_memory(
            names, contents, [len(data) for data in contents]
        )
    return options


def _opened(graph: bytes, options: Any, providers: Sequence[str]) -> Any:
    """A session; what onnxruntime cannot open is refused."""
    onnxruntime.set_default_logger_severity(_QUIET)
    try:
        return onnxruntime.InferenceSession(graph, options, providers=list(providers))
    except Exception as error:  # noqa: BLE001  (onnxruntime's exceptions have no base of their own)
        raise refused(error, graph) from None


def _said(session: Any) -> dict[str, str]:
    """What a model's file says of itself; what cannot be read as text is left out."""
    try:
        meta = session.get_modelmeta()
        said = {"producer": meta.producer_name, **meta.custom_metadata_map}
    except ValueError:
        return {}
    few = list(said.items())[:MOST_SAID]
    return {name[:100]: value[:MOST_CHARACTERS] for name, value in few if name and value}


def _runner(session: Any, native: Any, signature: Signature) -> Any:
    """What runs a session: its names of outputs, its input by name, options."""
    kinds = {spec.datatype for spec in (*signature.inputs, *signature.outputs)}
    if "BF16" not in kinds:
        return native.run
    if any(spec.datatype == "BYTES" for spec in signature.inputs):
        raise InvalidModel("it takes text and has BF16 too, which onnxruntime's Python interface cannot run")
    return ValueRunner(session)


def _specs(side: str, nodes: Sequence[Any], any_rank: Collection[str]) -> tuple[TensorSpec, ...]:
    if side == "output" and not nodes:
        raise InvalidModel("it has no outputs")
    return tuple(
        TensorSpec(node.name, _datatype(side, node), None if node.name in any_rank else _shape(node))
        for node in nodes
    )


def _optional(initializers: Sequence[Any]) -> tuple[TensorSpec, ...]:
    """Weights that requests may replace; those of BF16 and of what the protocol lacks are the model's own."""
    return tuple(
        TensorSpec(node.name, _DATATYPES[_element(node)], _shape(node), optional=True)
        for node in initializers
        if _DATATYPES.get(_element(node), "BF16") != "BF16"
    )


def _element(node: Any) -> str:
    return str(node.type).removeprefix("tensor(").removesuffix(")")


def _datatype(side: str, node: Any) -> str:
    if not node.type.startswith("tensor("):
        raise InvalidModel(f"{side} {node.name!r} is of type {node.type}, and the protocol has tensors only")
    datatype = _DATATYPES.get(_element(node))
    if datatype is None:
        raise InvalidModel(f"{side} {node.name!r} is of datatype {_element(node)}, which the protocol lacks")
    return datatype


def _shape(node: Any) -> tuple[int, ...]:
    return tuple(length if isinstance(length, int) and length >= 0 else -1 for length in node.shape)


def _dims(node: Any) -> Dims:
    """As `_shape`, with the names that tell which variable dimensions are equal."""
    return tuple(
        (length if length >= 0 else None) if isinstance(length, int) else None if length == "?" else length
        for length in node.shape
    )


def _is_batchable(inputs: Sequence[Any], outputs: Sequence[Any]) -> bool:
    """Inputs whose first dimensions have different names are not rows of the same thing."""
    if not all(_shape(node)[:1] == (-1,) for node in (*inputs, *outputs)):
        return False
    return len({node.shape[0] for node in inputs}) == 1
