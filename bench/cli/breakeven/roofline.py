"""Whether a capacity can be: no replica serves more than reading its weights and computing its tokens allow."""

from typing import Any

from bench.cli.breakeven.measured import Requests
from bench.types import UserError

# So many at once that the weights, read once for all of them, no longer count.
MANY_SEQUENCES = 1_000_000


def check_capacity(requests_per_s: float, requests: Requests, options: dict[str, Any]) -> str:
    """Say that the capacity is below the roofline of --model on --gpu. Raises UserError where it is above."""
    from analysis.sizing import gpus, plans, roofline
    from bench.cli.size.model import load

    if options["gpu"] is None:
        raise UserError("--model: give --gpu too, the hardware whose limit counts")
    model, _ = load(options["model"], None)
    gpu = gpus.find(options["gpu"].partition(":")[0].partition("@")[0])
    prompt, output = float(requests.prompt_tokens.mean()), max(1.0, float(requests.output_tokens.mean()))
    # Half of the answer is in the cache at the mean step.
    needed = plans.work(model, MANY_SEQUENCES, round(prompt + output / 2))
    on = plans.hardware(gpu, options["gpus"], model.weights.quantization)
    most = roofline.pace(MANY_SEQUENCES, prompt, output, needed, on).requests_per_s
    where = f"{model.name} in {model.weights.quantization} on {options['gpus']} x {gpu.name}"
    if requests_per_s > most:
        raise UserError(
            f"--self: {requests_per_s:.3g} requests/s of {prompt:,.0f} + {output:,.0f} tokens cannot be: the roofline "
            f"of {where} is {most:.3g}"
        )
    return f"{requests_per_s:.3g} requests/s are below the roofline of {most:.3g} for {where}"
