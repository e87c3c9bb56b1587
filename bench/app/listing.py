"""The contents of results/: found, listed, and kept as a page of links that serves as its own cache.

A folder of other people's runs is read too: broken results get a line that says so, foreign files are ignored, and
symbolic links are listed but not followed. A line is read again only when one of its files has changed.
"""

import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote

from analysis.listing import BROKEN, UNFINISHED, Kind, ListedResult, RunHead, concluded, described, head_of
from analysis.present import index_page, of_runs
from analysis.present.document import Document
from bench.process.printable import is_text, printable
from bench.runs import folder as files
from bench.types import UserError

ROOT: Final = Path("results")
DEEPEST: Final = 3
"""How deep folders that are not results are searched."""
LARGEST_BYTES: Final = 64 * 2**20
WRITTEN_AGAIN: Final = 3
"""How often a page is rewritten at once while others change what it lists."""


class _FolderKind(NamedTuple):
    """A kind of folder: the file that marks it, the file and key that hold its results, and its page."""

    head: str
    result: str
    key: str
    page: str


_SORTS: Final[Mapping[Kind, _FolderKind]] = {
    "run": _FolderKind(files.RUN, files.SUMMARY, "verdict", files.REPORT),
    "repeats": _FolderKind(files.REPEATS, files.REPEATS, "verdict", files.REPEATS_PAGE),
    "capacity": _FolderKind(files.CAPACITY, files.CAPACITY, "capacity", files.CAPACITY_PAGE),
    "ab": _FolderKind(files.AB, files.AB, "comparison", files.AB_PAGE),
    "sweep": _FolderKind(files.STUDY_FILE, files.STUDY, "answer", files.STUDY_PAGE),
    # The only kind without a file of its own from the start.
    "gate": _FolderKind(files.CAMPAIGN, files.GATE, "verdict", ""),
}


class Listing(NamedTuple):
    """The lines, newest first; the page that has them, or why there is none."""

    lines: tuple[ListedResult, ...]
    page: Path | None = None
    problem: str | None = None


def listing(root: Path = ROOT) -> Listing:
    """List a folder and update its page. Raises UserError for a folder that cannot be read.

    Several commands may do so at once: whoever wrote last looks again, so that the page matches the folder.
    """
    if root == ROOT and not root.exists():
        return Listing(())
    page = root / files.INDEX
    found = lines_of(root, known := _known(page))
    if not found and not known:
        return Listing(())
    for _ in range(WRITTEN_AGAIN):
        now = {line.name: line for line in found}
        if now == known:
            break
        try:
            _write(page, root, found)
        except (OSError, UserError) as problem:
            return Listing(found, None, f"{page} is not written: {getattr(problem, 'strerror', None) or problem}")
        known, found = now, lines_of(root, now)
    return Listing(found, page)


def lines_of(root: Path, known: Mapping[str, ListedResult]) -> tuple[ListedResult, ...]:
    """A line for each result below a folder, newest first; unchanged ones are taken from `known` without reading."""
    try:
        with os.scandir(root):
            pass
    except OSError as problem:
        raise UserError(f"{root}: {problem.strerror}; expected a folder of runs, such as results") from None
    lines = [_line(root, name, kind, known) for name, kind in _results(root, "", DEEPEST, os.path.realpath(root))]
    return tuple(sorted(lines, key=lambda line: (line.created_at, line.name), reverse=True))


def _results(root: Path, below: str, depth: int, real_root: str) -> Iterator[tuple[str, Kind]]:
    """The name of each result and its kind. A link that leads outside is listed but not followed."""
    try:
        with os.scandir(root / below) as found:
            entries = [entry for entry in found if entry.is_dir() and not entry.name.startswith(".")]
    except OSError:
        return
    for entry in entries:
        name = f"{below}/{entry.name}" if below else entry.name
        is_link = entry.is_symlink()
        if is_link and os.path.realpath(entry.path).startswith(f"{real_root}{os.sep}"):
            continue  # it is listed under its own name
        kind = _kind(entry.path)
        if kind is not None:
            yield name, kind
        elif depth > 1 and not is_link:
            yield from _results(root, name, depth - 1, real_root)


def _kind(path: str) -> Kind | None:
    return next((kind for kind, sort in _SORTS.items() if os.path.lexists(f"{path}/{sort.head}")), None)


def _line(root: Path, name: str, kind: Kind, known: Mapping[str, ListedResult]) -> ListedResult:
    sort, shown = _SORTS[kind], printable(name)
    found = [_stat(f"{root}/{name}/{file}") if file else None for file in (sort.head, sort.result, sort.page)]
    stamps = tuple(one and f"{one.st_mtime_ns:x}.{one.st_ino:x}.{one.st_size:x}" for one in found)
    before = known.get(shown)
    if before is not None and before.is_concluded and (before.kind, before.stamps) == (kind, stamps):
        return before
    line = ListedResult(
        name=shown,
        kind=kind,
        created_at=datetime.fromtimestamp(found[0].st_mtime // 1 if found[0] else 0, UTC).isoformat(timespec="seconds"),
        status=UNFINISHED,
        runs=int(kind == "run"),
        page=f"{quote(os.fsencode(name))}/{sort.page}" if found[2] else None,
        typeable=is_text(name) and shown == name and not set("\n\t") & set(name),
        stamps=stamps,
    )
    try:
        return _read(line, root / name, sort)
    except UserError as problem:
        return replace(line, status=BROKEN, said=printable(str(problem)))


def _read(line: ListedResult, folder: Path, sort: _FolderKind) -> ListedResult:
    """The line with the content of its files. Raises UserError if one of them is broken."""
    if line.kind == "run":
        head = head_of(_content(folder, files.RUN))
        line = described(line, [head])
        why = f"stopped early: {head.stopped}" if head.stopped else ""
    else:
        line, why = described(line, list(_heads(folder))), ""
    if line.stamps[1] is None or sort.key not in (content := _content(folder, sort.result)):
        return replace(line, said=why or "no results yet; after a crash, bench.py decode makes them")
    line = concluded(line, content, sort.result)
    return replace(line, said=why) if why else line


def _heads(folder: Path) -> Iterator[RunHead]:
    """What the runs of a campaign say about themselves, as far as they can be read."""
    for path in (*folder.glob(f"*/{files.RUN}"), *folder.glob(f"*/*/{files.RUN}")):
        if files.UNFINISHED in path.relative_to(folder).parts:
            continue
        try:
            yield head_of(_content(path.parent, files.RUN))
        except UserError:
            continue


def _content(folder: Path, name: str) -> dict[str, object]:
    """Read a JSON file with arbitrary content. Raises UserError."""
    path = folder / name
    try:
        found = path.stat()
    except OSError as problem:
        raise UserError(f"{name}: {problem.strerror}") from None
    if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST_BYTES:
        raise UserError(f"{name}: expected a file of at most {LARGEST_BYTES // 2**20} MiB")
    return files.read_json(folder, name)


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)  # noqa: PTH116  (of ten thousand folders a Path for each is half the time)
    except OSError:
        return None


def document(found: Listing, root: Path | None = None, *, shows_all: bool = False) -> Document:
    """The lines for a terminal, where only the newest show, and for programs."""
    return of_runs.document(found.lines, str(root or ROOT), shows_all=shows_all)


# --- the page -------------------------------------------------------------------------------------------------------


def _known(page: Path) -> dict[str, ListedResult]:
    """The lines of a page; none if it is not ours, or of another version."""
    try:
        return {line.name: line for line in index_page.read(page.read_bytes())} if _is_ours(page) else {}
    except (OSError, ValueError, TypeError, KeyError, UserError):
        return {}


def _is_ours(page: Path) -> bool:
    if not stat.S_ISREG(page.lstat().st_mode):
        return False
    with page.open("rb") as file:
        return index_page.MARK.encode() in file.read(4096)


def _write(page: Path, root: Path, lines: tuple[ListedResult, ...]) -> None:
    """Write the whole page. Raises UserError if a foreign file is in its place, and OSError."""
    if os.path.lexists(page) and not _is_ours(page):
        raise UserError("a page not written by this tool is in its place")
    # Each command writes to a temporary name of its own, because several may end at once.
    partial = page.with_name(f".{page.name}.{secrets.token_hex(4)}.partial")
    try:
        partial.write_bytes(index_page.render(lines, str(root)).encode())
        partial.replace(page)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


# --- a folder as an argument ------------------------------------------------------------------------------------------

LATEST: Final = "latest"


def folder_of(given: str, *kinds: Kind, is_concluded: bool = True) -> str:
    """The path that an argument means: `latest` is the newest of these kinds in results, `latest~1` the one before it.

    A file or folder of that name takes precedence. Raises UserError if there are not that many.
    """
    word, tilde, back = given.partition("~")
    if word != LATEST or (tilde and not back.isdecimal()) or Path(given).exists():
        return given
    lines = lines_of(ROOT, _known(ROOT / files.INDEX)) if ROOT.exists() else ()
    fit = [line for line in lines if line.kind in kinds and line.typeable and line.status != BROKEN]
    fit = [line for line in fit if line.is_concluded or not is_concluded]
    number = int(back or 0)
    if number >= len(fit):
        wanted = f"{' or '.join(kinds)}{' with results' if is_concluded else ''}"
        raise UserError(f"{given}: expected a {wanted} in {ROOT}, it has {len(fit)} (bench.py runs); give a folder")
    return str(ROOT / fit[number].name)
