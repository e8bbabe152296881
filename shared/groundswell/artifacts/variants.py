"""The variants of a folder of bundles: which share of the users gets another bundle or weight.

They lie in one file beside the pointer, which every process reads again and again.
"""

import hashlib
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from groundswell.artifacts.errors import BundleError
from groundswell.artifacts.small_files import replace_text

VARIANTS = "variants.json"
MAX_BUNDLES = 2
"""The most bundles that variants name: each is loaded beside the current one."""
_MAX_VARIANTS = 8
_MAX_BYTES = 64 * 1024


class _FrozenVariant(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Variant(_FrozenVariant):
    """What a share of the users gets in the place of the usual answer."""

    name: Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    share: Annotated[float, Field(gt=0, le=1)]
    bundle: Annotated[str, Field(pattern="^[0-9a-f]{16}$")] | None = None
    """Ranks; None: the current bundle."""
    fusion_weight: Annotated[float, Field(ge=0, le=1)] | None = None
    """Forces α; None: the bundle decides."""
    salt: Annotated[str, Field(min_length=16, max_length=64)]
    """Chance of this variant alone: which users get it says nothing about those of another one."""

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if self.bundle is None and self.fusion_weight is None:
            raise ValueError("has neither a bundle nor a fusion weight")
        return self


class Variants(_FrozenVariant):
    """All variants. A user has at most one: the first that draws the user."""

    variants: tuple[Variant, ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        names = [one.name for one in self.variants]
        if len(set(names)) < len(names) or len(names) > _MAX_VARIANTS:
            raise ValueError(f"at most {_MAX_VARIANTS} variants, each with a name of its own")
        if sum(one.share for one in self.variants) > 1 + 1e-9:
            raise ValueError("the shares add up to more than 1")
        if len(self.bundles) > MAX_BUNDLES:
            raise ValueError(f"at most {MAX_BUNDLES} bundles")
        return self

    @property
    def bundles(self) -> frozenset[str]:
        """The bundles that variants name."""
        return frozenset(one.bundle for one in self.variants if one.bundle is not None)

    def of(self, subject: str) -> Variant | None:
        """Return the variant of a user or an anonymous session; None for the usual answer.

        It is always the same while shares and salts are. A larger share keeps its users.
        """
        left = 1.0
        for one in self.variants:
            # Of those whom no earlier variant drew, so that the share is one of all users.
            if _place(one.salt, subject) * left < one.share:
                return one
            left -= one.share
        return None


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
    replace_text(root / VARIANTS, variants.model_dump_json(indent=2) + "\n")


def _place(salt: str, subject: str) -> float:
    """Return where chance puts a subject, in [0, 1)."""
    digest = hashlib.blake2b(subject.encode(), key=salt.encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64
