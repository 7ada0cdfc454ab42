"""Names of LoRAs and embeddings: whatever a file is called, it is found, or named as not found."""

from pathlib import Path
from typing import Any

import pytest

from backends.base import Config
from backends.errors import BadInput, MissingWeights, NotReady
from backends.local.adapters.folders import AdapterFolder, adapter_folders
from backends.local.adapters.references import (
    extract_lora_tags,
    parse_embeddings,
    parse_loras,
)

FILES = (
    "style",
    "char",
    "char/sample",
    "char/deep/Hero",
    "faces/twin",
    "places/twin",
    "007",
    "1e5",
    "1.10",
    "true",
    "0",
    "a, b",
    "film: noir",
    "ratio:2",
    "v1.5 [final]",
    "Caf\u00e9",
    "upper/Mixed",
    "mixed",
)


@pytest.fixture
def folder(tmp_path: Path) -> AdapterFolder:
    for name in FILES:
        file = tmp_path / "loras" / f"{name}.safetensors"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (tmp_path / "loras" / "char" / "old.pt").touch()
    return adapter_folders(Config(value={}.get, home=tmp_path)).loras


def weights(text: str, folder: AdapterFolder) -> dict[str, Any]:
    """The weights by file: one for all, or those of text encoder and denoiser."""
    return {
        Path(lora.source).relative_to(folder.path.resolve()).with_suffix("").as_posix(): (
            lora.weight if lora.text_weight is None else (lora.text_weight, lora.weight)
        )
        for lora in parse_loras(text, folder)
    }


@pytest.mark.parametrize(
    ("reference", "file", "weight"),
    [
        ("char/sample:0.3", "char/sample", 0.3),
        ("char\\sample:0.3", "char/sample", 0.3),
        ("CHAR/SAMPLE.safetensors", "char/sample", 1),
        ("sample", "char/sample", 1),
        ("deep/Hero:.5", "char/deep/Hero", 0.5),
        ("char", "char", 1),
        ("faces/twin", "faces/twin", 1),
        ("mixed", "mixed", 1),
        ("Mixed", "mixed", 1),
        ("007", "007", 1),
        ("1e5:0.5", "1e5", 0.5),
        ("1.10", "1.10", 1),
        ("true", "true", 1),
        ("0", "0", 1),
        ("a, b:0.7", "a, b", 0.7),
        ("film: noir:0.7", "film: noir", 0.7),
        ("ratio:2", "ratio:2", 1),
        ("ratio:2:0.5", "ratio:2", 0.5),
        ("v1.5 [final]:-1", "v1.5 [final]", -1),
        ("Cafe\u0301:2", "Caf\u00e9", 2),
        ("style:0.5:0.8", "style", (0.5, 0.8)),
        ("style:0.5:0.5", "style", 0.5),
        ("style:te=0.5:unet=0.8", "style", (0.5, 0.8)),
        ("style:unet=0.8", "style", (1, 0.8)),
        ("style:0.4:unet=0.8", "style", (0.4, 0.8)),
        ("style::", "style", 1),
        ("style : 0.5", "style", 0.5),
    ],
)
def test_a_file_is_found_by_its_name(
    folder: AdapterFolder, reference: str, file: str, weight: object
) -> None:
    assert weights(reference, folder) == {file: weight}
    prompt, tags = extract_lora_tags(f"a circle <lora:{reference}>, red")
    assert prompt == "a circle, red"
    assert parse_loras("", folder, tags) == parse_loras(reference, folder)


def test_commas_part_where_no_name_has_them(folder: AdapterFolder) -> None:
    text = "style:0.5, a, b:0.7, char/sample\nfilm: noir,<lora:007:0.1>"
    expected = {"style": 0.5, "a, b": 0.7, "char/sample": 1, "film: noir": 1, "007": 0.1}
    assert weights(text, folder) == expected


def test_a_file_elsewhere_may_be_called_anything(folder: AdapterFolder, tmp_path: Path) -> None:
    file = tmp_path / "my, own: files" / "x:1, y.safetensors"
    file.parent.mkdir()
    file.touch()
    [first, second] = parse_loras(f"{file}:0.5:0.8, style", folder)
    assert (first.source, first.text_weight, first.weight) == (str(file), 0.5, 0.8)
    assert second.name == "style"


def test_names_on_the_card_tell_files_apart(folder: AdapterFolder) -> None:
    loras = parse_loras("faces/twin, places/twin:0.5, char/sample, Hero", folder)
    assert [lora.name for lora in loras] == ["faces/twin", "places/twin", "sample", "Hero"]
    assert parse_loras(", ".join(lora.written for lora in loras), folder) == loras


@pytest.mark.parametrize(
    ("reference", "kind", "words"),
    [
        ("twin", BadInput, "'twin' could be any of faces/twin, places/twin. Name one with its fol"),
        ("TWIN:0.5", BadInput, "could be any of faces/twin, places/twin"),
        ("sampel:0.5", BadInput, "no LoRA 'sampel' in .* The nearest it has: .*sample"),
        ("other: noir:0.5", BadInput, "no LoRA 'other: noir' in"),
        ("../loras/style", BadInput, "no LoRA '../loras/style' in"),
        ("old", NotReady, "the LoRA 'old' are a pickle"),
        ("char/old", NotReady, "the LoRA 'char/old' are a pickle"),
        ("style:0.5:0.8:1", BadInput, "'style' takes a weight, .* not know what 0.5:0.8:1 says"),
        ("style:0.5:lbw=OUT", BadInput, "does not know what 0.5:lbw=OUT says"),
        ("style:te=strong", BadInput, "must be a number from -10 to 10"),
        ("style:11", BadInput, "must be a number from -10 to 10"),
        (":0.5", BadInput, "no LoRA"),
        ("style:0.5> <lora:style:0.8", BadInput, "named twice, as style:0.5 and as style:0.8"),
        ("x" * 300 + "/y", BadInput, "no LoRA"),
    ],
)
def test_a_tag_that_names_none_is_a_sentence(
    folder: AdapterFolder, reference: str, kind: type[Exception], words: str
) -> None:
    _, tags = extract_lora_tags(f"a circle <lora:{reference}>")
    with pytest.raises(kind, match=words):
        parse_loras("", folder, tags or (reference,))


def test_a_tag_reaches_the_folder_only(folder: AdapterFolder, tmp_path: Path) -> None:
    file = tmp_path / "elsewhere.safetensors"
    file.touch()
    assert parse_loras(str(file), folder)
    assert parse_loras("someone/style", folder)[0].source == "someone/style"
    for name in (str(file), "someone/style", "../elsewhere"):
        with pytest.raises(BadInput, match="no LoRA"):
            parse_loras("", folder, (name,))


def test_a_long_name_of_a_file_that_is_not_there_is_a_sentence(folder: AdapterFolder) -> None:
    with pytest.raises(MissingWeights, match="is not there"):
        parse_loras(f"/{'x' * 5000}/style", folder)


def test_named_twice_alike_is_once(folder: AdapterFolder) -> None:
    assert len(parse_loras("style:0.5", folder, ("style:0.5",))) == 1


def test_embeddings_are_found_likewise(tmp_path: Path) -> None:
    for name in ("negative/easy", "a, b", "x:y", "007"):
        file = tmp_path / "embeddings" / f"{name}.safetensors"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    folder = adapter_folders(Config(value={}.get, home=tmp_path)).embeddings
    found = parse_embeddings("negative\\easy:calm, a, b, x:y:word, 007", folder)
    assert [(each.name, each.token) for each in found] == [
        ("easy", "calm"),
        ("a, b", ""),
        ("x:y", "word"),
        ("007", ""),
    ]


def test_a_prompt_without_tags_stays_as_it_is() -> None:
    for prompt in (" a circle ", "a <lora:style", "a <Lora:style:1>", "a <lora::1>"):
        assert extract_lora_tags(prompt) == (prompt, ())


def test_no_reference_takes_long(folder: AdapterFolder) -> None:
    for part in (":", "a:", ",", "a,", "/"):
        with pytest.raises((BadInput, MissingWeights)):
            parse_loras("", folder, (f"nosuch{part * 5000}",))
