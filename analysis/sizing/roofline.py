"""How fast a model can be at best: no step is shorter than reading its bytes or doing its operations takes."""

from typing import Final, Literal, NamedTuple

Limit = Literal["bandwidth", "compute"]


class Efficiency(NamedTuple):
    """Shares of the hardware's speed that an engine reaches: in decoding, and of its operations in prefill (mfu)."""

    decode: float
    prefill: float


CAUTIOUS: Final = Efficiency(0.60, 0.40)
HOPEFUL: Final = Efficiency(0.85, 0.60)
PERFECT: Final = Efficiency(1.0, 1.0)


class Hardware(NamedTuple):
    """All GPUs of one replica taken together, as if they never waited for each other."""

    bandwidth_bytes_per_s: float
    flops: float


class StepWork(NamedTuple):
    """What a step over a batch needs: bytes of weights it reads, bytes of cache for each sequence, weights a token
    passes.
    """

    weight_bytes: float
    kv_bytes_per_sequence: float
    active_parameters: float


class Step(NamedTuple):
    """The shortest time in which a batch gets one more token each, and what it waits for."""

    seconds: float
    limit: Limit


def decode_step(batch: float, work: StepWork, hardware: Hardware, efficiency: Efficiency = PERFECT) -> Step:
    """Time one step of decoding `batch` sequences at once."""
    # The roofline of Williams, Waterman and Patterson (CACM 52, 2009): a step takes as long as the slower of moving its
    # bytes and doing its operations. A weight costs a token a multiplication and an addition (Kaplan et al.,
    # arXiv:2001.08361); what attention computes is left out, so that the bound stays one.
    moved = (work.weight_bytes + batch * work.kv_bytes_per_sequence) / hardware.bandwidth_bytes_per_s
    computed = 2 * work.active_parameters * batch / hardware.flops
    return Step(max(moved, computed) / efficiency.decode, "bandwidth" if moved >= computed else "compute")


def decode_tokens_per_s(batch: float, work: StepWork, hardware: Hardware, efficiency: Efficiency = PERFECT) -> float:
    """Output tokens per second of all sequences together, were there no prompts."""
    return batch / decode_step(batch, work, hardware, efficiency).seconds


def prefill_s(tokens: float, work: StepWork, hardware: Hardware, efficiency: Efficiency = PERFECT) -> float:
    """Time to compute a prompt of that length."""
    return 2 * work.active_parameters * tokens / (efficiency.prefill * hardware.flops)


def ceiling_tokens_per_s(batch: float | None, work: StepWork, hardware: Hardware) -> tuple[float, Limit]:
    """Output tokens per second that no engine can exceed; `batch` None where nobody said how many sequences."""
    if batch is not None:
        step = decode_step(batch, work, hardware)
        return batch / step.seconds, step.limit
    # The larger the batch the less the weights weigh: without end, only operations and each sequence's cache are left.
    computed = hardware.flops / (2 * work.active_parameters)
    if not work.kv_bytes_per_sequence:
        return computed, "compute"
    moved = hardware.bandwidth_bytes_per_s / work.kv_bytes_per_sequence
    return min(moved, computed), "bandwidth" if moved < computed else "compute"


def check(claimed_tokens_per_s: float, batch: float | None, work: StepWork, hardware: Hardware) -> str | None:
    """Why a number of output tokens per second cannot be; None where it can."""
    ceiling, limit = ceiling_tokens_per_s(batch, work, hardware)
    if claimed_tokens_per_s <= ceiling:
        return None
    if limit == "compute":
        needed = f"{2 * work.active_parameters / 1e9:,.4g} GFLOP a token, of {hardware.flops / 1e12:,.4g} TFLOPS"
    else:
        held = "" if batch is None else f"{work.weight_bytes / 1e9:,.4g} GB of weights a step and "
        needed = (
            f"{held}{work.kv_bytes_per_sequence / 1e6:,.4g} MB of cache a sequence, "
            f"of {hardware.bandwidth_bytes_per_s / 1e9:,.4g} GB/s"
        )
    at = "at any number of sequences" if batch is None else f"at {batch:,.4g} sequences"
    return (
        f"{claimed_tokens_per_s:,.0f} output tokens/s are above the roofline of {ceiling:,.0f} {at}: "
        f"it takes {needed} ({limit})"
    )


# --- serving requests -------------------------------------------------------------------------------------------


class Pace(NamedTuple):
    """How a replica goes while `batch` requests are under way: every figure is a bound, waiting left out.

    `prefill_share` is the share of the time that goes to prompts; `limit` is of the decoding steps.
    """

    batch: float
    requests_per_s: float
    ttft_s: float
    tpot_s: float
    prefill_share: float
    limit: Limit

    def service_s(self, output_tokens: float) -> float:
        """From sending a request to its last token."""
        return self.ttft_s + max(0.0, output_tokens - 1) * self.tpot_s


def pace(
    batch: float,
    prompt_tokens: float,
    output_tokens: float,
    work: StepWork,
    hardware: Hardware,
    efficiency: Efficiency = PERFECT,
) -> Pace:
    """Bound a replica that always has `batch` requests under way.

    Each request costs its prefill and its share of `output_tokens` steps; prefills stop the steps of the others, so a
    sequence gets a token every step plus `batch` prefills in `output_tokens` steps (Little's law gives the same).
    """
    step = decode_step(batch, work, hardware, efficiency)
    prompt_s = prefill_s(prompt_tokens, work, hardware, efficiency)
    # One request occupies the replica for its prompt alone and for its share of the steps it takes with the others.
    request_s = prompt_s + output_tokens * step.seconds / batch
    return Pace(
        batch=batch,
        requests_per_s=1 / request_s,
        ttft_s=prompt_s + step.seconds,
        tpot_s=step.seconds + batch * prompt_s / output_tokens,
        prefill_share=prompt_s / request_s,
        limit=step.limit,
    )


def ceiling_requests_per_s(
    batch: float, prompt_tokens: float, output_tokens: float, work: StepWork, hardware: Hardware
) -> float:
    """Requests per second that no replica with `batch` under way exceeds, though prompts and steps overlap."""
    step = work.weight_bytes / batch + work.kv_bytes_per_sequence
    moved_s = output_tokens * step / hardware.bandwidth_bytes_per_s
    computed_s = 2 * work.active_parameters * (prompt_tokens + output_tokens) / hardware.flops
    return 1 / max(moved_s, computed_s)
