"""What it costs to count answers for drift: CPU time a row in the log writer, and bytes that control is told.

python -m benchmarks.speed.drift
"""

import time
from collections.abc import Sequence

import numpy as np

from router.drift.features import columns
from router.drift.profile import profile_of
from router.drift.references import Reference
from router.drift.watch import MOST_VALUES, Seen, Watch
from router.wire.drift_telling import told
from router.wire.report import Report, encoded
from serving.wire.tensors import Signature, TensorSpec

ROWS = 2048
TURNS = 5


def main() -> None:
    """Print a line for each number of features."""
    for features in (4, 30, 300):
        watch, answers = watched(features)
        best = min(seconds(watch, answers, turn) for turn in range(TURNS))
        [*_, latest] = watch.give(0, 0.0)
        row = told("m", "m/1", watch, (latest,))
        body = encoded(Report(instance="", node="", kind="log-writer", revision=0, wait=0, drift=(row,)))
        number = len(watch.reference.profile.features)
        print(
            f"{features} inputs: {best / ROWS * 1e6:.1f} us a row, {len(body) / number:.0f} bytes a feature"
        )


def watched(features: int) -> tuple[Watch, Sequence[Seen]]:
    """Rows of so many inputs and three probabilities, and a watch over their bins."""
    rng = np.random.default_rng(1)
    inputs = rng.normal(size=(ROWS, features)).astype("f4")
    outputs = rng.dirichlet([1, 1, 1], ROWS).astype("f4")
    signature = Signature((TensorSpec("x", "FP32", (-1, features)),), (TensorSpec("p", "FP32", (-1, 3)),))
    of_rows = [
        *columns(signature.inputs, "input", [{"x": inputs}]),
        *columns(signature.outputs, "output", [{"p": outputs}]),
    ]
    profile = profile_of("m/1", "", "", of_rows, (), signature)
    answers = [Seen({"x": inputs[at : at + 1]}, {"p": outputs[at : at + 1]}, 1.0) for at in range(ROWS)]
    return Watch(Reference(profile, "")), answers


def seconds(watch: Watch, answers: Sequence[Seen], turn: int) -> float:
    """CPU time for all of them, as many a second as there is room for; of the turn's own seconds."""
    a_second = max(MOST_VALUES // answers[0].values, 1)
    began = time.process_time()
    for number, answer in enumerate(answers):
        watch.see(answer, float(turn * ROWS + number // a_second))
    watch.count(float(turn * ROWS))
    return time.process_time() - began


if __name__ == "__main__":
    main()
