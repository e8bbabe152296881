"""A bundle's model card: its data, models, quality, limits and settings, in Markdown."""

from datetime import UTC, datetime

from groundswell.artifacts.manifest import Manifest

_LIMITS = """\
- It recommends from behaviour: what nobody acted on is placed by its text alone.
- Metrics are of one split of one log; they say nothing of what recommending changes.
- The long-term vector can give back some of the texts that it was made of: treat it as personal.
- The text encoder knows the languages it was trained on; a text in another is mostly unknown to it.
"""


def model_card(manifest: Manifest) -> str:
    """Write the card in Markdown."""
    training = manifest.training
    rows = "\n".join(f"| {name} | {value:.4f} |" for name, value in manifest.metrics.items())
    settings = "\n".join(f"- `{k}`: {v}" for k, v in training.get("config", {}).items())
    first, last = (_day(training[name]) for name in ("first_time_us", "last_time_us"))
    span = "order only, no times" if not manifest.use_time else f"{first} to {last}"
    return f"""\
# A Groundswell bundle
Made {manifest.created_at:%Y-%m-%d %H:%M} UTC. It holds the models and vectors that the services
recommend with; vectors of different bundles are never mixed.

## Data
{training["num_users"]:,} users, {training["num_items"]:,} items,
{training["num_training_events"]:,} training events; {span}; split: {training["split"]}.

## Models
- One space of {manifest.dimension} dimensions, the last of them the items' popularity.
- Short-term: a causal Transformer over the last {manifest.window_length} events.
- Long-term: the newest {manifest.recent_length} events as items, {_text(manifest)}.
- Fusion: {manifest.fusion.mode}; the best constant α is {manifest.fusion.constant_alpha}.
- Interests: {len(manifest.categories) or "no"} categories.
- The text encoder keeps the licence of its own publisher.

## Validation
| metric | value |
|---|---|
{rows}

## Limits
{_LIMITS}
## Settings
Seed {training["seed"]}; epochs {training["epochs"]}; trained in {training["seconds"]} s.
{settings}
"""


def _text(manifest: Manifest) -> str:
    """Say whether texts of histories are read, and what they add."""
    spec = manifest.history_text
    found = "no text of the history"
    if spec.mode == "read":
        found = f"""and chunks of {manifest.chunk_length} events as text, at most the newest
  {manifest.max_chunks}, read by `{manifest.text.source}`, with an attention layer over them"""
    if spec.difference is not None:
        found += f""".
  Fused, texts add {spec.difference:+.4f} ± {spec.standard_error:.4f} to the validation NDCG@10"""
    return found


def _day(time_us: int) -> str:
    return f"{datetime.fromtimestamp(time_us / 1e6, UTC):%Y-%m-%d}"
