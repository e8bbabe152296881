"""How the tests of the ranker fuse: a gate's ranges and a constant."""

from groundswell.artifacts.manifest import FusionSpec

LEARNED = FusionSpec(
    mode="learned", constant_alpha=0.6, gate_low=(0.0, 0.0, 0.0), gate_high=(2.0, 2.0, 2.0)
)
CONSTANT = LEARNED.model_copy(update={"mode": "constant"})
