"""A query as a tree of parts that can be dropped.

The generator builds these nodes; sql() gives text; smaller() gives every query that is one
step simpler, which is what the minimiser walks. Two rules keep a smaller query's rows
fixed by SQL, so that it can fail only where the first one did:

- an ORDER BY is by all output columns, so dropping a column leaves it a total order, and a
  LIMIT or DISTINCT ON falls with its ORDER BY;
- the first condition of a join is what keeps rows unique for the windows above, so only
  the others can be dropped.

A smaller query that is no SQL any more (a column is gone that something else reads) fails
in the embedded engine and is passed over, so nothing here has to be clever about names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

T = TypeVar("T")


def without(parts: tuple[T, ...], index: int) -> tuple[T, ...]:
    return parts[:index] + parts[index + 1 :]


def put(parts: tuple[T, ...], index: int, part: T) -> tuple[T, ...]:
    return (*parts[:index], part, *parts[index + 1 :])


class Query:
    """What has rows. `items` are its output columns, `total` whether SQL fixes their order."""

    items: tuple[Item, ...]

    @property
    def total(self) -> bool:
        return False

    def sql(self) -> str:
        raise NotImplementedError

    def smaller(self) -> Iterator[Query]:
        raise NotImplementedError


@dataclass(frozen=True)
class Text:
    """SQL with queries inside it, each in parentheses."""

    parts: tuple[str | Query, ...]

    def sql(self) -> str:
        return "".join(p if isinstance(p, str) else f"({p.sql()})" for p in self.parts)

    def reads(self, alias: str) -> bool:
        return re.search(rf"\b{alias}\b", self.sql()) is not None

    def queries(self) -> Iterator[Query]:
        return (part for part in self.parts if isinstance(part, Query))

    def smaller(self) -> Iterator[Text]:
        for index, part in enumerate(self.parts):
            if isinstance(part, Query):
                for less in part.smaller():
                    yield Text(put(self.parts, index, less))


def text(*parts: str | Query) -> Text:
    return Text(parts)


@dataclass(frozen=True)
class Item:
    """An output column. `exact` says that its value does not depend on the order of rows."""

    text: Text
    name: str
    kind: str
    exact: bool = True
    key: bool = False
    direction: str = ""

    def sql(self) -> str:
        value = self.text.sql()
        return value if value == "*" else f"{value} AS {self.name}"


@dataclass(frozen=True)
class From:
    """A FROM item, and how it is joined to those before it."""

    text: Text
    alias: str
    join: str = ""
    on: tuple[Text, ...] = ()
    columns: str = ""

    def sql(self) -> str:
        on = " ON " + " AND ".join(c.sql() for c in self.on) if self.on else ""
        join = f" {self.join} " if self.join else ""
        return f"{join}{self.text.sql()} AS {self.alias}{self.columns}{on}"

    def smaller(self) -> Iterator[From]:
        for index in range(1, len(self.on)):
            yield replace(self, on=without(self.on, index))
        if self.join in ("LEFT JOIN", "RIGHT JOIN", "FULL JOIN"):
            yield replace(self, join="JOIN")
        for less in self.text.smaller():
            yield replace(self, text=less)
        for index, condition in enumerate(self.on):
            for less in condition.smaller():
                yield replace(self, on=put(self.on, index, less))


def order_by(items: tuple[Item, ...]) -> str:
    return " ORDER BY " + ", ".join(f"{i + 1}{x.direction}" for i, x in enumerate(items))


def tail(items: tuple[Item, ...], ordered: bool, limit: str) -> str:
    return (order_by(items) if ordered else "") + (f" {limit}" if limit else "")


@dataclass(frozen=True)
class Select(Query):
    """One SELECT block. `grouping`: '', plain, ALL, ROLLUP, CUBE, SETS or
    TWICE (a set is repeated), by the key items."""

    items: tuple[Item, ...]
    sources: tuple[From, ...]
    where: tuple[Text, ...] = ()
    grouping: str = ""
    having: tuple[Text, ...] = ()
    qualify: tuple[Text, ...] = ()
    distinct: str = ""
    ordered: bool = False
    limit: str = ""

    @property
    def total(self) -> bool:
        return self.ordered and all(item.exact for item in self.items)

    def sql(self) -> str:
        items = ", ".join(item.sql() for item in self.items)
        distinct = {"": "", "ALL": "DISTINCT "}.get(
            self.distinct, f"DISTINCT ON ({self.items[0].text.sql()}) "
        )
        sql = f"SELECT {distinct}{items} FROM " + "".join(s.sql() for s in self.sources)
        for word, parts in (("WHERE", self.where), ("GROUP BY", ()), ("HAVING", self.having),
                            ("QUALIFY", self.qualify)):
            if word == "GROUP BY":
                sql += self.group_by()
            elif parts:
                sql += f" {word} " + " AND ".join(part.sql() for part in parts)
        return sql + tail(self.items, self.ordered, self.limit)

    def group_by(self) -> str:
        keys = [item.text.sql() for item in self.items if item.key]
        if not self.grouping or not keys:
            return ""
        plain = ", ".join(keys)
        sets = f"({plain}), ({keys[-1]}), ()" if len(keys) > 1 else f"({plain}), ()"
        return " GROUP BY " + {
            "plain": plain, "ALL": "ALL", "ROLLUP": f"ROLLUP ({plain})",
            "CUBE": f"CUBE ({plain})", "SETS": f"GROUPING SETS ({sets})",
            "TWICE": f"GROUPING SETS (({plain}), ({plain}), ())",
        }[self.grouping]  # fmt: skip

    def without_source(self, index: int) -> Select:
        """Drop a FROM item with all that reads it."""
        alias = self.sources[index].alias
        sources: list[From] = []
        for source in without(self.sources, index):
            on = tuple(c for c in source.on if not c.reads(alias))
            if not sources:
                source = replace(source, join="", on=())
            elif source.on and not on:
                continue  # a join that has lost its conditions
            if not source.text.reads(alias):
                sources.append(replace(source, on=on if sources else ()))
        return replace(
            self,
            sources=tuple(sources),
            items=tuple(i for i in self.items if not i.text.reads(alias)) or (ONE_ITEM,),
            where=tuple(c for c in self.where if not c.reads(alias)),
            having=tuple(c for c in self.having if not c.reads(alias)),
            qualify=tuple(c for c in self.qualify if not c.reads(alias)),
        )

    def smaller(self) -> Iterator[Query]:
        for source in self.sources:
            yield from source.text.queries()
        for index in reversed(range(len(self.sources))):
            less = self.without_source(index)
            if less.sources:
                yield less
        if self.distinct in ("", "ALL") and self.ordered:
            yield replace(self, ordered=False, limit="")
        for change in ({"where": ()}, {"having": ()}, {"qualify": ()}, {"limit": ""},
                       {"distinct": ""}, {"grouping": "plain"}):  # fmt: skip
            field, value = next(iter(change.items()))
            if getattr(self, field) not in (value, ""):
                yield replace(self, **change)
        if len(self.items) > 1:
            for index in reversed(range(len(self.items))):
                yield replace(self, items=without(self.items, index))
        for index in range(len(self.where)):
            yield replace(self, where=without(self.where, index))
        for index, source in enumerate(self.sources):
            for smaller_source in source.smaller():
                yield replace(self, sources=put(self.sources, index, smaller_source))
        for index, condition in enumerate(self.where):
            yield from condition.queries()
            for smaller_text in condition.smaller():
                yield replace(self, where=put(self.where, index, smaller_text))
        for index, item in enumerate(self.items):
            yield from item.text.queries()
            for smaller_text in item.text.smaller():
                yield replace(
                    self, items=put(self.items, index, replace(item, text=smaller_text))
                )


ONE_ITEM = Item(text("count(*)"), "n", "int")


@dataclass(frozen=True)
class SetOperation(Query):
    branches: tuple[Query, ...]
    words: tuple[str, ...]
    items: tuple[Item, ...]
    ordered: bool = False
    limit: str = ""

    @property
    def total(self) -> bool:
        return self.ordered and all(item.exact for item in self.items)

    def sql(self) -> str:
        sql = f"({self.branches[0].sql()})"
        for word, branch in zip(self.words, self.branches[1:]):
            sql += f" {word} ({branch.sql()})"
        return sql + tail(self.items, self.ordered, self.limit)

    def smaller(self) -> Iterator[Query]:
        yield from self.branches
        if len(self.branches) > 2:
            for index in range(len(self.branches)):
                branches = without(self.branches, index)
                yield replace(
                    self, branches=branches, words=without(self.words, max(index - 1, 0))
                )
        if self.ordered:
            yield replace(self, ordered=False, limit="")
        if self.limit:
            yield replace(self, limit="")
        if len(self.items) > 1 and all(isinstance(b, Select) for b in self.branches):
            for index in range(len(self.items)):
                yield replace(
                    self,
                    items=without(self.items, index),
                    branches=tuple(
                        replace(b, items=without(b.items, index))
                        for b in self.branches
                        if isinstance(b, Select)
                    ),
                )
        for index, branch in enumerate(self.branches):
            for less in branch.smaller():
                yield replace(self, branches=put(self.branches, index, less))


@dataclass(frozen=True)
class Cte:
    name: str
    text: Text
    columns: str = ""
    hint: str = ""

    def sql(self) -> str:
        return f"{self.name}{self.columns} AS {self.hint}({self.text.sql()})"


@dataclass(frozen=True)
class With(Query):
    ctes: tuple[Cte, ...]
    body: Query
    recursive: bool = False

    @property
    def items(self) -> tuple[Item, ...]:  # type: ignore[override]
        return self.body.items

    @property
    def total(self) -> bool:
        return self.body.total

    def sql(self) -> str:
        ctes = ", ".join(cte.sql() for cte in self.ctes)
        return f"WITH {'RECURSIVE ' if self.recursive else ''}{ctes} {self.body.sql()}"

    def smaller(self) -> Iterator[Query]:
        yield self.body
        for cte in self.ctes:
            yield from cte.text.queries()
        for index in range(len(self.ctes)):
            if len(self.ctes) > 1:
                yield replace(self, ctes=without(self.ctes, index))
        for body in self.body.smaller():
            yield replace(self, body=body)
        for index, cte in enumerate(self.ctes):
            if cte.hint:
                yield replace(self, ctes=put(self.ctes, index, replace(cte, hint="")))
            for less in cte.text.smaller():
                yield replace(self, ctes=put(self.ctes, index, replace(cte, text=less)))


@dataclass(frozen=True)
class Values(Query):
    rows: tuple[str, ...]
    items: tuple[Item, ...]

    def sql(self) -> str:
        return "VALUES " + ", ".join(self.rows)

    def smaller(self) -> Iterator[Query]:
        if len(self.rows) > 1:
            for index in range(len(self.rows)):
                yield replace(self, rows=without(self.rows, index))
