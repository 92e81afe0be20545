"""Debian's vsftpd and proftpd as they come, with one user; and pyftpdlib for what those two do not show."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port
from tests.sinks.programs import need, started

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it stands on asyncore
    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.handlers import FTPHandler
    from pyftpdlib.servers import FTPServer

USER, PASSWORD, UID = "porchcam", "canary-ftp-Pa55", 54321
TOOLS = Path(__file__).parent.parent.parent / ".tools"


@dataclass(frozen=True)
class FtpServer:
    """Where it listens, where its user's files are, and the certificate to trust ("" without TLS)."""

    port: int
    home: Path
    ca_file: str | None
    log: Path

    @property
    def url(self) -> str:
        return f"ftp://127.0.0.1:{self.port}"

    def files(self) -> dict[str, bytes]:
        return {str(p.relative_to(self.home)): p.read_bytes() for p in sorted(self.home.rglob("*")) if p.is_file()}


@contextlib.contextmanager
def _place() -> Iterator[tuple[Path, Path]]:
    """A folder that another user may enter, and that user's home in it."""
    folder = Path(tempfile.mkdtemp(prefix="ftp-test-", dir="/var/tmp"))
    try:
        folder.chmod(0o755)
        home = folder / "home"
        home.mkdir()
        os.chown(home, UID, UID)
        yield folder, home
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that is its own authority, and its key."""
    openssl = need("openssl", "openssl")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    new = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([openssl, *new, *subject], check=True, capture_output=True)
    key.chmod(0o600)
    return cert, key


def _hashed() -> str:
    out = subprocess.run([need("openssl", "openssl"), "passwd", "-6", PASSWORD], check=True, capture_output=True)
    return out.stdout.decode().strip()


@contextlib.contextmanager
def vsftpd(tls: bool) -> Iterator[FtpServer]:
    """The installed vsftpd.conf with writing allowed; its user exists in a mount namespace of its own only."""
    binary, unshare = need("vsftpd", "vsftpd"), need("unshare", "util-linux")
    if os.geteuid() or subprocess.run([unshare, "-m", "true"], capture_output=True).returncode:
        pytest.skip("vsftpd needs root and a mount namespace")
    with _place() as (folder, home):
        port = free_port()
        (folder / "empty").mkdir()
        conf = Path("/etc/vsftpd.conf").read_text() + (
            f"\nlisten=YES\nlisten_ipv6=NO\nlisten_address=127.0.0.1\nlisten_port={port}\nwrite_enable=YES\n"
            f"background=NO\nsecure_chroot_dir={folder}/empty\nxferlog_file={folder}/xfer.log\nvsftpd_log_file={folder}/log\n"
        )
        cert = None
        if tls:
            cert, key = certificate(folder)
            conf += f"ssl_enable=YES\nrsa_cert_file={cert}\nrsa_private_key_file={key}\n"
        (folder / "vsftpd.conf").write_text(conf)
        (folder / "passwd").write_text(Path("/etc/passwd").read_text() + f"{USER}:x:{UID}:{UID}::{home}:/bin/sh\n")
        (folder / "shadow").write_text(Path("/etc/shadow").read_text() + f"{USER}:{_hashed()}:19000:0:99999:7:::\n")
        mounts = " && ".join(f"mount --bind {folder}/{name} /etc/{name}" for name in ("passwd", "shadow"))
        command = [unshare, "-m", "--propagation", "private", "sh", "-c"]
        command.append(f"{mounts} && exec {binary} {folder}/vsftpd.conf")
        with started(command, port, folder / "out"):
            yield FtpServer(port, home, str(cert) if cert else None, folder / "xfer.log")


@contextlib.contextmanager
def proftpd(tls: bool) -> Iterator[FtpServer]:
    """Debian's proftpd.conf and mod_tls with a user of its own."""
    root = TOOLS / "proftpd"
    binary = root / "usr/sbin/proftpd"
    if not binary.exists():
        pytest.skip("proftpd is not unpacked in .tools (.ci/prepare does it)")
    if os.geteuid():
        pytest.skip("proftpd needs root")
    if "not found" in subprocess.run(["ldd", str(binary)], capture_output=True, text=True).stdout:
        pytest.skip("proftpd lacks libraries (.ci/prepare installs them)")
    with _place() as (folder, home):
        port, templates = free_port(), root / "usr/share/proftpd/templates"
        modules = (templates / "modules.conf").read_text().replace("/usr/lib/proftpd", f"{root}/usr/lib/proftpd")
        (folder / "modules.conf").write_text(re.sub(r"(?m)^Module(Controls|.*ACLs).*$", "", modules))
        conf = (templates / "proftpd.conf").read_text()
        conf = conf.replace("/etc/proftpd/modules.conf", f"{folder}/modules.conf")
        conf = re.sub(r"(?m)^\s*Include\s+/etc/proftpd/conf.d/.*$", "", conf)
        conf = re.sub(r"(?m)^\s*User\s+proftpd.*$", "User nobody", conf)
        conf = re.sub(r"(?m)^Port\s+21.*$", f"Port {port}", conf)
        conf = conf.replace("/var/log/proftpd", str(folder)).replace("/var/run/proftpd", str(folder))
        conf += f"\nDefaultAddress 127.0.0.1\nAuthUserFile {folder}/passwd\nPidFile {folder}/pid\n"
        conf += f"ScoreboardFile {folder}/scoreboard\nDelayTable {folder}/delay\n"
        cert = None
        if tls:
            cert, key = certificate(folder)
            conf += f"LoadModule mod_tls.c\nTLSEngine on\nTLSLog {folder}/tls.log\nTLSRequired on\n"
            conf += f"TLSRSACertificateFile {cert}\nTLSRSACertificateKeyFile {key}\n"
        (folder / "proftpd.conf").write_text(conf)
        (folder / "passwd").write_text(f"{USER}:{_hashed()}:{UID}:{UID}::{home}:/bin/sh\n")
        (folder / "passwd").chmod(0o600)
        with started([str(binary), "-n", "-q", "-c", str(folder / "proftpd.conf")], port, folder / "out"):
            yield FtpServer(port, home, str(cert) if cert else None, folder / "xferlog")


@contextlib.contextmanager
def pyftpd(home: Path, perm: str = "elradfmwMT", **handler: Any) -> Iterator[FtpServer]:
    """pyftpdlib in a thread; `handler` changes attributes of its FTPHandler class."""
    authorizer = DummyAuthorizer()
    authorizer.add_user(USER, PASSWORD, str(home), perm=perm)
    kind = type("Handler", (FTPHandler,), {"authorizer": authorizer, "auth_failed_timeout": 0.1, **handler})
    server = FTPServer(("127.0.0.1", 0), kind)
    ending = threading.Event()

    def serve() -> None:
        while not ending.is_set():
            server.serve_forever(timeout=0.05, blocking=False)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield FtpServer(server.address[1], home, None, home)
    finally:
        ending.set()
        thread.join()
        server.close_all()
