"""The form of an answer: what is left of it with blanks in place of names, dates, counts and texts; and an answer that
is filled in by what is known of its form.
"""

import re
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import orjson

from backends.dialect import alike
from backends.dialect.alike import AlikeRun
from bench.deltas import KINDS, Deltas
from bench.types import Body, Reply, Usage

# What may stand in a blank: a string that nobody reads, a text, the texts of a run, a date, and a count: the last one
# of its name again, or a larger one. They begin with a byte that no JSON holds.
STRING, TEXT, RUN, DATE, AGAIN, LARGER = (b"\0" + kind for kind in (b"s", b"t", b"r", b"d", b"a", b"l"))
_VALUE = re.compile(
    rb'("(?:id|%b)": ?"|"(?:created|\w{1,40}_tokens)": ?)' % alike.TEXTS
    + rb'((?<=")%b(?:[^"\\\n]|\\[^\n])+(?=")|(?<!")[1-9]\d{0,11}(?=[,}]))' % alike.IS_TEXT
)
_KINDS = {
    b'"%b":%b' % (name, gap): kind
    for kind, names, mark in (
        (STRING, (b"id",), b'"'),
        (TEXT, (b"content", b"text", b"delta", b"reasoning_content", b"reasoning"), b'"'),
        (DATE, (b"created",), b""),
    )
    for name in names
    for gap in (mark, b" " + mark)
}
BLANK = re.compile(rb"(\0.)")
_A_STRING = rb'(%b[^"\\\n]*(?:\\[^\n][^"\\\n]*)*)' % alike.IS_TEXT
_GROUPS = {STRING: _A_STRING, TEXT: _A_STRING, RUN: b"(\0r)", DATE: rb"([1-9]\d{0,11})", LARGER: rb"([1-9]\d{0,8})"}
# More digits are not those of a count.
_MOST_DIGITS = 9
_LONGEST = 4096


class Apart(NamedTuple):
    """What stands in an answer's blanks: the bytes, how many they are, and what the strings say; its runs.

    To a run's blank belong all bytes of the run but those of its one event that the form has elsewhere.
    """

    values: Sequence[bytes]
    sizes: list[int]
    strings: list[str]
    runs: list[AlikeRun]


class Arrival(NamedTuple):
    """Output of a kind of `Deltas`: all of a run's, or what is there with byte `fixed` of the form's own and so many
    blanks before it.
    """

    kind: int
    fixed: int
    blanks: int
    run: int | None


class Form(NamedTuple):
    """What an answer says, and all else of the reply.

    Its text is of literals, of strings by their number and of runs by ~theirs. `tokens` are those of its `Deltas`, or
    differences of the counts in the blanks `running`. A count of the usage is a number, or the sum of some blanks.
    """

    text: tuple[str | int, ...]
    arrivals: tuple[Arrival, ...]
    tokens: tuple[int | None, ...] | None
    running: tuple[int, ...]
    usage: tuple[int | tuple[int, ...] | None, ...] | None
    rest: tuple[Any, ...]


class FormPattern(NamedTuple):
    """A form as a pattern with a group for each blank, which of these are strings and runs, and of counts those that
    must be larger than another.
    """

    pattern: re.Pattern[bytes]
    strings: tuple[int, ...]
    runs: tuple[int, ...]
    larger: tuple[tuple[int, int], ...]


def cut(body: Body) -> tuple[bytes, list[AlikeRun]] | None:
    """The body with one event in place of each run; None where it is long even so, or has bytes that no JSON holds."""
    data, runs = body.data, alike.runs(body)
    for run in reversed(runs):
        data = b"%b%b%b%b%b" % (data[: run.start], run.before, RUN, run.after, data[run.stop :])
    return None if len(data) > _LONGEST or data.count(b"\0") != len(runs) else (data, runs)


def taken_apart(data: bytes, runs: list[AlikeRun]) -> tuple[bytes, Apart] | None:
    """The form of an answer that is cut, and its blanks; None where it has strings or counts that fit into none."""
    parts = _VALUE.split(data)
    values = parts[2::3]
    kinds = _kinds(parts[1::3], values)
    if kinds is None or kinds.count(RUN) != len(runs):
        return None
    parts[2::3] = kinds
    form = b"".join(parts)
    strings = [n for n, kind in enumerate(kinds) if kind in (STRING, TEXT)]
    apart = _apart(values, strings, [n for n, kind in enumerate(kinds) if kind == RUN], runs)
    return None if apart is None else (form, apart)


def _apart(
    values: Sequence[bytes], strings: Sequence[int], places: Sequence[int], runs: list[AlikeRun]
) -> Apart | None:
    try:
        said: list[str] = orjson.loads(b'["%b"]' % b'","'.join([values[n] for n in strings])) if strings else []
    except orjson.JSONDecodeError:
        return None
    # White space is no text where an answer begins.
    if any(map(str.isspace, said)):
        return None
    sizes = list(map(len, values))
    for n, run in zip(places, runs, strict=True):
        sizes[n] = run.stop - run.start - len(run.before) - len(run.after)
    return Apart(values, sizes, said, runs)


def pattern_of(form: bytes) -> FormPattern:
    """The pattern of a form."""
    parts = BLANK.split(form)
    kinds, last, larger = parts[1::2], dict[bytes, int](), list[tuple[int, int]]()
    parts[0::2] = map(re.escape, parts[0::2])
    for n, (kind, name) in enumerate(zip(kinds, names(form), strict=True)):
        parts[2 * n + 1] = _GROUPS.get(kind) or b"(\\%d)" % (last[name] + 1)
        if kind == LARGER and name in last:
            larger.append((last[name], n))
        last[name] = n
    strings, runs = (tuple(n for n, kind in enumerate(kinds) if kind in those) for those in ((STRING, TEXT), (RUN,)))
    return FormPattern(re.compile(b"".join(parts)), strings, runs, tuple(larger))


def names(form: bytes) -> list[bytes]:
    """The name before each of a form's blanks."""
    return [literal[literal.rindex(b'"', 0, literal.rindex(b'":')) :] for literal in BLANK.split(form)[:-1:2]]


def matched(form: FormPattern, data: bytes, runs: list[AlikeRun]) -> Apart | None:
    """What stands in the blanks of an answer that is cut, where it is of this form."""
    found = form.pattern.fullmatch(data)
    if found is None:
        return None
    values = found.groups()
    if any(int(values[before]) >= int(values[after]) for before, after in form.larger):
        return None
    return _apart(values, form.strings, form.runs, runs)


def _kinds(prefixes: list[bytes], values: list[bytes]) -> list[bytes] | None:
    """What each value is; None where counts of a name fall, or have too many digits."""
    kinds, last = list[bytes](), dict[bytes, int]()
    for prefix, value in zip(prefixes, values, strict=True):
        kind = _KINDS.get(prefix)
        if kind is None:
            count = int(value)
            before = last.get(prefix, 0)
            if count < before or len(value) > _MOST_DIGITS:
                return None
            kind, last[prefix] = LARGER if count > before else AGAIN, count
        elif value == RUN:
            kind = RUN
        kinds.append(kind)
    return kinds


def filled_in(form: Form, apart: Apart, body: Body) -> Reply:
    """The reply of an answer of a form."""
    ends, t_ns, deltas = body.ends, body.t_ns, Deltas()
    before = list(accumulate(apart.sizes, initial=0))
    for kind, fixed, blanks, run in form.arrivals:
        if run is None:
            deltas.add(t_ns[bisect_left(ends, fixed + before[blanks])], KINDS[kind])
        else:
            deltas.add_alike(apart.runs[run].stamps, KINDS[kind])
    deltas.tokens = form.tokens
    if form.running:
        counts = [int(apart.values[blank]) for blank in form.running]
        deltas.tokens = [after - before for before, after in pairwise([0, *counts])]
    usage = None
    if form.usage is not None:
        usage = Usage._make([_sum(apart, said) if type(said) is tuple else said for said in form.usage])
    return Reply("".join([_said(apart, piece) for piece in form.text]), deltas, usage, *form.rest)


def _sum(apart: Apart, blanks: tuple[int, ...]) -> int:
    return sum(int(apart.values[blank]) for blank in blanks)


def _said(apart: Apart, piece: str | int) -> str:
    if isinstance(piece, str):
        return piece
    return apart.strings[piece] if piece >= 0 else apart.runs[~piece].texts.replace(alike.BETWEEN, "")
