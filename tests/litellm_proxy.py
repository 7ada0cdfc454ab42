"""Compare answers through a real LiteLLM proxy with those of the service itself.

The proxy is no dependency: `docs/litellm.md` says how it is installed and started. It must stand
before the small OpenAI server that this command starts.

    python -m tests.litellm_proxy --proxy http://127.0.0.1:4000/v1 --key sk-master-1234567890
"""

import argparse
import asyncio
import os
import tempfile
from dataclasses import replace

from backends.base import Request
from compare.lineup import Lineup, open_lineup
from compare.records import Job, RunSpec
from compare.settings import Settings
from tests.servers import pictures
from tests.servers.openai import OpenAIServer
from tests.servers.openai_script import Script, failing

MODEL = "openai/gpt-image-2"
GOOD = Script(picture=pictures.plain(1024, 1024))
REFUSAL = "Your request was rejected by the safety system. safety_violations=[violence]."
CASES: dict[str, tuple[Script, Request, str]] = {
    "one picture": (GOOD, Request(prompt="a lighthouse"), ""),
    "one with previews": (GOOD, Request(prompt="a", options={"openai": {"stream": "on"}}), ""),
    "once more with previews": (
        GOOD,
        Request(prompt="a", options={"openai": {"stream": "on"}}),
        "",
    ),
    "three pictures": (GOOD, Request(prompt="a lighthouse", count=3), ""),
    "no usage": (replace(GOOD, usage=None), Request(prompt="a"), ""),
    "400 moderation": (failing(400, "moderation_blocked", REFUSAL), Request(prompt="a"), ""),
    "400 bad value": (failing(400, "invalid_value", "Invalid size."), Request(prompt="a"), ""),
    "401": (failing(401, "invalid_api_key", "Incorrect API key."), Request(prompt="a"), ""),
    "403": (failing(403, None, "Your organization must be verified."), Request(prompt="a"), ""),
    "429": (failing(429, "rate_limit_exceeded", "Slow down."), Request(prompt="a"), ""),
    "429 no credit": (
        failing(429, "insufficient_quota", "You exceeded your current quota."),
        Request(prompt="a"),
        "",
    ),
    "500": (failing(500, "server_error", "The server had an error."), Request(prompt="a"), ""),
    "a wrong virtual key": (GOOD, Request(prompt="a"), "sk-wrong-1234567890"),
    "a broken answer": (replace(GOOD, cut=5000, stream=False), Request(prompt="a"), ""),
    "a broken stream": (
        replace(GOOD, cut=5000),
        Request(prompt="a", options={"openai": {"stream": "on"}}),
        "",
    ),
}


async def job_of(lineup: Lineup, request: Request) -> Job:
    """Draw one job and return its end."""
    run = await lineup.runner.start(RunSpec(request), [MODEL])
    last = run.jobs[0]
    async for job in lineup.runner.watch(run.id):
        last = job
    return last


def told(job: Job, requests: int) -> str:
    """Return what a person sees of a job, in a line."""
    cost = "unknown" if job.cost.amount is None else f"${job.cost.amount:f}"
    count = len(job.pictures)
    return f"{job.outcome}; {count} pictures; cost {cost}; {requests} requests. {job.message}"


async def main(proxy: str, key: str, port: int) -> None:
    """Run every case directly and through the proxy, and print both."""
    with tempfile.TemporaryDirectory() as home, OpenAIServer(GOOD, port=port) as server:
        os.environ["LINEUP_HOME"] = home
        for way, address, usual in (("direct", server.base_url, "sk-x"), ("proxy", proxy, key)):
            os.environ["OPENAI_BASE_URL"] = address
            async with open_lineup(Settings.read()) as lineup:
                for name, (script, request, other) in CASES.items():
                    os.environ["OPENAI_API_KEY"] = other or usual
                    server.usual, before = script, len(server.generations)
                    job = await job_of(lineup, request)
                    asked = len(server.generations) - before
                    print(f"{name} | {way} | {told(job, asked)}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--proxy", default="http://127.0.0.1:4000/v1")
    parser.add_argument("--key", default="sk-master-1234567890")
    parser.add_argument("--port", type=int, default=8399)
    parsed = parser.parse_args()
    asyncio.run(main(parsed.proxy, parsed.key, parsed.port))
