"""The harmful canaries that a plan sends through, and what of a rollout it cannot foretell. Pure."""

from control.judging.guards.registry import judged
from control.judging.guards.simulation import Behaviour, Least, Traffic
from router.rollout.values import Rollout


def harms(rollout: Rollout, traffic: Traffic, least: Least) -> dict[str, Behaviour]:
    """The harmful canaries to send through, by name: one for each kind of enforced guard that can see it."""
    seen = {
        type(guard): kind.harm
        for guard in rollout.guards
        if guard.mode == "enforce" and not (kind := judged(guard)).untold(guard, traffic)
    }
    return dict(harm(least, traffic) for harm in seen.values() if harm is not None)


def left_out(rollout: Rollout, traffic: Traffic) -> list[str]:
    """Enforced guards of which nothing can be foretold, with the reason."""
    return [
        f"{guard.name}: {why}"
        for guard in rollout.guards
        if guard.mode == "enforce" and (why := judged(guard).untold(guard, traffic))
    ]
