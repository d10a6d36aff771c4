"""What the public door takes and refuses in an inference request, and how it answers, in words.

Held to by tests/serving/wire/test_protocol.py, test_tensors.py and tests/interop.
"""

WIRE = """
## What is taken and what is refused

A request is checked against the model's signature before it runs. What does not fit is 400 with its place
(`inputs[0] 'x': element 3 of 'data', ...`); what the protocol has and Understudy does not offer is 501. Nothing is
converted silently: no number is wrapped, cut off or made infinite.

### NaN and infinities

JSON has no numbers that are not finite. Where a floating-point tensor is in JSON:

| | in a request | in an answer |
| --- | --- | --- |
| NaN | `null`, `"NaN"` or the bare literal `NaN` | `null` |
| infinity | `"Infinity"` or the bare literal `Infinity` | `"Infinity"` |
| minus infinity | `"-Infinity"` or the bare literal `-Infinity` | `"-Infinity"` |

So a missing value can be sent as `null`. The bare literals are not JSON; they are taken because Python's `json` and
`tritonclient` write them. An answer is JSON that every parser takes; `tritonclient` and KServe's client read its `null`
and its texts as the numbers that they stand for. Literals that overflow (`1e999`, or `1e39` for FP32) are 400. Integers,
booleans and text take none of these. Binary tensors carry every bit as it is.

### Datatypes

| datatype | in JSON | in binary |
| --- | --- | --- |
| integers, FP32, FP64 | numbers | little-endian |
| BOOL | `true`, `false`, 1, 0 | a byte each, 0 or 1 |
| FP16, BF16 | numbers; for BF16 rounded to FP32 first | 2 bytes each, little-endian |
| BYTES | text | a 4-byte length and the bytes each |

FP16 and BF16 in JSON go beyond the standard and Triton, which want them in binary. An element of BYTES has to be UTF-8
in a request, since onnxruntime's Python interface takes text alone; in the answer of another server (`url:`) any bytes
are let through. Types that the protocol does not have (FP8, INT4, complex numbers) are refused when the model loads, by
name; so is a model that takes both text and BF16, which that interface cannot run.

### Parameters

A parameter that is `null` is as if it were absent. `timeout` is in microseconds, as a number or text, and 0 is none.
`shared_memory_region`, of an input or an output, `classification` and `sequence_*` are 501. Parameters that the protocol
does not have are let through unread.

### Shapes and inputs that may be left out

In the metadata -1 stands for a dimension that varies. The protocol has no form for a tensor of unknown rank: it is shown
as `[-1]` with a further member `"any_rank": true`, and takes any shape of at most 64 dimensions. An input with
`"optional": true` may be left out, and the model then uses what it holds itself. A model without inputs takes `"inputs":
[]`, or none.

### What a model cannot take

An answer in the model's name that is not 200 says whose fault it was. Where a model has run before and an operator
fails, it fails by what it was given (rows of unequal number, an index out of range, a shape that cannot be reshaped, an
unknown category): 400 with the operator and its reason, and with the inputs whose lengths differ where the model gives
them one name. Of a model that never ran to its end, and where memory or an accelerator failed, it is 500 without the
reason, which the server logs (`model failed`, one line in 10 s for each model, without values).
"""
