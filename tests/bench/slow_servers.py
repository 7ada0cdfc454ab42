"""The servers of OpenAI and of Google in a process of their own, each answer after a delay.

`python -m tests.bench.slow_servers --delay 2` prints both addresses and serves until it is ended.
"""

import argparse
import signal

from tests.servers import google, pictures
from tests.servers.google import GoogleServer
from tests.servers.openai import OpenAIServer
from tests.servers.openai_script import Script


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--delay", type=float, default=2.0)
    delay = parser.parse_args().delay
    picture = pictures.noise()
    answers = google.Script(delay=delay, picture=picture)
    with (
        OpenAIServer(Script(delay=delay, picture=picture)) as first,
        GoogleServer(answers) as other,
    ):
        print(first.base_url, other.origin, flush=True)
        signal.pause()


if __name__ == "__main__":
    main()
