"""How a model is made into a variant, in words. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Method:
    """One way of making a variant.

    Args:
        name: as its option is called.
        about: what it does.
        calibrated: whether rows say which ranges its values have.
        nothing: why there may be nothing that it could convert.
    """

    name: str
    about: str
    calibrated: bool
    nothing: str


_NO_PRODUCTS = (
    "it has no convolution or product of matrices that onnxruntime can quantize, or is quantized already"
)
METHODS = {
    method.name: method
    for method in (
        Method("int8", "weights in 8 bits; ranges of activations are taken at each run", False, _NO_PRODUCTS),
        Method("int8-static", "weights and activations in 8 bits, ranges from rows", True, _NO_PRODUCTS),
        Method("fp16", "weights and arithmetic in 16 bits", False, "it has no weights of 32 bits"),
    )
}
