"""Parse references to LoRAs and embeddings and locate their files, without heavy imports.

    style  char/style               a file of the folder for them, by its name
    somewhere/style.safetensors     a file, relative to the project or absolute
    somewhere/style                 a folder that holds one such file
    owner/name                      a Hub id
    owner/name/style.safetensors    one file of a Hub repository

A colon and a weight may follow a LoRA (`style:0.8`; the default is 1), or two: for the text encoder
and for the denoiser (`style:0.5:0.8`). A colon and a token may follow an embedding
(`owner/name:mascot`; the default is in the file). Commas or line breaks separate several. A file
that is there is recognized with all its commas and colons.

A prompt may name LoRAs in the notation of the Stable Diffusion web UI, `<lora:style:0.8>`: only
those of the folder.

Weights are read from safetensors only: a pickle can run code when it is opened.
"""

import hashlib
import re
from collections.abc import Hashable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from backends.errors import BackendError, BadInput, MissingWeights, NotReady
from backends.local.adapters.folders import (
    EMBEDDING,
    ENDING,
    LORA,
    AdapterFolder,
    abbreviated,
)
from backends.local.errors import PICKLED
from backends.local.job import Adapter
from backends.local.weights.sources import PICKLES, snapshot
from backends.paths import PROJECT
from backends.prompt_syntax import LORA_TAG

# The file names that the training scripts of diffusers use, among other files of a folder.
_DEFAULT_NAMES: Final = ("pytorch_lora_weights.safetensors", "learned_embeds.safetensors")
_HUB: Final = re.compile(r"([\w-][\w.-]*/[\w-][\w.-]*)(?:/(.+\.safetensors))?")
_WEIGHTS: Final = re.compile(r"(?::[-+.\d\s]*)+$")
_MAX_SUFFIXES: Final = 3
"""Parts behind a name, each after a colon: two weights, and one too many."""
_MAX_COMMAS: Final = 5
"""Commas in one name."""


def parse_loras(text: str, folder: AdapterFolder, tags: Sequence[str] = ()) -> tuple[Adapter, ...]:
    """Parse the LoRAs in `text` and in a prompt's tags; those with weight 0 are dropped.

    Raises:
        BackendError: a file is missing, ambiguous or a pickle, or a weight is not a number.
    """
    plain, more_tags = extract_lora_tags(text)
    found = [_resolve(word, folder) for word in _split(plain, folder)]
    found += [_resolve(tag, folder, only_folder=True) for tag in (*more_tags, *tags)]
    adapters: dict[str, Adapter] = {}
    for (name, source), suffixes in found:
        weight, text_weight = _weights(suffixes, name)
        adapter = Adapter(name, source, weight, text_weight=text_weight)
        if adapters.setdefault(source, adapter) != adapter:
            raise BadInput(
                f"The LoRA '{name}' is named twice, as {adapters[source].written} and as "
                f"{adapter.written}. Name it once, in the prompt or under LoRAs."
            )
    return tuple(each for each in adapters.values() if each.weight or each.text_weight)


def parse_embeddings(text: str, folder: AdapterFolder) -> tuple[Adapter, ...]:
    """Parse the embeddings in `text`.

    Raises:
        BackendError: a file is missing, ambiguous or a pickle.
    """
    adapters: dict[str, Adapter] = {}
    for word in _split(text, folder):
        (name, source), suffixes = _resolve(word, folder)
        adapters[source] = Adapter(name, source, token=":".join(suffixes))
    return tuple(adapters.values())


def extract_lora_tags(prompt: str) -> tuple[str, tuple[str, ...]]:
    """Return the prompt without its `<lora:...>` tags, and what follows the first colon in each."""
    tags = tuple(match[1].strip() for match in LORA_TAG.finditer(prompt))
    return (re.sub(rf"\s*{LORA_TAG.pattern}", "", prompt).strip() if tags else prompt), tags


def file_of(adapter: Adapter, kind: str) -> Path | None:
    """Return the file of `adapter`, None if it must be downloaded first.

    Raises:
        BackendError: the file or folder cannot be loaded.
    """
    path = Path(adapter.source)
    if path.is_absolute():
        if path.is_dir():
            return path / select_single_file(
                (file.name for file in path.iterdir()), adapter.name, kind
            )
        if path.is_file():
            return path
        raise _missing(adapter.name, kind)
    hub_id, name = hub_reference(adapter.source)
    folder = snapshot(hub_id)
    names = [] if folder is None else [file.name for file in folder.iterdir()]
    if folder is None or not (name or any(each.endswith(ENDING) for each in names)):
        return None
    file = folder / (name or select_single_file(names, adapter.name, kind))
    return file if file.is_file() else None


def file_version(file: Path) -> str:
    """Return a hash of the file's path, time and size, which changes when it is rewritten."""
    now = file.stat()
    words = f"{file} {now.st_mtime_ns} {now.st_size}"
    return hashlib.sha256(words.encode()).hexdigest()[:16]


def adapter_state(loras: Iterable[Adapter], embeddings: Iterable[Adapter]) -> tuple[Hashable, ...]:
    """Return the adapters and file versions on which prompt embeddings depend."""
    kinds = dict.fromkeys(loras, LORA) | dict.fromkeys(embeddings, EMBEDDING)
    files = ((adapter, file_of(adapter, kind)) for adapter, kind in kinds.items())
    return tuple((adapter, file_version(file)) for adapter, file in files if file is not None)


def hub_reference(source: str) -> tuple[str, str]:
    """Return the Hub id in `source` and the file after it, "" if none is named."""
    match = _HUB.fullmatch(source)
    assert match is not None
    return match[1], match[2] or ""


def select_single_file(names: Iterable[str], name: str, kind: str) -> str:
    """Return the only loadable file of a folder or repository, or that with a default name.

    Raises:
        BackendError: there is none, or several without a default name.
    """
    listed = sorted(each for each in names if "/" not in each)
    safe = [each for each in listed if each.endswith(ENDING)]
    usual = [each for each in safe if each in _DEFAULT_NAMES]
    if len(usual or safe) == 1:
        return (usual or safe)[0]
    if safe:
        raise BadInput(
            f"The {kind} '{name}' could be any of {abbreviated(safe)}. Name one: put a slash and "
            "the file's name behind it."
        )
    if any(Path(each).suffix.lower() in PICKLES for each in listed):
        raise NotReady(PICKLED.format(label=f"the {kind} '{name}'"))
    raise MissingWeights(f"The {kind} '{name}' holds no {ENDING} file. Check where it lies.")


def _split(text: str, folder: AdapterFolder) -> Iterator[str]:
    """Yield the references in `text`; a comma in the name of a file that is there does not part."""
    for line in text.splitlines():
        parts = line.split(",")
        while parts:
            count = next(
                (
                    count
                    for count in range(min(len(parts), _MAX_COMMAS + 1), 1, -1)
                    if _existing_with_suffixes(",".join(parts[:count]).strip(), folder)
                ),
                1,
            )
            if word := ",".join(parts[:count]).strip():
                yield word
            parts = parts[count:]


_Named = tuple[str, str]
"""A name for the card and a source, as in `Adapter`."""


def _resolve(
    word: str, folder: AdapterFolder, *, only_folder: bool = False
) -> tuple[_Named, list[str]]:
    """Return what `word` names, and the parts behind it.

    Raises:
        BackendError: there is no such file, or it cannot be loaded.
    """
    if found := _existing_with_suffixes(word, folder, only_folder=only_folder):
        return found
    base, suffixes = (_divided(word) or [(word, list[str]())])[-1]
    name = _name(base)
    if Path(base).suffix.lower() in PICKLES:
        raise NotReady(PICKLED.format(label=f"the {folder.kind} '{name}'"))
    if only_folder or not re.search(r"[/\\]", base):
        raise folder.not_found(_WEIGHTS.sub("", word))
    # Of a Hub id with something behind it, only a file can be meant.
    if _HUB.fullmatch(base) and base.endswith(ENDING) == (base.count("/") > 1):
        return (name, base), suffixes
    raise _missing(name, folder.kind)


def _existing_with_suffixes(
    word: str, folder: AdapterFolder, *, only_folder: bool = False
) -> tuple[_Named, list[str]] | None:
    """Return the file or folder with the longest name that `word` begins with, if there is one."""
    for base, suffixes in _divided(word):
        if found := _existing(base, folder, only_folder):
            return found, suffixes
    return None


def _divided(word: str) -> list[tuple[str, list[str]]]:
    """Return the ways to divide `word` at its colons into a name and parts, the longest name first.

    The colon of a drive letter does not count.
    """
    parts = word.split(":")
    ways: list[tuple[str, list[str]]] = []
    for count in range(len(parts), max(0, len(parts) - _MAX_SUFFIXES - 1), -1):
        base, suffixes = ":".join(parts[:count]).strip(), [each.strip() for each in parts[count:]]
        if base and not any(re.search(r"[/\\,]", suffix) for suffix in suffixes):
            ways.append((base, suffixes))
    return ways


def _existing(base: str, folder: AdapterFolder, only_folder: bool) -> _Named | None:
    if found := folder.find(base):
        return found[0], str(found[1])
    if only_folder or not re.search(r"[/\\]", base):
        return None
    for text in (base, base.replace("\\", "/")):
        path = Path(text).expanduser()
        path = path if path.is_absolute() else PROJECT / path
        try:
            exists = path.exists()
        except (OSError, ValueError):  # longer than names may be, or with a zero byte
            continue
        if exists and path.suffix.lower() not in PICKLES:
            return _name(text), str(path)
    return None


def _name(source: str) -> str:
    path = Path(source.replace("\\", "/"))
    return path.stem if path.suffix.lower() in PICKLES | {ENDING} else path.name


def _missing(name: str, kind: str) -> BackendError:
    return MissingWeights(
        f"The file of the {kind} '{name}' is not there. Check how it is written: a name, a file, "
        "a folder or a Hub id."
    )


def _weights(parts: Sequence[str], name: str) -> tuple[float, float | None]:
    """Return the weight of the denoiser, and that of the text encoder if it is another one.

    As in the web UI, one weight is for both, two are for the text encoder and for the denoiser,
    and both can be named: te=0.5, unet=0.8
    (https://github.com/AUTOMATIC1111/stable-diffusion-webui/wiki/Features#lora).
    """
    named = dict(part.split("=", 1) for part in parts if "=" in part)
    plain = [part for part in parts if part and "=" not in part]
    if len(plain) > 2 or not named.keys() <= {"te", "unet"}:
        raise BadInput(
            f"The LoRA '{name}' takes a weight, such as 0.8, or two: for the text encoder and for "
            f"the denoiser. Lineup does not know what {':'.join(parts)} says."
        )
    text = _weight(named.get("te") or next(iter(plain), ""), name, 1.0)
    weight = _weight(named.get("unet") or next(iter(plain[1:]), ""), name, text)
    return weight, None if weight == text else text


def _weight(word: str, name: str, default: float) -> float:
    try:
        weight = float(word) if word else default
    except ValueError:
        weight = float("nan")
    if not -10 <= weight <= 10:
        raise BadInput(
            f"The weight of the LoRA '{name}' must be a number from -10 to 10, such as 0.8; "
            f"not {word}."
        )
    return weight
