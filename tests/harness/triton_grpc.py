"""Triton's gRPC client, with a pool of its own for its messages.

Its files and those of KServe's package define the same names, of which a pool takes only one.
"""

from unittest.mock import patch

from google.protobuf import descriptor_pool

with patch.object(descriptor_pool, "Default", return_value=descriptor_pool.DescriptorPool()):
    import tritonclient.grpc as triton
    import tritonclient.grpc.aio as triton_aio

__all__ = ["triton", "triton_aio"]
