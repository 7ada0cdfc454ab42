"""Run every benchmark: `python -m tests.bench [NAME ...]`. Ratios only; nothing is asserted."""

import importlib
import sys
from pathlib import Path

from backends.threads import set_wait_policy
from tests.bench.report import show


def main() -> None:
    """Run the benchmarks that are named, or all."""
    set_wait_policy()
    here = Path(__file__).parent
    known = sorted(path.stem.removeprefix("bench_") for path in here.glob("bench_*.py"))
    for name in sys.argv[1:] or known:
        print(f"--- {name}", flush=True)
        show(importlib.import_module(f"tests.bench.bench_{name}").main())


if __name__ == "__main__":
    main()
