"""The settings that other programs, and Lineup, write into their pictures.

Read are the text chunk `parameters` of PNG and the Exif UserComment of JPEG and WebP, in the
notation of the Stable Diffusion web UI (AUTOMATIC1111, `modules/infotext_utils.py`), which Lineup's
own pictures have too; the JSON of SwarmUI under the same keyword (docs/Image Metadata Format.md);
and the API graph of ComfyUI in the chunk `prompt`. Nothing is invented: what does not stand there
is None.
"""

import io
import json
import re
import warnings
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from PIL import Image

from backends.json_values import items, mapping

MAX_TEXT: Final = 200_000
"""The most characters of a text that is read; longer ones are no settings."""
MAX_LINE: Final = 10_000
"""The most characters of the line of settings."""
_EXIF_IFD, _USER_COMMENT = 0x8769, 0x9286
_SETTING = re.compile(r'\s*(\w[\w \-/]{0,60}):\s*("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)')
_LEAST_SETTINGS = 3
_NEGATIVE = "Negative prompt:"
_SIZE = re.compile(r"(\d{1,5})\s*x\s*(\d{1,5})")


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """The settings in a picture; `tool` is the program that wrote them, as far as they tell."""

    tool: str
    prompt: str | None = None
    negative_prompt: str | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    seed: int | None = None
    width: int | None = None
    height: int | None = None
    scheduler: str | None = None
    model: str | None = None
    loras: tuple[str, ...] = ()


def read(data: bytes) -> Found | None:
    """Return the settings in a picture, None if it has none that can be read. Blocks."""
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(data)) as image:
            warnings.simplefilter("ignore")  # about the size: no pixel is decoded
            texts = {key: text for key, text in image.info.items() if isinstance(text, str)}
            comment = image.getexif().get_ifd(_EXIF_IFD).get(_USER_COMMENT)
    except Exception:  # Pillow raises anything for a file that lies
        return None
    text = texts.get("parameters") or _comment(comment)
    if len(text) > MAX_TEXT or len(texts.get("prompt", "")) > MAX_TEXT:
        return None
    return _swarm(text) or _infotext(text) or _graph(texts.get("prompt", ""))


def _comment(value: object) -> str:
    """Return the text of an Exif UserComment, which begins with the name of its encoding."""
    if not isinstance(value, bytes):
        return value if isinstance(value, str) else ""
    code, rest = value[:8], value[8:]
    if code.startswith(b"UNICODE"):
        # The byte order is that of the Exif block; a text in Latin letters shows which it is.
        return rest.decode("utf-16-be" if rest[:1] == b"\0" else "utf-16-le", "replace")
    return (rest if code.startswith(b"ASCII") else value).decode("utf-8", "replace").strip("\0")


def _infotext(text: str) -> Found | None:
    lines = text.strip().split("\n")
    pairs = _SETTING.findall(lines[-1][:MAX_LINE])
    if len(pairs) < _LEAST_SETTINGS:
        return None
    settings = {name.strip().lower(): _unquoted(value) for name, value in pairs}
    prompt, negative, is_negative = list[str](), list[str](), False
    for line in lines[:-1]:
        stripped = line.strip()
        if stripped.startswith(_NEGATIVE):
            is_negative, stripped = True, stripped.removeprefix(_NEGATIVE).strip()
        (negative if is_negative else prompt).append(stripped)
    size = _SIZE.fullmatch(settings.get("size", ""))
    words = "\n".join(prompt).strip()
    return Found(
        tool="parameters as AUTOMATIC1111 writes them",
        prompt=words or None,
        negative_prompt="\n".join(negative).strip() or None,
        num_inference_steps=_integer(settings.get("steps")),
        guidance_scale=_number(settings.get("cfg scale")),
        seed=_integer(settings.get("seed")),
        width=int(size[1]) if size else None,
        height=int(size[2]) if size else None,
        scheduler=settings.get("sampler") or None,
        model=settings.get("model") or None,
        loras=tuple(re.findall(r"<lora:([^<>:]{1,200})(?::[^<>]*)?>", words)),
    )


def _swarm(text: str) -> Found | None:
    values = mapping(_json(text)).get("sui_image_params")
    if not isinstance(values, Mapping):
        return None
    given = cast(Mapping[str, Any], values)
    loras: Any = given.get("loras") or []
    return Found(
        tool="SwarmUI",
        prompt=_text(given.get("prompt")),
        negative_prompt=_text(given.get("negativeprompt")),
        num_inference_steps=_integer(given.get("steps")),
        guidance_scale=_number(given.get("cfgscale")),
        seed=_integer(given.get("seed")),
        width=_integer(given.get("width")),
        height=_integer(given.get("height")),
        scheduler=_text(given.get("sampler")),
        model=_text(given.get("model")),
        loras=tuple(str(each) for each in (loras if isinstance(loras, list) else [loras])),
    )


class _Graph:
    """A graph of ComfyUI: nodes by id, whose inputs are values or links [node, output]."""

    def __init__(self, nodes: Mapping[str, Any]) -> None:
        self._nodes = nodes

    def samplers(self) -> Sequence[Mapping[str, Any]]:
        """Return the inputs of the nodes that draw."""
        nodes = [mapping(node) for node in self._nodes.values()]
        drawing = (node for node in nodes if "Sampler" in str(node.get("class_type")))
        return [mapping(node.get("inputs")) for node in drawing]

    def find(self, link: object, names: Sequence[str]) -> Any:
        """Return the first plain value called one of `names`, from the node of a link upwards."""
        links, seen = deque([link]), set[str]()
        while links:
            target = items(links.popleft())
            node = str(target[0]) if target else ""
            if not node or node in seen:
                continue
            seen.add(node)
            inputs = mapping(mapping(self._nodes.get(node)).get("inputs"))
            for name in names:
                value = inputs.get(name)
                if isinstance(value, str | int | float):
                    return value
            links.extend(inputs.values())
        return None


def _graph(text: str) -> Found | None:
    graph = _Graph(mapping(_json(text)))
    samplers = [each for each in graph.samplers() if "positive" in each or "steps" in each]
    if not samplers:
        return None
    inputs = samplers[0]
    seed = inputs.get("seed", inputs.get("noise_seed"))
    latent = inputs.get("latent_image")
    return Found(
        tool="ComfyUI" + (f", the first of its {len(samplers)} samplers" if samplers[1:] else ""),
        prompt=_text(graph.find(inputs.get("positive"), ("text", "text_g", "clip_l"))),
        negative_prompt=_text(graph.find(inputs.get("negative"), ("text", "text_g", "clip_l"))),
        num_inference_steps=_integer(inputs.get("steps")),
        guidance_scale=_number(inputs.get("cfg")),
        seed=_integer(seed),
        width=_integer(graph.find(latent, ("width",))),
        height=_integer(graph.find(latent, ("height",))),
        scheduler=_text(inputs.get("sampler_name")),
        model=_text(graph.find(inputs.get("model"), ("ckpt_name", "unet_name", "model_name"))),
        loras=tuple(filter(None, [_text(graph.find(inputs.get("model"), ("lora_name",)))])),
    )


def _json(text: str) -> object:
    if not text.lstrip().startswith("{"):
        return None
    try:
        return json.loads(text.replace("NaN", "null"))
    except (ValueError, RecursionError):
        return None


def _unquoted(value: str) -> str:
    value = value.strip()
    if not value.startswith('"'):
        return value
    try:
        return str(json.loads(value))
    except ValueError:
        return value.strip('"')


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if number == number and abs(number) < float("inf") else None


def _integer(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,20}", value):
        return int(value)
    number = _number(value)
    return int(number) if number is not None and number.is_integer() else None
