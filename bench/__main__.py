"""Runs the topics that are named, or all: each is a file of this folder with `main()`, which prints its figures."""

import importlib
import pkgutil
import sys

import bench

NOT_TOPICS = {"__main__", "footage", "measure"}


def topics() -> list[str]:
    return sorted(m.name for m in pkgutil.iter_modules(bench.__path__) if m.name not in NOT_TOPICS)


def run(names: list[str]) -> int:
    known = topics()
    if unknown := [n for n in names if n not in known]:
        print(f"no such topic: {', '.join(unknown)} (known: {', '.join(known)})", file=sys.stderr)
        return 2
    for name in names or known:
        module = importlib.import_module(f"bench.{name}")
        print(f"\n== {name}: {(module.__doc__ or '').splitlines()[0]}", flush=True)
        module.main()
    return 0


sys.exit(run(sys.argv[1:]))
