"""Learning what answers of a form say, from how the decoder reads two that are made up for it."""

import re
from bisect import bisect_right
from collections.abc import Mapping
from itertools import accumulate
from typing import NamedTuple

from backends.dialect import alike
from backends.dialect.blanks import AGAIN, BLANK, DATE, LARGER, NAME, RUN, TEXT, Arrival, Form, names
from bench.deltas import Deltas, in_columns
from bench.types import Body, Decode

# Made-up counts are powers of 3, so that a sum tells which of them it is made of.
_BASE, _LEAST_POWER, _MOST_POWER = 3, 2, 18


class _Marks(NamedTuple):
    """What to put into the blanks of a made-up answer.

    `text` takes the number of its blank. Counts of the keys that come first are the smallest, or, if `reversed`, the
    largest. A run has so many events `more` than the fewest possible.
    """

    name: bytes
    date: bytes
    text: str
    reversed: bool
    more: int


_FIRST = _Marks(b"a-1", b"1", "\ue000{}\ue000", False, 0)
_SECOND = _Marks(b"chatcmpl-b.2", b"1750000000", "Mark {}.", True, 3)


class _Filled(NamedTuple):
    """A made-up answer. Blank i ends at byte `blank_ends[i]` of it when cut; `blank_ends[0]` is 0, where it begins.

    `counts` has the numbers by their blanks, `texts` the blanks by their texts.
    """

    data: bytes
    blank_ends: list[int]
    counts: dict[int, int]
    texts: dict[str, int]
    stretches: "list[_Stretch]"


class _Stretch(NamedTuple):
    """A made-up run: where it is, and of how many copies of an event of so many bytes."""

    start: int
    stop: int
    line_bytes: int
    copies: int


def learned(decode: Decode, headers: Mapping[str, str], form: bytes) -> Form | None:
    """What answers of a form say; None if that depends on more than what is put into its blanks, or on an error."""
    first = _said(decode, headers, form, _FIRST)
    return first if first is not None and first == _said(decode, headers, form, _SECOND) else None


def _said(decode: Decode, headers: Mapping[str, str], form: bytes, marks: _Marks) -> Form | None:
    filled = _filled(form, marks)
    if filled is None:
        return None
    each = range(1, len(filled.data) + 1)
    reply = decode(200, headers, Body(filled.data, each, each))
    if reply.error or reply.unread or reply.counted_by != "server":
        return None
    deltas = in_columns(reply.deltas)
    arrivals = _arrivals(deltas, filled)
    if arrivals is None:
        return None
    of_count = {count: blank for blank, count in reversed(filled.counts.items())}
    tokens = None if deltas.tokens is None else tuple(deltas.tokens)
    running: tuple[int, ...] = ()
    if tokens is not None:
        if filled.stretches:
            return None
        so_far = list(accumulate(count or 0 for count in tokens))
        if None not in tokens and all(count in of_count for count in so_far):
            tokens, running = None, tuple(of_count[count] for count in so_far)
    usage = None if reply.usage is None else tuple(_summed(count, of_count) for count in reply.usage)
    return Form(_pieces(reply.text, filled.texts), arrivals, tokens, running, usage, reply[3:])


def _filled(form: bytes, marks: _Marks) -> _Filled | None:
    parts = BLANK.split(form)
    kinds = parts[1::2]
    counts = _counts(kinds, names(form), marks)
    if counts is None:
        return None
    texts = dict[str, int]()
    for n, kind in enumerate(kinds, 1):
        value = {NAME: marks.name, DATE: marks.date, RUN: RUN}.get(kind)
        if kind == TEXT:
            text = marks.text.format(n)
            texts[text], value = n, text.encode()
        parts[2 * n - 1] = b"%d" % counts[n] if value is None else value
    blank_ends = [0, *list(accumulate(map(len, parts)))[1::2]]
    short, data, at, stretches = b"".join(parts), b"", 0, list[_Stretch]()
    for n, kind in enumerate(kinds, 1):
        if kind == RUN:
            line_start = short.rfind(b"\n", 0, blank_ends[n]) + 1
            line_stop = short.index(b"\n\n", blank_ends[n]) + 2
            line = short[line_start:line_stop]
            copies = -(-alike.LEAST_BYTES // len(line)) + 1 + marks.more
            said = [marks.text.format(f"{len(stretches)}-{copy:05}") for copy in range(copies)]
            data += short[at:line_start]
            start = len(data)
            data += b"".join(line.replace(RUN, text.encode()) for text in said)
            stretches.append(_Stretch(start, len(data), len(line), copies))
            texts["".join(said)], at = n, line_stop
    return _Filled(data + short[at:], blank_ends, counts, texts, stretches)


def _counts(kinds: list[bytes], names: list[bytes], marks: _Marks) -> dict[int, int] | None:
    """A number for each blank of a count, larger than the last of its key where it must be; None for too many."""
    named = dict[bytes, list[int]]()
    for n, (kind, name) in enumerate(zip(kinds, names, strict=True), 1):
        if kind in (AGAIN, LARGER):
            named.setdefault(name, []).append(n)
    power, counts = _LEAST_POWER - 1, dict[int, int]()
    for blanks in reversed(named.values()) if marks.reversed else named.values():
        for n in blanks:
            power += kinds[n - 1] == LARGER
            counts[n] = _BASE**power
    return counts if power <= _MOST_POWER else None


def _arrivals(deltas: Deltas, filled: _Filled) -> tuple[Arrival, ...] | None:
    """Where arrivals come from; None unless each event of a run brings one with its line, all of one kind."""
    rows, found, at, shift = list(zip(deltas.t_ns, deltas.kinds, strict=True)), list[Arrival](), 0, 0
    for n, stretch in enumerate([*filled.stretches, _Stretch(len(filled.data), len(filled.data), 0, 0)]):
        while at < len(rows) and rows[at][0] <= stretch.start:
            place = rows[at][0] - shift
            blank = bisect_right(filled.blank_ends, place) - 1
            found.append(Arrival(rows[at][1], blank, place - filled.blank_ends[blank], None))
            at += 1
        own = [row for row in rows[at : at + stretch.copies] if row[0] <= stretch.stop]
        if own:
            line = (stretch.stop - stretch.start) // stretch.copies
            lines_end = range(stretch.start + line - 1, stretch.stop, line)
            if own != [(end, own[0][1]) for end in lines_end]:
                return None
            found.append(Arrival(own[0][1], 0, 0, n))
            at += stretch.copies
        shift += stretch.stop - stretch.start - stretch.line_bytes
    return tuple(found) if at == len(rows) else None


def _summed(count: int | None, of_count: Mapping[int, int]) -> int | tuple[int, ...] | None:
    """The blanks of which a count is the sum; the count itself if it is not such a sum."""
    rest, power, blanks = count or 0, 0, list[int]()
    while rest > 0:
        rest, digit = divmod(rest, _BASE)
        if digit > 1 or (digit and _BASE**power not in of_count):
            return count
        if digit:
            blanks.append(of_count[_BASE**power])
        power += 1
    return tuple(blanks) or count


def _pieces(text: str, marks: Mapping[str, int]) -> tuple[str | int, ...]:
    """Split a text into literals and the numbers of the blanks that its marks stand for."""
    parts = re.split("(" + "|".join(map(re.escape, marks)) + ")", text) if marks else [text]
    return tuple(marks.get(part, part) for part in parts if part)
