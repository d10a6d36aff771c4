"""Options made from a settings class: what is one, what is not, and that what is given arrives."""

import pytest
import typer
from pydantic import SecretStr
from typer.testing import CliRunner

from control.settings import ControlSettings
from serving.places import Places
from serving.settings import INTERNAL, ServingSettings
from understudy.options import command
from understudy.settings import SupervisorSettings, UpSettings

ALL = [ServingSettings, ControlSettings, SupervisorSettings, UpSettings]
NOT_THE_DEFAULT = {
    "log_format": "json",
    "log_level": "debug",
    "canary_naming": "nobody",
    "rate_header": "x-client",
}


def asked(kind, *words, **how):
    """What a command with the options of `kind` gets for these words."""
    app = typer.Typer()
    got = {}

    @command(app, kind, **how)
    def run(options):
        """A command."""
        got.update(options)

    done = CliRunner().invoke(app, list(words))
    return done, got


def given(name, field):
    """An option as a person writes it, and the value that it stands for, which is not the default."""
    option = f"--{name.replace('_', '-')}"
    if isinstance(field.default, bool):
        return [option], True
    if isinstance(field.default, int | float):
        least = next((limit.ge for limit in field.metadata if hasattr(limit, "ge")), 0)
        value = type(field.default)(max(least, field.default) + 1)
        return [option, str(value)], value
    if isinstance(field.default, Places):
        return [option, "here", option, "s3://there"], ["here", "s3://there"]
    value = NOT_THE_DEFAULT.get(name, "some-word")
    return [option, value], value


@pytest.mark.parametrize("kind", ALL)
def test_every_setting_that_is_no_secret_is_an_option_and_arrives(kind):
    words, expected = [], {}
    for name, field in kind.model_fields.items():
        if field.annotation is SecretStr or INTERNAL in field.metadata:
            continue
        more, value = given(name, field)
        words += more
        expected[name] = value
    done, got = asked(kind, *words)
    assert done.exit_code == 0, done.output
    assert {name: str(value) for name, value in got.items()} == {
        name: str(value) for name, value in expected.items()
    }


@pytest.mark.parametrize("kind", ALL)
def test_what_is_not_given_is_left_to_the_settings(kind):
    assert asked(kind)[1] == {}


@pytest.mark.parametrize("name", ["token", "viewer_token", "database", "run_dir", "buckets", "heartbeat"])
def test_secrets_and_what_the_supervisor_gives_are_no_options(name):
    assert name in UpSettings.model_fields
    done, _ = asked(UpSettings, f"--{name.replace('_', '-')}", "x")
    assert done.exit_code == 2
    assert "No such option" in done.output


def test_a_field_that_is_left_out_is_no_option_and_a_renamed_one_arrives_as_its_field():
    assert asked(SupervisorSettings, "--port", "1", leave_out=("port",))[0].exit_code == 2
    assert asked(SupervisorSettings, "--name", "one", renamed={"node": "name"})[1] == {"node": "one"}


def test_help_has_meaning_words_and_default():
    done, _ = asked(ServingSettings, "--help")
    text = " ".join(done.output.replace("│", " ").split())
    assert "console|json" in text
    assert "(8000)" in text
    assert "Time an idle connection" in text


def test_leaving_out_what_there_is_not_is_a_mistake():
    with pytest.raises(AssertionError, match="no options"):
        asked(ServingSettings, leave_out=("prot",))


def test_control_knows_no_setting_of_the_public_door():
    assert not {"port", "host", "rate_limit", "max_body_bytes"} & set(ControlSettings.model_fields)
