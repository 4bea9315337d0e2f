#!/usr/bin/env python3
"""Make the web logs that the example pipelines read: `make_logs.py DIR --rows 100000`.

    DIR/app/app-N.jsonl[.gz]   of application servers, nested JSON, an object a line
    DIR/edge/edge-N.csv[.gz]   of edge servers, flat CSV with a header
    DIR/users.csv              who has an account: user_id, plan, signup
    DIR/pages.jsonl            which pages there are: path, section, title
    DIR/manifest.json          which lines are bad on purpose, and how

Visitors come in visits of a few hits. One crawler makes 30% of all hits; every 40th hit is
followed by a pause of exactly 30 minutes or one millisecond more, where sessions end. A few
percent of the lines are bad: some can't be read (REJECTS), some can but break a rule
(FAULTS). The same seed gives the same bytes. All events are held in memory, about 1 KB each.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import gzip
import io
import itertools
import json
import pathlib
import random
from collections.abc import Iterator
from typing import Any

Event = dict[str, Any]

FILES = 4  # of each kind; the last one is compressed
PLACES = [("DE", "Köln"), ("FR", "Lyon"), ("US", "Austin"), ("JP", "Osaka"), ("BR", "Recife")]
BROWSERS = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    'Mozilla/5.0 (iPhone; "Safari", like Gecko) Version/19.0',
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/150.0, Safari/537.36",
]
CRAWLER = "SeaCrawler/2.1 (+https://crawler.example/about)"
BOTS = [CRAWLER, "uptimebot/1.0", "price-spider (python)"]
SECTIONS = ["home", "shop", "blog", "help", "checkout"]
SOURCES = [None, None, None, "search", "mail", "social"]
PAUSE = datetime.timedelta(minutes=30)
MILLISECOND = datetime.timedelta(milliseconds=1)


def make_pages() -> list[dict[str, str]]:
    pages = [{"path": "/", "section": "home", "title": "Home"}]
    for section in SECTIONS[1:]:
        for number in range(40 if section != "checkout" else 3):
            path = f"/{section}/{number}"
            pages.append({"path": path, "section": section, "title": f"{section} {number}"})
    return pages


def text_of(at: datetime.datetime) -> str:
    return at.isoformat(sep=" ", timespec="milliseconds")


class Maker:
    def __init__(self, rows: int, seed: int, first: datetime.date, days: int) -> None:
        self.random = random.Random(seed)
        self.rows = rows
        self.start = datetime.datetime.combine(first, datetime.time())
        self.seconds = days * 86400.0
        self.pages = make_pages()
        self.visitors = max(20, rows // 25)
        self.users = max(5, self.visitors // 10)
        self.names = (f"{first:%m%d}-{number:08x}" for number in itertools.count(1))

    def event(self, visitor: str, user: int | None, at: datetime.datetime, agent: str) -> Event:
        draw = self.random
        page = self.pages[int(len(self.pages) * draw.random() ** 3)]["path"]
        if draw.random() < 0.02:
            page = f"/wp-admin/{draw.randrange(5)}.php"  # what scanners try: there is none
        lost = page.startswith("/wp-admin") or draw.random() < 0.01
        return {
            "id": next(self.names),
            "ts": at,
            "visitor": visitor,
            "user": user,
            "method": "POST" if page.startswith("/checkout") else "GET",
            "path": page,
            "status": 404 if lost else 500 if draw.random() < 0.005 else 200,
            "bytes": draw.randrange(200, 60_000),
            "ms": 1 + int(draw.expovariate(1 / 80)),
            "place": PLACES[hash_of(visitor) % len(PLACES)],
            "source": draw.choice(SOURCES),
            "agent": agent,
            "received": at + datetime.timedelta(milliseconds=draw.randrange(1, 60_000)),
        }

    def crawler(self, rows: int) -> Iterator[Event]:
        """One visitor all day long, but for two hours each noon: 30% of all hits are left."""
        for number in range(rows):
            at = self.start + datetime.timedelta(seconds=round(self.seconds * number / rows, 3))
            if at.hour not in (12, 13):
                yield self.event("crawler", None, at, CRAWLER)

    def visit(self) -> Iterator[Event]:
        draw = self.random
        number = int(self.visitors * draw.random() ** 2)
        user = number if number < self.users and draw.random() < 0.7 else None
        agent = draw.choice(BOTS) if number % 50 == 7 else BROWSERS[number % len(BROWSERS)]
        at = self.start + datetime.timedelta(seconds=int(self.seconds * draw.random()))
        end = self.start + datetime.timedelta(seconds=self.seconds)
        while at < end:
            yield self.event(f"v{number}", user, at, agent)
            if draw.random() < 0.15:
                break
            if draw.random() < 0.025:
                at += PAUSE + draw.choice([datetime.timedelta(), MILLISECOND])
            else:
                at += datetime.timedelta(milliseconds=1 + int(1000 * draw.expovariate(1 / 90)))

    def events(self) -> list[Event]:
        made = list(self.crawler(self.rows * 33 // 100))
        while len(made) < self.rows:
            made.extend(self.visit())
        del made[self.rows :]
        return made


def hash_of(text: str) -> int:
    return sum(ord(letter) * (place + 1) for place, letter in enumerate(text))


# Rules that a line breaks which can be read, by the reason that the pipelines give.
def no_visitor(event: Event) -> None:
    event["visitor"] = None


def bad_status(event: Event) -> None:
    event["status"] = 999


def from_the_future(event: Event) -> None:
    event["ts"] = event["received"] + datetime.timedelta(days=365)


def late(event: Event) -> None:
    event["ts"] -= datetime.timedelta(days=40)


FAULTS = {
    "no visitor": no_visitor,
    "bad status": bad_status,
    "future": from_the_future,
    "late": late,
}


def json_line(event: Event) -> str:
    source = event["source"]
    return json.dumps(
        {
            "id": event["id"],
            "ts": text_of(event["ts"]).replace(" ", "T"),
            "visitor": event["visitor"],
            "user": event["user"],
            "request": {key: event[key] for key in ("method", "path", "status", "bytes", "ms")},
            "geo": {"country": event["place"][0], "city": event["place"][1]},
            "utm": {"source": source, "medium": "web"} if source else None,
            "agent": event["agent"],
            "received": text_of(event["received"]).replace(" ", "T"),
        },
        ensure_ascii=False,
    )


CSV_HEADER = "id,ts,visitor,user,method,url,status,bytes,ms,country,city,agent,received"


def csv_fields(event: Event) -> list[str]:
    query = f"?utm_source={event['source']}&utm_medium=web" if event["source"] else ""
    return [
        event["id"],
        text_of(event["ts"]),
        event["visitor"] or "",
        "" if event["user"] is None else str(event["user"]),
        event["method"],
        event["path"] + query,
        str(event["status"]),
        str(event["bytes"]),
        str(event["ms"]),
        *event["place"],
        event["agent"],
        text_of(event["received"]),
    ]


def csv_line(fields: list[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(fields)
    return line.getvalue()


def broken_json(event: Event, kind: str) -> str:
    line = json_line(event)
    if kind == "cut off":
        return line[: len(line) // 2]
    if kind == "wrong type":
        return line.replace(f'"bytes": {event["bytes"]}', '"bytes": "many"')
    if kind == "no time":
        return line.replace('"ts": "2', '"ts": "yesterday 2', 1)
    return json.dumps(["not", "an", "object", event["id"]])


def broken_csv(event: Event, kind: str) -> str:
    fields = csv_fields(event)
    if kind == "cut off":
        return csv_line(fields[:6])
    if kind == "wrong type":
        fields[7] = "many"
    elif kind == "no time":
        fields[1] = "yesterday"
    else:
        fields.append("one more")
    return csv_line(fields)


# Ways in which a line can't be read.
REJECTS = ["cut off", "wrong type", "no time", "wrong shape"]


class Writer:
    """Deals events out to the servers' files, bad ones among them."""

    def __init__(self, maker: Maker) -> None:
        self.random = maker.random
        names = [f"app/app-{n}.jsonl" for n in range(FILES)]
        names += [f"edge/edge-{n}.csv" for n in range(FILES)]
        self.lines: dict[str, list[str]] = {name: [] for name in map(packed, names)}
        for name, lines in self.lines.items():
            if is_csv(name):
                lines.append(CSV_HEADER)
        self.manifest: dict[str, Any] = {
            "good": 0,
            "rejects": [],
            "quarantine": {reason: [] for reason in (*FAULTS, "duplicate")},
        }

    def write(self, event: Event) -> None:
        name = self.random.choice(list(self.lines))
        form = (lambda e: csv_line(csv_fields(e))) if is_csv(name) else json_line
        chance = self.random.random()
        if chance < 0.01:
            kind = self.random.choice(REJECTS)
            broken = broken_csv if is_csv(name) else broken_json
            self.lines[name].append(broken(event, kind))
            line = {"file": name, "line": len(self.lines[name]), "kind": kind}
            self.manifest["rejects"].append(line)
        elif chance < 0.02:
            reason = self.random.choice(list(FAULTS))
            FAULTS[reason](event)
            self.lines[name].append(form(event))
            self.manifest["quarantine"][reason].append(event["id"])
        else:
            self.lines[name].append(form(event))
            self.manifest["good"] += 1
            if chance < 0.03:
                self.send_again(event)

    def send_again(self, event: Event) -> None:
        """A server that got no answer sent it to another one too, some time later."""
        name = self.random.choice(list(self.lines))
        again = {**event, "received": event["received"] + datetime.timedelta(seconds=90)}
        self.lines[name].append(csv_line(csv_fields(again)) if is_csv(name) else json_line(again))
        self.manifest["quarantine"]["duplicate"].append(event["id"])

    def save(self, folder: pathlib.Path) -> None:
        for name, lines in self.lines.items():
            data = "".join(line + "\n" for line in lines).encode()
            if name.endswith(".gz"):
                data = gzip.compress(data, mtime=0)
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        (folder / "manifest.json").write_text(json.dumps(self.manifest, indent=1) + "\n")


def is_csv(name: str) -> bool:
    return ".csv" in name


def packed(name: str) -> str:
    return name + ".gz" if f"-{FILES - 1}." in name else name


def make_dimensions(maker: Maker, folder: pathlib.Path) -> None:
    draw = maker.random
    with (folder / "users.csv").open("w") as file:
        file.write("user_id,plan,signup\n")
        for user in range(maker.users):
            if user % 20 != 3:  # an account that was closed since
                signup = datetime.date(2025, 1, 1) + datetime.timedelta(draw.randrange(400))
                file.write(f"{user},{draw.choice(['free', 'free', 'pro', 'team'])},{signup}\n")
    lines = (json.dumps(page) + "\n" for page in maker.pages)
    (folder / "pages.jsonl").write_text("".join(lines))


def main() -> None:
    about = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("folder", type=pathlib.Path, metavar="DIR")
    parser.add_argument("--rows", type=int, default=100_000, help="events, about (100000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=datetime.date.fromisoformat, default="2026-03-01")
    parser.add_argument("--days", type=int, default=3, help="from --first on (3)")
    options = parser.parse_args()
    if options.rows < 100 or options.days < 1:
        parser.error("--rows is at least 100, --days at least 1")
    maker = Maker(options.rows, options.seed, options.first, options.days)
    options.folder.mkdir(parents=True, exist_ok=True)
    make_dimensions(maker, options.folder)
    writer = Writer(maker)
    for event in sorted(maker.events(), key=lambda event: event["received"]):
        writer.write(event)
    writer.save(options.folder)
    bad = {reason: len(ids) for reason, ids in writer.manifest["quarantine"].items()}
    print(f"{writer.manifest['good']} good events, {len(writer.manifest['rejects'])} lines that")
    print("can't be read, and of those that can: " + ", ".join(f"{n} {r}" for r, n in bad.items()))


if __name__ == "__main__":
    main()
