"""Where a model comes from: what is claimed of that, and by whom. Pure.

Law: nothing here is proven, but for a signature that `VERIFIED` says. Each claim names who makes it (a
registry, a file); of what nobody claims anything it is said that it is unknown; and where two claim
different things, both stand.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

LINEAGE_FILE: Final = "lineage.json"
"""Beside the model, in the folder of its version; MLflow's is made by `serving.sources.mlflow.remote`."""
ABOUT: Final = (
    "registered_as", "registered_by", "registered_at", "run", "commit", "code", "data", "parent",
    "conversion", "signature", "producer", "metadata",
)  # fmt: skip
"""What is asked of every model; `metadata` is whatever else its file says of itself."""
MAX_BYTES: Final = 1 << 18
MOST_CLAIMS: Final = 200
MOST_CHARACTERS: Final = 1000

ORIGIN: Final = "understudy.origin"
CONVERSION: Final = "understudy.conversion"
"""In the metadata of a variant's file, a JSON object each: `model` and `sha256` of what it was made from;
`method`, `options` by name, and versions by the name of what made it."""
SHORT: Final = (
    "registered_as", "registered_by", "registered_at", "run", "commit", "data", "parent", "conversion",
    "signature",
)  # fmt: skip
VERIFIED: Final = "Understudy, which verified it"
"""Says what was proven here; no file can call itself so."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One thing that is said of a model.

    Attributes:
        about: one of `ABOUT`.
        said_by: who says it: `MLflow`, `config.yaml`, `model.onnx`, what a `lineage.json` calls itself, or
            `VERIFIED`.
        link: where to read on, `http(s)://...`; else empty.
    """

    about: str
    value: str
    said_by: str
    link: str = ""


@dataclass(frozen=True, slots=True)
class Lineage:
    """All that is claimed of a model, in the order of `ABOUT`.

    Attributes:
        problems: what was to be read and could not, a sentence each.
    """

    claims: tuple[Claim, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def unknown(self) -> tuple[str, ...]:
        """Of what nobody claims anything."""
        told = {claim.about for claim in self.claims}
        return tuple(about for about in ABOUT if about not in told and about != "metadata")

    def as_json(self) -> dict[str, Any]:
        """For the API."""
        return {
            "claims": [
                {"about": one.about, "value": one.value, "said_by": one.said_by, "link": one.link}
                for one in self.claims
            ],
            "unknown": list(self.unknown),
            "problems": list(self.problems),
        }

    def short(self) -> dict[str, str]:
        """For a row of the audit log: the first claim about a few things, with who says it."""
        found: dict[str, str] = {}
        for one in self.claims:
            if one.about in SHORT:
                found.setdefault(one.about, f"{one.value} (says {one.said_by})")
        return found


def gathered(claims: Iterable[Claim], problems: Iterable[str] = ()) -> Lineage:
    """One lineage of what several say; the same from the same one counts once."""
    places = {about: place for place, about in enumerate(ABOUT)}
    ordered = sorted(dict.fromkeys(claims), key=lambda claim: places[claim.about])
    return Lineage(tuple(ordered[:MOST_CLAIMS]), tuple(problems))


def from_file(content: bytes) -> Lineage:
    """What a `lineage.json` says.

    It is `{"said_by": "...", "claims": [{"about": "commit", "value": "...", "link": "https://..."}]}`;
    what is not so is a problem, and the rest of it stands.
    """
    if len(content) > MAX_BYTES:
        return Lineage(problems=(f"{LINEAGE_FILE} is larger than {MAX_BYTES} bytes",))
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return Lineage(problems=(f"{LINEAGE_FILE} is no JSON",))
    entries = found.get("claims") if isinstance(found, dict) else None
    if not isinstance(entries, list):
        return Lineage(problems=(f"{LINEAGE_FILE} has no list of claims",))
    said_by = found.get("said_by", LINEAGE_FILE)
    named = isinstance(said_by, str) and said_by.isprintable() and "understudy" not in said_by.lower()
    said_by = said_by[:100] if named else LINEAGE_FILE
    claims, strange = [], 0
    for entry in entries:
        claim = _claim(entry, said_by)
        claims += [claim] if claim is not None else []
        strange += claim is None
    problems = [f"{strange} claims of {LINEAGE_FILE} cannot be read"] if strange else []
    return gathered(claims, problems)


def from_config(said: Mapping[str, Iterable[str]], file: str) -> tuple[Claim, ...]:
    """What a configuration says of one version."""
    return tuple(
        Claim(about, value, file, web_link(value)) for about, values in said.items() for value in values
    )


def from_graph(said: Mapping[str, str], file: str) -> tuple[Claim, ...]:
    """What a model's file says of itself: its producer and its metadata, by name.

    Names of `ABOUT` are what they are, and what a variant was made from, and how, is its `parent` and its
    `conversion`; any other one is `metadata`.
    """
    return tuple(_of_entry(name, value, file) for name, value in said.items())


def web_link(value: str) -> str:
    """A value that is a web address, as a link; else nothing."""
    plain = value.isprintable() and " " not in value and '"' not in value
    return value if plain and value.startswith(("https://", "http://")) else ""


def _of_entry(name: str, value: str, file: str) -> Claim:
    if name in ABOUT and name != "metadata":
        return Claim(name, _cut(value), file, web_link(value))
    about, read = _OF_A_VARIANT.get(name, ("metadata", None))
    told = read(value) if read is not None else ""
    return Claim(about, _cut(told), file) if told else Claim("metadata", _cut(f"{name}: {value}"), file)


def _parent(value: str) -> str:
    """In words; empty where it is not as a variant says it."""
    match _object(value):
        case {"model": str(model), "sha256": str(sha256)}:
            return f"{model} (sha256 {sha256})"
    return ""


def _conversion(value: str) -> str:
    """As `_parent`."""
    match _object(value):
        case {"method": str(method), "options": dict(options), **versions}:
            how = "; ".join(f"{name}: {option}" for name, option in options.items())
            by = ", ".join(f"{name} {number}" for name, number in versions.items())
            return f"{method} ({how})" + f" by {by}" * bool(by)
    return ""


_OF_A_VARIANT: Final = {ORIGIN: ("parent", _parent), CONVERSION: ("conversion", _conversion)}


def _object(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _claim(entry: object, said_by: str) -> Claim | None:
    if not isinstance(entry, dict):
        return None
    about, value, link = entry.get("about"), entry.get("value"), entry.get("link", "")
    if about not in ABOUT or not isinstance(value, str) or not value or not isinstance(link, str):
        return None
    return Claim(about, _cut(value), said_by, web_link(link or value))


def _cut(value: str) -> str:
    return value if len(value) <= MOST_CHARACTERS else value[: MOST_CHARACTERS - 1] + "…"
