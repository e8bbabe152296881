"""Draw stage: chooses the fusion weight of a share of the answers at random."""

from dataclasses import replace
from random import Random

from groundswell.features.fusion_policy import CutNormal, FusionPolicy, Grid
from groundswell.ranker_service.requests import Ask
from groundswell.serving.attribution import Draw

_NORMAL = "normal:"


class RandomFusion:
    """Draws fusion weights for a share of the asks that leave them to the bundle.

    `weights` are numbers from 0 to 1, separated by commas, of which each is as probable; or
    `normal:D`, a normal distribution of deviation D around the constant of the bundle, cut to
    [0, 1]. Raises ValueError for anything else.
    """

    def __init__(self, share: float, weights: str, random: Random | None = None) -> None:
        self._share = share
        self._random = random or Random()
        self._grid: Grid | None = None
        self._deviation = 0.0
        if weights.startswith(_NORMAL):
            self._deviation = float(weights.removeprefix(_NORMAL))
            CutNormal(0.5, self._deviation)
        else:
            self._grid = Grid.uniform(tuple(float(weight) for weight in weights.split(",")))

    def drawn(self, ask: Ask, constant: float) -> Ask:
        """Return the ask, perhaps with a weight. `constant` is the bundle's own one."""
        if ask.fusion_weight is not None or not ask.k or ask.is_trending:
            return ask
        if self._random.random() >= self._share:
            return ask
        policy: FusionPolicy = self._grid or CutNormal(constant, self._deviation)
        weight, propensity = policy.draw(self._random)
        draw = Draw.GRID if self._grid else Draw.DENSITY
        return replace(ask, fusion_weight=weight, draw=draw, propensity=propensity)
