"""What all tests share."""

import os

from hypothesis import settings

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # for tests that import onnxruntime themselves; see serving/onnx.py

# A shared machine may stall for longer than any deadline; what is tested is never how fast it is.
settings.register_profile("default", deadline=None)
settings.load_profile("default")
