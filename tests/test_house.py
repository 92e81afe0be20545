"""The house rules that a machine can hold: who may import whom, what start-up loads, how long a file may be."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "agent"
BASE = {"errors", "clock", "frame", "schema"}
ROOTS = {
    "app",
    "check",
    "cli",
    "commands",
    "console",
    "flush",
    "hosted",
    "portal",
    "pulse",
    "remote",
    "simulate",
    "status",
    "watch",
}
MAY = {
    "__init__": set(),
    "errors": set(),
    "schema": set(),
    "exits": set(),
    "clock": set(),
    "frame": set(),
    "systemd": set(),
    "memory": {"trust"},
    "pins": set(),
    "trust": {"errors", "pins"},
    "threads": set(),
    "durable": set(),
    "cloudevents": set(),
    "media": BASE,
    "hub": BASE,
    "recorder": BASE,
    "frozen": BASE,
    "supervise": BASE,
    "judge": BASE,
    "why": BASE,
    "privacy": BASE | {"motion", "sources"},
    "dispatch": BASE,
    "config": {"errors", "schema"},
    "outbox": BASE | {"spool"},
    "armed": BASE | {"durable"},
    "spool": BASE | {"durable", "media"},
    "control": BASE,
    "motion": BASE | {"media"},
    "sources": BASE | {"media"},
    "discover": BASE | {"sources"},
    "trial": BASE | {"media", "sources"},
    "sinks": BASE | {"media", "hub", "outbox", "pins", "threads", "trust"},
    "pipeline": BASE
    | {"frozen", "hub", "judge", "media", "motion", "outbox", "recorder", "sinks", "sources", "supervise", "why"},
    "server": BASE
    | {
        "config",
        "media",
        "hub",
        "recorder",
        "supervise",
        "dispatch",
        "motion",
        "sinks",
        "outbox",
        "sources",
        "cloudevents",
        "durable",
        "memory",
        "pins",
        "trust",
        "why",
    },
    "simulate": BASE | {"media"},
}
PROTOCOLS_ONLY = {"pipeline": {"agent.sources", "agent.sinks", "agent.motion"}}


def room(module: str) -> str:
    """`agent.media.clip` is in `media`."""
    return module.split(".")[1] if module.count(".") else "__init__"


def imports() -> list[tuple[str, str, Path]]:
    """(room, imported module of ours, file) for every import anywhere in a file."""
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        here = path.relative_to(ROOT).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: relative import"
                names = [node.module or ""]
                if node.module == "agent":
                    names = [f"agent.{a.name}" for a in node.names if (ROOT / a.name).with_suffix(".py").exists()]
                    names += [f"agent.{a.name}" for a in node.names if (ROOT / a.name).is_dir()]
                if node.module == "agent.server":
                    names += [f"agent.server.{a.name}" for a in node.names]
            elif isinstance(node, ast.Import):
                names = [a.name for a in node.names]
            else:
                continue
            found += [(here, n, path) for n in names if n.split(".")[0] == "agent"]
    return found


def test_rooms_import_only_what_the_house_allows() -> None:
    wrong = []
    for here, module, path in imports():
        target = room(module)
        if here in ROOTS - {"simulate"} or target in (here, "__init__"):
            continue
        if target not in MAY[here] | ({"exits"} if here not in BASE else set()):
            wrong.append(f"{path.relative_to(ROOT)} imports {module}")
        elif target in ("sources", "sinks", "motion") and here in PROTOCOLS_ONLY and module.count(".") > 1:
            wrong.append(f"{path.relative_to(ROOT)} imports {module}, not its protocol")
    assert not wrong, "\n".join(wrong)


def test_nothing_but_a_command_imports_a_composition_root() -> None:
    wrong = [f"{p.relative_to(ROOT)}: {m}" for here, m, p in imports() if room(m) in ROOTS and here not in ROOTS]
    assert not wrong, wrong


@pytest.mark.parametrize(
    ("module", "never"),
    [
        ("agent.cli", ("numpy", "cv2", "aiohttp", "yaml")),
        ("agent.app", ("numpy", "cv2", "aiohttp.web", "agent.server")),
        ("agent.server.app", ("numpy", "cv2", "agent.pipeline", "agent.sources")),
        ("agent.simulate", ("numpy", "cv2", "aiohttp")),
    ],
)
def test_start_up_loads_only_what_it_needs(module: str, never: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print([m for m in {never!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]", f"import {module} loads {out.stdout}"


def test_only_one_folder_knows_which_database_it_is() -> None:
    """SQL and sqlite3 stand in `agent/server/sqlite`; only the rooms that open an index may name that folder."""
    home = ROOT / "server" / "sqlite"
    openers = {ROOT / "server" / name for name in ("app.py", "archive.py", "fsck.py", "rebuild.py")}
    sql = re.compile(r"SELECT .*FROM |INSERT (OR \w+ )?INTO |UPDATE \w+ SET |DELETE FROM |PRAGMA |\.execute(many)?\(")
    wrong, ours = [], imports()
    for path in sorted(ROOT.rglob("*.py")):
        if home in path.parents:
            continue
        text = path.read_text()
        named = {a.name for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Import) for a in n.names}
        named |= {n.module or "" for n in ast.walk(ast.parse(text)) if isinstance(n, ast.ImportFrom)}
        named |= {m for _, m, p in ours if p == path}
        if "sqlite3" in named or sql.search(text):
            wrong.append(f"{path.relative_to(ROOT)} speaks SQL")
        if any(n.startswith("agent.server.sqlite") for n in named) and path not in openers:
            wrong.append(f"{path.relative_to(ROOT)} names the database")
    assert not wrong, "\n".join(wrong)


def test_files_stay_readable() -> None:
    long = {str(p.relative_to(ROOT)): n for p in ROOT.rglob("*.py") if (n := len(p.read_text().splitlines())) > 400}
    assert not long


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        str(p.relative_to(ROOT))
        for p in ROOT.rglob("*.py")
        if p.stat().st_size and not ast.get_docstring(ast.parse(p.read_text()))
    ]
    assert not silent


def test_no_link_leads_out_of_the_project() -> None:
    """What is handy on one machine (tools, a data set) is not there on another."""
    if not (ROOT.parent / ".git").exists():
        pytest.skip("this is no clone")
    listed = subprocess.run(("git", "ls-files", "-s"), cwd=ROOT.parent, check=True, capture_output=True, text=True)
    assert [line for line in listed.stdout.splitlines() if line.startswith("120000")] == []
