"""The variants of a folder of bundles: which share of the users gets another bundle or weight.

They lie in one file beside the pointer, which every process reads again and again. Each user has
one of 1,000 slots by a hash of the id, and each variant owns slots, which were drawn at random. So
a variant that changes or goes moves no user of another one.
"""

import hashlib
from pathlib import Path
from random import Random
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from groundswell.artifacts.errors import BundleError
from groundswell.artifacts.small_files import replace_text

VARIANTS = "variants.json"
MAX_BUNDLES = 2
"""The most bundles that variants name: each is loaded beside the current one."""
NUM_SLOTS = 1_000
_MAX_VARIANTS = 8
_MAX_BYTES = 64 * 1024


class _FrozenVariant(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


class Variant(_FrozenVariant):
    """What a share of the users gets in the place of the usual answer."""

    name: Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    slots: Annotated[frozenset[Annotated[int, Field(ge=0, lt=NUM_SLOTS)]], Field(min_length=1)]
    """Whose users it gets."""
    bundle: Annotated[str, Field(pattern="^[0-9a-f]{16}$")] | None = None
    """Ranks; None: the current bundle."""
    fusion_weight: Annotated[float, Field(ge=0, le=1)] | None = None
    """Forces α; None: the bundle decides."""

    @property
    def share(self) -> float:
        """The share of all users that it gets."""
        return len(self.slots) / NUM_SLOTS

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if self.bundle is None and self.fusion_weight is None:
            raise ValueError("has neither a bundle nor a fusion weight")
        return self


class Variants(_FrozenVariant):
    """All variants. A user has at most one."""

    variants: tuple[Variant, ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        names = [one.name for one in self.variants]
        if len(set(names)) < len(names) or len(names) > _MAX_VARIANTS:
            raise ValueError(f"at most {_MAX_VARIANTS} variants, each with a name of its own")
        if len(self._taken()) < sum(len(one.slots) for one in self.variants):
            raise ValueError("two variants have the same slot")
        if len(self.bundles) > MAX_BUNDLES:
            raise ValueError(f"at most {MAX_BUNDLES} bundles")
        return self

    @property
    def bundles(self) -> frozenset[str]:
        """The bundles that variants name."""
        return frozenset(one.bundle for one in self.variants if one.bundle is not None)

    def of(self, subject: str) -> Variant | None:
        """Return the variant of a user or an anonymous session; None for the usual answer.

        It is always the same while the variants' slots are.
        """
        if not self.variants:
            return None
        digest = hashlib.blake2b(subject.encode(), person=b"variants", digest_size=8).digest()
        slot = int.from_bytes(digest) % NUM_SLOTS
        return next((one for one in self.variants if slot in one.slots), None)

    def slots_for(self, name: str, share: float, chance: Random) -> frozenset[int]:
        """Draw slots for a share of the users; a variant of this name keeps what it can of its own.

        Raises ValueError for a share that is no multiple of .001, and for one that is not left.
        """
        number = round(share * NUM_SLOTS)
        if number < 1 or abs(number - share * NUM_SLOTS) > 1e-6:
            raise ValueError(f"the share must be a multiple of {1 / NUM_SLOTS:g}")
        own = next((one.slots for one in self.variants if one.name == name), frozenset())
        free = sorted({*range(NUM_SLOTS)} - self._taken())
        if number - len(own) > len(free):
            raise ValueError("the shares add up to more than 1")
        kept = chance.sample(sorted(own), min(number, len(own)))
        return frozenset((*kept, *chance.sample(free, number - len(kept))))

    def _taken(self) -> set[int]:
        return {slot for one in self.variants for slot in one.slots}


def read_variants(root: Path) -> Variants:
    """Read the variants of a folder of bundles; none without a file.

    Raises BundleError (VARIANTS_INVALID), and OSError when the file system fails.
    """
    path = root / VARIANTS
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES)
    except FileNotFoundError:
        return Variants()
    try:
        return Variants.model_validate_json(content)
    except ValidationError as error:
        raise BundleError("VARIANTS_INVALID", f"{path}: {error}") from error


def write_variants(root: Path, variants: Variants) -> None:
    """Put variants in the place of those of a folder, in one step. Raises OSError."""
    replace_text(root / VARIANTS, variants.model_dump_json() + "\n")
