"""A negative prompt for models that have none: it is written into the prompt."""

from dataclasses import replace

from backends.base import Honour, Model, Request
from backends.fit import Fitted, fit


def fit_folded(model: Model, request: Request) -> Fitted:
    """Fit `request`, the negative prompt folded into the prompt; raises as `fit` does."""
    negative = request.negative_prompt.strip()
    prompt = request.prompt
    if prompt.strip() and negative:
        prompt = f"{prompt.rstrip()}\n\nAvoid: {negative}"
    fitted = fit(model, replace(request, prompt=prompt))
    if not negative:
        return fitted
    note = "negative prompt folded into the prompt"
    folded = {"negative_prompt": Honour(request.negative_prompt, negative, note)}
    return replace(fitted, honoured=fitted.honoured | folded)
