"""How each call of a load is asked for: its class may have words of its own, and its session an adapter."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from bench.types import Call, HttpRequest, Target

Encode = Callable[[Call, Target], HttpRequest]

ByClass = Mapping[str, Mapping[str, str]]
"""By the name of a class: what `Target.options` are for its calls, where they differ."""


def own_options(call: Call, by_class: ByClass) -> dict[str, str]:
    """What this call's options are in place of the target's."""
    adapter = {} if call.adapter is None else {"adapter": call.adapter}
    return {**by_class.get(call.klass or "", {}), **adapter}


def target_of(call: Call, target: Target, by_class: ByClass) -> Target:
    """The target as this call asks it."""
    own = own_options(call, by_class)
    return replace(target, options={**target.options, **own}) if own else target


def by_call(request: Encode, by_class: ByClass) -> Encode:
    """The same, each call asked as its class and adapter want it; for one target, whose variants are made once."""
    variants: dict[tuple[str | None, str | None], Target] = {}

    def encode(call: Call, target: Target) -> HttpRequest:
        key = call.klass, call.adapter
        if key not in variants:
            variants[key] = target_of(call, target, by_class)
        return request(call, variants[key])

    return encode
