"""Random expressions: conditions, aggregates and windows over what a FROM offers.

`generator.py` says which rules keep their values fixed. Nothing here can fail on a row,
since an engine may evaluate it for rows that another one filtered out first.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tables import (
    BOOL,
    COLUMNS,
    DATE,
    DECIMAL,
    FLOAT,
    INT,
    LIST,
    MAP,
    STAMP,
    STRUCT,
    TABLE_ROWS,
    TEXT,
    UUID,
)
from tree import From, Item, Query, Select, Text, text

NUMBERS = (INT, DECIMAL)
MANY_ROWS = 5_000  # what a query without LIMIT should not give often


@dataclass
class Relation:
    """A FROM item: its columns' kinds, the unique ones, and at most how many rows."""

    alias: str
    columns: dict[str, str]
    unique: tuple[str, ...]
    rows: int

    def whole(self) -> bool:
        return self.columns is COLUMNS


@dataclass
class Scope:
    """What expressions can read: relations, and a column that is unique over their join."""

    relations: list[Relation] = field(default_factory=list)
    key: str | None = None
    rows: int = 0


class Expressions:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.aliases = 0

    # -- small choices

    def pick(self, *choices: Any) -> Any:
        return self.random.choice(choices)

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def number(self, below: int) -> int:
        return self.random.randrange(below)

    def alias(self) -> str:
        self.aliases += 1
        return f"t{self.aliases}"

    def column(self, scope: Scope, kinds: Sequence[str] = ()) -> tuple[str, str]:
        """A column of one of the kinds, and its kind; a cast of another where there is none."""
        found = [
            (f"{relation.alias}.{name}", kind)
            for relation in scope.relations
            for name, kind in relation.columns.items()
            if not kinds or kind in kinds
        ]
        if found:
            return self.random.choice(found)
        other, _ = self.column(scope)
        if TEXT in kinds:
            return f"{other}::VARCHAR", TEXT
        return f"TRY_CAST({other}::VARCHAR AS BIGINT)", INT

    # -- conditions

    def compare(self, column: str, kind: str) -> str:
        """A condition on one column, never an error whatever its values."""
        op = self.pick("<", ">", "=", "<>", ">=", "IS DISTINCT FROM")
        n = self.number(60)
        if kind in (INT, DECIMAL, FLOAT):
            return self.pick(
                f"{column} {op} {self.pick(7, n, 10 * n)}",
                f"{column} NOT BETWEEN {n} AND {n + self.number(300)}",
                f"{column} IN (7, {n}, {n + 20}, NULL)",
                f"({column} % 3 = 1 OR {column} > 50)",
                f"{column} + 1 {op} {n}.5",
            )
        return {
            TEXT: self.pick(
                f"{column} LIKE 's1%'", f"{column} NOT LIKE '%2'", f"length({column}) > 2",
                f"coalesce({column}, 'z') {op} 's{n}'",
            ),
            DATE: f"{column} {op} DATE '2024-01-10' + {n}",
            STAMP: f"{column} {op} TIMESTAMP '2024-01-01 10:00:00' + INTERVAL {n} HOUR",
            UUID: f"{column} {self.pick('<', '>')} '80000000-0000-0000-0000-000000000000'::UUID",
            BOOL: self.pick(column, f"NOT {column}", f"{column} IS NOT TRUE"),
            LIST: self.pick(f"len({column}) {op} 1", f"list_contains({column}, 3)", f"{column}[1] > 1"),
            STRUCT: self.pick(f"{column}.a {op} 2", f"{column}.b = 'b1'"),
            MAP: self.pick(f"{column}['p'] = 1", f"cardinality({column}) = 2"),
        }[kind]  # fmt: skip

    def lookup(self, kinds: Sequence[str], depth: int, word: str = "") -> Query:
        """A small query of one column: what IN, ANY and scalar subqueries read."""
        source, scope = self.base(self.small())
        column, kind = self.column(scope, kinds)
        where = tuple(self.condition(scope, depth - 1) for _ in range(self.pick(0, 1, 1)))
        value = f"{word}({column})" if word else column
        return Select((Item(text(value), "e", kind),), (source,), where)

    def correlated(self, scope: Scope, depth: int, value: str) -> Query:
        """A small query that reads a number of the outer row."""
        outer, _ = self.column(scope, NUMBERS)
        source, inner = self.base("tiny" if scope.rows > MANY_ROWS else self.small())
        alias = source.alias
        where = [text(f"{alias}.{self.pick('k', 'id', 'v')} = {outer}")]
        if self.chance(0.4):
            other, _ = self.column(scope, NUMBERS)
            where.append(text(f"{alias}.v {self.pick('<', '>', '<>')} {other}"))
        if depth > 1 and self.chance(0.3):
            where.append(self.condition(inner, depth - 1))
        return Select((Item(text(value.format(alias)), "e", INT),), (source,), tuple(where))

    def condition(self, scope: Scope, depth: int) -> Text:
        column, kind = self.column(scope)
        number, _ = self.column(scope, NUMBERS)
        if depth <= 0 or self.chance(0.5):
            if self.chance(0.1):
                return text(f"{column} IS {self.pick('', 'NOT ')}NULL")
            return text(self.compare(column, kind))
        listed = self.column(scope, (INT, DECIMAL, TEXT, UUID, STRUCT))
        return self.pick(
            lambda: text(f"{listed[0]} {self.pick('IN', 'NOT IN')} ", self.lookup((listed[1],), depth)),
            lambda: text(f"{number} NOT IN ", self.lookup((INT,), depth)),
            lambda: text(f"{self.pick('', 'NOT ')}EXISTS ", self.correlated(scope, depth, "1")),
            lambda: text(f"{number} > ", self.lookup(NUMBERS, depth, self.pick("min", "max", "count"))),
            lambda: text(f"{number} >= ", self.correlated(scope, depth, self.pick("max({}.v) - 900", "count(*)"))),
            lambda: text(f"{number} {self.pick('> ALL', '= ANY', '<= ANY', '<> ALL')} ", self.lookup(NUMBERS, depth)),
            lambda: text(f"({self.compare(column, kind)} OR EXISTS ", self.correlated(scope, depth, "1"), ")"),
        )()  # fmt: skip

    def where(self, scope: Scope, depth: int) -> tuple[Text, ...]:
        return tuple(self.condition(scope, depth) for _ in range(self.pick(0, 1, 1, 2)))

    # -- tables

    def small(self) -> str:
        return str(self.pick("mid", "mid", "tiny", "tiny", "tiny", "none", "sheet", "kept")
                   if self.chance(0.12) else self.pick("mid", "mid", "tiny", "tiny"))  # fmt: skip

    def table(self) -> str:
        return str(self.pick("big", "big", self.small()))

    def base(self, name: str) -> tuple[From, Scope]:
        alias = self.alias()
        relation = Relation(alias, COLUMNS, ("id", "t"), TABLE_ROWS[name])
        return From(text(name), alias), Scope([relation], f"{alias}.id", relation.rows)

    # -- values

    def direction(self) -> str:
        return str(self.pick("", "", " DESC", " NULLS FIRST", " DESC NULLS LAST"))

    def expression(self, scope: Scope) -> tuple[str, str]:
        """A value that is as exact as its column."""
        column, kind = self.column(scope)
        if self.chance(0.6):
            return column, kind
        if kind in NUMBERS:
            return self.pick(
                (f"{column} % 5", kind), (f"CASE WHEN {column} > 20 THEN 'much' END", TEXT),
                (f"coalesce({column}, -1)", kind), (f"[{column}, 1]", LIST), (f"{column}::VARCHAR", TEXT),
            )  # fmt: skip
        return {
            TEXT: (f"{column} || '!'", TEXT), DATE: (f"year({column})", INT),
            STAMP: (f"date_trunc('hour', {column})", STAMP), LIST: (f"len({column})", INT),
            STRUCT: (f"{column}.b", TEXT), MAP: (f"{column}['q']", INT), UUID: (f"{column}::VARCHAR", TEXT),
        }.get(kind, (column, kind))  # fmt: skip

    def select_items(self, scope: Scope, count: int, key: bool = False) -> list[Item]:
        found = dict(self.expression(scope) for _ in range(count))
        return [
            Item(text(value), f"c{i}", kind, key=key, direction=self.direction())
            for i, (value, kind) in enumerate(found.items(), 1)
        ]

    def aggregate(self, scope: Scope, name: str, split: bool) -> Item:
        """A call that is the same whatever the order of rows; `split`: one with partial
        results. A block with any other moves rows instead, and splits none."""
        number, number_kind = self.column(scope, NUMBERS)
        other, _ = self.column(scope, NUMBERS)
        column, kind = self.column(scope)
        word, _ = self.column(scope, (TEXT,))
        truth = self.compare(number, INT)
        filters = f" FILTER ({truth})" if self.chance(0.25) else ""
        if split:
            call, kind, exact = self.pick(
                *[("count(*)", INT, True), (f"count({column})", INT, True)] * 2,
                *[(f"sum({number})", number_kind, True), (f"avg({number})", FLOAT, False)] * 2,
                (f"min({column})", kind, True), (f"max({column})", kind, True),
                (f"bool_or({truth})", BOOL, True), (f"bool_and({truth})", BOOL, True),
                (f"stddev({number})", FLOAT, False), (f"var_pop({number})", FLOAT, False),
                # Rounded, as some are zero but for their last digits; moved off the ties.
                (f"round(covar_pop({number}, {other}) + 0.00003, 4)", FLOAT, False),
                (f"round(regr_slope({number}, {other}) + 0.00003, 4)", FLOAT, False),
                (f"round(skewness({number}) + 0.00003, 4)", FLOAT, False),
                (f"bit_xor({number}::BIGINT)", INT, True), (f"count_if({truth})", INT, True),
                (f"approx_count_distinct({number})", INT, True),
            )  # fmt: skip
        elif scope.relations[0].whole() and self.chance(0.3):
            alias = scope.relations[0].alias
            some = f"{alias}.{self.pick('v', 's', 'x', 'k')}"
            of = {"v": INT, "s": TEXT, "x": DECIMAL, "k": INT}[some.split(".")[1]]
            at = f"{alias}.id"
            call, kind, exact = self.pick(
                (f"arg_max({some}, {at})", of, True), (f"arg_min({some}, {at})", of, True),
                (f"first({some} ORDER BY {at} DESC)", of, True), (f"last({some} ORDER BY {at})", of, True),
                (f"list({alias}.v ORDER BY {at})", LIST, True), (f"max({alias}.v, 3)", LIST, True),
                (f"sum(DISTINCT {alias}.v)", INT, True), (f"corr({alias}.v, {at})", "", False),
            )  # fmt: skip
        else:
            call, kind, exact = self.pick(
                ("count(*)", INT, True), (f"count(DISTINCT {column})", INT, True),
                (f"sum(DISTINCT {number})", number_kind, True), (f"max({column})", kind, True),
                (f"median({number})", FLOAT, False), (f"mode({column}) IS NULL", BOOL, True),
                (f"quantile_disc({number}, 0.25)", number_kind, True),
                (f"quantile_cont({number}, [0.1, 0.9])", LIST, False),
                (f"quantile_disc(DISTINCT {number}, 0.5)", number_kind, True),
                (f"string_agg({word}, ',' ORDER BY {word} DESC)", TEXT, True),
                (f"string_agg(DISTINCT {word}, ',' ORDER BY {word})", TEXT, True),
                (f"list({number} ORDER BY {number} NULLS FIRST)", LIST, True),
                (f"list(DISTINCT {number} ORDER BY {number})[1:3]", LIST, True),
                (f"list_sort(map_entries(histogram({number})))", LIST, False),
                (f"entropy({number})", FLOAT, False),
            )  # fmt: skip
        if filters and call.endswith((")", "]", "NULL")) and "(" in call:
            call = self.with_filter(call, filters)
        return Item(text(call), name, kind, exact, direction=self.direction())

    @staticmethod
    def with_filter(call: str, filters: str) -> str:
        """FILTER goes after the aggregate, which may be inside another call."""
        if call.startswith(("round", "list_sort")):
            return call
        head, tail = (call[: -len(" IS NULL")], " IS NULL") if call.endswith(" IS NULL") else (call, "")
        if head.endswith("]"):
            return call
        return f"{head}{filters}{tail}"

    def window(self, scope: Scope) -> tuple[str, str]:
        """A window call and its kind: over rows by a unique key, or one alike for peers."""
        partition, _ = self.column(scope)
        second, _ = self.column(scope)
        by = self.pick("", f"PARTITION BY {partition}", f"PARTITION BY {partition}, {second}")
        number, kind = self.column(scope, NUMBERS)
        column, column_kind = self.column(scope)
        if scope.key is None or self.chance(0.3):
            order, _ = self.column(scope)
            call, of = self.pick(
                ("rank()", INT), ("dense_rank()", INT), ("count(*)", INT), (f"sum({number})", kind),
                (f"max({column})", column_kind), (f"count(DISTINCT {number})", INT),
                (f"sum({number}) FILTER ({self.compare(number, INT)})", kind),
            )  # fmt: skip
            if self.chance(0.4):
                return f"{call.replace('dense_rank()', 'count(*)').replace('rank()', 'count(*)')} OVER ({by})", of
            return f"{call} OVER ({by} ORDER BY {order}{self.direction()})", of
        call, of = self.pick(
            ("row_number()", INT), ("ntile(3)", INT), (f"lag({column}, 2)", column_kind),
            (f"lead({column})", column_kind), (f"sum({number})", kind), (f"count({column})", INT),
            (f"first_value({column})", column_kind), (f"last_value({column} IGNORE NULLS)", column_kind),
            (f"nth_value({column}, 2)", column_kind), (f"min({number})", kind), (f"list({number})[1:4]", LIST),
        )  # fmt: skip
        frame = ""
        if not call.startswith(("row", "ntile", "la", "lead")) or call.startswith("last"):
            frame = self.pick("", " ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING",
                              " ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW EXCLUDE CURRENT ROW",
                              " GROUPS BETWEEN 1 PRECEDING AND CURRENT ROW",
                              " ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING")  # fmt: skip
        slice_, call = ("[1:4]", call[:-5]) if call.endswith("[1:4]") else ("", call)
        return f"({call} OVER ({by} ORDER BY {scope.key}{frame})){slice_}", of
