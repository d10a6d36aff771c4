"""A step waits until enough nodes serve it, and control says how many do, and who cannot."""

from harness.control import Control, controlling
from harness.system import eventually

STEPS = {
    "stable": "digits/1",
    "canary": {"model": "digits/2", "steps": [{"setWeight": 5}, {"pause": {"duration": "1h"}}]},
}
READY = ["digits/1", "digits/2"]
WHY = {"revision": 1, "reason": "it is of another release"}


def looked_at(control: Control, *, all_serve: bool) -> dict:
    """The rollout, with two nodes of which the second may serve nothing, as it says, and why."""
    before = control.view("digits")
    [stable] = [each for each in before["targets"] if each["role"] == "stable"]
    served = [{"model": "digits", "target": "digits/1", "sha256": stable["sha256"]}]
    control.sync("n1/w", READY, before["revision"], served=served)
    if all_serve:
        control.sync("n2/w", READY, before["revision"], node="n2", served=served)
    else:
        control.sync("n2/w", READY, 0, node="n2", served=served, unusable=WHY)
    return dict(control.view("digits"))


def test_a_step_waits_for_the_nodes_and_says_so(tmp_path):
    with controlling(tmp_path) as control:
        control.put("digits", STEPS).raise_for_status()

        def waits() -> bool:
            view = looked_at(control, all_serve=False)
            assert view["in_force"] == {"nodes": 2, "serving": 1, "needed": 2}
            assert "but 1 of 2 nodes serve it, and its time counts once 2 do" in view["status"]["sentence"]
            assert (view["status"]["step"], view["status"]["waited_seconds"]) == (1, 0.0)
            kinds = {need["kind"]: need["sentence"] for need in control.client.get("/v1/needs").json()}
            assert "n2, it cannot use revision 1: it is of another release" in kinds["snapshot_refused"]
            return "1 of 2 nodes serve it" in kinds["not_served"]

        eventually(waits, "it waits, and after a while it needs a person")

        def goes_on() -> bool:
            view = looked_at(control, all_serve=True)
            return view["status"]["step"] == 2 and view["status"]["waited_seconds"] >= 1.0

        eventually(goes_on, "the time of its pause counts")
        assert "nodes serve it" not in looked_at(control, all_serve=True)["status"]["sentence"]
