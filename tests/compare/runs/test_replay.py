"""The previews that are kept: a bounded number of a job, and of all jobs together."""

from backends.base import Preview
from compare.runs.replay import MOST_BYTES, MOST_PREVIEWS, Replays


def test_previews_come_back_in_their_order() -> None:
    replays = Replays()
    shown = [Preview(bytes([number])) for number in range(5)]
    for preview in shown:
        replays.add("job", preview)
    assert list(replays.of("job")) == shown
    assert replays.of("another") == ()


def test_of_many_steps_some_of_the_whole_way_are_kept() -> None:
    replays = Replays()
    for number in range(1000):
        replays.add("job", Preview(number.to_bytes(2)))
    numbers = [int.from_bytes(preview.data) for preview in replays.of("job")]
    assert len(numbers) <= MOST_PREVIEWS
    assert numbers == sorted(numbers) and numbers[0] == 0 and numbers[-1] > 900


def test_the_oldest_jobs_give_way() -> None:
    replays = Replays()
    for number in range(6):
        replays.add(str(number), Preview(bytes(MOST_BYTES // 4)))
    assert replays.of("0") == () and len(replays.of("5")) == 1
