"""Is everything that was promised in the store, once and whole? Reads only; a server may run meanwhile."""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from agent.errors import UsageError
from agent.exits import NO_CAMERA
from agent.frame import ItemType
from agent.server import ledger, past, sqlite
from agent.server.archive import ITEMS_PER_DIR, SUFFIX, Key, refuse_blank, unusable
from agent.server.index import Below, From, Rows, UnavailableError
from agent.server.ingest.journalfile import behind, left_in, parse, read

FINDINGS = 20
BLOCK_BYTES = 1024 * 1024


@dataclass(slots=True)
class Report:
    """What was found. Without a ledger nothing is promised: then `declared` counts all numbers that were given up.

    With one, each promised item is stored, declared, expired (stored, and deleted since by retention), or one of
    these, which must be 0: `lost` (none of it; also without a ledger: a number that its sender was given an answer for
    and that is nowhere), `dup` (stored more than once), `torn` (its file is missing, short or altered; also a
    journal of uploads that cannot be read or is damaged), `wrong` (another content is stored under its number).
    `unindexed`: files without a row, left by an upload that was cut off and will come again; harmless. `waiting`:
    pictures of journals, which a server makes clips of.
    """

    promised: int = 0
    stored: int = 0
    declared: int = 0
    lost: int = 0
    dup: int = 0
    torn: int = 0
    wrong: int = 0
    expired: int = 0
    unindexed: int = 0
    waiting: int = 0
    findings: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not (self.lost or self.dup or self.torn or self.wrong)

    def find(self, what: str, key: Key | Path, why: str) -> None:
        setattr(self, what, getattr(self, what) + 1)
        if len(self.findings) < FINDINGS:
            of = str(key) if isinstance(key, Path) else f"{key[0]} {key[1]}-{key[2]}"
            self.findings.append(f"{what}: {of}: {why}")

    def as_json(self) -> dict[str, object]:
        names = ("promised", "stored", "declared", "lost", "dup", "torn", "wrong")
        return {n: getattr(self, n) for n in names} | {
            "ok": self.ok,
            "expired": self.expired,
            "unindexed": self.unindexed,
            "waiting": self.waiting,
            "findings": self.findings,
        }


def check(store: Path, ledgers: tuple[Path, ...] = ()) -> Report:
    """Compare ledgers, index and files. Raises UsageError where there is no index (66) or it cannot be read (73)."""
    promised = _read_ledgers(ledgers)  # before the index: what comes meanwhile is no loss
    report = Report(promised=sum(len(digests) for digests in promised.values()))
    if not sqlite.there(store):
        said = f"{store} has no {sqlite.FILE}; `camera-agent archive rebuild` makes one from the files"
        raise UsageError(said, NO_CAMERA)
    try:
        with sqlite.snapshot(store) as rows:
            refuse_blank(rows, store)
            digests, torn = _check_rows(rows, store, report)
            _check_promises(rows, promised, digests, report)
            _check_answers(rows, promised, digests, report)
            if not ledgers:
                report.declared = _declared_numbers(rows)
            known = {_path(store, key, type_) for key, (_, type_) in digests.items()}
            report.unindexed = sum(1 for path in (store / "items").rglob("*.*") if path not in known)
        for path in left_in(store):
            _check_journal(store, path, report)
        with sqlite.snapshot(store) as now:  # retention may have taken some since the check began
            for key, why in torn:
                if now.items.get(camera=key[0], spool=key[1], seq=key[2]) is not None:
                    report.find("torn", key, why)
    except UnavailableError as e:
        raise unusable(store, e) from None
    return report


def _read_ledgers(paths: tuple[Path, ...]) -> dict[Key, set[bytes]]:
    """Lines `item CAMERA SPOOL SEQ SHA256`; a last line that a power cut tore is no promise yet."""
    promised: dict[Key, set[bytes]] = {}
    for path in paths:
        try:
            with open(path, encoding="ascii", errors="replace") as lines:
                for line in lines:
                    words = line.split()
                    if len(words) == 5 and words[0] == "item" and words[3].isdigit() and len(words[4]) == 64:
                        try:
                            sha256 = bytes.fromhex(words[4])
                        except ValueError:
                            continue
                        promised.setdefault((words[1], words[2], int(words[3])), set()).add(sha256)
        except OSError as e:
            raise UsageError(f"{path}: {e.strerror}", NO_CAMERA) from None
    return promised


def _check_rows(
    rows: Rows, store: Path, report: Report
) -> tuple[dict[Key, tuple[bytes, ItemType]], list[tuple[Key, str]]]:
    """Each row against its file: (digest, type) of every item that the index has, and what seems damaged."""
    digests: dict[Key, tuple[bytes, ItemType]] = {}
    torn = []
    for row in rows.items.each():
        key = (row.camera, row.spool, row.seq)
        if key in digests:
            report.find("dup", key, "two rows of the index")
            continue
        digests[key] = row.sha256, row.type
        if why := _damage(_path(store, key, row.type), row.bytes, row.sha256):
            torn.append((key, why))
        else:
            report.stored += 1
    return digests, torn


def _damage(path: Path, size: int, sha256: bytes) -> str:
    """What is wrong with the file, "" for nothing."""
    try:
        with open(path, "rb") as file:
            there = os.fstat(file.fileno()).st_size
            if there != size:
                return f"{path} has {there} bytes instead of {size}"
            digest = hashlib.sha256()
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
    except OSError as e:
        return f"{path}: {e.strerror}"
    return "" if digest.digest() == sha256 else f"{path} is altered"


def _check_promises(
    rows: Rows, promised: dict[Key, set[bytes]], digests: dict[Key, tuple[bytes, ItemType]], report: Report
) -> None:
    for key, wanted in promised.items():
        for sha256 in wanted:
            if key in digests:
                if digests[key][0] != sha256:
                    report.find("wrong", key, "another content is stored under this number")
            elif (same := past.same(rows, *key, sha256)) is not None:
                report.expired += same
                if not same:
                    report.find("wrong", key, "another content was stored under this number")
            elif _declared(rows, key):
                report.declared += 1
            else:
                report.find("lost", key, "promised, and neither stored nor declared")


def _check_journal(store: Path, path: Path, report: Report) -> None:
    camera, spool = path.parts[-3:-1]
    for _ in range(2):  # a server may be writing there: what is torn is read again
        try:
            data = read(path)
        except FileNotFoundError:
            return  # a server has made a clip of it
        except OSError as e:
            report.find("torn", path, e.strerror or str(e))
            return
        written = parse(data)
        later = behind(data, written.bytes if written else 0)
        numbers = later | ({written.seq} if written else set())
        with sqlite.snapshot(store) as rows:  # after the file: it knows the clips of what is left of earlier fillings
            waiting = {n for n in numbers if not ledger.holds(ledger.near(rows, camera, spool, n, n), n)}
        torn = later & waiting
        if not torn:
            break
    if torn:
        report.find("torn", path, "a record is damaged, and whole ones of uploads that are no clip yet come behind it")
    if written is not None and written.seq in waiting:
        report.waiting += written.pictures


def _declared(rows: Rows, key: Key) -> bool:
    camera, spool, seq = key
    return rows.dropped.get(camera=camera, spool=spool, first=Below(seq + 1), last=From(seq)) is not None


def _check_answers(
    rows: Rows, promised: dict[Key, set[bytes]], digests: dict[Key, tuple[bytes, ItemType]], report: Report
) -> None:
    """Every number that a sender was given an answer for is an item, was one, or was declared."""
    known: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for camera, spool, seq in digests:
        known.setdefault((camera, spool), []).append((seq, seq))
    for d in rows.dropped.each():
        known.setdefault((d.camera, d.spool), []).append((d.first, d.last))
    for p in rows.past.each():
        known.setdefault((p.camera, p.spool), []).extend((n, n) for n in past.numbers(p))
    answered: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for span in rows.settled.each():
        answered.setdefault((span.camera, span.spool), []).append((span.first, span.last))
    for (camera, spool), spans in answered.items():
        told = sorted(key[2] for key in promised if key[:2] == (camera, spool))
        for first, last in _holes(sorted(spans), sorted(known.get((camera, spool), []))):
            if lost := last - first + 1 - (bisect_right(told, last) - bisect_left(told, first)):
                report.find("lost", (camera, spool, first), f"answered up to {last}, and neither stored nor declared")
                report.lost += lost - 1


def _holes(spans: list[tuple[int, int]], known: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """What of the spans none of the known closed ranges has; both sorted, the spans disjoint."""
    i = 0
    for at, last in spans:
        while at <= last:
            while i < len(known) and known[i][1] < at:
                i += 1
            begin = known[i][0] if i < len(known) else last + 1
            if begin > at:
                yield at, min(begin - 1, last)
            at = max(at, known[i][1] + 1) if begin <= last else last + 1


def _declared_numbers(rows: Rows) -> int:
    """Numbers that were given up and did not come after all."""
    total = 0
    for d in rows.dropped.each():
        came = [rows.items.count(camera=d.camera, spool=d.spool, seq=From(n)) for n in (d.first, d.last + 1)]
        total += d.last - d.first + 1 - (came[0] - came[1])
    return total


def _path(store: Path, key: Key, type_: ItemType) -> Path:
    camera, spool, seq = key
    return store / "items" / camera / spool / str(seq // ITEMS_PER_DIR) / f"{seq}.{SUFFIX[type_]}"
