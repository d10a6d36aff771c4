"""The reference of the rollout file, from the table of its fields."""

from docs.gen.documents import Field, Reference, Refused, Section, render_sections
from docs.gen.markdown import page
from router.rollout import fields as rollout_fields
from router.rollout import table
from router.rollout.parser import parse
from router.rollout.schema import as_text, of_file
from router.rollout.values import Rollout

_LEAD = """
One YAML file says how each public model name is served. It is watched while it serves: a change of a rollout is applied at
once and whole, or refused with `file:line:column` and its last good document serves on. `understudy rollouts lint FILE`
checks it without a server, `--models DIR` its models too; the same documents, as JSON or YAML, go to `PUT /v1/rollouts/{model}` of the [admin API](admin-api.md).
Editors and linters take its [JSON Schema](rollout.schema.json): [how](../checking-rollout-files.md).

Unknown and duplicate keys, anchors, aliases, merge keys and tags are errors. A share of traffic is a percentage (`10`,
`0.1`, `10%`), a limit a fraction or a percentage (`0.98`, `98%`), a duration has a unit (`250ms`, `30s`, `1h30m`).
The last column shows a value that is refused, and the error as it is given, without `file:line:column`.

```yaml
digits:
  stable: digits/1
  canary:
    model: digits/2
    steps:
      - setWeight: 1
      - pause: {duration: 30s}
      - prove: {max: 30m}
      - setWeight: 25
      - prove: {max: 30m, onTimeout: rollback}
      - setWeight: 50
      - approve: {by: 2, from: [risk], expires: 48h}
      - run: {url: "http://gate:8080/hooks/promote", timeout: 10m}
    mirror: 20
  shadows:
    - {model: digits/3, sample: 100}
    - {model: digits/2, url: "http://triton:8000", sample: 5}
  sticky: {header: x-user-id}
  compare:
    label: exact
    probabilities: {atol: 0.02}
  guards:
    errors: {maxRatio: 1.5, max: 1%}
    latency: {maxRatio: 1.25}
    agreement: {output: label, min: 95%}
    orders: {promql: "sum(rate(orders_total[5m]))", min: 10}
    accuracy: {outcome: label, margin: 1%}
    conversions: {outcome: conversion, maxDrop: 5%}
    segments: {guard: errors}
  alpha: 1%
  timeout: 1s
  keepWarm: 10m
  examples: {keep: 100, redact: [pixels]}
  record: {sample: 100%, inputs: true, redact: [pixels]}
  outcomes:
    label: {output: label, within: 7d}
    conversion: {kind: binary, within: 1h}
    revenue: {kind: number, range: [0, 500], within: 1d}
  segments: {header: x-country, max: 20}
```
"""


def _parse(text: str) -> dict[str, Rollout]:
    return parse(text, "rollouts.yaml")


def _section(found: table.Section) -> Section:
    fields = [
        Field(each.key, each.kind.words, each.default, each.good, each.wrong, each.meaning, each.beside)
        for each in found.fields
    ]
    return Section(found.title, found.about, found.place, found.sample, fields, found.one_of)


def _refused(found: table.Refused) -> Refused:
    return Refused(found.why + (" (beyond the schema)" if found.beyond else ""), found.document)


REFERENCE = Reference(
    _parse,
    [_section(each) for each in rollout_fields.SECTIONS],
    [_refused(each) for each in rollout_fields.REFUSED],
)


def render() -> str:
    """The page."""
    made_from = "router/rollout/fields.py and the parser"
    return page("The rollout file", made_from, _LEAD, *render_sections(REFERENCE))


def render_schema() -> str:
    """The JSON Schema of the file, for the site and for the package."""
    return as_text(of_file())
