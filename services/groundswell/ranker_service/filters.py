"""A caller's filter text → a polars expression, by way of a whitelist; nothing else gets through.

sqlglot only parses: neither SQL nor polars ever sees the caller's text.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sqlglot import Dialect, exp
from sqlglot.errors import ParseError, TokenError

from groundswell.serving.errors import InvalidArgument

MAX_CHARACTERS = 2_000
MAX_NODES = 64

_SHOWN_CHARACTERS = 60


class Kind(Enum):
    """What an attribute holds; the value is what a person is told."""

    TEXT = "text"
    NUMBER = "a number"
    FLAG = "true or false"
    TEXTS = "a list of texts"


DTYPES: dict[Kind, pl.DataType] = {
    Kind.TEXT: pl.String(),
    Kind.NUMBER: pl.Float64(),
    Kind.FLAG: pl.Boolean(),
    Kind.TEXTS: pl.List(pl.String()),
}
"""How a column of each kind is held."""

BUILT_IN = {"item_id": Kind.TEXT, "title": Kind.TEXT, "categories": Kind.TEXTS}
"""The names that every catalogue has."""


@dataclass(frozen=True)
class Filter:
    """A checked filter."""

    expression: pl.Expr
    """True, False or null per row; null, as in SQL, does not pass."""
    kinds: Mapping[str, Kind]
    """The columns that it reads."""


def parse_filter(text: str, kinds: Mapping[str, Kind]) -> Filter:
    """Turn a filter into an expression over columns of `kinds`.

    Raises InvalidArgument (FILTER_INVALID) with the offending part in its message.
    """
    if len(text) > MAX_CHARACTERS:
        raise _invalid(f"has {len(text)} characters; at most {MAX_CHARACTERS} are allowed")
    compiler = _Compiler(kinds)
    try:
        expression = compiler.condition(_parse(text))
    except InvalidArgument:
        raise
    except RecursionError as error:
        raise _invalid("is nested too deeply") from error
    except Exception as error:  # sqlglot fails on some texts with any exception
        raise _invalid("cannot be read") from error
    return Filter(expression, compiler.read)


def passing_rows(frame: pl.DataFrame, parsed: Filter) -> NDArray[np.bool_]:
    """Return [n] True where a row of a frame passes; null does not pass.

    Raises InvalidArgument (FILTER_INVALID) when polars cannot evaluate the filter.
    """
    # An attribute that none of these rows has is null in all of them.
    frame = frame.with_columns(
        pl.lit(None, dtype=DTYPES[kind]).alias(name)
        for name, kind in parsed.kinds.items()
        if name not in frame.columns
    )
    try:
        passing = frame.select(parsed.expression.fill_null(False).alias("passing"))["passing"]
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise _invalid("cannot be evaluated on the catalogue") from error
    result: NDArray[np.bool_] = passing.to_numpy()
    return result


def _parse(text: str) -> exp.Expr:
    tree = _tree(text)
    num_nodes = 0
    for node in tree.walk():
        num_nodes += not isinstance(node, exp.Identifier | exp.Paren)
        if node.comments:
            raise _invalid(f"has a comment, at {_sql(node)}")
    if num_nodes > MAX_NODES:
        raise _invalid(f"has {num_nodes} nodes; at most {MAX_NODES} are allowed")
    return tree


def _tree(text: str) -> exp.Expr:
    try:
        trees = Dialect.get_or_raise(None).parse_into(exp.Condition, text)
    except ParseError as error:
        raise _invalid(_parse_problem(error)) from error
    except TokenError as error:
        raise _invalid("cannot be read: a quote or a comment is not closed") from error
    if len(trees) != 1 or trees[0] is None:
        raise _invalid(f"must be one condition, not {sum(tree is not None for tree in trees)}")
    tree: exp.Expr = trees[0]
    return tree


def _parse_problem(error: ParseError) -> str:
    for detail in error.errors:
        if detail.get("highlight"):
            return f"cannot be read near {_shown(detail['highlight'])} (column {detail['col']})"
    return "is not a condition"


class _Compiler:
    """Walks a tree of sqlglot and builds the expression from what is on the whitelist."""

    def __init__(self, kinds: Mapping[str, Kind]) -> None:
        self._kinds = kinds
        self.read: dict[str, Kind] = {}

    def condition(self, node: exp.Expr) -> pl.Expr:
        """Build the expression of something that is true or false."""
        match node:
            case exp.Paren():
                return self.condition(node.this)
            case exp.And():
                return self.condition(node.left) & self.condition(node.right)
            case exp.Or():
                return self.condition(node.left) | self.condition(node.right)
            case exp.Not():
                return ~self.condition(node.this)
            case exp.Column() if self._kind(node) is Kind.FLAG:
                return self._column(node)
            case exp.ArrayContains():
                return self._array_contains(node)
        return self._comparison(node)

    def _comparison(self, node: exp.Expr) -> pl.Expr:
        match node:
            case exp.EQ() | exp.NEQ() | exp.LT() | exp.LTE() | exp.GT() | exp.GTE():
                return self._compare(node)
            case exp.In():
                return self._in(node)
            case exp.Between():
                return self._between(node)
            case exp.Is() if isinstance(node.expression, exp.Null):
                return self._column(_as_column(node.this, node)).is_null()
        raise _invalid(f"has {_sql(node)}, which is not allowed here")

    def _compare(self, node: exp.Binary) -> pl.Expr:
        left, right = _bare(node.left), _bare(node.right)
        if isinstance(left, exp.Null) or isinstance(right, exp.Null):
            raise _invalid(f"has {_sql(node)}; write IS NULL or IS NOT NULL instead")
        column = left if isinstance(left, exp.Column) else _as_column(right, node)
        kind = self._kind(column)
        if kind is Kind.TEXTS:
            raise _invalid(f"has {_sql(node)}; write array_contains for a list of texts")
        if kind is Kind.FLAG and not isinstance(node, exp.EQ | exp.NEQ):
            raise _invalid(f"has {_sql(node)}, but {column.name} is {kind.value}")
        a, b = self._operand(left, kind, node), self._operand(right, kind, node)
        match node:
            case exp.EQ():
                return a == b
            case exp.NEQ():
                return a != b
            case exp.LT():
                return a < b
            case exp.LTE():
                return a <= b
            case exp.GT():
                return a > b
        return a >= b

    def _in(self, node: exp.In) -> pl.Expr:
        column = _as_column(node.this, node)
        others = [key for key, value in node.args.items() if value and key != "expressions"]
        if others != ["this"] or not node.expressions:
            raise _invalid(f"has {_sql(node)}; IN takes a list of literals")
        kind = self._scalar_kind(column, node)
        values = [_literal(value, kind, node) for value in node.expressions]
        return self._column(column).is_in(pl.Series(values, dtype=DTYPES[kind]).implode())

    def _between(self, node: exp.Between) -> pl.Expr:
        column = _as_column(node.this, node)
        kind = self._scalar_kind(column, node)
        if node.args.get("symmetric") is not None or kind is Kind.FLAG:
            raise _invalid(f"has {_sql(node)}, which is not allowed here")
        low, high = (_literal(node.args[end], kind, node) for end in ("low", "high"))
        return self._column(column).is_between(pl.lit(low), pl.lit(high))

    def _array_contains(self, node: exp.ArrayContains) -> pl.Expr:
        column = _as_column(node.this, node)
        others = {key for key, value in node.args.items() if value is not None}
        if others != {"this", "expression"}:
            raise _invalid(f"has {_sql(node)}; array_contains takes a name and a text")
        if self._kind(column) is not Kind.TEXTS:
            kind = self._kind(column).value
            raise _invalid(f"has {_sql(node)}, but {column.name} is {kind}, not a list of texts")
        value = _literal(node.expression, Kind.TEXT, node)
        return self._column(column).list.contains(pl.lit(value))

    def _operand(self, node: exp.Expr, kind: Kind, where: exp.Expr) -> pl.Expr:
        if not isinstance(node, exp.Column):
            return pl.lit(_literal(node, kind, where), dtype=DTYPES[kind])
        if self._kind(node) is not kind:
            raise _invalid(f"compares {kind.value} with {self._kind(node).value}: {_sql(where)}")
        return self._column(node)

    def _scalar_kind(self, column: exp.Column, where: exp.Expr) -> Kind:
        kind = self._kind(column)
        if kind is Kind.TEXTS:
            raise _invalid(f"has {_sql(where)}; write array_contains for a list of texts")
        return kind

    def _kind(self, column: exp.Column) -> Kind:
        plain = set(column.args) - {key for key, value in column.args.items() if value is None}
        kind = self._kinds.get(column.name) if plain <= {"this", "quoted"} else None
        if kind is None:
            raise _invalid(f"names {_sql(column)}, which is no attribute of the catalogue")
        return kind

    def _column(self, column: exp.Column) -> pl.Expr:
        self.read[column.name] = self._kind(column)
        return pl.col(column.name)


def _bare(node: exp.Expr) -> exp.Expr:
    return node.unnest()


def _as_column(node: exp.Expr, where: exp.Expr) -> exp.Column:
    node = _bare(node)
    if not isinstance(node, exp.Column):
        raise _invalid(f"has {_sql(where)}, which does not start from an attribute")
    return node


def _literal(node: exp.Expr, kind: Kind, where: exp.Expr) -> str | float | bool:
    """Return the value of a literal of a kind."""
    node = _bare(node)
    negative = isinstance(node, exp.Neg)
    if negative:
        node = _bare(node.this)
    value: str | float | bool | None = None
    if isinstance(node, exp.Boolean) and kind is Kind.FLAG and not negative:
        value = bool(node.this)
    elif isinstance(node, exp.Literal) and node.is_string and kind is Kind.TEXT and not negative:
        value = str(node.this)
    elif isinstance(node, exp.Literal) and not node.is_string and kind is Kind.NUMBER:
        try:
            value = -float(node.this) if negative else float(node.this)
        except ValueError as error:
            raise _invalid(f"has {_sql(node)}, which is not a number") from error
        if not math.isfinite(value):
            raise _invalid(f"has {_sql(node)}, which is too large a number")
    if value is None:
        raise _invalid(f"has {_sql(node)} where {kind.value} is needed: {_sql(where)}")
    return value


def _sql(node: exp.Expr) -> str:
    return _shown(node.sql(comments=False))


def _shown(part: str) -> str:
    return part if len(part) <= _SHOWN_CHARACTERS else f"{part[:_SHOWN_CHARACTERS]}…"


def _invalid(problem: str) -> InvalidArgument:
    return InvalidArgument("FILTER_INVALID", f"filter {problem}", field="filter")
