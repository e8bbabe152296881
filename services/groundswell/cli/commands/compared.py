"""`--compare NAME=BUNDLE[:MODEL]` → a model to rank beside those of the bundle."""

from pathlib import Path

from groundswell.artifacts.store import load_bundle
from groundswell.cli.failures import CommandError
from groundswell.trainer.evaluation.evaluate import Compared
from groundswell.trainer.evaluation.models import MODELS


def parse_compared(text: str) -> Compared:
    """Open the bundle that is named; without MODEL its fused model.

    Raises CommandError for another form, BundleError when the bundle cannot be opened.
    """
    name, equals, rest = text.partition("=")
    path, colon, model = rest.rpartition(":")
    if not colon or "/" in model or Path(rest).is_dir():
        path, model = rest, "fused"
    if not (name and equals and path):
        raise CommandError(f"--compare {text}: write NAME=BUNDLE or NAME=BUNDLE:MODEL")
    if model not in MODELS:
        raise CommandError(f"--compare {text}: {model} is none of the models {', '.join(MODELS)}")
    return Compared(name, load_bundle(Path(path)), model)
