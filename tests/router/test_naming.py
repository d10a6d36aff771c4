"""The settings that say who may name the canary."""

import pytest
from pydantic import ValidationError

from router.settings import NodeSettings


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"canary_naming": "keys"}, "--canary-naming needs --canary-keys"),
        ({"canary_keys": "keys"}, "--canary-keys needs --canary-naming keys"),
        ({"canary_naming": "nobody", "canary_keys": "keys"}, "--canary-keys needs --canary-naming keys"),
        ({"canary_naming": "some"}, "anyone"),
    ],
)
def test_one_setting_without_the_other_is_refused(given, words):
    with pytest.raises(ValidationError, match=words):
        NodeSettings(**given)
