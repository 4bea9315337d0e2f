"""Random queries whose rows SQL fixes, whatever the order in which rows come.

- LIMIT and DISTINCT ON come only with an ORDER BY of all output columns; a query that is
  ordered so is compared in order.
- A window that counts rows is ordered by a column that is unique in its FROM (`Scope.key`);
  where there is none only calls that treat peers alike are made.
- A list or string aggregate is ordered by its own value or by `id`, which fixes the row.
- Floats are sums and moments of exact numbers, compared by same_answer's tolerance. What
  depends on their last digits (keys, conditions, ORDER BY) reads exact columns only.
- No expression can fail on a row, since an engine may evaluate it for rows that another
  one filtered out first.

Sizes are bounded as the query grows: a join is on a column that is unique on one side, or
the product of the sides is small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from expressions import MANY_ROWS, NUMBERS, Expressions, Relation, Scope
from tables import (
        BOOL,
        COLUMNS,
        DATE,
        DECIMAL,
        FLOAT,
        INT,
        LIST,
        STAMP,
        STRUCT,
        TABLE_ROWS,
        TEXT,
        UUID,
)
from tree import (
        Cte,
        From,
        Item,
        Query,
        Select,
        SetOperation,
        Text,
        Values,
        With,
        text,
)

# What one kind can be compared with, without a cast.
COMPARABLE = {INT: "number", DECIMAL: "number", FLOAT: "number", DATE: "time", STAMP: "time"}
SMALL_PRODUCT = 200_000  # rows of a join without a unique side


def whole(source: From, where: tuple[Text, ...] = ()) -> Select:
    return Select((Item(text("*"), "star", INT),), (source,), where)


class Generator(Expressions):
    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.ctes: list[Relation] = []
        # At most how many rows a query gives; the queries are kept, so an id() stays theirs.
        self.rows: dict[int, int] = {}
        self.made: list[Query] = []

    # -- FROM

    def item(self, depth: int, small: bool = False) -> tuple[From, Relation]:
        """A FROM item: a table, a filtered one, a set operation of two, VALUES, a CTE or a
        whole query."""
        if self.ctes and self.chance(0.6):
            cte = self.random.choice(self.ctes)
            alias = self.alias()
            return From(text(cte.alias), alias), replace(cte, alias=alias)
        source, scope = self.base(self.small() if small else self.table())
        relation = scope.relations[0]
        choice = self.random.random()
        if choice < 0.15:
            inner, inner_scope = self.base(source.text.sql())
            query: Query = whole(inner, self.where(inner_scope, depth))
            return replace(source, text=text(query)), relation
        if choice < 0.22:
            branches = [whole(source), whole(self.base(self.small())[0])]
            word = self.set_word()
            unique = () if word == "UNION ALL" else relation.unique
            both = SetOperation(tuple(branches), (word,), branches[0].items)
            alias = self.alias()
            rows = relation.rows + (TABLE_ROWS["mid"] if word.startswith("UNION") else 0)
            return From(text(both), alias), Relation(alias, COLUMNS, unique, rows)
        if choice < 0.26:
            return self.values()
        if choice < 0.45 and depth > 0:
            maker = self.pick(self.grouped, self.plain, self.windowed, self.combined)
            query = maker(depth - 1)
            derived = self.relation_of(query, self.alias())
            if derived.columns:
                return From(text(query), derived.alias), derived
        return source, relation

    def relation_of(self, query: Query, alias: str) -> Relation:
        columns = {item.name: item.kind for item in query.items if item.exact}
        keys = [item.name for item in query.items if item.key]
        unique: tuple[str, ...] = ()
        if isinstance(query, Select) and query.grouping in ("plain", "ALL"):
            unique = tuple(keys) if len(keys) == 1 else ()
        return Relation(alias, columns, unique, self.rows[id(query)])

    def values(self) -> tuple[From, Relation]:
        rows = [
            f"({self.pick('NULL', 7, self.number(60))}, {self.pick('NULL', repr('s1'), repr(''))}, "
            f"DATE '2024-01-{1 + self.number(28):02}')"
            for _ in range(self.pick(1, 3, 8))
        ]
        rows[0] = "(7, 's2', DATE '2024-01-02')"
        alias = self.alias()
        items = (Item(text("k"), "k", INT), Item(text("s"), "s", TEXT), Item(text("d"), "d", DATE))
        relation = Relation(alias, {"k": INT, "s": TEXT, "d": DATE}, (), len(rows))
        return From(text(Values(tuple(rows), items)), alias, columns="(k, s, d)"), relation

    def equality(self, scope: Scope, right: Relation, names: Sequence[str]) -> Text:
        """A key: right's column of one of the names, and one of the left that compares."""
        name = self.random.choice(list(names))
        kind = right.columns[name]
        column = f"{right.alias}.{name}"
        alike = [k for k in (*COMPARABLE, kind) if COMPARABLE.get(k, k) == COMPARABLE.get(kind, kind)]
        left, left_kind = self.column(scope, tuple(alike))
        op = self.pick("=", "=", "=", "IS NOT DISTINCT FROM")
        if left_kind not in alike or self.chance(0.1):
            left, _ = self.column(scope)
            return text(f"{left}::VARCHAR {op} {column}::VARCHAR")
        if left_kind == INT and kind == INT and self.chance(0.2):
            left = f"{left} % 50"
        return text(f"{left} {op} {column}")

    def join(self, scope: Scope, depth: int) -> From:
        """Join one more item to the scope, which grows by it."""
        source, right = self.item(depth, small=True)
        product = scope.rows * max(right.rows, 1)
        unique = bool(right.unique) and (product > SMALL_PRODUCT or self.chance(0.6))
        kind = self.pick(*["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"] * 3, *["SEMI JOIN", "ANTI JOIN"] * 2,
                         "CROSS JOIN", "non-equality", "ASOF JOIN", "ASOF LEFT JOIN")  # fmt: skip
        if kind in ("CROSS JOIN", "non-equality") and product > 20_000:
            kind = "JOIN"
        if kind.startswith("ASOF") and not (self.chance(0.5) and right.whole() and "id" in right.unique):
            kind = "LEFT JOIN"
        only_left = kind in ("SEMI JOIN", "ANTI JOIN")
        if not unique and product > SMALL_PRODUCT and not kind.startswith("ASOF") and not only_left:
            kind, only_left = self.pick("SEMI JOIN", "ANTI JOIN"), True
        names = right.unique if unique else list(right.columns)
        on = [self.equality(scope, right, names)]
        other = f"{right.alias}.{self.random.choice(list(right.columns))}"
        if kind.startswith("ASOF"):
            at, at_kind = self.column(scope, self.pick(NUMBERS, (STAMP, DATE)))
            below = "t" if at_kind in (STAMP, DATE) else "id"
            on = [text(f"{right.alias}.k = {self.column(scope, (INT,))[0]}")] if self.chance(0.6) else []
            on.append(text(f"{at} {self.pick('>=', '>')} {right.alias}.{below}"))
            unique = True
        elif kind == "CROSS JOIN":
            on = []
        elif kind == "non-equality":
            kind, number = self.pick("JOIN", "LEFT JOIN"), self.column(scope, NUMBERS)[0]
            limit = Scope([right])
            on = [text(f"{number} {self.pick('<', '<>', '>=')} {self.column(limit, NUMBERS)[0]}")]
            unique = False
        else:
            if self.chance(0.3):
                on.append(self.equality(scope, right, list(right.columns)))
            if self.chance(0.3) and product <= 50 * SMALL_PRODUCT:
                left, kinds = self.column(scope, NUMBERS)[0], (INT, DECIMAL)
                on.append(text(f"{left} < {self.column(Scope([right]), kinds)[0]} + {self.number(500)}"))
            if self.chance(0.1):
                on.append(text(f"{other} IS NOT NULL"))
        if only_left:
            return replace(source, join=kind, on=tuple(on))
        scope.rows = scope.rows + right.rows if unique else max(scope.rows, 1) * max(right.rows, 1)
        if not unique or kind in ("RIGHT JOIN", "FULL JOIN"):
            scope.key = None
        scope.relations.append(right)
        return replace(source, join=kind, on=tuple(on))

    def lateral(self, scope: Scope) -> From:
        alias = self.alias()
        column, kind = self.column(scope, (LIST,))
        number, _ = self.column(scope, NUMBERS)
        scope.key = None
        scope.rows *= 3
        scope.relations.append(Relation(alias, {"e": INT}, (), scope.rows))
        if kind != LIST:
            return From(text(f"(SELECT {number} + 1)"), alias, "CROSS JOIN LATERAL", (), "(e)")
        return self.pick(
            From(text(f"unnest({column})"), alias, ",", (), "(e)"),
            From(text(f"(SELECT unnest({column}))"), alias, "CROSS JOIN LATERAL", (), "(e)"),
            From(text(f"(SELECT unnest({column}))"), alias, "LEFT JOIN LATERAL", (text("true"),), "(e)"),
        )  # fmt: skip

    def sources(self, depth: int, joins: Sequence[int] = (0, 0, 1, 1, 1, 2)) -> tuple[tuple[From, ...], Scope]:
        source, relation = self.item(depth)
        key = f"{relation.alias}.{relation.unique[0]}" if relation.unique else None
        scope = Scope([relation], key, relation.rows)
        sources = [source]
        for _ in range(self.random.choice(list(joins))):
            sources.append(self.join(scope, depth))
        if self.chance(0.08) and scope.rows <= 200_000:
            sources.append(self.lateral(scope))
        return tuple(sources), scope

    # -- SELECT blocks

    def done(self, query: Query, rows: int) -> Query:
        """Remember at most how many rows a query gives, for what reads it."""
        self.rows[id(query)] = rows
        self.made.append(query)
        return query

    def query(self) -> Query:
        depth = self.pick(0, 1, 1, 2, 3)
        makers = [
            (5, self.grouped), (4, self.plain), (3, self.windowed), (3, self.combined),
            (3, self.with_ctes), (0.5, self.recursive),
        ]  # fmt: skip
        weights, functions = zip(*makers)
        return self.random.choices(functions, weights)[0](depth)  # type: ignore[no-any-return]

    def limit(self) -> str:
        offset = self.pick("", "", " OFFSET 3", " OFFSET 40")
        return str(self.pick("LIMIT 0", "LIMIT 5", "LIMIT 200", "LIMIT 10%", "LIMIT 2.5%",
                             "OFFSET 5" if not offset else "LIMIT 1000000",
                             "LIMIT (SELECT 7)" if self.chance(0.2) else "LIMIT 7") + offset)  # fmt: skip

    def finish(self, select: Select, rows: int) -> Query:
        """Perhaps order it, and then perhaps cut it."""
        exact = all(item.exact for item in select.items)
        many = rows > MANY_ROWS
        if exact and self.chance(0.9 if many else 0.4):
            limit = self.limit() if self.chance(0.9 if many else 0.4) else ""
            select = replace(select, ordered=True, limit=limit)
        return self.done(select, rows)

    def grouped(self, depth: int) -> Query:
        sources, scope = self.sources(depth)
        where = self.where(scope, depth)
        items = self.select_items(scope, self.pick(0, 1, 1, 1, 2, 3), key=True)
        grouping = self.pick("plain", "plain", "plain", "ALL", "ROLLUP", "CUBE", "SETS", "TWICE") if items else ""
        keys = len(items)
        split = self.chance(0.6)
        for index in range(self.pick(1, 2, 3, 4)):
            items.append(self.aggregate(scope, f"a{index}", split))
        if keys and self.chance(0.1):
            items.append(Item(text(f"GROUPING({items[0].text.sql()})"), "g", INT))
            grouping = "plain" if grouping == "ALL" else grouping
        if keys and self.chance(0.15):
            order = items[0].text.sql()
            over = self.pick("sum(count(*)) OVER ()", f"rank() OVER (ORDER BY {order})",
                             "rank() OVER (ORDER BY count(*) DESC)")  # fmt: skip
            items.append(Item(text(over), "w", INT))
            grouping = "plain"
        having = (text(self.pick("count(*) > 2", "count(*) < 50")),) if keys and self.chance(0.2) else ()
        if keys == 0 and self.chance(0.1):
            having = (text("count(*) > 0"),)
        select = Select(tuple(items), sources, where, grouping, having)
        return self.finish(select, scope.rows if keys else 1)

    def plain(self, depth: int) -> Query:
        sources, scope = self.sources(depth)
        where = self.where(scope, depth)
        items = self.select_items(scope, self.pick(1, 2, 3, 4))
        if self.chance(0.2) and depth > 0:
            value = self.pick(
                lambda: self.correlated(scope, depth, self.pick("count(*)", "max({}.v)", "sum({}.x)")),
                lambda: self.lookup((INT,), depth, self.pick("min", "max", "count", "sum")),
            )()
            items.append(Item(text(value), "q", INT, direction=self.direction()))
        distinct = self.pick("", "", "", "ALL", "ON")
        select = Select(tuple(items), sources, where, distinct=distinct)
        if distinct == "ON":
            return self.done(replace(select, ordered=True, limit=self.pick("", "LIMIT 20")), scope.rows)
        if distinct == "ON":
            select = replace(select, distinct="ALL")
        return self.finish(select, scope.rows)

    def windowed(self, depth: int) -> Query:
        sources, scope = self.sources(depth, joins=(0, 0, 1))
        if scope.rows > 50_000 and self.chance(0.7):
            source, relation = self.item(0, small=True)
            key = f"{relation.alias}.{relation.unique[0]}" if relation.unique else None
            sources, scope = (source,), Scope([relation], key, relation.rows)
        where = self.where(scope, depth)
        items = self.select_items(scope, self.pick(1, 2))
        for index in range(self.pick(1, 1, 2, 3)):
            call, kind = self.window(scope)
            items.append(Item(text(call), f"w{index}", kind, direction=self.direction()))
        qualify: tuple[Text, ...] = ()
        if self.chance(0.25):
            qualify = (text(self.pick(f"{self.window(scope)[0]} IS NOT NULL", "w0 IS NOT NULL",
                                      f"rank() OVER (PARTITION BY {self.column(scope)[0]} "
                                      f"ORDER BY {self.column(scope)[0]}) <= 2")),)  # fmt: skip
        return self.finish(Select(tuple(items), sources, where, qualify=qualify), scope.rows)

    def set_word(self) -> str:
        return str(self.pick("UNION", "UNION ALL", "EXCEPT", "INTERSECT", "EXCEPT ALL", "INTERSECT ALL"))

    def combined(self, depth: int) -> Query:
        """Set operations of blocks with columns of the same kinds."""
        count = self.pick(1, 2, 3)
        kinds = [self.pick(INT, TEXT, INT, DECIMAL, DATE, UUID, LIST, STRUCT, BOOL) for _ in range(count)]
        branches, total = [], 0
        for _ in range(self.pick(2, 2, 3)):
            sources, scope = self.sources(depth, joins=(0, 0, 1)) if self.chance(0.5) else self.one_base()
            if not any(relation.whole() for relation in scope.relations):
                sources, scope = self.one_base()
            columns = [self.column(scope, (kind,))[0] for kind in kinds]
            items = tuple(Item(text(c), f"c{i}", k) for i, (c, k) in enumerate(zip(columns, kinds), 1))
            branches.append(Select(items, sources, self.where(scope, depth - 1)))
            total += scope.rows
        items = tuple(replace(item, direction=self.direction()) for item in branches[0].items)
        words = tuple(self.set_word() for _ in branches[1:])
        both = SetOperation(tuple(branches), words, items)
        if self.chance(0.95 if total > MANY_ROWS else 0.3):
            both = replace(both, ordered=True, limit=self.pick("", *["LIMIT 50", "LIMIT 20 OFFSET 4", "LIMIT 5%"] * 2))
        return self.done(both, total)

    def one_base(self) -> tuple[tuple[From, ...], Scope]:
        source, scope = self.base(self.table())
        return (source,), scope

    # -- WITH

    def with_ctes(self, depth: int) -> Query:
        """One or two CTEs, read several times by the body and by one another."""
        ctes = []
        outer = self.ctes
        self.ctes = []
        names: list[Relation] = []
        for index in range(self.pick(1, 1, 2)):
            query = self.pick(self.grouped, self.grouped, self.plain, self.combined)(min(depth, 1))
            name = f"cte{index + 1}"
            names.append(self.relation_of(query, name))
            self.ctes = [relation for relation in names if relation.columns]
            hint = self.pick("", "MATERIALIZED ", "NOT MATERIALIZED ")
            ctes.append(Cte(name, text(query), hint=hint))
        body = self.pick(self.grouped, self.plain, self.windowed)(min(depth, 1))
        self.ctes = outer
        return self.done(With(tuple(ctes), body), self.rows[id(body)])

    def recursive(self, depth: int) -> Query:
        source, scope = self.base(self.pick("tiny", "tiny", "none", "kept"))
        alias = source.alias
        start = Select(
            (Item(text(f"{alias}.id % 9"), "n", INT), Item(text(f"{alias}.k"), "k", INT)),
            (source,), self.where(scope, min(depth, 1)),
        )  # fmt: skip
        step = self.pick(
            "SELECT n + 3, k FROM walk WHERE n < 30",
            f"SELECT n + 5, z.k FROM walk JOIN {self.small()} z ON z.id = n + 5 WHERE n < 40",
        )
        word = self.pick("UNION", "UNION ALL")
        self.ctes = [Relation("walk", {"n": INT, "k": INT}, (), 2_000)]
        cte = Cte("walk", text(start, f" {word} {step}"), columns="(n, k)")
        body = self.pick(self.grouped, self.plain)(0)
        self.ctes = []
        return self.done(With((cte,), body, recursive=True), 2_000)

