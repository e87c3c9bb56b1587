"""The page of all results in a browser: filtered, sorted, compared; whatever names and answers runs have."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis.listing import ListedResult
from analysis.present import index_page

HOSTILE = ("<img src=x onerror=alert(1)>", "</script><script>document.title='theirs'</script>", 'it\'s $(id) `id` "&"')


def line(name: str, minute: int = 0, **more: Any) -> ListedResult:
    given = {"status": "valid", "backend": "vllm", "plan": "p", "page": f"{minute}/report.html", **more}
    return ListedResult(
        name=name, kind=given.pop("kind", "run"), created_at=f"2026-01-01T00:{minute:02}:00+00:00", **given
    )


def opened(page: Any, folder: Path, lines: Sequence[ListedResult], width: int = 1280, root: str = "results") -> None:
    file = folder / "index.html"
    file.write_text(index_page.render(lines, root), encoding="utf-8")
    page.open(file, width)


def rows(page: Any) -> list[str]:
    found: list[str] = page.evaluate(
        "[...document.querySelectorAll('tbody tr')].map(r => r.querySelector('a, b').textContent)"
    )
    return found


def filtered(page: Any, words: str) -> None:
    page.evaluate(
        f"box = document.getElementById('filter'); box.value = '{words}'; box.dispatchEvent(new Event('input'))"
    )


def select(page: Any, *names: str) -> str:
    """Select runs by their boxes; the command that is shown then."""
    for name in names:
        page.evaluate(f"document.querySelector('[aria-label=' + CSS.escape({f'compare {name}'!r}) + ']').click()")
    command: str = page.evaluate("document.getElementById('command').textContent")
    return command


def test_names_and_answers_of_strangers_are_text_and_words_of_a_command(page: Any, tmp_path: Path) -> None:
    opened(page, tmp_path, [line(name, i, said=name, model=name) for i, name in enumerate(HOSTILE)], root="my results")
    assert sorted(rows(page)) == sorted(HOSTILE)
    assert page.evaluate("document.title") == "Runs in my results"
    assert page.evaluate("document.querySelectorAll('img').length") == 0
    assert page.errors == []
    assert page.requested == [(tmp_path / "index.html").as_uri()]
    assert shlex.split(select(page, *HOSTILE)) == ["bench.py", "compare", *(f"my results/{name}" for name in HOSTILE)]


def test_it_is_newest_first_and_can_be_filtered_and_sorted(page: Any, tmp_path: Path) -> None:
    lines = [
        line("b", 2, ttft_ms_p50=9.0),
        line("c", 1, backend="tgi", ttft_ms_p50=None),
        line("a", 0, ttft_ms_p50=80.0),
    ]
    opened(page, tmp_path, lines)
    assert rows(page) == ["b", "c", "a"]
    sort = "[...document.querySelectorAll('thead button')].find(b => b.textContent === '{}').click()"
    page.evaluate(sort.format("ttft p50, ms"))
    assert rows(page) == ["a", "b", "c"]
    page.evaluate(sort.format("ttft p50, ms"))
    assert rows(page) == ["b", "a", "c"]  # what is not known is last either way
    filtered(page, "VLLM valid")
    assert rows(page) == ["b", "a"]
    assert page.evaluate("document.getElementById('count').textContent") == "2 of 3"


def test_what_is_selected_stays_selected_and_what_compare_would_refuse_is_said(page: Any, tmp_path: Path) -> None:
    lines = [line(f"r{i}", i) for i in range(17)] + [
        line("other", 20, plan="q"), line("bad", 21, status="invalid"), line("cut", 22, status="unfinished"),
        line("search", 23, kind="capacity", status="found"), line("odd", 24, typeable=False),
    ]  # fmt: skip
    opened(page, tmp_path, lines)
    disabled = page.evaluate("[...document.querySelectorAll('tbody input:disabled')].map(box => box.ariaLabel)")
    assert sorted(disabled) == ["compare cut", "compare odd", "compare search"]
    assert select(page, "r3") == ""
    page.evaluate("document.querySelector('thead button').click()")
    assert select(page, "r1") == "bench.py compare results/r3 results/r1"
    said = "document.getElementById('say').textContent"
    assert "--" not in page.evaluate(said)
    select(page, "other", "bad")
    assert "--different-plans" in page.evaluate(said) and "--untrusted" in page.evaluate(said)
    select(page, "other", "bad", *(f"r{i}" for i in range(17) if i not in (1, 3)))
    assert page.evaluate(said) == "compare takes 16 at most."


def test_ten_thousand_are_shown_by_the_hundred_and_fit_a_telephone(page: Any, tmp_path: Path) -> None:
    opened(
        page,
        tmp_path,
        [line(f"2026-{i:05}-a-rather-long-name-of-a-run-that-somebody-made", i % 60) for i in range(10_000)],
        390,
    )
    assert len(rows(page)) == 300
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    filtered(page, "-09999-")
    assert len(rows(page)) == 1


def test_one_sweep_is_enough_to_be_compared_for_it_has_several_sides(page: Any, tmp_path: Path) -> None:
    opened(page, tmp_path, [line("study", 1, kind="sweep", status="answer"), line("a", 2), line("b", 3)])
    assert select(page, "study") == "bench.py compare results/study"
    assert select(page, "a") == "bench.py compare results/study results/a"
    assert select(page, "study") == ""
