"""Cameras of known families: their paths in their order, their way to log in, and what is said when none fits."""

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from agent import sources
from agent.errors import ConfigError, PermanentError, UsageError
from agent.media.footage import open_footage
from agent.simulate import SimulatedCamera
from agent.sources.ipcam import Dcs920Source, IpCameraSource
from agent.sources.presets import PRESETS
from tests.pictures import always, avi, collect, jpegs, raw_server

PICTURES = jpegs(4)
MULTIPART = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace;boundary=frame\r\n\r\n"
NOTHING = b"HTTP/1.0 404 Not Found\r\n\r\n"
PAGE = b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n<html>no video here</html>"
HEAD = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"


def parts(pictures: list[bytes] = PICTURES) -> bytes:
    return b"".join(HEAD % len(p) + p + b"\r\n" for p in pictures)


def paths(name: str) -> dict[str, str]:
    """Path (without a port of its own) → stream or still."""
    row = PRESETS[name]
    both = [(p, "still") for p in row.stills] + [(p, "stream") for p in row.streams]
    return {"/" + p.partition("/")[2]: kind for p, kind in both}


CASES = [(name, kind, path) for name in PRESETS for path, kind in paths(name).items()]


@pytest.mark.parametrize(("name", "kind", "path"), CASES)
@pytest.mark.parametrize("otherwise", [NOTHING, PAGE], ids=["404", "page"])
async def test_each_path_of_each_family_is_found(name: str, kind: str, path: str, otherwise: bytes) -> None:
    """The camera answers at this one path only, and only to its user."""
    asked, password = [], "p&w=1%"
    there = path.replace("{user}", "bob").replace("{password}", "p%26w%3D1%25")

    async def script(head: bytes, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = head.split()[1].decode()
        asked.append(target)
        known = b"Authorization: Basic Ym9iOnAmdz0xJQ==\r\n" in head or PRESETS[name].first == "query"
        if not known:
            writer.write(b'HTTP/1.0 401 No\r\nWWW-Authenticate: Basic realm="x"\r\n\r\n')
        elif target != there:
            writer.write(otherwise)
        elif kind == "stream":
            writer.write(MULTIPART + parts())
        else:
            writer.write(b"HTTP/1.0 200 OK\r\nContent-Type: image/jpeg\r\n\r\n" + PICTURES[0])

    async with raw_server(script) as port:
        source = IpCameraSource("127.0.0.1", port, "bob", password, preset=name, poll_s=0.01)
        frames, _ = await collect(source, 1 if kind == "still" else 4)
    assert [f.data for f in frames[:4]] == (PICTURES if kind == "stream" else [PICTURES[0]] * len(frames[:4]))
    assert asked.count(there) >= 1 and len(asked) <= 2 + len(paths(name)) + (len(frames) if kind == "still" else 0)
    assert "w%3D1" not in source.label and "p&w" not in repr(source)


async def test_a_dcs920_is_found_behind_any_of_its_paths() -> None:
    asked = []

    async def script(head: bytes, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = head.split()[1].decode()
        asked.append(path)
        good = path == "/VIDEO.CGI" and b"Authorization: Basic YWRtaW46" in head
        writer.write(MULTIPART + parts() if good else NOTHING)

    async with raw_server(script) as port:
        source = Dcs920Source.from_url(f"dcs920://127.0.0.1:{port}")
        frames, _ = await collect(source)
        assert [f.data for f in frames] == PICTURES
        assert asked == ["/video.cgi", "/mjpeg.cgi", "/VIDEO.CGI"]
        _, error = await collect(Dcs920Source("127.0.0.1", port, path="/other"))
    assert isinstance(error, PermanentError) and error.exit_code == 66 and "/other" in str(error)


async def test_a_camera_with_stills_only_is_asked_again_and_again(tmp_path: Path) -> None:
    (tmp_path / "film.avi").write_bytes(avi(PICTURES))
    cam = SimulatedCamera(open_footage(str(tmp_path / "film.avi")), fps=50, streams=(), username="admin")
    port = await cam.start()
    frames, _ = await collect(Dcs920Source("127.0.0.1", port, poll_s=0.05), 6)
    await cam.close()
    assert len(frames) == 6 and {f.data for f in frames} <= set(PICTURES) and len({f.data for f in frames}) > 1
    assert [f.index for f in frames] == list(range(6))


async def test_the_fake_camera_is_a_dcs920(tmp_path: Path) -> None:
    (tmp_path / "film.avi").write_bytes(avi(PICTURES))
    cam = SimulatedCamera(open_footage(str(tmp_path / "film.avi")), fps=50, loop=False, username="admin")
    port = await cam.start()
    frames, _ = await collect(Dcs920Source("127.0.0.1", port))
    await cam.close()
    assert [f.data for f in frames] == PICTURES and cam.connections == 1


async def test_a_wrong_password_ends_the_search_at_once() -> None:
    asked = 0

    async def script(_: bytes, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        writer.write(b'HTTP/1.0 401 No\r\nWWW-Authenticate: Basic realm="x"\r\n\r\n')

    async with raw_server(script) as port:
        _, error = await collect(Dcs920Source("127.0.0.1", port, password="wrong"))
    assert asked == 1 and isinstance(error, PermanentError) and error.exit_code == 77


async def test_no_path_is_there() -> None:
    async with raw_server(always(NOTHING)) as port:
        _, error = await collect(Dcs920Source("127.0.0.1", port))
    assert isinstance(error, PermanentError) and error.exit_code == 66
    assert "none of the 8 paths of preset 'dcs920' has pictures" in str(error)


def test_a_path_with_a_port_of_its_own_gives_way_to_the_owners() -> None:
    assert IpCameraSource("cam", preset="esp32cam").label == "http://cam:81/stream"
    assert IpCameraSource("cam", 8000, preset="esp32cam").label == "http://cam:8000/stream"


def test_dcs920_addresses() -> None:
    source = Dcs920Source.from_url("dcs920://bob:se%40cret@cam.lan:8080/")
    assert (source.host, source.port, source.username, source.password) == ("cam.lan", 8080, "bob", "se@cret")
    assert source.label == "http://cam.lan:8080/video.cgi" and "cret" not in repr(source)
    assert Dcs920Source.from_url("dcs920://[::1]").label == "http://[::1]/video.cgi"
    for text in ("dcs920://", "dcs920://u:secret@", "dcs920://u:secret@h:x"):
        with pytest.raises(UsageError) as caught:
            Dcs920Source.from_url(text)
        assert caught.value.exit_code == 66 and "secret" not in str(caught.value)


def test_a_preset_is_a_scheme_on_the_command_line() -> None:
    source = sources.from_text("axis://root:pass@cam:81")
    assert isinstance(source, IpCameraSource) and (source.preset, source.port) == ("axis", 81)
    assert urlsplit(source.label).path == "/axis-cgi/mjpg/video.cgi"
    with pytest.raises(UsageError, match="did you mean 'foscam://'"):
        sources.from_text("fosscam://x")


def test_an_unknown_preset_suggests() -> None:
    with pytest.raises(ConfigError, match="there is no preset 'foscan', did you mean 'foscam'"):
        IpCameraSource("h", preset="foscan")
    with pytest.raises(ConfigError, match="one of dcs920, dcs930"):
        IpCameraSource("h", preset="qqq")
