"""Configuration files: every error shows file, line, column and key, all at once, and a suggestion where it can."""

from pathlib import Path

import pytest

from agent import app
from agent.errors import ConfigError

GOOD = """
cameras:
  porch:
    source: {type: mjpeg, url: "http://127.0.0.1:1/video.cgi"}
    motion: {sensitivity: 7}
    events: {pre_roll_s: 3}
sinks:
  - {type: websocket, url: "ws://127.0.0.1:2", token: abc}
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return path


def errors(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as e:
        app.load(write(tmp_path, text))
    return str(e.value).replace(str(tmp_path) + "/", "").splitlines()


def test_a_good_file(tmp_path: Path) -> None:
    config = app.load(write(tmp_path, GOOD))
    (camera,) = config.cameras
    assert (camera.name, camera.motion.sensitivity, camera.motion.analyses_per_s) == ("porch", 7, 5.0)
    assert (camera.events.pre_roll_s, camera.events.post_roll_s) == (3.0, 5.0)
    assert camera.source.label == "http://127.0.0.1:1/video.cgi"
    assert config.sinks[0].label == "ws://127.0.0.1:2"


def test_an_unknown_key_is_shown_with_line_column_caret_and_suggestion(tmp_path: Path) -> None:
    lines = errors(tmp_path, GOOD.replace("sensitivity: 7", "sensitivty: 7"))
    assert lines[0] == "config.yaml:5:14: error: unknown key 'sensitivty', did you mean 'sensitivity'?"
    assert lines[1] == "     5 |     motion: {sensitivty: 7}"
    assert lines[2].rstrip() == "       |" + " " * 14 + "^" * 10


def test_all_errors_come_at_once_in_the_files_order(tmp_path: Path) -> None:
    text = GOOD.replace("type: mjpeg, url", "type: mjpeg, urll").replace("sensitivity: 7", "sensitivity: 70")
    text = text.replace("type: websocket", "type: websockets").replace("pre_roll_s: 3", "pre_roll_s: often")
    found = [line for line in errors(tmp_path, text) if "error:" in line]
    assert [int(line.split(":")[1]) for line in found] == sorted(int(line.split(":")[1]) for line in found)
    said = "\n".join(found)
    assert "unknown key 'urll', did you mean 'url'?" in said
    assert "missing key 'cameras.porch.source.url'" in said
    assert "cameras.porch.motion.sensitivity: input should be less than or equal to 10" in said
    assert "cameras.porch.events.pre_roll_s: input should be a valid number" in said
    assert "unknown type 'websockets', did you mean 'websocket'? (one of websocket" in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("cameras: [", "not YAML"),
        ("cameras: {}\nsinks: []", "config.yaml:1:10: error: cameras: names no camera"),
        ("cameras:\n  a: {source: {type: demo}}\n", "config.yaml:1:1: error: nowhere to send to"),
        (
            "cameras:\n  a: {source: {type: demo}}\n  a: {source: {type: demo}}\n",
            "key 'a' stands twice, first in line 2",
        ),
        ("cameras:\n  Übung: {source: {type: demo}}\n", "is no name (a-z, 0-9 and -, at most 63)"),
        ("cameras:\n  a: {source: {url: x}}\n", "cameras.a.source: missing key 'type' (one of mjpeg, dcs920"),
        ("cameras: 7\n", "expected a mapping"),
        ("cameras:\n  a: {source: {type: demo}}\nsinks: {type: websocket}\n", "sinks: expected a list"),
        (
            GOOD.replace("pre_roll_s: 3", "pre_roll_s: 0, post_roll_s: 1, merge_gap_s: 5"),
            "frames between merged events",
        ),
        (GOOD.replace("token: abc", "token: 123"), "sinks[0].token: expected text: write it in quotes"),
        (GOOD.replace("sensitivity: 7", "sensitivity: !odd 7"), "config.yaml:5:27: error: not a plain value"),
        (GOOD.replace("sensitivity: 7", "sensitivity: !!int x"), "config.yaml:5:27: error: not a plain value: its tag"),
        (
            GOOD.replace("sensitivity: 7", "sensitivity: !!bool x"),
            "config.yaml:5:27: error: not a plain value: its tag",
        ),
        (GOOD + "server: {public_url: 'http://[cam]'}\n", "server: public_url: expected http://host[:port] or https:"),
        (GOOD + "server: {public_url: 'http://cam:99999'}\n", "server: public_url: expected http://host[:port]"),
        (
            GOOD + "server: {notify: [{type: webhook, url: 'http://[cam]'}]}\n",
            "url: expected http://host[:port] or https:",
        ),
        (GOOD.replace("ws://", "http://"), "sinks[0]: url: expected ws://host[:port] or wss://host[:port]"),
        (GOOD.replace("127.0.0.1:2", "127.0.0.1:99999"), "sinks[0]: url: expected ws://"),
        (GOOD + "log: {level: loud}\n", "level 'loud' is not one of"),
        (GOOD + "outbox_mib: 0\n", "outbox_mib: input should be greater than or equal to 1"),
    ],
)
def test_each_mistake_is_named(tmp_path: Path, text: str, message: str) -> None:
    assert message in "\n".join(errors(tmp_path, text))


def test_mistakes_inside_lists_are_shown_where_they_are(tmp_path: Path) -> None:
    motion = "{sensitivity: '7', zones: [{name: a, points: [[0, 0], [1, x], [1, 1]], nam: b}, {points: []}]}"
    found = [line for line in errors(tmp_path, GOOD.replace("{sensitivity: 7}", motion)) if "error:" in line]
    assert [line.partition("cameras.porch.motion.")[2].rstrip("'") for line in found] == [
        "sensitivity: input should be a valid integer: write it without quotes",
        "zones[0].points[1][1]: input should be a valid number",
        "zones[0].nam: unknown key 'nam",
        "zones[1].name",
    ]
    text = f"    motion: {motion}"
    places = [text.index(word) + 1 for word in ("'7'", "x]", "b}", "{points")]
    assert [line.split(":")[1:3] for line in found] == [["5", str(n)] for n in places]


def test_a_file_without_end_is_not_read_to_its_end() -> None:
    with pytest.raises(ConfigError, match="/dev/zero: longer than"):
        app.load(Path("/dev/zero"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"cameras:\n\tporch: 1\n", ":2:1: error: not YAML: a tab: indent with spaces"),
        ("cameras:\n  porch: 'ä\0'\n".encode(), ":2:12: error: not YAML: unacceptable character #x0000"),
        ("cameras:\n  pörch: 1\n".encode("latin-1"), ":2:4: error: not UTF-8 text"),
        (b"cameras: {}\nserver: {}\nlog: {level: " + b"x" * 900_000 + b"}\n", ":3:6: error: log: level 'xxx"),
        (b"{" + b",".join(b"key%d: 1" % i for i in range(60_000)) + b"}\n", "and 59801 more errors"),
    ],
    ids=["tab", "nul", "latin", "long", "many"],
)
def test_what_is_hardly_a_file_is_an_error_at_its_place_in_few_words(tmp_path: Path, text: bytes, says: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(text)
    with pytest.raises(ConfigError) as e:
        app.load(path)
    assert says in str(e.value) and len(str(e.value)) < 200_000
    assert max(map(len, str(e.value).splitlines())) < 1000


def test_a_long_line_is_shown_around_its_error(tmp_path: Path) -> None:
    lines = errors(tmp_path, f"cameras: {{{' ' * 5000}a: {{source: {{type: demos}}}}{' ' * 5000}}}\nserver: {{}}\n")
    assert "unknown type 'demos', did you mean 'demo'?" in lines[0]
    assert max(map(len, lines[1:])) < 200
    at = lines[2].index("^")
    assert lines[1][at : at + 5] == "demos"


@pytest.mark.parametrize(
    "line",
    [
        'source: {type: mjpeg, url: "http://admin:hunter2@127.0.0.1:1/video.cgi", x: 1}',
        "source: {type: mjpeg, url: http://h/?user=admin&pwd=hunter2, x: 1}",
        "source: {type: dcs920, host: h, password: hunter2, x: 1}",
        "source: {type: dcs920, host: h, 'password' : 'one hunter2', x: 1}",
        "source: {type: dcs920, host: h, password: [hunter2], x: 1}",
        'source: {type: dcs920, host: h, password: "\\"hunter2", x: 1}',
    ],
)
def test_an_error_beside_a_secret_does_not_show_it(tmp_path: Path, line: str) -> None:
    lines = errors(tmp_path, f"cameras:\n  a:\n    {line}\nserver: {{}}\n")
    assert "hunter2" not in "\n".join(lines)
    shown, carets = next((lines[i + 1], lines[i + 2]) for i, found in enumerate(lines) if "unknown key 'x'" in found)
    assert shown[carets.index("^")] == "x" and shown.endswith(", x: 1}")


@pytest.mark.parametrize(
    "line",
    [
        "source: {type: dcs920, host: h, pasword: hunter2}",
        "source: {type: dcs920, host: h, 'Pass' : 'hunter2'}",
        "source: {type: mjpeg, url: 'http://u:p@ss:hunter2@h:99999/'}",
        "source: {type: mjpeg, url: 'http://u:p/hunter2@h/'}",
        "tokenn: hunter2 and hunter2",
    ],
)
def test_an_error_that_is_a_secrets_own_does_not_show_it(tmp_path: Path, line: str) -> None:
    text = "\n".join(errors(tmp_path, f"cameras:\n  a:\n    {line}\nserver: {{}}\n"))
    assert "***" in text and "hunter2" not in text


def test_an_error_at_a_secret_does_not_show_it(tmp_path: Path) -> None:
    source = "type: dcs920\n      host: h\n      password: hunter2, hunter2\n      password: hunter2 hunter2\n"
    lines = errors(tmp_path, f"cameras:\n  a:\n    source:\n      {source}server: {{}}\n")
    assert "key 'password' stands twice" in lines[0] and "hunter2" not in "\n".join(lines)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.yaml: No such file"):
        app.load(tmp_path / "gone.yaml")


def test_yaml_surprises_stay_text(tmp_path: Path) -> None:
    config = app.load(write(tmp_path, GOOD.replace("token: abc", "token: 'off'").replace("porch:", "010:")))
    assert config.cameras[0].name == "010"


def test_secrets_do_not_show(tmp_path: Path) -> None:
    text = GOOD.replace("http://127", "http://admin:hunter2@127").replace("token: abc", "token: hunter2")
    assert "hunter2" not in repr(app.load(write(tmp_path, text)))
