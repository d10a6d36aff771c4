"""What outcomes of one stage have come to, for one guard: all that is judged of them. Pure.

Law: sums over mature units, whatever the order in which they came; stages add up as the tests say.
"""

from dataclasses import dataclass, field

from control.judging.outcomes.amounts import AmountSums
from control.judging.outcomes.mean_bets import MeanBets
from control.judging.outcomes.paired_labels import PairedLabels


@dataclass(frozen=True, slots=True)
class StageOutcomes:
    """The mature outcomes of one stage, by the draw.

    Args:
        weight: the canary's share of the draws of this stage, a fraction; with sticky users of those whom no
            earlier stage had drawn, who alone are counted here.
        canary: units at the canary with the outcome: it happened, or is an amount other than 0.
        stable: the same at stable.
        canary_total: the sum of their values.
        stable_total: the same at stable.
        bets: of amounts in a range, and of labels with a loss: what bets on the mean have won.
        sums: of amounts without a range.
        labels: of labels that are right or wrong, on requests that both answered.
        waiting: outcomes that are told and not mature, or labels whose pair is not known.
    """

    weight: float
    canary: float = 0.0
    stable: float = 0.0
    canary_total: float = 0.0
    stable_total: float = 0.0
    bets: MeanBets = field(default_factory=MeanBets)
    sums: AmountSums = field(default_factory=AmountSums)
    labels: PairedLabels = field(default_factory=PairedLabels)
    waiting: int = 0
