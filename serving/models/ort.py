"""The one place that imports onnxruntime, after telling it to report to nobody.

Since 1.29 its Linux packages send usage events to their maker, write a device id into the home folder, and
can be told not to only before they are imported. A server that holds other people's models does not.
"""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"


import onnxruntime  # the order is the point

__all__ = ["onnxruntime"]
