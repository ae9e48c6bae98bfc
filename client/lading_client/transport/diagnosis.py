"""Why a daemon cannot be reached, in a sentence that names the option to change.

gRPC's own messages depend on its version and often do not help. So this module repeats the steps with the standard
library: name, connection, TLS, first bytes of HTTP/2. Each function returns a sentence, or "" if its step succeeds.
"""

from __future__ import annotations

import os
import socket
import ssl
from typing import TYPE_CHECKING

from lading_client.transport.address import is_socket
from lading_client.transport.credentials import Tls

if TYPE_CHECKING:
    from os import PathLike

PATIENCE = 5.0
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
"""The preface of HTTP/2 and empty settings."""
_UNTRUSTED = {2, 19, 20, 21, 24}
_SELF_SIGNED, _EXPIRED, _NOT_YET, _OTHER_NAME, _OTHER_ADDRESS = 18, 10, 9, 62, 64
_PROXIES = ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "grpc_proxy", "all_proxy", "ALL_PROXY")


def why_unreachable(address: str, tls: Tls | None) -> str:
    """Why a daemon cannot be reached, and what to do."""
    if is_socket(address):
        return _of_socket(address.removeprefix("unix:"))
    host, _, port = address.rpartition(":")
    try:
        with _connected(host.strip("[]"), int(port)) as connection:
            return _of_connection(connection, host.strip("[]"), port, tls or Tls()) or _ANSWERS
    except socket.gaierror as error:
        return f"the name {host} is not known ({error.strerror}): check --server and the name service"
    except ConnectionRefusedError:
        return f"nothing listens there: does the daemon run, and is {port} the port of [tls] listen or listen_mutual?"
    except TimeoutError:
        return f"no answer within {PATIENCE:g} s: check --server, and look for a firewall in between{_proxy()}"
    except OSError as error:
        return f"{error.strerror or error}{_proxy()}"


_ANSWERS = "it answers now, but did not answer a moment ago: try again"


def _proxy() -> str:
    named = next((name for name in _PROXIES if os.environ.get(name)), "")
    return f" (the proxy of {named} is not used: lading connects directly)" if named else ""


def _connected(host: str, port: int) -> socket.socket:
    return socket.create_connection((host, port), timeout=PATIENCE)


def _of_socket(path: str) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(PATIENCE)
        try:
            connection.connect(path)
            answer = _greeted(connection)
        except FileNotFoundError:
            return "the socket does not exist: does the daemon run? To name another socket: --server"
        except ConnectionRefusedError:
            return "nobody listens on this socket any more: start the daemon again; its jobs continue"
        except PermissionError:
            return "this user may not open the socket: join the socket's group, or use a token over TLS"
        except TimeoutError:
            return f"it accepts connections but sends nothing for {PATIENCE:g} s: read the daemon's log"
        except OSError as error:
            return error.strerror or str(error)
    return _ANSWERS if _is_http2(answer) else "the program on this socket is not a Lading daemon: check --server"


def _of_connection(connection: socket.socket, host: str, port: str, tls: Tls) -> str:
    try:
        with _context(tls).wrap_socket(connection, server_hostname=tls.server_name or host) as encrypted:
            if encrypted.selected_alpn_protocol() != "h2":
                return f"it speaks TLS but not gRPC: is {port} the port of the daemon or of a web server?"
            return _of_greeting(encrypted, tls)
    except ssl.SSLCertVerificationError as error:
        return _of_certificate(error, host, port, tls)
    except ssl.SSLError as error:
        if error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNEXPECTED_MESSAGE", "RECORD_LAYER_FAILURE"):
            return f"it does not speak TLS: is {port} the port of [tls] listen or listen_mutual?"
        return f"the TLS handshake fails: {error.reason or error}"
    except TimeoutError:
        return f"it does not answer the TLS handshake within {PATIENCE:g} s: is {port} the port of the daemon?"
    except OSError:
        return f"it hangs up instead of speaking TLS: is {port} the port of [tls] listen or listen_mutual?"


def _context(tls: Tls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if tls.ca is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(tls.ca)
    if tls.certificate is not None and tls.key is not None:
        context.load_cert_chain(tls.certificate, tls.key, password="")
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


def _of_certificate(error: ssl.SSLCertVerificationError, host: str, port: str, tls: Tls) -> str:
    code = error.verify_code
    if code == _SELF_SIGNED:
        return "its certificate is self-signed and not trusted: if it is the right one, name it with --ca"
    if code in _UNTRUSTED:
        signer = "a well-known authority" if tls.ca is None else f"the authority in {os.fspath(tls.ca)}"
        return f"its certificate is not signed by {signer}: name the authority that signed it with --ca"
    if code == _EXPIRED:
        return "its certificate has expired: the daemon's administrator has to renew it (no option helps)"
    if code == _NOT_YET:
        return "its certificate is not valid yet: compare the clocks of both machines (no option helps)"
    if code in (_OTHER_NAME, _OTHER_ADDRESS):
        names = _names(host, port, tls)
        said = f" but for {', '.join(names)}" if names else ""
        first = names[0] if names else "NAME"
        return f"its certificate is not for {tls.server_name or host}{said}: use that name, or --server-name {first}"
    return f"its certificate is refused: {error.verify_message}: name the authority that signed it with --ca"


def _names(host: str, port: str, tls: Tls) -> list[str]:
    """The names in a certificate that is valid except for its names."""
    context = _context(tls)
    context.check_hostname = False
    try:
        with _connected(host, int(port)) as connection, context.wrap_socket(connection) as encrypted:
            found = (encrypted.getpeercert() or {}).get("subjectAltName", ())
    except OSError:
        return []
    return [str(pair[1]) for pair in found if isinstance(pair, tuple)]


def _greeted(connection: socket.socket) -> bytes:
    connection.sendall(_GREETING)
    return connection.recv(64)


def _is_http2(answer: bytes) -> bool:
    # The first frame must be SETTINGS.
    return len(answer) >= 9 and answer[3] == 4


def _of_greeting(encrypted: ssl.SSLSocket, tls: Tls) -> str:
    """A daemon that rejects the client's certificate closes the connection after the handshake, usually silently."""
    try:
        answer = _greeted(encrypted)
    except TimeoutError:
        return f"it sends nothing for {PATIENCE:g} s: read the daemon's log"
    except OSError:
        answer = b""
    if answer:
        return "" if _is_http2(answer) else "it does not speak gRPC: check --server"
    if tls.certificate is None or tls.key is None:
        return (
            "it asks for a client certificate: name one with --certificate and --certificate-key, or use the port of"
            " [tls] listen with --token-file"
        )
    shown = f"the client's certificate {os.fspath(tls.certificate)}"
    if state := _validity(tls.certificate, tls.key):
        return f"{shown} {state}: name another one with --certificate and --certificate-key"
    return (
        f"it does not trust {shown}: with --certificate and --certificate-key, name one that its client_ca has signed"
    )


def _validity(certificate: str | PathLike[str], key: str | PathLike[str]) -> str:
    """Whether a certificate is outside its period of validity: a local handshake trusts and verifies it."""
    shower, viewer = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    shower.load_cert_chain(certificate, key, password="")
    viewer.check_hostname = False
    viewer.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    viewer.load_verify_locations(certificate)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client, server = viewer.wrap_bio(back, there), shower.wrap_bio(there, back, server_side=True)
    for side in (client, server, client):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLCertVerificationError as error:
            return {_EXPIRED: "has expired", _NOT_YET: "is not valid yet"}.get(error.verify_code, "")
        except ssl.SSLError:
            return ""
    return ""
