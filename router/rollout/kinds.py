"""What the values of a rollout document may be: read by the parser, told to people and to a JSON Schema.

Law: a kind is the one place of its bounds, and what its schema refuses its reader refuses. A schema cannot
add up a duration, so it may accept what the reader refuses: the timeout `11m`. Pure.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, Protocol, get_args

from router.rollout.values import Better, Mode, OnTimeout, OutcomeKind, Per
from serving.document import DURATION, LONGEST_SECONDS, SHORTEST_SECONDS, Node

Fragment = Mapping[str, Any]

_ZERO_TIME = r"^(0+(\.0+)?(us|ms|s|m|h|d))+$"
_LESS_THAN_A_SECOND = r"^0*([0-9]{1,3}(\.[0-9]{1,6})?ms|[0-9]{1,6}(\.[0-9]{1,3})?us|0(\.[0-9]{1,9})?s)$"
_UNDER_100 = r"\+?0*([0-9]{1,2}(\.[0-9]*)?|\.[0-9]+)"
_ALL = r"|\+?0*100(\.0*)?"
_UNIT_TIME = r"([1-9][0-9]{0,2}|[12][0-9]{3}|3[0-5][0-9]{2}|3600)s|([1-9]|[1-5][0-9]|60)m|1h"
_SPANS_TIME = r"(5|[1-9][05]|[12][0-9][05]|300)s|[1-5]m"
_RATE = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?/s")
_EXPONENT = r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+"


class Kind(Protocol):
    """What a value may be."""

    @property
    def words(self) -> str:
        """For people, without a verb: `a duration of 1s to 10m`."""

    @property
    def schema(self) -> Fragment:
        """As JSON Schema, draft 2020-12."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number within bounds, both included."""

    least: int
    most: int

    def read(self, node: Node) -> int:
        """The number; `DocumentError` when it is none of these, as with every reader here."""
        return node.integer(self.least, self.most)

    @property
    def words(self) -> str:
        """For people."""
        return f"a whole number, {self.least} to {self.most}"

    @property
    def schema(self) -> Fragment:
        """As JSON Schema."""
        return {"type": "integer", "minimum": self.least, "maximum": self.most}


@dataclass(frozen=True, slots=True)
class Number:
    """A finite number within bounds, both included."""

    least: float = -math.inf
    most: float = math.inf
    raised: bool = False
    """A lower value is read as `least` in a document that a release with other bounds accepted."""

    def read(self, node: Node) -> float:
        """The number."""
        if self.raised and node.lenient:
            return max(self.least, node.number(-math.inf, self.most))
        return node.number(self.least, self.most)

    @property
    def words(self) -> str:
        """For people."""
        if math.isinf(self.least):
            return "a number"
        return f"{self.least:g} or more" if math.isinf(self.most) else f"{self.least:g} to {self.most:g}"

    @property
    def schema(self) -> Fragment:
        """As JSON Schema."""
        bounds = {"minimum": self.least, "maximum": self.most}
        return {"type": "number", **{key: plain(each) for key, each in bounds.items() if math.isfinite(each)}}


@dataclass(frozen=True, slots=True)
class Percentage:
    """A share of traffic, 0 to 100, with or without the sign."""

    words: str = "0 to 100, with or without `%`"

    def read(self, node: Node) -> float:
        """The percentage."""
        return node.percentage()

    @property
    def schema(self) -> Fragment:
        """As JSON Schema."""
        text = rf"^({_UNDER_100}{_ALL}|-[0.]+|{_EXPONENT})%$"
        return {"type": ["number", "string"], "minimum": 0, "maximum": 100, "pattern": text}


@dataclass(frozen=True, slots=True)
class Part:
    """A share that is not nothing, and not all where `whole` does not say so."""

    whole: bool = False

    def read(self, node: Node) -> float:
        """The percentage."""
        percent = node.percentage()
        if not 0 < percent < 100 and not (self.whole and percent == 100):
            most = "up to 100" if self.whole else "below 100"
            node.fail(f"expected a share above 0 and {most}, with or without %")
        return percent

    @property
    def words(self) -> str:
        """For people."""
        return f"0 to 100, {'0' if self.whole else 'both'} excluded, with or without `%`"

    @property
    def schema(self) -> Fragment:
        """As JSON Schema."""
        return {
            "type": ["number", "string"],
            "exclusiveMinimum": 0,
            "maximum" if self.whole else "exclusiveMaximum": 100,
            "pattern": f"^({_UNDER_100}{_ALL if self.whole else ''}|{_EXPONENT})%$",
            "not": {"type": "string", "pattern": r"^\+?[0.]+%$"},
        }


@dataclass(frozen=True, slots=True)
class OpenFraction:
    """A fraction between 0 and 1: at the ends the tests behind alpha and the limits have nothing to say."""

    words: str = "a fraction or percentage, ends excluded"

    def read(self, node: Node) -> float:
        """The fraction."""
        fraction = node.fraction()
        if not 0 < fraction < 1:
            node.fail(
                "expected a fraction between 0 and 1, or a percentage between 0% and 100%, ends excluded"
            )
        return fraction

    @property
    def schema(self) -> Fragment:
        """As JSON Schema."""
        return {
            "type": ["number", "string"],
            "exclusiveMinimum": 0,
            "exclusiveMaximum": 1,
            "pattern": f"^({_UNDER_100}|{_EXPONENT})%$",
            "not": {"type": "string", "pattern": r"^\+?[0.]+%$"},
        }


@dataclass(frozen=True, slots=True)
class Change:
    """How much worse something may be: a fraction from nothing up to all, which is excluded."""

    words: str = "a fraction or percentage, 0 included, 100% excluded"

    def read(self, node: Node) -> float:
        """The fraction."""
        fraction = node.fraction()
        if not 0 <= fraction < 1:
            node.fail("expected a fraction from 0 to 1, or a percentage from 0% to 100%, the end excluded")
        return fraction

    @property
    def schema(self) -> Fragment:
        """As JSON Schema."""
        return {
            "type": ["number", "string"],
            "minimum": 0,
            "exclusiveMaximum": 1,
            "pattern": f"^({_UNDER_100}|-[0.]+|{_EXPONENT})%$",
        }


@dataclass(frozen=True, slots=True)
class Duration:
    """A time with a unit, within bounds, both included."""

    least_seconds: float = SHORTEST_SECONDS
    most_seconds: float = LONGEST_SECONDS

    def read(self, node: Node) -> float:
        """The time in seconds."""
        return node.duration(self.least_seconds, self.most_seconds)

    @property
    def words(self) -> str:
        """For people."""
        least, most = duration_text(self.least_seconds), duration_text(self.most_seconds)
        if 0 < self.least_seconds < 1:
            least = f"{1000 * self.least_seconds:g}ms"
        if self.most_seconds < LONGEST_SECONDS:
            days, rest = divmod(self.most_seconds, 86_400)
            return f"a duration of {least} to {most if rest else f'{days:.0f}d'}"
        return f"a duration of {least} or more" if self.least_seconds > SHORTEST_SECONDS else "a duration"

    @property
    def schema(self) -> Fragment:
        """As JSON Schema: the form, and of the bounds that it is not nothing, or not less than a second."""
        form = {"type": "string", "pattern": f"^({DURATION.pattern})+$"}
        refused = [_ZERO_TIME] if self.least_seconds > 0 else []
        refused += [_LESS_THAN_A_SECOND] if self.least_seconds >= 1 else []
        nots = [{"pattern": pattern} for pattern in refused]
        return {**form, "not": {"anyOf": nots}} if nots else form


@dataclass(frozen=True, slots=True)
class Rate:
    """So many a second, as text: `100/s`.

    Args:
        least: a second, above 0.
        most: a second.
    """

    least: float
    most: float

    def read(self, node: Node) -> float:
        """How many a second."""
        text = node.string()
        rate = float(text[:-2]) if _RATE.fullmatch(text) else 0.0
        if not self.least <= rate <= self.most:
            node.fail(f"expected {self.words}, got {text[:60]!r}")
        return rate

    @property
    def words(self) -> str:
        """For people."""
        return f"`{self.least:g}/s` to `{self.most:g}/s`"

    @property
    def schema(self) -> Fragment:
        """As JSON Schema, which does not know the bounds."""
        return {"type": "string", "pattern": f"^({_RATE.pattern})$"}


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some words."""

    options: tuple[str, ...]

    def read(self, node: Node) -> str:
        """The word."""
        return node.choice(self.options)

    @property
    def words(self) -> str:
        """For people."""
        return " or ".join(f"`{option}`" for option in self.options)

    @property
    def schema(self) -> Fragment:
        """As JSON Schema."""
        return {"enum": [*self.options]}


@dataclass(frozen=True, slots=True)
class Unit:
    """What a guard weighs: one of some words, or whole seconds up to an hour."""

    options: tuple[Literal["key", "body"], ...]

    def read(self, node: Node) -> Per:
        """The word, or the seconds."""
        for word in self.options:
            if node.value == word:
                return word
        if node.lenient and node.value == "request":  # the word of an older version
            return "key"
        if not isinstance(node.value, str) or not re.fullmatch(_UNIT_TIME, node.value):
            node.fail(f"expected {', '.join(self.options)} or a time of 1s to 1h, such as 10s or 1m")
        return int(node.duration())

    @property
    def words(self) -> str:
        """For people."""
        return f"{', '.join(f'`{option}`' for option in self.options)} or a time of `1s` to `1h`"

    @property
    def schema(self) -> Fragment:
        """As JSON Schema."""
        return {"type": "string", "pattern": f"^({'|'.join(self.options)}|{_UNIT_TIME})$"}


@dataclass(frozen=True, slots=True)
class Spans:
    """A time of whole spans of arrival time, as routers count them."""

    words: str = "`5s` to `5m`, a multiple of 5s"

    def read(self, node: Node) -> int:
        """The seconds."""
        if not isinstance(node.value, str) or not re.fullmatch(_SPANS_TIME, node.value):
            node.fail("expected a multiple of 5s, up to 5m, such as 5s or 1m")
        return int(node.duration())

    @property
    def schema(self) -> Fragment:
        """As JSON Schema."""
        return {"type": "string", "pattern": f"^({_SPANS_TIME})$"}


@dataclass(frozen=True, slots=True)
class Flag:
    """Yes or no."""

    words: str = "`true` or `false`"

    def read(self, node: Node) -> bool:
        """The flag."""
        return node.boolean()

    @property
    def schema(self) -> Fragment:
        """As JSON Schema."""
        return {"type": "boolean"}


@dataclass(frozen=True, slots=True)
class Text:
    """Text that is not empty."""

    words: str
    most_characters: int = 1000

    def read(self, node: Node) -> str:
        """The text."""
        return node.string(self.most_characters)

    @property
    def schema(self) -> Fragment:
        """As JSON Schema."""
        return {"type": "string", "minLength": 1, "maxLength": self.most_characters}


@dataclass(frozen=True, slots=True)
class Matching:
    """Text of a form, which the parser reads itself, with an error that says what was expected.

    Args:
        words: for people.
        pattern: a regular expression, the same in Python and in ECMA-262, for the whole text.
    """

    words: str
    pattern: str

    @property
    def schema(self) -> Fragment:
        """As JSON Schema."""
        return {"type": "string", "pattern": f"^({self.pattern})$"}


@dataclass(frozen=True, slots=True)
class Shape:
    """A mapping or list, whose parts the parser reads, or one of several kinds."""

    words: str
    schema: Fragment


@dataclass(frozen=True, slots=True)
class Many:
    """How many items a list may have, both bounds included."""

    least: int
    most: int
    unique: bool = field(default=False, kw_only=True)

    def of(self, items: Fragment) -> Fragment:
        """The list as JSON Schema."""
        least = {"minItems": self.least} if self.least else {}
        unique = {"uniqueItems": True} if self.unique else {}
        return {"type": "array", **least, "maxItems": self.most, **unique, "items": items}


SHARE = Percentage()
PART = Part()
SOME_NODES = Part(whole=True)
LIMIT = OpenFraction()
RATIO = Number(1, 1000)
LATENCY_RATIO = Number(1.1, 1000, raised=True)
"""Two copies of one model differ by a few percent in one process, which a smaller ratio would call slower."""
SPEED = Number(1.1, 1000)
"""Above 1 by as much: of two copies one is a few percent faster, which pays nobody."""
SLACK = Duration(0.0, 600.0)
SLICE = Spans()
MODE = Choice(get_args(Mode))
ERRORS_PER = Unit(("key",))
AGREEMENT_PER = Unit(("key", "body"))
ON_TIMEOUT = Choice(get_args(OnTimeout))
TIMEOUT = Duration(0.001, 600.0)
KEEP_WARM = Duration(0.0)
TOP_UP = Rate(0.1, 500.0)
PROGRESS_DEADLINE = Duration(1.0)
STEP_TIME = Duration()
APPROVALS = Whole(1, 10)
ROLES = Many(1, 8, unique=True)
EXPIRES = Duration(1.0, 90 * 86_400.0)
HOOK_TIMEOUT = Duration(1.0, 7 * 86_400.0)
QUERY_INTERVAL = Duration(1.0)
QUERY = Text("a query", 4000)
QUERY_BOUND = Number()
TOLERATED = Whole(0, 1000)
TOLERANCE = Number(0)
TOP_K = Whole(1, 10**6)
COSINE = Number(-1, 1)
JENSEN_SHANNON = Number(0, 1)
KEPT = Whole(0, 1000)
INPUTS = Flag()
TENSOR = Text("the name of an output")
CANDIDATES = Many(2, 6, unique=True)
"""As many as receipts can tell apart."""
PROMOTE = Flag()
SHADOWS = Many(0, 16, unique=True)
STEPS = Many(1, 64)
GUARDS = Many(1, 32, unique=True)
REDACTED = Many(0, 64, unique=True)
OUTCOMES = Many(1, 16)
OUTCOME_KIND = Choice(get_args(OutcomeKind))
OUTCOME_KINDS: Mapping[OutcomeKind, Choice] = {kind: Choice((kind,)) for kind in get_args(OutcomeKind)}
"""Of what stands below one of that kind."""
BETTER = Choice(get_args(Better))
WITHIN = Duration(1.0, 90 * 86_400.0)
"""As long as receipts are kept valid for at most."""
CHANGE = Change()
SEGMENTS = Whole(1, 100)
VERSION = Whole(1, 9_999_999_999)
SEGMENTS_GUARD = Choice(("errors",))
PLAIN_RULES = Choice(("exact", "argmax"))

CONNECT = Duration(0.01, 60.0)
CONNECTIONS = Whole(1, 10_000)
KEEP_ALIVE = Duration(0.1, 3600.0)
PROBE_INTERVAL = Duration(0.1, 600.0)
PROBE_TIMEOUT = Duration(0.01, 60.0)
EJECTION = Duration(1.0, 3600.0)
FAILURES = Whole(1, 100)
EXTRA_HEADERS = 16

WAVES = Many(1, 16, unique=True)
LABEL = Matching("a label", r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
NAME = Matching("a name", r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
MODEL = Matching("`name/version`", r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}/[1-9][0-9]{0,9}")
ROLE = Matching("a word", r"[a-z][a-z0-9_-]{0,31}")
ALIAS = Matching(
    "an alias of MLflow, neither `latest` nor `v1`",
    r"(?![Ll][Aa][Tt][Ee][Ss][Tt]$|[vV][0-9]+$)[A-Za-z0-9_-]{1,128}",
)
HEADER = Matching("the name of a header", r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")  # a token of RFC 9110, 5.6.2
HEADER_VALUE = Matching("1 to 1,000 printed characters", r"[!-~]([ -~]{0,998}[!-~])?")
FILE = Matching("the name of a file", r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
VARIABLE = Matching("a variable that begins with UNDERSTUDY_TARGET_", r"UNDERSTUDY_TARGET_[A-Z0-9_]{1,100}")
THEIR_VERSION = Matching("a version, as text", r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
SERVER_NAME = Matching("a host's name", r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
URL = Matching(
    "`http://` or `https://` with host, port and path",
    r"https?://(?:[A-Za-z0-9._-]+|\[([^\]]+)\])(?::([0-9]{1,5}))?(?:/[A-Za-z0-9._~-]+)*/?",
)


def plain(value: Any) -> Any:
    """The value, a whole float as an integer, which reads better."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def rate_text(rate: float) -> str:
    """A rate as documents have it: exact."""
    return f"{plain(rate)}/s"


def duration_text(seconds: float) -> str:
    """A duration as documents have it: exact, in the greatest unit that needs no point."""
    for unit, size in (("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size:.0f}{unit}"
    return f"{Decimal(repr(float(seconds))):f}".removesuffix(".0") + "s"
