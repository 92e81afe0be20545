"""The example files are true: they parse, also with everything uncommented, and name every option."""

import dataclasses
import re
from pathlib import Path
from typing import Any

from agent import app, hosted, sinks, sources
from agent.motion import MotionSettings
from agent.recorder import EventSettings
from agent.server.app import ServerSettings
from agent.spool.settings import SpoolSettings

ROOT = Path(__file__).parent.parent


def uncommented(name: str, tmp_path: Path) -> Path:
    """The example with each `# key:` line made real."""
    text = (ROOT / name).read_text()
    text = re.sub(r"^( *)# ( *(?:- )?[a-z_]+:(?: |$))", r"\1\2", text, flags=re.M)
    path = tmp_path / name
    path.write_text(text)
    return path


def test_the_agents_example_parses(tmp_path: Path) -> None:
    config = app.load(ROOT / "config.example.yaml")
    assert [c.name for c in config.cameras] == ["porch", "yard", "desk"]
    assert config.cameras[0].source.label == "http://192.168.0.20/video.cgi"


def test_every_option_of_the_agent_is_in_the_example(tmp_path: Path) -> None:
    path = uncommented("config.example.yaml", tmp_path)
    config = app.load(path)
    assert {c.name for c in config.cameras} >= {"porch", "yard", "desk", "hall", "scene"}
    text = path.read_text()
    kinds: list[Any] = [*sources.KINDS.values(), *sinks.KINDS.values()]
    classes = [k.load() for k in kinds]
    for cls in (*classes, MotionSettings, EventSettings, SpoolSettings):
        for field in (f for f in dataclasses.fields(cls) if f.init):
            assert re.search(rf"\b{field.name}:", text), f"{cls.__name__}.{field.name} is not in config.example.yaml"
    assert set(re.findall(r"type: ([a-z0-9]+)", text)) == {*sources.KINDS, *sinks.KINDS}


def test_what_the_example_calls_a_default_is_one(tmp_path: Path) -> None:
    plain = app.load(ROOT / "config.example.yaml")
    full = app.load(uncommented("config.example.yaml", tmp_path))
    for camera in plain.cameras:
        twin = next(c for c in full.cameras if c.name == camera.name)
        assert (camera.motion, camera.events) == (twin.motion, twin.events)
        for name in ("connect_timeout_s", "stall_timeout_s", "width", "height", "port", "poll_s"):
            assert getattr(camera.source, name, None) == getattr(twin.source, name, None)
    assert (plain.outbox_mib, plain.spool.durability) == (full.outbox_mib, full.spool.durability)


def test_every_option_of_the_server_is_in_its_example(tmp_path: Path) -> None:
    assert hosted.load(ROOT / "server.example.yaml", None, None).server == ServerSettings()
    path = uncommented("server.example.yaml", tmp_path)
    full = hosted.load(path, None, None).server
    assert full.public_url == "https://cameras.example.org"
    for field in dataclasses.fields(ServerSettings):
        assert field.name == "max_bytes" or f"{field.name}:" in path.read_text()
