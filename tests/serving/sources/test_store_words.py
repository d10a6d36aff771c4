"""What is told of an error of a store: its kind, by words of ours, whatever the model is called."""

import pytest

from serving.sources.buckets import in_words


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("GET http://h/b/timeout/1: tcp connect error, Connection refused", "the connection is refused"),
        (
            "GET http://h/b/certificate/1: operation timed out, retry_timeout: 2s",
            "it does not answer in time",
        ),
        ("GET http://h/b/tls/403 F: something else, retry_timeout: 2s", "it cannot be asked"),
        (
            "status 403 Forbidden at https://h/?X-Amz-Signature=abc",
            "it refuses the credentials of the environment",
        ),
        ("<Code>InvalidAccessKeyId</Code>", "it refuses the credentials of the environment"),
    ],
)
def test_an_error_is_told_by_its_kind_and_not_by_names_in_it(text, told):
    assert in_words(RuntimeError(text)) == told
