"""Whether a capacity is possible: the model fits the GPUs, and no replica exceeds their bandwidth and compute."""

from analysis.sizing import gpus, plans
from bench.app.breakeven.measured import Requests
from bench.app.options import HourOptions
from bench.app.size.model import load
from bench.types import UserError


def check_capacity(model_name: str, requests_per_s: float, requests: Requests, options: HourOptions) -> list[str]:
    """Note that --model fits --gpu and that the capacity is below their roofline, as `size` computes both.

    Raises UserError if it is not.
    """
    if options.gpu is None:
        raise UserError("--model: needs --gpu, the hardware whose roofline counts")
    model, notes = load(model_name, None)
    gpu, count = gpus.find(options.gpu.partition(":")[0].partition("@")[0]), options.gpus or 1
    prompt, output = round(float(requests.prompt_tokens.mean())), max(1, round(float(requests.output_tokens.mean())))
    prefix = min(requests.prefix_tokens, prompt)
    where = f"{model.name} in {model.weights.quantization} on {count} x {gpu.name}"
    most = plans.most(model, gpu, count, plans.Demand(requests_per_s, prompt, output, {}, prefix_tokens=prefix))
    if most.requests_per_s is None:
        raise UserError(f"--model: {where} does not fit: {most.shortage}; give more --gpus or other ones")
    if requests_per_s > most.requests_per_s:
        raise UserError(
            f"--self: {requests_per_s:.3g} requests/s of {prompt:,} + {output:,} tokens are impossible: the roofline "
            f"of {where} is {most.requests_per_s:.3g}"
        )
    return [*notes, f"{requests_per_s:.3g} requests/s are below the roofline of {most.requests_per_s:.3g} for {where}"]
