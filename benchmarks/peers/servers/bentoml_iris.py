"""BentoML: one service, one worker."""

import bentoml
import iris


@bentoml.service(workers=1, traffic={"timeout": 30}, logging={"access": {"enabled": False}})
class Iris:
    """The model."""

    @bentoml.api(route="/infer")
    async def infer(self, features: list[list[float]]) -> dict:
        """One request."""
        return iris.answer(features)
