"""The network that this machine plays."""

import pytest
from lan import lan, missing


@pytest.fixture(scope="session")
def possible():
    """Skip where there can be no such network, and say why."""
    if problem := missing():
        pytest.skip(problem)


@pytest.fixture(scope="module")
def network(possible):
    """One without hosts yet."""
    with lan() as made:
        yield made
