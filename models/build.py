"""Build the committed models, or check that they can still be built.

python models/build.py            rebuild all, and the tables of README.md
python models/build.py --check    rebuild elsewhere and compare with what is committed
"""

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from judge import differences, judge, microseconds
from recipes import Family, families
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

HERE = Path(__file__).resolve().parent
BEGIN, END = "<!-- written by build.py: begin -->\n", "<!-- written by build.py: end -->\n"


def main() -> int:
    """Run the command line; the exit code is 1 when something checked is not equal."""
    parser = argparse.ArgumentParser(description="Build the committed models.")
    parser.add_argument("--check", action="store_true", help="compare a rebuild with what is committed")
    check = parser.parse_args().check
    with threadpool_limits(1), tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) if check else HERE
        built = []
        for family in families():
            print(f"building {family.name}", file=sys.stderr, flush=True)
            write(family, root)
            built.append(family)
        if check:
            return check_all(built, root)
    write_report(built)
    return 0


def write(family: Family, root: Path) -> None:
    """Train every version of a family and write its files into `root/<name>/`."""
    folder = root / family.name
    lines = ["# Written by models/build.py.", "versions: all"]
    if family.labels:
        lines.append(f"labels: {json.dumps(family.labels)}")
    lines.append("sha256:")
    for name, version in family.versions.items():
        data = version.build().SerializeToString(deterministic=True)
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "model.onnx").write_bytes(data)
        lines.append(f'  "{name}": "{hashlib.sha256(data).hexdigest()}"')
    (folder / "config.yaml").write_text("\n".join(lines) + "\n")
    np.savez_compressed(folder / "heldout.npz", inputs=family.held_out.inputs, labels=family.held_out.targets)


def check_all(built: Sequence[Family], rebuilt: Path) -> int:
    """Say of every committed file whether the rebuilt one is equal; 1 when one is not."""
    faults = 0
    for family in built:
        for place, fault, note in _check(family, HERE / family.name, rebuilt / family.name):
            faults += bool(fault)
            print(f"{place}: {'DIFFERS, ' + fault if fault else 'equal' + note}")
    print(f"{faults} differ" if faults else "all equal")
    return 1 if faults else 0


def _check(family: Family, committed: Path, rebuilt: Path) -> Iterator[tuple[str, str, str]]:
    """For the held-out rows and each version: its name, its fault if any, and a note if none."""
    with np.load(committed / "heldout.npz") as ours, np.load(rebuilt / "heldout.npz") as theirs:
        same = all(np.array_equal(ours[name], theirs[name]) for name in ("inputs", "labels"))
    yield f"{family.name}/heldout.npz", "" if same else "other rows", ""
    config = (committed / "config.yaml").read_text()
    for name in family.versions:
        there = judge(rebuilt / name / "model.onnx", family.held_out)
        try:
            here = judge(committed / name / "model.onnx", family.held_out)
        except Exception as error:  # noqa: BLE001, onnxruntime's errors have no base of their own
            yield f"{family.name}/{name}", f"cannot be run: {type(error).__name__}", ""
            continue
        faults = differences(here, there)
        if f'"{name}": "{here.digest}"' not in config:
            faults.append("config.yaml has another sha256")
        note = ", byte for byte"
        if here.digest != there.digest:
            other = ", ".join(sorted(here.built_with - there.built_with)) or "another processor"
            note = f" in signature, score and predictions, not in bytes (committed: {other})"
        yield f"{family.name}/{name}", "; ".join(faults), note


def write_report(built: Sequence[Family]) -> None:
    """Put the measured tables between their markers in README.md, and print them."""
    tables = "\n".join((*_data_table(built), "", *_model_table(built), "", *_agreement_table(built), ""))
    readme = HERE / "README.md"
    before, _, rest = readme.read_text().partition(BEGIN)
    readme.write_text(before + BEGIN + tables + END + rest.partition(END)[2])
    print(tables, end="")


def _data_table(built: Sequence[Family]) -> Iterator[str]:
    yield "| name | data | trained on | held out |"
    yield "|---|---|---|---|"
    for family in built:
        yield f"| {family.name} | {family.about} | {family.trained_on} | {len(family.held_out.inputs)} |"


def _model_table(built: Sequence[Family]) -> Iterator[str]:
    yield "| model | made as | held-out score | size | 1 row | 32 rows |"
    yield "|---|---|---|---|---|---|"
    for family in built:
        for name, version in family.versions.items():
            path, rows = HERE / family.name / name / "model.onnx", family.held_out
            score = judge(path, rows).score
            shown = f"{score:.2%}" if family.labels else f"R\u00b2 {score:.3f}"
            one, many = (f"{microseconds(path, rows, batch):.0f} us" for batch in (1, 32))
            size = f"{path.stat().st_size / 1000:.1f} kB"
            yield f"| {family.name}/{name} | {version.how} | {shown} | {size} | {one} | {many} |"


def _agreement_table(built: Sequence[Family]) -> Iterator[str]:
    yield "| models | the same label |"
    yield "|---|---|"
    for family in built:
        judged = {
            name: judge(HERE / family.name / name / "model.onnx", family.held_out) for name in family.versions
        }
        for one, other in combinations(judged, 2):
            share = judged[one].agreement(judged[other])
            yield f"| {family.name}/{one}, {family.name}/{other} | {share:.2%} |"


if __name__ == "__main__":
    sys.exit(main())
