"""Certificates for tests, made by openssl: an authority, a server for localhost, a client."""

import pathlib
import shutil
import ssl
import subprocess
from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Keys:
    """Files in PEM."""

    ca_cert: pathlib.Path
    server_cert: pathlib.Path
    server_key: pathlib.Path
    client_cert: pathlib.Path
    client_key: pathlib.Path


def make(folder: pathlib.Path) -> Keys:
    """Fresh keys in `folder`; skips the test where openssl is missing."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")

    def openssl(*arguments):
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, cwd=folder)

    ec = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "2")
    openssl("req", "-x509", *ec, "-subj", "/CN=test authority", "-keyout", "ca.key", "-out", "ca.pem",
            "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign")  # fmt: skip
    for name, usage in (("server", "serverAuth"), ("client", "clientAuth")):
        openssl("req", *ec[:-2], "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        (folder / f"{name}.ext").write_text(
            f"subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage={usage}\nbasicConstraints=CA:FALSE\n"
        )
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.pem")  # fmt: skip
    names = ("ca.pem", "server.pem", "server.key", "client.pem", "client.key")
    return Keys(*(folder / name for name in names))


def grpc_flags(keys: Keys, mutual: bool) -> list[str]:
    """tritonserver's own flags."""
    flags = ["--grpc-use-ssl", "true", "--grpc-server-cert", str(keys.server_cert), "--grpc-server-key", str(keys.server_key)]
    if mutual:
        flags += ["--grpc-use-ssl-mutual", "true", "--grpc-root-cert", str(keys.ca_cert)]
    return flags


def context(keys: Keys, mutual: bool) -> ssl.SSLContext:
    """Python's own client side."""
    made = ssl.create_default_context(cafile=keys.ca_cert)
    if mutual:
        made.load_cert_chain(keys.client_cert, keys.client_key)
    return made


def client_options(keys: Keys, mutual: bool) -> dict:
    """What each tritonclient is told, by transport."""
    http: dict = {"ssl": True, "ssl_options": {"ca_certs": str(keys.ca_cert)}}
    grpc: dict = {"ssl": True, "root_certificates": str(keys.ca_cert)}
    if mutual:
        http["ssl_options"] |= {"certfile": str(keys.client_cert), "keyfile": str(keys.client_key)}
        grpc |= {"private_key": str(keys.client_key), "certificate_chain": str(keys.client_cert)}
    aio = {"ssl": True, "ssl_context": context(keys, mutual)}
    return {"http": http, "http.aio": aio, "grpc": grpc, "grpc.aio": grpc}
