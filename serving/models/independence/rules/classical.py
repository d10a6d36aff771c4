"""ai.onnx.ml: models on tables, a row of features each. Pure."""

from serving.models.independence.dims import Dim
from serving.models.independence.operator import MATH, ML, Operator, Rules, register
from serving.models.independence.rules.elementwise import counting
from serving.models.independence.values import Spoils, Value

RULES: Rules = {}


def _table(op: Operator, place: int = 0) -> Dim:
    """The number of rows of an input [rows, features]; a vector would be taken for one row."""
    shape, axis = op.rows(place)
    if axis != 0 or len(shape) != 2:
        raise Spoils("takes another axis than that of the rows for the batch")
    return shape[0]


def _uniform(op: Operator) -> bool:
    if any(value is not None and value.counts for value in op.inputs):
        raise counting()
    return all(value is None or value.axis is None for value in op.inputs)


def same(op: Operator) -> Value:
    """Scaler, Imputer, Normalizer: row by row, as wide as before."""
    if _uniform(op):
        return Value()
    _table(op)
    return op.value(0)


def classifier(op: Operator) -> list[Value]:
    """A label and scores for each row."""
    if _uniform(op):
        return [Value(), Value()]
    rows = _table(op)
    return [Value((rows,), 0), Value((rows, op.fresh()), 0)]


def regressor(op: Operator) -> Value:
    """Numbers for each row."""
    if _uniform(op):
        return Value()
    return Value((_table(op), op.fresh()), 0)


def one_hot(op: Operator) -> Value:
    """OneHotEncoder: one more axis at the end."""
    value = op.value(0)
    if _uniform(op) or value.shape is None:
        return Value()
    categories = op.attribute("cats_int64s") or op.attribute("cats_strings") or []
    return Value((*value.shape, Dim(len(categories))), value.axis)


def feature_vectorizer(op: Operator) -> Value:
    """FeatureVectorizer: tables side by side."""
    if _uniform(op):
        return Value()
    rows = {_table(op, place) for place in range(len(op.inputs))}
    if len(rows) > 1:
        raise Spoils("sets rows against rows of another number")
    widths = op.attribute("inputdimensions")
    return Value((*rows, Dim(sum(widths)) if widths else op.fresh()), 0)


def extractor(op: Operator) -> Value:
    """ArrayFeatureExtractor: uniform places of the last axis."""
    if _uniform(op):
        return Value()
    op.uniform(1, "places")
    shape, axis = op.rows()
    if axis == len(shape) - 1:
        raise Spoils("picks single rows")
    return Value((*shape[:-1], op.fresh()), axis)


def tf_idf(op: Operator) -> Value:
    """TfIdfVectorizer: counts of what is in a row."""
    return regressor(op)


register(RULES, ML, "Scaler Imputer Normalizer", same)
register(RULES, ML, "LinearClassifier SVMClassifier TreeEnsembleClassifier", classifier)
register(RULES, ML, "LinearRegressor SVMRegressor TreeEnsembleRegressor TreeEnsemble", regressor)
register(RULES, ML, "OneHotEncoder", one_hot)
register(RULES, ML, "FeatureVectorizer", feature_vectorizer)
register(RULES, ML, "ArrayFeatureExtractor", extractor)
register(RULES, MATH, "TfIdfVectorizer", tf_idf)
