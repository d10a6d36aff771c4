"""Who may name the canary: anyone by default, holders of a key, or nobody."""

from harness.rows import body
from harness.system import eventually, running
from serving.admission.api_keys import line_of

ROLLOUT = "digits:\n  stable: digits/1\n  canary: {model: digits/2, weight: 0, mirror: 100}\n"


def asked(up, path="/v2/models/digits/infer", **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = up.client.post(path, content=body(0), headers=named)
    return answer.status_code, answer.headers.get("x-understudy-target", answer.text)


def test_only_holders_of_a_key_name_the_canary_and_a_new_file_of_keys_is_taken(tmp_path):
    keys = tmp_path / "keys"
    keys.write_text(line_of("tester", "right"))
    options = ("--canary-naming", "keys", "--canary-keys", str(keys))
    with running(tmp_path, ROLLOUT, options=options) as up:
        bearer = {"authorization": "Bearer right"}
        eventually(
            lambda: asked(up, x_understudy_target="canary", **bearer) == (200, "digits/2"), "the canary"
        )
        refused = (403, '{"error":"the canary may be named with a key for it only"}')
        for given in ({}, {"authorization": "Bearer wrong"}, {"x_api_key": "wrong"}):
            assert asked(up, x_understudy_target="canary", **given) == refused
            assert asked(up, x_understudy_target="digits/2", **given) == refused
            assert asked(up, "/v2/models/digits/versions/2/infer", **given) == refused
            assert (
                asked(up, "/v2/models/digits/infer?through=asgi", x_understudy_target="canary", **given)
                == refused
            )
        assert asked(up, x_understudy_target="stable") == (200, "digits/1")
        assert asked(up, "/v2/models/digits/versions/1/infer") == (200, "digits/1")
        assert asked(up) == (200, "digits/1")
        keys.write_text(line_of("another", "other"))
        eventually(lambda: asked(up, x_understudy_target="canary", **bearer) == refused, "no longer")
        assert asked(up, x_understudy_target="canary", x_api_key="other") == (200, "digits/2")


def test_nobody_names_it_where_that_is_closed(tmp_path):
    with running(tmp_path, ROLLOUT, options=("--canary-naming", "nobody")) as up:
        refused = (403, '{"error":"the canary cannot be named here; requests reach it by its weight"}')
        assert asked(up, x_understudy_target="canary") == refused
        assert asked(up, x_understudy_target="stable") == (200, "digits/1")
