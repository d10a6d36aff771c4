"""The reference of a model's `config.yaml`."""

from docs.gen.documents import REQUIRED, Field, Reference, Section, render_sections
from docs.gen.markdown import page
from serving.models.files.config import CPU, ModelConfig, parse_config

_PROVIDERS = (CPU, "CUDAExecutionProvider")

_TOP = Section(
    "Fields",
    "All may be left out, and so may the file.",
    (),
    {},
    [
        Field(
            "versions",
            "`all`, `{latest: N}` or a list of versions",
            {"latest": 1},
            ["1", "2"],
            "newest",
            "which versions `understudy serve` serves; a rollout may name any",
        ),
        Field(
            "sha256",
            "a mapping from versions to digests",
            {},
            {"1": "a" * 64},
            {"1": "abc"},
            "what the files must have, else the model is refused",
        ),
        Field(
            "lineage",
            "a mapping from versions to claims",
            {},
            {"2": {"registered_by": "ann", "commit": "0123abc"}},
            {"2": {"colour": "blue"}},
            "what is claimed of where a version comes from ([subjects](../models-from-anywhere.md"
            "#what-is-known-of-a-model))",
        ),
        Field(
            "labels",
            "a list of names",
            [],
            ["cat", "dog"],
            "cat",
            "names of the classes, in the outputs' order",
        ),
        Field(
            "execution",
            "`auto`, `inline` or `pooled`",
            "auto",
            "pooled",
            "threads",
            "on the event loop or in a thread of its own; `auto` goes by the measured run time",
        ),
        Field(
            "batching",
            "a mapping, see below",
            {"max": "auto"},
            {"max": 32},
            {"max": 0},
            "how many rows are run together, and whether they may be",
        ),
        Field("threads", "1 to 1024", "", 2, 0, "threads of one run; left out, those of the process"),
        Field(
            "providers",
            "a list of execution providers of onnxruntime",
            [CPU],
            [CPU],
            ["TPU"],
            "by preference; they must be there on this machine",
        ),
        Field("queue", "1 to 1000000", 512, 64, 0, "requests that may wait; one more gets 503"),
        Field("timeout", "a duration", "", "250ms", "250", "time of one request; left out, the rollout's"),
        Field(
            "check",
            "a mapping, see below",
            {},
            {"time": "30s"},
            {"cpu": 1},
            "limits of the check before a load",
        ),
        Field(
            "warmup",
            "an `.npz` in the model's folder",
            "",
            "warmup.npz",
            "../warmup.npz",
            "an array for every input, to warm with; left out, it is searched: zeros first, then other lengths and values",
        ),
        Field(
            "spinning",
            "`true` or `false`",
            False,
            True,
            1,
            "whether idle threads of onnxruntime burn CPU to answer sooner",
        ),
        Field(
            "optimization",
            "`none`, `basic`, `extended`, `layout` or `all`",
            "all",
            "extended",
            "fast",
            "how far onnxruntime rewrites the graph at a load: constants folded (`basic`), operators fused (`extended`),"
            " tensors laid out for the CPU (`layout`), each with those before; answers may differ in their last digits,"
            " of quantized models more",
        ),
    ],
)
_CHECK = Section(
    "check",
    "Every model is tried in a process with limits before it is loaded.",
    ("check",),
    {"check": {"memory": "1GiB"}},
    [
        Field(
            "memory",
            "bytes, or a size such as `64MiB`",
            "",
            "1GiB",
            "1 gigabyte",
            "beyond that of an idle process",
        ),
        Field("time", "a duration of at most 1 h", "", "30s", "2h", "after which the check has failed"),
    ],
)
_LATEST = Section(
    "versions",
    "",
    ("versions",),
    {"versions": {"latest": 2}},
    [Field("latest", "1 to 1000000", REQUIRED, 2, 0, "the highest N versions")],
)
_BATCHING = Section(
    "batching",
    "",
    ("batching",),
    {"batching": {"max": 8}},
    [
        Field(
            "max",
            "1 to 65536, or `auto`",
            "auto",
            8,
            65_537,
            "most rows that are run together; 1 never joins requests, `auto` measures",
        ),
        Field(
            "independent",
            "`true` or `false`",
            False,
            True,
            "maybe",
            "your word that no row influences another one's result, where the graph does not prove it",
        ),
    ],
)
_LEAD = """
`<name>/config.yaml` in the repository says how the versions of one model are chosen, checked and run. It is read when
a version is loaded.

```yaml title="config.yaml"
versions: {latest: 2}
labels: [negative, positive]
batching: {max: 16}
queue: 256
timeout: 500ms
check: {memory: 1GiB, time: 30s}
warmup: warmup.npz
```
"""


def _parse(text: str) -> ModelConfig:
    return parse_config(text.encode(), "config.yaml", lambda: _PROVIDERS)


REFERENCE = Reference(_parse, [_TOP, _LATEST, _BATCHING, _CHECK])


def render() -> str:
    """The page."""
    made_from = "docs/gen/model_config_page.py and the parser"
    return page("A model's config.yaml", made_from, _LEAD, *render_sections(REFERENCE))
