"""Images of a folder: told by their first bytes, drawn by the seed; other contents alone are another plan."""

import base64
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.plan import images
from bench.plan.calls import Plan, call, calls, make_plan
from bench.plan.prompts import Vocabulary
from bench.plan.resolve import resolve_load
from bench.plan.written import plan_hash
from bench.types import Lengths, Scenario, UserError

VOCABULARY = Vocabulary(tuple(f"w{i}" for i in range(200)), 1.0, 12, True, "test")
PNG = b"\x89PNG\r\n\x1a\n%bIEND\xaeB`\x82"
WHOLE = {
    "image/png": PNG,
    "image/jpeg": b"\xff\xd8\xff\xe0%b\xff\xd9",
    "image/gif": b"GIF89a%b\x00;",
    "image/webp": b"RIFF\x0c\x00\x00\x00WEBP%b12345678",
}
BODIES = st.lists(st.binary(min_size=1, max_size=8), min_size=1, max_size=7, unique=True)


def _file(at: Path) -> Path:
    (at / "a.png").touch()
    return at / "a.png"


def plan_of(found: images.Images | None, seed: int = 1) -> Plan:
    scenario = Scenario("s", "d", Lengths("fixed", 40, 40), Lengths("fixed", 8, 8), 0, 4, 20, 0)
    return replace(make_plan(scenario, resolve_load(scenario, warmup="0"), seed, 2, VOCABULARY), images=found)


def of(bodies: Sequence[bytes]) -> images.Images:
    return images.of_bytes("f", [(str(i), PNG % body) for i, body in enumerate(bodies)])


@settings(max_examples=40, deadline=None)
@given(BODIES, st.integers(0, 2**63 - 1), st.sampled_from([1, 2, 5]))
def test_every_worker_draws_the_same_and_none_comes_again_before_all_were_there(
    bodies: list[bytes], seed: int, workers: int
) -> None:
    plan = plan_of(of(bodies), seed)
    drawn = {each.seq: each.image for worker in range(workers) for each in calls(plan, worker, workers)}
    assert drawn == {seq: call(plan, seq).image for seq in range(20)}
    among = len(bodies)
    for begin in range(0, 20 - among + 1, among):
        assert len({drawn[seq] for seq in range(begin, begin + among)}) == among
    counts = Counter(drawn.values())
    assert max(counts.values()) - min(counts.values()) <= 1 or len(counts) < among


@settings(max_examples=40, deadline=None)
@given(BODIES, BODIES, st.randoms(use_true_random=False))
def test_the_plan_is_that_of_the_contents_whatever_their_names(
    one: list[bytes], other: list[bytes], order: Random
) -> None:
    shuffled = order.sample(one, len(one))
    same, before, after = plan_of(of(shuffled)), plan_of(of(one)), plan_of(of(other))
    assert plan_hash(same) == plan_hash(before) != plan_hash(plan_of(None))
    assert [each.image for each in calls(same)] == [each.image for each in calls(before)]
    assert (plan_hash(after) == plan_hash(before)) == (sorted(one) == sorted(other))


def test_a_prompt_is_the_same_with_an_image_and_without() -> None:
    pictured, plain = call(plan_of(of([b"a"])), 3), call(plan_of(None), 3)
    assert pictured._replace(image=None) == plain


@pytest.mark.parametrize("kind", WHOLE)
def test_what_an_image_is_its_first_bytes_say_and_half_of_one_is_none(kind: str, tmp_path: Path) -> None:
    data = WHOLE[kind] % (b"" if kind == "image/webp" else b"abc")
    (tmp_path / "a.bmp").write_bytes(data)
    (tmp_path / ".hidden").write_text("no image")
    (image,) = images.read(str(tmp_path)).images
    assert (image.media_type, base64.b64decode(image.base64), image.bytes) == (kind, data, len(data))
    with pytest.raises(UserError, match=r"a\.bmp: is a truncated"):
        images.of_bytes("f", [("a.bmp", data[:-1])])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda at: None, "is empty; expected PNG, JPEG, WebP or GIF files"),
        (lambda at: (at / "a.png").write_text("hi"), "a.png: is not a PNG, JPEG, WebP or GIF by its first bytes"),
        (lambda at: (at / "a.png").write_bytes(b""), "a.png: is not a PNG"),
        (lambda at: (at / "a.png").mkdir(), "a.png: is a folder; expected only images"),
        (lambda at: (at / "a.png").symlink_to("nowhere"), "a.png: expected a folder of images (No such file"),
        (lambda at: os.truncate(_file(at), images.MOST_BYTES + 1), "expected at most 20,971,520"),
    ],
)
def test_a_bad_file_is_one_line_that_names_it(make: object, says: str, tmp_path: Path) -> None:
    assert callable(make)
    make(tmp_path)
    with pytest.raises(UserError) as refused:
        images.read(str(tmp_path))
    assert says in str(refused.value)
    assert str(refused.value).startswith("--images ")
    assert "\n" not in str(refused.value)
    with pytest.raises(UserError, match="expected a folder of images"):
        images.read(str(tmp_path / "none"))
