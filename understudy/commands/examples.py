"""`understudy rollouts examples`: differences to look at, to export as JSON lines, and to send again."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import httpx
import orjson
import typer

from router.mirror.examples import obstacle
from router.rollout.compare import compare
from router.rollout.values import Rollout
from serving.errors import ServingError
from serving.wire.protocol import decode_response
from serving.wire.tensors import Array, TensorSpec, from_json
from understudy.output import fail, table

_SHOWN_VALUES = 4

Example = Mapping[str, Any]


def show(view: Mapping[str, Any]) -> None:
    """Print the examples as a table."""
    examples = view["examples"]
    rows = [[_when(each), each["target"], each["output"], *_difference(each)] for each in examples]
    table("", ["when", "candidate", "output", "distance", "reference", "candidate's"], rows)
    typer.echo(f"{len(examples)} examples of {view['seen']} comparisons")


def export(examples: list[dict[str, Any]]) -> None:
    """Print each example as a line of JSON."""
    for example in examples:
        typer.echo(orjson.dumps(example).decode())


def _when(example: Example) -> str:
    return datetime.fromisoformat(example["at"]).astimezone().strftime("%F %T")


def _difference(example: Example) -> tuple[str, str, str]:
    if example["redacted"]:
        return f"{example['distance']:.4g}", "(redacted)", "(redacted)"
    distance = "agrees" if example["verdict"] == "same" else f"{example['distance']:.4g}"
    return distance, _side(example, ""), _side(example, "candidate_")


def _side(example: Example, prefix: str) -> str:
    datatype, shape = example[f"{prefix}datatype"], example[f"{prefix}shape"]
    if not datatype:
        return "(missing)"
    values = example[prefix.removesuffix("_") or "reference"]
    text = ", ".join(
        f"{value:.4g}" if type(value) is float else str(value) for value in values[:_SHOWN_VALUES]
    )
    more = ", ..." if len(values) > _SHOWN_VALUES or example["cut"] else ""
    place = f" {datatype} {list(shape)}" if example["kind"] in {"shape", "datatype"} else ""
    return f"{text}{more}{place}"


def replay(
    url: str, model: str, rollout: Rollout, examples: list[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Send the requests of examples again, and hold the answers against both sides.

    Args:
        url: base of a server of the protocol, or a whole infer URL.
        model: the name to ask for.
        rollout: its document, which has the rules to compare by.
        examples: as the admin door shows them.

    Returns:
        Per example its id, its output, and `same_as`: reference, candidate, both or neither; None, with the
        `problem`, where it could not be sent or was not answered.
    """
    place = url if url.endswith("/infer") else f"{url.rstrip('/')}/v2/models/{model}/infer"
    with httpx.Client(timeout=30.0, trust_env=False) as client:
        for example in examples:
            found = {"id": example["id"], "output": example["output"], "same_as": None, "problem": ""}
            problem = obstacle(example["request"]) or _lack(example)
            if problem:
                yield found | {"problem": problem}
                continue
            try:
                answer = client.post(place, content=orjson.dumps(example["request"]))
            except httpx.HTTPError as error:
                fail(f"{url}: {error}")
            if answer.status_code != 200:
                yield found | {"problem": f"answered with status {answer.status_code}"}
            else:
                yield found | _held_against(example, answer.content, rollout)


def _lack(example: Example) -> str:
    """Why an answer cannot be held against the example; empty when it can."""
    if example["redacted"]:
        return f"its output {example['output']!r} was redacted"
    if example["cut"]:
        return f"its output {example['output']!r} was too long to be kept whole"
    return ""


def _held_against(example: Example, body: bytes, rollout: Rollout) -> dict[str, Any]:
    output = example["output"]
    try:
        outputs = decode_response(body, None).outputs
    except ServingError as error:
        return {"problem": str(error)}
    now = {output: outputs[output]} if output in outputs else {}
    same = [
        name
        for name, prefix in (("reference", ""), ("candidate", "candidate_"))
        if all(each.same for each in compare(_kept(example, name, prefix), now, rollout.compare))
    ]
    return {"same_as": " and ".join(same) or "neither"}


def _kept(example: Example, name: str, prefix: str) -> dict[str, Array]:
    """One side of an example, as tensors."""
    datatype, shape = example[f"{prefix}datatype"], example[f"{prefix}shape"]
    if not datatype:
        return {}
    spec = TensorSpec(example["output"], datatype, (-1,) * len(shape))
    return {example["output"]: from_json(example[name], spec, shape, len(example[name]))}


def show_replay(rows: list[dict[str, Any]]) -> None:
    """Print what a replay found as a table."""
    table(
        "",
        ["example", "output", "same as"],
        [[r["id"], r["output"], r["same_as"] or r["problem"]] for r in rows],
    )
