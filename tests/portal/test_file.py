"""The dispatch file: the example is true, and what is wrong is shown with its line."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from pathlib import Path

import pytest

from agent.dispatch import matchers
from agent.dispatch.limits import Limits
from agent.dispatch.relay import Relay
from agent.errors import ConfigError
from agent.portal.file import SERVICES, load
from agent.portal.rules import ListenSettings, RouteSettings

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = ROOT / "dispatch.example.yaml"
HEAD = "listen: [{port: 0}]\nservices:\n  a: {type: refuse}\n"


def test_the_example_parses_and_means_what_it_says() -> None:
    settings = load(EXAMPLE)
    assert [(r.name, r.service) for r in settings.routes] == [
        ("1:chat", "chat"),
        ("2:pages", "pages"),
        ("3:shell", "shell"),
    ]
    assert settings.routes[0].when == (matchers.Http(paths=("/mywebsocket/*",)),)
    assert settings.services["chat"] == Relay("127.0.0.1", 9001)
    assert settings.limits == Limits()


def test_the_example_names_every_option_and_its_default(tmp_path: Path) -> None:
    text = EXAMPLE.read_text()
    for cls in (ListenSettings, RouteSettings, Limits, *(k.cls for k in SERVICES.values())):
        for field in dataclasses.fields(cls):
            assert not field.init or re.search(rf"\b{field.name}:", text), f"{cls.__name__}.{field.name}"
    assert set(re.findall(r"type: ([a-z]+)", text)) == set(SERVICES)
    said = dict(re.findall(r"^#   ([a-z_]+): ([0-9.]+)", text, re.M))
    assert {f.name: float(said[f.name]) for f in dataclasses.fields(Limits)} == dataclasses.asdict(Limits())
    for name, value in re.findall(r"^    # ([a-z_]+): +([0-9.a-z]+)", text.partition("routes:")[0], re.M):
        if name in Relay.__slots__ and name != "host":
            assert str(getattr(Relay("x", 1), name)).removesuffix(".0").lower() == value, name


def test_the_example_parses_with_everything_uncommented(tmp_path: Path) -> None:
    path = tmp_path / "d.yaml"
    path.write_text(re.sub(r"^( *)# ( *(?:- )?[a-z_]+:(?: |$))", r"\1\2", EXAMPLE.read_text(), flags=re.M))
    with pytest.raises(ConfigError) as caught:
        load(path)
    errors = [line for line in str(caught.value).splitlines() if ": error: " in line]
    assert len(errors) == 1 and "there is no file chain.pem" in errors[0], errors


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (HEAD + "routes:\n  - to: b\n", 5, "there is no service 'b' (there are: a)"),
        (HEAD + "routes:\n  - {path: /x}\n", 5, "missing key 'routes[0].to'"),
        (HEAD + "routes:\n  - {path: x, to: a}\n", 5, "path 'x' must begin with /"),
        (HEAD + "routes:\n  - {path: /a/*/b, to: a}\n", 5, "path '/a/*/b'"),
        (HEAD + "routes:\n  - {path: /a/../../b, to: a}\n", 5, "path '/a/../../b'"),
        (HEAD + "routes:\n  - {pth: /x, to: a}\n", 5, "unknown key 'pth', did you mean 'path'?"),
        (HEAD + "routes:\n  - {method: get, to: a}\n", 5, "method 'get' is not one of"),
        (HEAD + "routes:\n  - {protocol: sssh, to: a}\n", 5, "routes[0].protocol"),
        (HEAD + "routes:\n  - {protocol: ssh, path: /, to: a}\n", 5, "path goes with protocol http, not with ssh"),
        (HEAD + "routes:\n  - {client: 300.1.2.3, to: a}\n", 5, "'300.1.2.3'"),
        (HEAD + "routes:\n  - {sni: 'a b', to: a}\n", 5, "'a b' is no host name"),
        (HEAD + "routes:\n  - to: a\n  - {path: /, to: a}\n", 6, "is never reached: '1:a' before it takes everything"),
        (HEAD + "routes:\n  - {path: /, to: a, name: n}\n  - {path: /b, to: a, name: n}\n", 6, "'n' stands twice"),
        (HEAD + "routes: []\nlimits: {sniffing: 0}\n", 5, "sniffing must be more than 0"),
        (HEAD + "routes: []\nlimits: {sniffing: many}\n", 5, "limits.sniffing"),
        (HEAD + "routes: []\nproxy_from:\n  - 10.0.0.1\n  - proxy\n", 7, "'proxy' does not appear"),
        ("listen: [{port: 70000}]\nservices: {a: {type: refuse}}\nroutes: []\n", 1, "port 70000 is not between"),
        ("listen: [{unix: x, mode: 999}]\nservices: {a: {type: refuse}}\nroutes: []\n", 1, "mode 999"),
        ("listen:\n  - {port: 9}\n  - {port: 9}\nservices: {}\nroutes: []\n", 3, "listen[1]: stands twice"),
        ("listen: [{port: 0}]\nservices:\n  a: {type: relay}\nroutes: []\n", 3, "either host and port, or path"),
        ("listen: [{port: 0}]\nservices:\n  a: {type: relay, host: h, port: 1, path: p}\nroutes: []\n", 3, "either"),
        ("listen: [{port: 0}]\nservices:\n  a: {type: tls, certificate: nix}\nroutes: []\n", 3, "there is no file nix"),
        (
            "listen: [{port: 0}]\nservices:\n  a: {type: tls, certificate: " + "nix" * 2000 + "}\nroutes: []\n",
            3,
            "there is no file nixnix",
        ),
        ("listen: [{port: 0}]\nservices:\n  a: {type: refuse, status: 200}\nroutes: []\n", 3, "status 200"),
        (
            "listen: [{port: 0}]\nservices:\n  a: {type: relay, host: h, port: 1, http: framed}\n"
            "routes:\n  - {protocol: silence, to: a}\n",
            5,
            "routes[0].to: 'a' is for HTTP only",
        ),
        ("listen: [{port: 0}]\nroutes: []\n", 1, "missing key 'services'"),
        ("listen: [\n", 2, "not YAML"),
    ],
)  # fmt: skip
def test_an_error_names_its_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    path = tmp_path / "dispatch.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert f"{path}:{line}:" in str(caught.value) and said in str(caught.value)
    assert str(caught.value).count(": error: ") == 1


def test_keys_become_the_matchers_that_they_name(tmp_path: Path) -> None:
    path = tmp_path / "dispatch.yaml"
    rules = """routes:
  - {host: [A.example.org, "*.B.org"], method: [GET], header: {X-Flag: "1", X-Any: null}, to: a}
  - {websocket: true, to: a}
  - {sni: Cam.org, alpn: h2, client: 192.0.2.0/24, to: a}
  - {starts: "EHLO ", to: a}
  - {protocol: silence, to: a}
  - {to: a}
"""
    path.write_text(HEAD + rules)
    header = (("x-flag", "1"), ("x-any", None))
    client = matchers.Client((ipaddress.ip_network("192.0.2.0/24"),))
    assert [r.when for r in load(path).routes] == [
        (matchers.Http(("GET",), ("a.example.org", "*.b.org"), header=header),),
        (matchers.Http(websocket=True),),
        (client, matchers.Tls(("cam.org",), ("h2",))),
        (matchers.Starts(b"EHLO "),),
        (matchers.Silence(),),
        (),
    ]
