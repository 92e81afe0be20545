"""Bad input ends in one clear line, the right exit code, no traceback and nothing half-written."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from agent.media import spoil
from agent.media.footage import open_footage
from agent.simulate import SimulatedCamera
from tests.e2e.product import command, film, running
from tests.ports import free_port

Start = Callable[..., Awaitable[str]]


@pytest.fixture
async def faulty(tmp_path: Path) -> AsyncIterator[Start]:
    """Start a simulated camera with faults; its URL."""
    cameras = []
    film(tmp_path / "film", still=10, moving=0)

    async def start(*faults: str, **more: str) -> str:
        camera = SimulatedCamera(open_footage(str(tmp_path / "film"), 10.0), faults=faults, **more)
        cameras.append(camera)
        return f"127.0.0.1:{await camera.start('127.0.0.1', 0)}"

    yield start
    for camera in cameras:
        await camera.close()


async def refused(code: int, says: str, *args: str, timeout_s: float = 30) -> str:
    done = await command(*args, timeout_s=timeout_s)
    assert done.process.returncode == code, done.text()
    assert "Traceback" not in done.text()
    assert says in "\n".join(done.err), done.text()
    return done.text()


@pytest.mark.parametrize(
    ("source", "code", "says"),
    [
        ("gopher://camera", 66, "'gopher://' is neither a scheme nor a preset"),
        ("nosuchfile.avi", 66, "no such camera: 'nosuchfile.avi'"),
        ("admin:hunter2@host/", 66, "no such camera: 'host/'"),
        ("a film\nthere", 66, "no such camera: 'a film?there'"),
        ("/dev/video63", 66, "/dev/video63: no such webcam"),
        ("http://", 66, "no such camera"),
    ],
)
async def test_an_unknown_source(source: str, code: int, says: str) -> None:
    text = await refused(code, says, "watch", source, "--port", "0", "--for", "5s")
    assert text.count(says) == 1 and "hunter2" not in text


async def test_a_wrong_password_is_said_once_and_without_it(faulty: Start) -> None:
    at = await faulty(username="admin", password="right")
    text = await refused(77, f"http://{at}/video.cgi", "watch", f"http://admin:hunter2@{at}/video.cgi", "--port", "0")
    assert "hunter2" not in text


async def test_html_instead_of_video(faulty: Start) -> None:
    at = await faulty("html")
    await refused(66, "text/html", "watch", f"http://{at}/video.cgi", "--port", "0")


async def test_no_such_path_on_the_camera(faulty: Start) -> None:
    at = await faulty()
    await refused(66, f"http://{at}/nothing", "watch", f"http://{at}/nothing", "--port", "0")


async def test_nobody_there() -> None:
    port = free_port()
    await refused(69, f"127.0.0.1:{port}", "watch", f"http://127.0.0.1:{port}/video.cgi", "--port", "0", timeout_s=40)


async def test_nobody_there_all_the_time(tmp_path: Path) -> None:
    text = await refused(69, "127.0.0.1:1", "watch", "http://127.0.0.1:1/", "--port", "0", "--for", "2s", "--json")
    assert '"error":"http://127.0.0.1:1/: cannot connect (connection refused)"' in text.splitlines()[1]


@pytest.mark.parametrize("fault", ["empty-part@5+3", "truncate@5+3", "corrupt@5+3", "wrong-length@5+3", "no-length"])
async def test_a_bad_part_costs_no_more_than_itself(faulty: Start, fault: str) -> None:
    at = await faulty(fault)
    done = await command("watch", f"http://{at}/video.cgi", "--port", "0", "--for", "4s", "--json")
    assert done.process.returncode == 0 and "Traceback" not in done.text()
    assert "JPEG data" not in done.text(), "libjpeg's own words, for each picture"
    assert done.events()[-1]["data"]["frames"] >= 10, done.text()


def _without_tables(data: bytes) -> bytes:
    """Its quantisation tables are numbered as none can be: no decoder makes a picture of it."""
    at = data.index(b"\xff\xdb") + 4
    return data[:at] + b"\x77" * 20 + data[at + 20 :]


@pytest.mark.parametrize(
    ("change", "undecodable", "says"),
    [
        (lambda data: spoil.corrupt(data, len(data)), False, "all of them were damaged"),
        (_without_tables, True, "none of them could be decoded"),
    ],
)
async def test_pictures_of_which_nothing_can_be_seen_are_said_to_be_so(
    tmp_path: Path, change: Callable[[bytes], bytes], undecodable: bool, says: str
) -> None:
    film(tmp_path / "film", still=20, moving=20)
    for picture in (tmp_path / "film").iterdir():
        picture.write_bytes(change(picture.read_bytes()))
    done = await command("watch", str(tmp_path / "film"), "--port", "0", "--for", "6s", "--json")
    counts, said = done.events()[-1]["data"], "\n".join(done.err)
    looked = counts["analysed"] + counts["undecodable"]
    assert counts["damaged"] == looked > 10 and counts["undecodable"] == (looked if undecodable else 0)
    assert f"{counts['frames']} pictures came" in said and says in said
    assert "most of the camera's pictures are damaged" in said, "at once, and not only at the end"
    assert "JPEG data" not in said, "libjpeg's own words"


async def test_good_pictures_are_not_called_damaged(tmp_path: Path) -> None:
    film(tmp_path / "film", still=20, moving=0)
    for picture in (tmp_path / "film").iterdir():  # as some webcams do, with each
        picture.write_bytes(picture.read_bytes()[:-2] + b"\0\xff\xd9")
    done = await command("watch", str(tmp_path / "film"), "--port", "0", "--for", "3s", "--json")
    counts = done.events()[-1]["data"]
    assert counts["analysed"] > 0 and counts["damaged"] == 0 and "damaged" not in "\n".join(done.err)


@pytest.mark.parametrize("fault", ["huge-header@5", "endless-part@5"])
async def test_a_monstrous_part_neither_crashes_nor_grows(faulty: Start, fault: str) -> None:
    at = await faulty(fault)
    async with running("watch", f"http://{at}/video.cgi", "--port", "0", "--for", "6s", "--json") as watch:
        await asyncio.sleep(4)
        status = Path(f"/proc/{watch.process.pid}/status").read_text()
        peak_kib = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
        assert await watch.end(None, 20) == 0, watch.text()
        assert "Traceback" not in watch.text()
    assert peak_kib < 250 * 1024


@pytest.mark.parametrize("fault", ["empty-part", "truncate"])
async def test_a_camera_of_which_no_part_is_whole_is_told_of_before_a_short_watch_ends(
    faulty: Start, fault: str
) -> None:
    url = f"http://{await faulty(fault)}/video.cgi"
    says = "30 parts came that are no whole picture: empty, cut off or no JPEG"
    text = await refused(69, says, "watch", url, "--for", "7s", "--port", "0")
    assert f"camera-agent: {url}: {says}" in text.splitlines()[-1]


async def test_a_taken_port(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as s:
        port = s.getsockname()[1]
        await refused(75, f"port {port}", "watch", "demo", "--local", "--port", str(port))
        kept = ("--keep", str(tmp_path / "kept"))
        await refused(75, f"port {port}", "watch", "demo", "--local", "--port", str(port), *kept)
        assert not (tmp_path / "kept").exists(), "nothing half-written"
        await refused(75, f"port {port}", "server", "--port", str(port), "--store", str(tmp_path / "s"))


async def test_an_unwritable_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    where = str(tmp_path / "file" / "kept")
    await refused(73, where, "watch", "demo", "--port", "0", "--keep", where)
    await refused(73, str(tmp_path / "file"), "server", "--port", "0", "--store", where)


@pytest.mark.skipif(os.getuid() != 0, reason="NOT ROOT: a disk that fills up is NOT tested")
async def test_a_disk_that_fills_up_is_no_good_end(tmp_path: Path) -> None:
    film(tmp_path / "film", still=20, moving=60)
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", disk]).returncode:
        pytest.skip("NO MOUNT: a disk that fills up is NOT tested")
    try:
        kept = ("--keep", str(disk / "kept"), "--port", "0", "--for", "8s", "--json")
        says = "items of the events were not stored: the store"
        text = await refused(73, says, "watch", str(tmp_path / "film"), *kept)
        assert text.count("retention in") <= 1, "said once"
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


async def test_what_cannot_be_written_or_read_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    where = str(tmp_path / "file" / "now.jpg")
    for code, says, args in (
        (73, f"{where}: not a directory", ("snapshot", "demo", "-o", where)),
        (78, "give -c FILE (config.example.yaml shows all), or --to and --name", ("flush", "-c", "none.yaml")),
        (78, "none.yaml: No such file", ("dispatch", "-c", "none.yaml", "explain", "setup.cfg")),
        (66, "none: No such file", ("archive", "fsck", "--store", "none", "--ledger", "none")),
        (66, "none.avi: no such clip", ("motion", "none.avi")),
        (69, "http://127.0.0.1:1: Connection refused", ("pair", "X@http://127.0.0.1:1")),
    ):
        assert (await refused(code, says, *args)).count("\n") <= 1


async def test_the_help_says_of_each_command_in_a_line_what_it_does() -> None:
    for group in ((), ("archive",), ("virtual",), ("dispatch",)):
        done = await command(*group, "--help")
        assert done.process.returncode == 0 and done.out
        assert not [line for line in done.out[1:] if line.endswith("...")], "cut short"


async def test_a_wrong_configuration_shows_all_its_errors(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("cameras:\n  porch:\n    source: {type: mjpeg, urll: x}\n  yard: {}\nsinks: []\nlogg: 1\n")
    file = ("-c", str(path))
    for args in (
        ("run", *file),
        ("check", *file),
        ("check", "--offline", *file),
        ("motion", "--tune", "--write", str(path), "porch"),
    ):
        text = await refused(78, "unknown key 'urll', did you mean 'url'?", *args)
        assert "missing key 'cameras.yard.source'" in text and "unknown key 'logg', did you mean 'log'?" in text


async def test_a_configuration_that_cannot_be_read_is_said_to_be_one(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("cameras: {}\n")
    path.chmod(0)
    may_read_all = "-dac_override,-dac_read_search"
    lame = [shutil.which("setpriv") or "setpriv", "--bounding-set", may_read_all] if os.geteuid() == 0 else []
    for args in (("run",), ("check",), ("server",), ("dispatch",)):
        line = [*lame, sys.executable, "-m", "agent.cli", *args, "-c", str(path)]
        done = await asyncio.to_thread(subprocess.run, line, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr.count("\n")) == (78, 1), done.stderr
        assert f"{path}: Permission denied" in done.stderr


async def test_without_a_configuration_it_says_where_one_was_looked_for(tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"
    await refused(78, f"{path}: no such file; give -c FILE", "run", "-c", str(path))


async def test_a_good_configuration_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("cameras: {a: {source: {type: demo}}}\nserver: {}\n")
    done = await command("check", "--offline", "-c", str(path))
    assert done.out == ["ok    1 camera, 0 sinks, a server"] and done.process.returncode == 0


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("run", "--source", "demo"), "give either -c FILE, or --source and --to together"),
        (("run", "--source", "demo", "--to", "gopher://x"), "expected ws://"),
        (("run", "--source", "demo", "--to", "ws://:x@h:99999"), "expected ws://"),
        (("run", "--source", "demo", "--to", "ws://h", "--name", "../x"), "'../x' is no name"),
        (("watch", "--for", "never"), "is no duration"),
        (("watch", "--for", "99999999d"), "longer than ten years"),
        (("watch", "--sensitivity", "11"), "1<=x<=10"),
        (("wach",), "Did you mean 'watch'?"),
        (("simulate", ".", "--fault", "stal"), "stall"),
    ],
)
async def test_a_wrong_command_line(args: tuple[str, ...], says: str) -> None:
    await refused(2, says, *args)


async def test_check_really_connects(faulty: Start) -> None:
    at = await faulty(username="admin", password="right")
    good = await command("check", "--source", f"http://admin:right@{at}/video.cgi", "--to", "ws://127.0.0.1:1")
    assert good.process.returncode == 69
    assert any(line.startswith("ok") and "320x240, 10" in line for line in good.out), good.text()
    assert any(line.startswith("fail") and "ws://127.0.0.1:1" in line for line in good.out), good.text()
    bad = await command("check", "--source", f"http://admin:wrong@{at}/video.cgi", "--to", "ws://127.0.0.1:1")
    assert bad.process.returncode == 77 and "wrong" not in bad.text().replace("wrong password", "")
