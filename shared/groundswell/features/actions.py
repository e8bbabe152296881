"""The actions of a user, by name and by the number that contracts, logs and models share."""

ACTIONS = ("view", "click", "cart", "purchase", "like", "dislike", "rate", "consume", "share")
"""Names in the order of the contract's enum: the number of `ACTIONS[i]` is `i + 1`."""

NUM_ACTIONS = len(ACTIONS) + 1
"""Size of a table indexed by action number; number 0 stands for no action."""

DISLIKE = ACTIONS.index("dislike") + 1
"""The action that is an input of the models and never a target."""


def action_number(name: str) -> int:
    """Return the number of an action, from 1; `name` in any case, blanks around it ignored.

    Raises ValueError naming an unknown action.
    """
    try:
        return ACTIONS.index(name.strip().lower()) + 1
    except ValueError:
        raise ValueError(f"unknown action {name!r}: one of {', '.join(ACTIONS)}") from None
