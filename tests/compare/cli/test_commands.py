import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from backends.base import Request
from compare.cli import arguments
from compare.cli.commands import app
from compare.lineup import open_lineup
from compare.records import RunSpec
from compare.settings import Settings
from tests.servers.a1111 import A1111Server
from tests.servers.a1111_script import Kind
from tests.servers.chat import REWRITTEN, ChatServer
from tests.servers.comfyui import ComfyUIServer
from tests.servers.comfyui_script import Script as ComfyUIScript
from tests.servers.openai import OpenAIServer, Script, failing
from tests.servers.pictures import plain
from tests.servers.scripted import Script as ScriptedAnswer

Call = Callable[..., Result]
USUAL = Script(picture=plain())


@pytest.fixture
def call(server: OpenAIServer, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run a command here, against the test server."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret-0123")
    server.usual = USUAL

    def called(*words: str, typed: str | None = None, width: int = 80) -> Result:
        return CliRunner().invoke(app, list(words), input=typed, env={"COLUMNS": str(width)})

    return called


def test_json_is_one_object_and_nothing_else(home: Path, server: OpenAIServer):
    """In a process of its own, as a program would call it."""
    server.usual = USUAL
    server.models["gpt-image-2.6-flare"] = failing(400, "moderation_blocked", "No foxes.")
    words = ["run", "a 🦊", "-m", "openai/gpt-image-2", "-m", "openai/gpt-image-2.6-flare"]
    done = subprocess.run(
        [sys.executable, "-m", "compare", *words, "--seed", "7", "--json"],
        env={
            **os.environ,
            "LINEUP_HOME": str(home),
            "OPENAI_BASE_URL": server.base_url,
            "OPENAI_API_KEY": "sk-very-secret-0123",
        },
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1
    shown = json.loads(done.stdout)
    assert set(shown) == {"run", "jobs"}
    fine, refused = shown["jobs"]
    assert fine["outcome"] == "done" and refused["outcome"] == "refused" and refused["message"]
    times = {"queued", "load", "first_preview", "generate", "download", "total", "cached"}
    assert set(fine["timing"]) == times and fine["timing"]["total"] > 0
    cost = fine["cost"]
    assert set(cost) == {"amount", "low", "high", "basis", "priced_on", "source"}
    assert cost["amount"] == "0.005940" and cost["basis"] == "usage"
    assert cost["priced_on"] == "2026-11-22"
    assert fine["honoured"]["seed"]["note"].startswith("seed ignored")
    (saved,) = fine["pictures"]
    assert {"path", "sha256", "width", "height", "seed"} <= set(saved)
    assert Path(saved["path"]).read_bytes() == plain()
    assert saved["sha256"] == sha256(plain()).hexdigest()
    assert (saved["width"], saved["height"], saved["seed"]) == (64, 64, None)
    assert b"sk-very-secret" not in done.stdout + done.stderr
    assert refused["cost"]["amount"] == "0"


def test_for_people(call: Call, home: Path):
    result = call("run", "a fox", "-m", "openai/gpt-image-2", "-m", "openai/dall-e-2")
    assert result.exit_code == 1 and "plain words" not in result.stderr
    assert "done" in result.stdout and "$0.0059" in result.stdout
    assert "not charged" in result.stdout and "12 May 2026" in result.stdout
    heads = result.stdout.splitlines()[0].split()
    assert heads == ["model", "outcome", "drawing", "cost", "picture"]
    history = call("history")
    assert history.exit_code == 0 and "a fox" in history.stdout
    (row,) = json.loads(call("history", "--json").stdout)
    assert row["prompt"] == "a fox" and len(row["jobs"]) == 2
    weighted = call("run", "(a fox:1.2)", "-m", "openai/gpt-image-2", width=140)
    assert "“(a fox:1.2)”: plain words to gpt-image-2." in weighted.stderr
    wide = weighted.stdout.splitlines()
    assert wide[0].split()[2:6] == ["waited", "load", "drawing", "total"]
    assert len([word for word in wide[1].split() if word.replace(".", "").isdigit()]) == 4


def test_everything_asked_for_arrives(call: Call, server: OpenAIServer):
    words = ["--size", "1536x1024", "--count", "2", "--option", "openai.quality=high"]
    result = call("run", "-", "-m", "openai/gpt-image-2", *words, "--json", typed="a\nfox\n")
    assert result.exit_code == 0
    sent = server.generations[0].json
    assert (sent["prompt"], sent["size"], sent["n"]) == ("a\nfox", "1536x1024", 2)
    assert sent["quality"] == "high"
    assert len(json.loads(result.stdout)["jobs"][0]["pictures"]) == 2


def test_a_second_step(call: Call, server: OpenAIServer):
    words = ["run", "a fox", "-m", "openai/gpt-image-2", "-m", "openai/gpt-image-2.6-flare"]
    then = ["--then", "openai/gpt-image-2.5-flare", "--then-prompt", "in snow", "--strength", "0.5"]
    result = call(*words, *then, "--then-option", "openai.quality=high", "--json")
    assert result.exit_code == 0
    jobs = json.loads(result.stdout)["jobs"]
    assert [job["model"].partition("/")[2] for job in jobs] == [
        "gpt-image-2",
        "gpt-image-2.5-flare",
        "gpt-image-2.6-flare",
        "gpt-image-2.5-flare",
    ]
    assert [job["parent"] for job in jobs] == [None, jobs[0]["id"], None, jobs[2]["id"]]
    edits = [each for each in server.generations if each.path.endswith("/edits")]
    assert len(edits) == 2 and len(server.generations) == 4
    for each in edits:
        assert each.form.files["image"][1] == plain()
        assert each.form.fields["prompt"] == "in snow"
        assert each.form.fields["quality"] == "high"
    shown = call(*words, *then)
    assert shown.stdout.count("→") == 2
    assert shown.stdout.count("both") == 4
    assert "from gpt-image-2" in shown.stderr


def test_a_start_picture(call: Call, server: OpenAIServer, tmp_path: Path):
    file = tmp_path / "mine.png"
    file.write_bytes(plain(96, 96))
    result = call("run", "a fox", "-m", "openai/gpt-image-2", "--image", str(file), "--json")
    assert result.exit_code == 0
    assert server.generations[0].form.files["image"][1] == plain(96, 96)
    assert json.loads(result.stdout)["jobs"][0]["parent"] is None


def test_several_controls_each_with_its_own_settings(call: Call, tmp_path: Path):
    edges, pose = tmp_path / "edges.png", tmp_path / "pose.png"
    edges.write_bytes(plain(48, 32))
    pose.write_bytes(plain(64, 64))
    controls = ["--control", str(edges), "--control", str(pose), "--start", "0.2"]
    each = ["--preprocessor", "canny", "--preprocessor", "openpose", "--weight", "1", "--weight"]
    with A1111Server(kind=Kind(units=2)) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("A1111_URL", server.origin)
        result = call("run", "a fox", "-m", "a1111/current", *controls, *each, "0.5", "--json")
        third = call("run", "a fox", "-m", "a1111/current", *controls, *each, "0.5", *controls[:2])
    assert result.exit_code == 0, result.stderr
    (sent,) = server.generations
    units = sent.json["alwayson_scripts"]["controlnet"]["args"]
    assert [unit["module"] for unit in units] == ["canny", "openpose"]
    assert [unit["weight"] for unit in units] == [1.0, 0.5]
    assert [unit["guidance_start"] for unit in units] == [0.2, 0.2]
    honoured = json.loads(result.stdout)["jobs"][0]["honoured"]
    assert honoured["control"]["asked"] == "canny" and honoured["control_2"]["asked"] == "openpose"
    assert third.exit_code == 2
    assert "--preprocessor is given 2 times for 3 control pictures" in third.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["run", "", "-m", "local/sdxl"], "prompt is empty"),
        (["run", "x"], "at least one model"),
        (["run", "x", "-m", "nonsense/x"], "no model called 'nonsense/x'"),
        (["run", "x", "-m", "local/sdxl", "--steps", "0"], "Steps must be between 1 and 500"),
        (["run", "x", "-m", "local/sdxl", "--size", "big"], "must look like 1024x768"),
        (["run", "x", "-m", "local/sdxl", "--size", "0x0"], "width must be between"),
        (["run", "x", "-m", "local/sdxl", "--option", "quality=1"], "openai.quality=high"),
        (["run", "x", "-m", "local/sdxl", "--control", "no.png"], "no.png cannot be read"),
        (["run", "x", "-m", "local/sdxl", "--count", "21"], "between 1 and 20"),
        (["run", "x", "-m", "local/sdxl", "--image", "no.png"], "start picture no.png cannot"),
        (["run", "x", "-m", "local/sdxl", "--strength", "2"], "strength must be between"),
        (
            ["run", "x", "-m", "local/sdxl", "--then", "openai/dall-e-2"],
            "cannot be the second step",
        ),
        (["run", "x", "-m", "local/sdxl", "--then", "no/x"], "no model called 'no/x'"),
        (["run", "x", "-m", "local/sdxl", "--then-prompt", "y"], "needs its model: --then MODEL"),
        (["run", "{a|b", "-m", "local/sdxl", "--variants", "all"], "no partner"),
        (["run", "{a|b}", "-m", "local/sdxl", "--variants", "many"], "all, or how many"),
        (["run", "{a|b}", "-m", "local/sdxl", "--variants", "25"], "between 1 and 24"),
        (["run", "{|a}", "-m", "local/sdxl", "--variants", "all"], "prompt is empty"),
        (["run", "", "-m", "local/sdxl", "--rewrite", "google:x"], "prompt is empty"),
    ],
)
def test_mistakes_get_a_sentence_and_nothing_starts(
    call: Call, home: Path, words: list[str], sentence: str
):
    result = call(*words, "--json")
    assert result.exit_code == 2
    assert sentence in result.stderr and result.stdout == ""
    assert not home.exists()


def test_a_home_that_cannot_be_used(call: Call, home: Path, server: OpenAIServer):
    home.write_bytes(b"in the way")
    result = call("run", "x", "-m", "openai/gpt-image-2", "--json")
    assert result.exit_code == 2 and result.stdout == ""
    assert "cannot write to its data folder" in result.stderr
    assert "Traceback" not in result.stderr
    assert server.generations == []


def test_each_variant_is_a_run_and_json_is_still_one_object(call: Call, server: OpenAIServer):
    asked = ["run", "a {red|blue} {fox|{owl|hen}}", "-m", "openai/gpt-image-2", "--seed", "7"]
    result = call(*asked, "--variants", "all", "--json")
    assert result.exit_code == 0
    runs = json.loads(result.stdout)["runs"]
    prompts = [
        f"a {colour} {animal}" for colour in ("red", "blue") for animal in ("fox", "owl", "hen")
    ]
    assert [run["prompt"] for run in runs] == prompts
    assert {run["template"] for run in runs} == {asked[1]}
    assert [job["outcome"] for run in runs for job in run["jobs"]] == ["done"] * 6
    assert sorted(sent.json["prompt"] for sent in server.generations) == sorted(prompts)
    kept = {row["run"]: row["prompt"] for row in json.loads(call("history", "--json").stdout)}
    assert kept == {run["run"]: run["prompt"] for run in runs}
    few = json.loads(call(*asked, "--variants", "2", "--json").stdout)["runs"]
    again = json.loads(call(*asked, "--variants", "2", "--json").stdout)["runs"]
    assert len(few) == 2 and [run["prompt"] for run in few] == [run["prompt"] for run in again]


def test_variants_are_drawn_only_where_they_are_asked_for(call: Call, server: OpenAIServer):
    result = call("run", "a {red|blue} fox", "-m", "openai/gpt-image-2", "--json")
    assert set(json.loads(result.stdout)) == {"run", "jobs"}
    assert [sent.json["prompt"] for sent in server.generations] == ["a {red|blue} fox"]
    assert "--variants all" in result.stderr
    one = call("run", "a fox", "-m", "openai/gpt-image-2", "--variants", "all", "--json")
    assert set(json.loads(one.stdout)) == {"run", "jobs"}


def test_a_rewrite_is_shown_and_recorded(
    call: Call, server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
):
    asked = ["run", "a star", "-m", "openai/gpt-image-2", "--rewrite", "google:gemini-3.5-flash"]
    with ChatServer() as chat:
        monkeypatch.setenv("GOOGLE_BASE_URL", chat.origin)
        result = call(*asked, "--json")
    assert result.exit_code == 0 and REWRITTEN in result.stderr and "cost unknown" in result.stderr
    shown = json.loads(result.stdout)
    assert shown["prompt"] == REWRITTEN and shown["original_prompt"] == "a star"
    assert shown["rewritten_by"] == "google:gemini-3.5-flash"
    assert [sent.json["prompt"] for sent in server.generations] == [REWRITTEN]
    (row,) = json.loads(call("history", "--json").stdout)
    assert row["original_prompt"] == "a star"


def test_who_started_a_run_is_in_no_output(call: Call, home: Path):
    async def visited() -> None:
        async with open_lineup(Settings.read()) as lineup:
            spec = RunSpec(Request(prompt="a fox"))
            run = await lineup.runner.start(spec, ["openai/gpt-image-2"], "ab" * 32)
            async for _ in lineup.runner.watch(run.id):
                pass

    asyncio.run(visited())
    for words in (["history"], ["history", "--json"]):
        shown = call(*words).stdout
        assert "a fox" in shown and "abab" not in shown and "visitor" not in shown


def test_where_the_rewrite_fails_nothing_is_drawn(
    call: Call, server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
):
    asked = ["run", "a star", "-m", "openai/gpt-image-2", "--rewrite"]
    with ChatServer(ScriptedAnswer(status=500)) as chat:
        monkeypatch.setenv("GOOGLE_BASE_URL", chat.origin)
        broken = call(*asked, "google:gemini-3.5-flash", "--json")
    assert broken.exit_code == 2 and "failed" in broken.stderr and broken.stdout == ""
    unknown = call(*asked, "gemini", "--json")
    assert unknown.exit_code == 2 and "service and model" in unknown.stderr
    assert server.generations == []


def test_models(call: Call):
    shown = call("models")
    assert shown.exit_code == 0
    assert "openai/dall-e-2" in shown.stdout and "retired" in shown.stdout
    rows: list[dict[str, Any]] = json.loads(call("models", "--json").stdout)
    by_id = {row["id"]: row for row in rows}
    retired = by_id["openai/dall-e-2"]
    assert retired["status"]["state"] == "retired" and retired["price"]["per_image"] == "0.02"
    assert by_id["openai/gpt-image-2"]["ready"]["state"] == "ready"
    assert by_id["local/sd-1.4"]["released"] == "2022-08-22"
    assert {"family", "licence", "training_data", "compute", "links", "supports"} <= set(retired)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let child processes react to Ctrl-C, which they ignore if pytest itself was started to.

    A shell starts its background jobs (`pytest &`) with SIGINT ignored, and children inherit that.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_ctrl_c_stops_and_shows_what_stands(
    home: Path, server: OpenAIServer, number: signal.Signals
):
    server.usual = Script(hang=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "compare", "run", "x", "-m", "openai/gpt-image-2", "--json"],
        env={**os.environ, "LINEUP_HOME": str(home), "OPENAI_BASE_URL": server.base_url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 90
    while not server.generations:
        assert process.poll() is None and time.monotonic() < deadline, "nothing was sent"
        time.sleep(0.01)
    process.send_signal(number)
    output, errors = process.communicate(timeout=90)
    assert process.returncode == 130
    (job,) = json.loads(output)["jobs"]
    assert job["outcome"] == "unknown" and "may have been billed" in job["message"]
    assert b"Traceback" not in errors


def has_ended(home: Path) -> bool:
    """Return whether a job has ended, as another process sees it."""
    with closing(sqlite3.connect(f"file:{home / 'lineup.db'}?mode=ro", uri=True)) as stored:
        return (
            stored.execute("SELECT id FROM jobs WHERE outcome IS NOT NULL").fetchone() is not None
        )


def test_sigterm_takes_back_what_it_can_and_keeps_what_is_done(home: Path, server: OpenAIServer):
    """Also in the background of a shell, which lets its jobs ignore Ctrl-C."""
    server.usual = USUAL
    server.models["gpt-image-2.6-flare"] = Script(hang=True)
    models = ["openai/gpt-image-2", "openai/gpt-image-2.6-flare", "comfyui/first"]
    words = [word for model in models for word in ("-m", model)]
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    with ComfyUIServer(ComfyUIScript(delay=60)) as comfyui:
        process = subprocess.Popen(
            [sys.executable, "-m", "compare", "run", "x", *words, "--json"],
            env={
                **os.environ,
                "LINEUP_HOME": str(home),
                "OPENAI_BASE_URL": server.base_url,
                "OPENAI_API_KEY": "sk-very-secret-0123",
                "COMFYUI_URL": comfyui.origin,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        signal.signal(signal.SIGINT, before)
        deadline = time.monotonic() + 90
        while len(server.generations) < 2 or not comfyui.running or not has_ended(home):
            assert process.poll() is None and time.monotonic() < deadline, "nothing was sent"
            time.sleep(0.01)
        for _ in range(2):  # who is impatient asks twice
            process.send_signal(signal.SIGTERM)
            time.sleep(0.05)
        output, errors = process.communicate(timeout=90)
        assert comfyui.jobs[0].interrupted, "taken back on the server"
    assert process.returncode == 130
    done, sent, drawn_at_home = json.loads(output)["jobs"]
    assert done["outcome"] == "done" and Path(done["pictures"][0]["path"]).exists()
    assert sent["outcome"] == "unknown" and "may have been billed" in sent["message"]
    assert drawn_at_home["outcome"] == "cancelled"
    assert b"Traceback" not in errors


def test_options_are_read_as_what_they_look_like():
    words = ["a.x=1", "a.y=0.5", "a.z=true", "b.s=DDIM", "b.e="]
    expected = {"a": {"x": 1, "y": 0.5, "z": True}, "b": {"s": "DDIM", "e": ""}}
    assert arguments.parse_options(words) == expected


@pytest.mark.parametrize("name", ["007", "1e5", "1.10", "1_5", "true", "0", "-1", "nan", "False"])
@pytest.mark.parametrize("option", ["local.loras", "miniature.embeddings", "a1111.sampler_name"])
def test_a_text_stays_as_it_is_written(option: str, name: str):
    backend, _, field = option.partition(".")
    assert arguments.parse_options([f"{option}={name}"]) == {backend: {field: name}}


def test_options_are_read_as_their_backend_declares_them():
    words = ["local.previews=False", "midjourney.stylize=0100", "local.compile="]
    assert arguments.parse_options(words) == {
        "local": {"previews": False, "compile": ""},
        "midjourney": {"stylize": 100},
    }
    for word, why in {
        "local.previews=7": "local.previews must be true or false; not 7",
        "midjourney.stylize=much": "midjourney.stylize must be a number; not much",
    }.items():
        with pytest.raises(arguments.BadArgument, match=why):
            arguments.parse_options([word])


def test_an_option_that_nobody_declares_keeps_what_a_number_would_lose():
    words = ["local.unknown=007", "nobody.x=1e5", "nobody.y=1.10"]
    expected = {"local": {"unknown": "007"}, "nobody": {"x": "1e5", "y": "1.10"}}
    assert arguments.parse_options(words) == expected
