"""Parse the responses of OpenAI's image API and of compatible servers, which may omit any field."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from backends.base import Picture
from backends.images.base64_json import entries, parse_pictures
from backends.json_values import mapping, text


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiResponse:
    """A complete response; `pictures` holds a URL where the service sent one instead of bytes.

    `generate` and `download` are the seconds up to the first byte and from there to the last,
    where the two can be told apart.
    """

    pictures: tuple[Picture | str, ...]
    usage: Mapping[str, int] = field(default_factory=dict[str, int])
    quality: str | None = None
    revised_prompt: str | None = None
    generate: float | None = None
    download: float | None = None


def parse_response(body: bytes) -> ApiResponse:
    """Parse a JSON response, or the event that completes a stream; call it in a thread.

    Raises:
        ValueError: `body` is not JSON.
        ServiceFault: there is no picture in it, or a damaged one.
    """
    response, pictures = parse_pictures(body)
    revised = (text(entry.get("revised_prompt")) for entry in entries(response))
    quality = response.get("quality")
    return ApiResponse(
        pictures=pictures,
        usage=_billed_tokens(response.get("usage")),
        quality=quality if isinstance(quality, str) else None,
        revised_prompt=next(filter(None, revised), None),
    )


def _billed_tokens(usage: object) -> dict[str, int]:
    """Return the billed tokens by kind; empty where the service does not count them."""
    counts = mapping(usage)
    inputs = mapping(counts.get("input_tokens_details"))
    outputs = mapping(counts.get("output_tokens_details"))
    found = {
        "text_input": inputs.get("text_tokens", counts.get("input_tokens")),
        "image_input": inputs.get("image_tokens"),
        "image_output": outputs.get("image_tokens", counts.get("output_tokens")),
        "text_output": outputs.get("text_tokens"),
    }
    return {name: count for name, count in found.items() if isinstance(count, int)}
