"""Schemathesis against a running server: whatever it thinks of, the answers are those that the description promises."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path

import pytest

from tests.server.conftest import Start
from tests.server.people import basic, owner
from tests.server.pictures import jpeg

COMMAND = Path(sys.executable).with_name("schemathesis")
ENDLESS = r"(live\.mjpeg|live\.mp4|/news|/mjpeg)$"
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


@pytest.mark.skipif(not COMMAND.exists(), reason="NO schemathesis (pip install -e .[test]): the API is NOT fuzzed")
async def test_the_api_answers_as_it_is_described(start: Start, tmp_path: Path) -> None:
    server = await start()
    async with owner(server) as who:
        for name in ("porch", "yard"):
            made = await who.add(name)
            headers = basic(made["login"], made["password"])
            await who.ask("PUT", f"/v1/cam/{name}/picture", 201, data=jpeg(1), headers=headers)
        token = (await who.ask("POST", "/api/v1/tokens", 201, json={"name": "t", "scope": "read"}))["token"]
        manage = (await who.ask("POST", "/api/v1/tokens", 201, json={"name": "t", "scope": "manage"}))["token"]
        for secret, seed in ((token, "1"), (manage, "2")):
            process = await asyncio.create_subprocess_exec(
                *(str(COMMAND), "run", f"{who.base}/api/v1/openapi.json", "--checks", CHECKS),
                *("--header", f"Authorization: Bearer {secret}", "--exclude-path-regex", ENDLESS),
                *("--exclude-method", "DELETE", "--phases", "examples,coverage,fuzzing", "--seed", seed),
                *("--max-examples", "6", "--max-time", "12", "--no-color", "--generation-database", "none"),
                cwd=tmp_path,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            said = (await process.communicate())[0].decode(errors="replace")
            assert process.returncode == 0, said[-6000:]
            assert "No issues found" in said or "passed" in said, said[-3000:]


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        (b"a\0b", 400, "malformed request line"),
        (b"a%00b", 400, "path cannot be normalised"),
        (b"x" * 9000, 400, "a line of the head is too long"),
        (b"x" * 70_000, 414, "the request line is too long"),
        ("ü".encode(), 400, "malformed request"),
    ],
    ids=["nul", "escaped nul", "long", "longer", "bare"],
)
async def test_what_is_no_request_is_a_problem_too(
    start: Start, caplog: pytest.LogCaptureFixture, path: bytes, status: int, says: str
) -> None:
    """Whoever notices it first, the port or the HTTP behind it; and nothing of it is said back, or logged as ours."""
    server = await start()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /api/v1/cameras/" + path + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
    async with asyncio.timeout(60):
        head, body = (await reader.read()).split(b"\r\n\r\n")
    writer.close()
    assert head.split()[1] == b"%d" % status and b"Content-Type: application/problem+json" in head
    problem = json.loads(body)
    assert (problem["type"], problem["status"], problem["detail"]) == ("about:blank", status, says)
    assert len(body) < 200
    assert [r for r in caplog.records if r.levelname == "ERROR"] == []


async def test_the_readmes_example_works_as_it_is_printed(start: Start, tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text()
    [example] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    server = await start()
    async with owner(server) as who:
        made = await who.add("porch")
        headers = basic(made["login"], made["password"])
        await who.ask("PUT", "/v1/cam/porch/picture", 201, data=jpeg(4), headers=headers)
        token = (await who.ask("POST", "/api/v1/tokens", 201, json={"name": "t"}))["token"]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", example),
            cwd=tmp_path,
            env={"SERVER": who.base, "TOKEN": token},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said = (await process.communicate())[0].decode()
        assert process.returncode == 0 and said.startswith("porch "), said
        [event] = (await who.ask("GET", "/api/v1/events"))["events"]
        assert (tmp_path / f"{event['id']}.jpg").read_bytes() == jpeg(4)
