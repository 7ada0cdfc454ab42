"""Cards and rows: what a person reads in them, and that nothing a stranger wrote becomes markup."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from backends.base import Applied, Basis, Preview, Request
from backends.errors import Outcome
from compare.catalogue import catalogue
from compare.records import Cost, Job, Phase, Run, RunSpec, SavedPicture, SecondStep, Timing
from ui.board.renderer import TITLES, Renderer, format_settings

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
PICTURE = SavedPicture(
    path="pictures/ab/abcdef0123.png",
    sha256="abcdef0123",
    width=128,
    height=128,
    media_type="image/png",
    size=1000,
    seed=7,
)
JOB = Job(id="j1", run_id="r1", model="miniature/diffusion", created_at=NOW)
DONE = replace(
    JOB,
    phase=Phase.ENDED,
    outcome=Outcome.DONE,
    pictures=(PICTURE,),
    timing=Timing(queued=0.0, load=0.4, first_preview=0.1, generate=0.5, total=0.9),
    cost=Cost(amount=Decimal(0), basis=Basis.FREE),
)


def run(*jobs: Job, prompt: str = "a red star") -> Run:
    return Run(id="r1", created_at=NOW, spec=RunSpec(Request(prompt=prompt)), jobs=jobs)


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    return Renderer(catalogue.load())


def test_a_finished_card_shows_picture_time_cost_and_seed(renderer: Renderer) -> None:
    card = renderer.card(run(DONE), DONE)
    for words in (
        "lineup/pictures/abcdef0123.png",
        "0.5 s drawing",
        "load 0.4 s",
        "free",
        "seed 7",
        "Download",
    ):
        assert words in card


def test_a_running_card_shows_step_preview_and_stopwatch(renderer: Renderer) -> None:
    job = replace(JOB, phase=Phase.GENERATING, step=5, steps=20, preview=Preview(b"xyz"))
    card = renderer.card(run(job), job)
    for words in ("step 5/20", "data:image/jpeg;base64,eHl6", "data-elapsed", "width: 25.0%"):
        assert words in card


def test_a_card_that_waits_for_a_person_shows_what_to_copy(renderer: Renderer) -> None:
    job = replace(JOB, message="Paste this", command="/imagine prompt: a <b>star</b> --seed 7")
    card = renderer.card(run(job), job)
    assert "Paste this" in card and 'data-act="copy"' in card
    assert "/imagine prompt: a &lt;b&gt;star&lt;/b&gt; --seed 7" in card
    assert 'data-act="copy"' not in renderer.card(run(DONE), DONE)


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome != Outcome.DONE])
def test_every_bad_end_says_what_happened_and_offers_another_try(
    renderer: Renderer, outcome: Outcome
) -> None:
    job = replace(JOB, phase=Phase.ENDED, outcome=outcome, message="The cat ate it. Feed the cat.")
    card = renderer.card(run(job), job)
    assert TITLES[outcome] in card
    assert "The cat ate it. Feed the cat." in card
    assert 'data-act="retry"' in card


def test_an_input_that_was_not_honoured_is_said(renderer: Renderer) -> None:
    job = replace(DONE, honoured={"seed": Applied(7, None, "seed ignored: it takes none")})
    assert "seed ignored: it takes none" in renderer.card(run(job), job)


def test_nothing_that_a_stranger_wrote_becomes_markup(renderer: Renderer) -> None:
    evil = '"><script>alert(1)</script>'
    failed = replace(
        JOB,
        outcome=Outcome.FAILED,
        message=evil,
        model=f"local/{evil}",
        honoured={"prompt": Applied("a", "b", evil)},
    )
    page = renderer.board(run(failed, DONE, prompt=evil))
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_a_second_try_takes_the_card_and_the_first_stays_in_the_table(renderer: Renderer) -> None:
    failed = replace(JOB, id="j0", outcome=Outcome.FAILED, message="No.")
    page = renderer.board(run(failed, DONE))
    assert page.count("<article") == 1
    assert page.count("<tr id=") == 2
    assert "try 2" in page


def test_unknown_times_and_costs_are_dashes_or_words_never_zero(renderer: Renderer) -> None:
    job = replace(DONE, timing=Timing(total=2.0), cost=Cost(basis=Basis.USAGE))
    row = renderer.row(run(job), job)
    assert row.count("–") == 4
    assert "unknown" in row
    assert "$0" not in row


def test_what_was_not_charged_rests_on_nothing(renderer: Renderer) -> None:
    cost = Cost(amount=Decimal(0), basis=Basis.USAGE)
    refused = replace(JOB, outcome=Outcome.REFUSED, message="No.", cost=cost)
    row = renderer.row(run(refused), refused)
    assert "not charged" in row and "usage" not in row


def test_settings_are_told_only_where_they_differ_from_the_models_own() -> None:
    assert format_settings(RunSpec(Request(prompt="a"))) == ""
    asked = Request(prompt="a", width=512, height=768, seed=0, count=2, guidance_scale=3.5)
    assert format_settings(RunSpec(asked)) == "512×768 · seed 0 · guidance 3.5 · 2 pictures each"


def test_a_cached_picture_is_marked_and_wins_no_race(renderer: Renderer) -> None:
    job = replace(DONE, timing=Timing(total=0.1, cached=True))
    card, row = renderer.card(run(job), job), renderer.row(run(job), job)
    assert "from the cache" in card and "from the cache" in row
    assert "data-drawing" not in card
    assert 'data-drawing="0.5"' in renderer.card(run(DONE), DONE)
    assert 'class="lu-bars" data-column="drawing" data-v=""' in row and "<i>" not in row


def test_a_picture_brought_by_hand_has_its_whole_time_and_wins_no_race(renderer: Renderer) -> None:
    job = replace(DONE, timing=Timing(queued=40.0, total=41.0))
    card = renderer.card(run(job), job)
    assert "41.0 s in all" in card and "data-drawing" not in card
    assert "waited 40.0 s" in card and "<i>" not in renderer.row(run(job), job)
    stopped = replace(job, outcome=Outcome.CANCELLED, message="Stopped.", pictures=())
    assert "41.0 s in all" in renderer.card(run(stopped), stopped)


@pytest.mark.parametrize("short", [False, True], ids=["all pictures", "one is missing"])
def test_who_has_drawn_fewer_pictures_wins_no_race(renderer: Renderer, short: bool) -> None:
    job = DONE if short else replace(DONE, pictures=(PICTURE, PICTURE))
    asked = replace(run(job), spec=RunSpec(Request(prompt="a", count=2)))
    assert ("data-drawing" in renderer.card(asked, job)) is not short


def test_the_wait_of_a_job_is_no_part_of_its_headline(renderer: Renderer) -> None:
    job = replace(DONE, timing=Timing(queued=136.0, load=0.4, generate=8.4, total=145.0))
    card = renderer.card(run(job), job)
    assert "8.4 s drawing" in card and "waited 136 s, load 0.4 s" in card
    row = renderer.row(run(job), job)
    assert '<td class="lu-bars" data-column="drawing" data-v="8.4"><i>' in row
    times = [cell.partition(">")[2].partition("<")[0] for cell in row.split("<td")[3:8]]
    assert times == ["136.0", "0.4", "–", "", "145 s"]  # before the drawing's is its bar


@pytest.mark.parametrize(
    ("phase", "word", "column"),
    [
        (Phase.QUEUED, "waiting", "waited"),
        (Phase.LOADING, "loading", "load"),
        (Phase.GENERATING, "drawing", "drawing"),
    ],
)
def test_a_running_stopwatch_tells_what_it_measures(
    renderer: Renderer, phase: Phase, word: str, column: str
) -> None:
    now = datetime.now(UTC)
    job = replace(
        JOB,
        created_at=now - timedelta(seconds=200),
        phase=phase,
        since=now - timedelta(seconds=8.45),
        expected_seconds=20.0,
        timing=Timing(queued=136.0, load=20.0),
    )
    card, row = renderer.card(run(job), job), renderer.row(run(job), job)
    assert re.search(rf"8\.\d s…</span>\s*<span>{word}<", card)
    cell = row.partition(f'data-column="{column}"')[2].partition("</td>")[0]
    assert 'data-elapsed="8.' in cell
    assert row.count("data-elapsed") == 2 and 'data-elapsed="200.' in row
    drawing = phase is Phase.GENERATING
    assert ("<i>" in row) is drawing
    assert ("about 12 s left" in card) is drawing
    assert ("waited 136 s" in card) is (phase is not Phase.QUEUED)
    assert ("load 20.0 s" in card) is (phase is not Phase.LOADING)
    stepped = replace(job, step=2, steps=3)
    assert ("about 5 s left" in renderer.card(run(stepped), stepped)) is drawing


def test_a_download_is_named_after_its_model(renderer: Renderer) -> None:
    assert 'download="Miniature-diffusion-seed7-abcdef01.png"' in renderer.card(run(DONE), DONE)


def test_each_of_several_pictures_shows_its_own_seed(renderer: Renderer) -> None:
    other = replace(PICTURE, sha256="0123456789", seed=8)
    job = replace(DONE, pictures=(PICTURE, other))
    card = renderer.card(run(job), job)
    assert "seed 7" in card and "seed 8" in card


SECOND = replace(
    DONE,
    id="j2",
    model="miniature/masked",
    parent="j1",
    pictures=(replace(PICTURE, sha256="fedcba3210", path="pictures/fe/fedcba3210.png"),),
    timing=Timing(generate=2.0, total=2.5),
    cost=Cost(amount=Decimal("0.02"), basis=Basis.USAGE),
)
WAITING = replace(JOB, id="j2", model="miniature/masked", parent="j1", phase=Phase.WAITING)
THEN = SecondStep(model="miniature/masked", prompt="a blue star", strength=0.6)


def chain(*jobs: Job) -> Run:
    return replace(run(*jobs), spec=RunSpec(Request(prompt="a red star"), second_step=THEN))


def test_a_second_step_stands_with_the_first_and_says_what_both_took(renderer: Renderer) -> None:
    page = renderer.board(chain(DONE, SECOND))
    pair = page.partition('class="lu-chain"')[2]
    assert pair.index("abcdef0123") < pair.index("lu-arrow") < pair.index("fedcba3210")
    card = renderer.card(chain(DONE, SECOND), SECOND)
    assert "from Miniature diffusion" in card and "a blue star" in card
    assert "2.5 s drawing · $0.02" in card
    unknown = replace(SECOND, timing=Timing(total=2.5))
    assert "3.4 s in all · $0.02" in renderer.card(chain(DONE, unknown), unknown)
    assert "both steps" not in renderer.card(chain(DONE, SECOND), DONE)
    row = renderer.row(chain(DONE, SECOND), SECOND)
    assert "second step, from Miniature diffusion" in row and "try" not in row


def test_a_second_step_competes_with_no_first_one(renderer: Renderer) -> None:
    card = renderer.card(chain(DONE, SECOND), SECOND)
    assert "data-drawing" not in card and "data-amount" not in card


def test_a_second_step_waits_without_a_stopwatch(renderer: Renderer) -> None:
    started = replace(JOB, phase=Phase.GENERATING)
    card = renderer.card(chain(started, WAITING), WAITING)
    assert "Waits for the first step" in card and 'data-act="stop"' in card
    assert "data-elapsed" not in card and "lu-pulse" not in card and "lu-bar" not in card
    assert "data-elapsed" not in renderer.row(chain(started, WAITING), WAITING)


def test_a_second_step_that_was_not_begun_says_so_and_offers_nothing(renderer: Renderer) -> None:
    failed = replace(JOB, phase=Phase.ENDED, outcome=Outcome.FAILED, message="No.")
    left = replace(WAITING, phase=Phase.ENDED, outcome=Outcome.CANCELLED, message="Not begun: X.")
    card = renderer.card(chain(failed, left), left)
    assert card.count("Not begun") == 1 and "<p>X.</p>" in card
    assert "Stopped" not in card and 'data-act="retry"' not in card
    stopped = replace(left, message="Stopped.")
    assert 'data-act="retry"' in renderer.card(chain(DONE, stopped), stopped)


def test_the_same_model_twice_has_a_card_for_each_step(renderer: Renderer) -> None:
    again = replace(SECOND, model=DONE.model)
    page = renderer.board(chain(DONE, again))
    assert page.count("<article") == 2 and page.count('class="lu-chain"') == 1
    tried = replace(SECOND, id="j3")
    page = renderer.board(chain(DONE, SECOND, tried))
    assert page.count("<article") == 2 and page.count("try 2") == 1


def test_the_settings_tell_of_the_second_step() -> None:
    asked = RunSpec(Request(prompt="a", image=b"x"), second_step=THEN)
    assert format_settings(asked, str.upper) == (
        "from a start picture · then MINIATURE/MASKED at strength 0.6: “a blue star”"
    )
