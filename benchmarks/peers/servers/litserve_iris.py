"""LitServe: one API process and one model process, its fast queue (ZeroMQ) between them."""

import sys

import iris
import litserve


class Iris(litserve.LitAPI):
    """The model."""

    def setup(self, device: str) -> None:
        """Loaded with the module."""

    def decode_request(self, request: dict) -> list:
        """The four numbers."""
        return request["features"]

    def predict(self, x: list) -> dict:
        """One request."""
        return iris.answer(x)

    def encode_response(self, output: dict) -> dict:
        """Already plain lists."""
        return output


if __name__ == "__main__":
    server = litserve.LitServer(Iris(), accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=1, generate_client_file=False,
        log_level="error", access_log=False,
    )  # fmt: skip
