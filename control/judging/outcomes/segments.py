"""Segments: is any part of the traffic harmed, where the whole looks well? Pure.

Law: the e-values of the groups may depend on each other in any way, since one request is often evidence in
several tests. Their mean with fixed weights is an e-value of "no group is harmed", so acting on it costs no
more alpha than one guard does. Which group it is, is another question, and is answered by e-BH: of the groups
it names, in expectation at most a share q is named wrongly, at any look.

Source: Vovk, Wang, E-values: calibration, combination and applications (2021); Wang, Ramdas, False discovery
rate control with e-values (2022).
"""

import numpy as np
import numpy.typing as npt

from control.judging.evidence import Counts, Evidence


def no_group_harmed(groups: Evidence, shares: Counts | None = None) -> Evidence:
    """The guard over groups, each tested against the same tolerance.

    Null of harm: no group is harmed. Null of safe: at least one is, so it is the least of the groups: proof
    is proof of each, and a group without data is not proven.

    Args:
        groups: log e-values; shape (groups, ...), at least one.
        shares: pi, of each group; shape (groups,), at least 0, summing to 1. Fixed before the evidence (by
            the baseline's traffic); alike for all where left out.

    Raises:
        ValueError: if the shares do not sum to 1.
    """
    pi = np.full(len(groups.harm), 1.0 / len(groups.harm)) if shares is None else np.asarray(shares, float)
    if np.any(pi < 0.0) or abs(pi.sum() - 1.0) > 1e-9:
        raise ValueError("the shares of the groups do not sum to 1")
    with np.errstate(divide="ignore"):  # a share of 0 is a stake of 0
        stakes = np.log(pi).reshape(-1, *(1,) * (np.ndim(groups.harm) - 1))
    harm = np.logaddexp.reduce(groups.harm + stakes, axis=0)
    return Evidence(harm, np.min(groups.safe, axis=0))


def discoveries(log_e: Counts, q: float) -> npt.NDArray[np.bool_]:
    """Which groups to name, by e-BH.

    Those of the greatest k e-values, with the greatest k for which the least of them is at least G / (k q).

    Args:
        log_e: log e-values; shape (groups,).
        q: the tolerated share of groups that are named wrongly, above 0 and below 1.

    Returns:
        Whether each is named; shape (groups,).
    """
    values = np.asarray(log_e, float)
    order = np.argsort(-values, kind="stable")
    needed = np.log(len(values) / q) - np.log(np.arange(1.0, len(values) + 1.0))
    enough = np.flatnonzero(values[order] >= needed)
    named = np.zeros(len(values), bool)
    named[order[: enough[-1] + 1 if len(enough) else 0]] = True
    return named
