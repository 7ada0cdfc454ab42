import pytest

from backends.base import Receipt
from compare.runs.stopwatch import Activity, Stopwatch


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_each_second_goes_to_one_part(clock: Clock):
    watch = Stopwatch(clock)
    clock.now += 1  # in the lane
    watch.start_work()
    clock.now += 2  # before the first event: imports, and the request is prepared
    watch.switch_to(Activity.QUEUED)
    clock.now += 4  # a server's queue
    watch.switch_to(Activity.LOAD)
    clock.now += 8
    watch.switch_to(Activity.GENERATE)
    clock.now += 16
    watch.record_preview()
    clock.now += 32
    watch.record_preview()
    watch.record_picture()
    clock.now += 64  # keeping it
    watch.record_stored()
    clock.now += 128  # the receipt takes its time
    times = watch.read(ended=True)
    assert (times.queued, times.load, times.generate) == (5, 10, 48)
    assert times.first_preview == 16  # of drawing
    assert times.total == 127  # from the click to the last byte on disk
    assert times.download is None


def test_the_backend_knows_better(clock: Clock):
    watch = Stopwatch(clock)
    watch.start_work()
    clock.now += 10
    watch.record_picture()
    assert watch.read(Receipt(download=3)).generate == 7
    assert watch.read(Receipt(download=30)).generate == 0
    times = watch.read(Receipt(load=1, generate=2, download=3))
    assert (times.load, times.generate, times.download) == (1, 2, 3)
    assert watch.read(Receipt(queued=4)).queued == 4  # what no event told of


@pytest.mark.parametrize("receipt", [None, Receipt(load=4)], ids=["events", "the backend's"])
def test_preparation_is_load_and_never_drawing(clock: Clock, receipt: Receipt | None):
    watch = Stopwatch(clock)
    watch.start_work()
    clock.now += 5  # a client library is imported
    watch.switch_to(Activity.LOAD)
    clock.now += 4
    watch.switch_to(Activity.GENERATE)
    clock.now += 3
    assert watch.seconds_so_far() == 3
    watch.record_picture()
    times = watch.read(receipt)
    assert (times.load, times.generate) == (9, 3)


@pytest.mark.parametrize("reports", ["a step", "only the picture"])
def test_what_a_backend_reports_late_was_drawn_before(clock: Clock, reports: str):
    watch = Stopwatch(clock)
    watch.start_work()
    clock.now += 5
    if reports == "a step":
        watch.switch_to(Activity.GENERATE, began_before=True)
    watch.record_picture()
    times = watch.read()
    assert (times.load, times.generate) == (None, 5)


def test_when_drawing_began_while_weights_were_loaded_is_unknown(clock: Clock):
    watch = Stopwatch(clock)
    watch.start_work()
    watch.switch_to(Activity.LOAD)
    clock.now += 5
    watch.record_picture()
    assert watch.read().generate is None


def test_a_picture_that_a_person_brings_has_no_time_of_its_own(clock: Clock):
    watch = Stopwatch(clock)
    watch.start_work()
    watch.switch_to(Activity.GENERATE, began_before=True)  # the bot has seen it begin
    clock.now += 60
    watch.record_by_hand()
    watch.record_picture()
    watch.record_stored()
    times = watch.read(ended=True)
    assert (times.generate, times.total) == (None, 60)


def test_what_did_not_happen_is_none(clock: Clock):
    watch = Stopwatch(clock)
    clock.now += 5
    times = watch.read(ended=True)
    assert (times.queued, times.total) == (5, 5)
    assert (times.load, times.first_preview, times.generate, times.download) == (None,) * 4
    watch.start_work()
    clock.now += 5
    assert watch.read(ended=True).generate is None  # no picture was drawn
    assert watch.read().total is None  # it has not ended


def test_a_picture_out_of_a_cache_was_not_drawn(clock: Clock):
    watch = Stopwatch(clock)
    watch.start_work()
    clock.now += 3
    watch.record_picture()
    watch.record_stored()
    times = watch.read(Receipt(generate=0.1, cached=True), ended=True)
    assert (times.cached, times.generate, times.total) == (True, None, 3)


@pytest.mark.parametrize("again", [False, True], ids=["one wait", "two waits"])
def test_a_look_counts_from_the_end_of_the_wait(clock: Clock, again: bool):
    watch = Stopwatch(clock)
    watch.start_work()
    for seconds in (5, 7) if again else (5,):
        clock.now += 1
        watch.switch_to(Activity.QUEUED)  # behind other jobs, or until a service takes more
        clock.now += seconds
        watch.switch_to(Activity.GENERATE)
    clock.now += 3
    watch.record_preview()
    watch.record_picture()
    times = watch.read()
    assert (times.first_preview, times.generate) == (3, 3)
    assert (times.load, times.queued) == ((1, 13) if again else (1, 5))  # nor was it drawn between


def test_a_picture_that_comes_while_the_job_waits_has_no_time_of_its_own(clock: Clock):
    watch = Stopwatch(clock)
    watch.start_work()
    clock.now += 1
    watch.switch_to(Activity.QUEUED)
    clock.now += 60
    for _ in range(2):
        watch.record_picture()
        watch.record_stored()
    assert watch.read(ended=True).generate is None
    assert watch.read(Receipt(generate=8)).generate == 8  # the backend knows
