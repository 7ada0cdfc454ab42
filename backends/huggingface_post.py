"""How a provider is asked for a picture: as Hugging Face's own package prepares it.

Address, headers and body are sent as they are, but for a media type that it gets wrong.
"""

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from backends.huggingface.credentials import ROUTER, Account
from backends.huggingface.providers import DRAW, EDIT
from backends.huggingface.request import Call

if TYPE_CHECKING:
    from huggingface_hub.hf_api import InferenceProviderMapping


@dataclass(frozen=True, kw_only=True, slots=True)
class Post:
    """One picture's request, ready to be sent."""

    url: str
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    seed: int | None


def prepare(mapping: "InferenceProviderMapping", account: Account, call: Call) -> list[Post]:
    """Return one request for each picture of `call`; slow at first, run it in a thread."""
    from huggingface_hub.inference import _providers as providers
    from huggingface_hub.inference._common import MimeBytes
    from huggingface_hub.inference._providers import _common as common  # pyright: ignore[reportPrivateUsage]

    # HF Inference is told by the address, the others by the package's table of known models.
    model = f"{ROUTER}/hf-inference/models/{mapping.provider_id}"
    if mapping.provider != "hf-inference":
        model = mapping.hf_model_id
        known = common.HARDCODED_MODEL_INFERENCE_MAPPING
        known.setdefault(mapping.provider, {})[model] = mapping
    helper = providers.get_provider_helper(
        mapping.provider, DRAW if call.image is None else EDIT, model
    )
    inputs: str | MimeBytes = call.prompt
    parameters = dict(call.parameters)
    if call.image is not None:
        inputs = MimeBytes(call.image[0], mime_type=call.image[1])
        parameters["prompt"] = call.prompt
    posts: list[Post] = []
    for seed in call.seeds:
        prepared = helper.prepare_request(
            inputs=inputs,
            parameters={**parameters, "seed": seed},
            headers={"X-HF-Bill-To": call.bill_to} if call.bill_to else {},
            model=model,
            api_key=account.token,
        )
        posts.append(
            Post(
                url=account.router + prepared.url.removeprefix(ROUTER),
                headers={**prepared.headers, "accept": "image/png"},
                body=prepared.data or _body(prepared.json, call),
                seed=seed,
            )
        )
    return posts


def _body(words: Any, call: Call) -> bytes:
    image = words.get("image")
    if call.image and isinstance(image, str):
        # For WaveSpeed the package calls every picture a JPEG.
        words = {**words, "image": f"data:{call.image[1]};{image.partition(';')[2]}"}
    return json.dumps(words, ensure_ascii=False, separators=(",", ":")).encode()
