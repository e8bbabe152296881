"""Lets commands take ids that begin with a dash, such as -5."""

from typing import Any

from typer.core import TyperCommand

_REST = "--"


class IdCommand(TyperCommand):
    """A command that reads an argument with one dash as an id, unless it is one of its options.

    An argument with two dashes is always an option; an id that begins so goes after a `--`.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put such ids behind a `--`, where the parser takes anything."""
        if _REST not in args:
            args = self._sorted(args)
        return super().parse_args(ctx, args)

    def _sorted(self, args: list[str]) -> list[str]:
        names: set[str] = set()
        with_value: set[str] = set()
        for option in self.params:
            if option.param_type_name == "option":
                names.update(option.opts, option.secondary_opts)
                if not getattr(option, "is_flag", False):
                    with_value.update(option.opts)
        ids: list[str] = []
        others: list[str] = []
        for number, argument in enumerate(args):
            is_value = number > 0 and args[number - 1] in with_value
            looks_so = argument.startswith("-") and not argument.startswith(_REST)
            is_id = looks_so and argument not in names and not is_value and len(argument) > 1
            (ids if is_id else others).append(argument)
        return [*others, _REST, *ids] if ids else others
