"""What each committed model is: its data, its split and how every version is trained.

All data comes with scikit-learn. Every family keeps 40% of its rows, stratified by class, for judging;
no version is trained on them. Seeds are fixed, and training runs on one thread in double precision.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
from convnet import IR_VERSION, ML_OPSET, OPSET, Singles, train
from numpy.typing import NDArray
from onnx import ModelProto, checker, helper
from skl2onnx import convert_sklearn  # type: ignore[import-untyped]
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType  # type: ignore[import-untyped]
from sklearn.base import BaseEstimator, is_classifier  # type: ignore[import-untyped]
from sklearn.datasets import (  # type: ignore[import-untyped]
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_iris,
)
from sklearn.ensemble import RandomForestClassifier  # type: ignore[import-untyped]
from sklearn.linear_model import LogisticRegression, Ridge  # type: ignore[import-untyped]
from sklearn.model_selection import train_test_split  # type: ignore[import-untyped]
from sklearn.pipeline import make_pipeline  # type: ignore[import-untyped]
from sklearn.preprocessing import StandardScaler  # type: ignore[import-untyped]
from threadpoolctl import threadpool_info  # type: ignore[import-untyped]

HELD_OUT = 0.4
BUILT_WITH = ", ".join(
    [
        *(f"{name} {version(name)}" for name in ("numpy", "onnx", "onnxruntime", "scikit-learn", "skl2onnx")),
        *sorted(
            {
                f"{library['architecture']} BLAS kernels"
                for library in threadpool_info()
                if "architecture" in library
            }
        ),
    ]
)  # what the bytes depend on

Targets = NDArray[np.int64] | NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Rows:
    """Inputs FP32 [rows, features] and what should be answered: INT64 classes or FP32 values, [rows]."""

    inputs: Singles
    targets: Targets


@dataclass(frozen=True, slots=True)
class Version:
    """How a version is made, in words and as what makes it."""

    how: str
    build: Callable[[], ModelProto]


@dataclass(frozen=True, slots=True)
class Family:
    """One model name; `labels` names the classes and is empty for a regression."""

    name: str
    about: str
    labels: tuple[str, ...]
    trained_on: int
    held_out: Rows
    versions: Mapping[str, Version]


def families() -> Iterator[Family]:
    """Every model name, in the order of the README."""
    yield _digits()
    yield _digits_cnn()
    yield _cancer()
    yield _iris()
    yield _diabetes()


def _digits() -> Family:
    rows, held_out = _split(load_digits())
    names = tuple("0123456789")

    def logistic(targets: Targets) -> ModelProto:
        model = LogisticRegression(C=0.003, max_iter=10_000, tol=1e-8)
        return _convert("digits", model.fit(rows.inputs.astype(np.float64), targets), "pixels")

    def convolutional(*channels: int) -> ModelProto:
        return _finish(train(rows.inputs, rows.targets.astype(np.int64), channels, "pixels"))

    return Family(
        "digits",
        "8x8 grey images of handwritten digits, 64 pixels of 0 to 16",
        names,
        len(rows.inputs),
        held_out,
        {
            "1": Version("logistic regression", lambda: logistic(rows.targets)),
            "2": Version("one convolution of 48 filters", lambda: convolutional(48)),
            "3": Version(
                "as 1, but 45% of the 8s were labelled 3, and of the 9s 4",
                lambda: logistic(_mislabel(rows.targets, {8: 3, 9: 4}, 0.45)),
            ),
            "4": Version("two convolutions of 128 filters: right, but slow", lambda: convolutional(128, 128)),
        },
    )


def _digits_cnn() -> Family:
    rows, held_out = (Rows(part.inputs.reshape(-1, 1, 8, 8), part.targets) for part in _split(load_digits()))
    return Family(
        "digits-cnn",
        "the same digits as images [1, 8, 8]",
        tuple("0123456789"),
        len(rows.inputs),
        held_out,
        {
            "1": Version(
                "two convolutions of 32 and 64 filters",
                lambda: _finish(train(rows.inputs, rows.targets.astype(np.int64), (32, 64), "image")),
            )
        },
    )


def _cancer() -> Family:
    data = load_breast_cancer()
    forest = RandomForestClassifier(50, max_depth=4, random_state=0)
    logistic = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, tol=1e-8))
    hows = {"1": ("forest of 50 trees of depth 4", forest), "2": ("scaled logistic regression", logistic)}
    return _tabular("cancer", "30 measures of cell nuclei, malignant or benign", data, hows)


def _iris() -> Family:
    data = load_iris()
    model = LogisticRegression(max_iter=1000, tol=1e-8)
    return _tabular("iris", "4 lengths in cm, three species", data, {"1": ("logistic regression", model)})


def _diabetes() -> Family:
    data = load_diabetes(scaled=False)
    model = make_pipeline(StandardScaler(), Ridge(10))
    hows = {"1": ("scaled ridge regression", model)}
    return _tabular("diabetes", "10 measures of a patient, progression a year later", data, hows)


def _tabular(
    name: str, about: str, data: Mapping[str, Any], models: Mapping[str, tuple[str, BaseEstimator]]
) -> Family:
    rows, held_out = _split(data)

    def fitted(model: BaseEstimator) -> ModelProto:
        return _convert(name, model.fit(rows.inputs.astype(np.float64), rows.targets), "features")

    versions = {key: Version(how, partial(fitted, model)) for key, (how, model) in models.items()}
    labels = tuple(str(label) for label in data.get("target_names", ()))
    return Family(name, about, labels, len(rows.inputs), held_out, versions)


def _split(data: Mapping[str, Any]) -> tuple[Rows, Rows]:
    """Rows to train on and rows held out."""
    classes = "target_names" in data
    inputs, targets = (
        data["data"].astype(np.float32),
        data["target"].astype(np.int64 if classes else np.float32),
    )
    ours, theirs, our_targets, their_targets = train_test_split(
        inputs, targets, test_size=HELD_OUT, random_state=0, stratify=targets if classes else None
    )
    return Rows(ours, our_targets), Rows(theirs, their_targets)


def _mislabel(targets: Targets, confused: Mapping[int, int], share: float) -> Targets:
    """Targets in which a share of some classes bears another's label."""
    drawn = np.random.default_rng(0).random(len(targets)) < share
    wrong = targets.copy()
    for true, taken_for in confused.items():
        wrong[(targets == true) & drawn] = taken_for
    return wrong


def _convert(name: str, model: BaseEstimator, input_name: str) -> ModelProto:
    """A fitted scikit-learn model as a graph with the names of ours."""
    if is_classifier(model):
        classes = len(model.classes_)
        outputs = [
            ("label", Int64TensorType([None])),
            ("probabilities", FloatTensorType([None, classes])),
        ]
    else:
        outputs = [("prediction", FloatTensorType([None, 1]))]
    return _finish(
        convert_sklearn(
            model,
            name=name,
            initial_types=[(input_name, FloatTensorType([None, model.n_features_in_]))],
            final_types=outputs,
            options={"zipmap": False} if is_classifier(model) else None,
            target_opset={"": OPSET, "ai.onnx.ml": ML_OPSET},
        )
    )


def _finish(model: ModelProto) -> ModelProto:
    """Fix whatever else the installed converters would decide, and check the whole."""
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version, model.doc_string = "understudy", "1", ""
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    helper.set_model_props(model, {"built_with": BUILT_WITH})
    checker.check_model(model, full_check=True)
    return model
