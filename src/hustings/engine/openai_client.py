"""Creates the client for an endpoint, from its address, the key, and the proxy in between.

The key is read from the environment, passed to the `openai` package, and never shown. It sends nothing itself.
"""

import ipaddress
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, parse_qsl, urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

from hustings.errors import EngineError

if TYPE_CHECKING:
    from hustings.engine.openai import OpenaiSettings

_CONNECT = 5.0
"""Seconds for opening a connection."""
_SECRET = re.compile(r"key|token|secret|password|signature|\bsig\b|\bcode\b|credential", re.IGNORECASE)
_EXAMPLE = "give one such as http://127.0.0.1:8000/v1"


def flaw(address: str) -> str | None:
    """Why a text cannot be the address of an endpoint; None if it can."""
    try:
        parts = urlsplit(address)
        port = parts.port  # raises if it is not a number up to 65535
    except ValueError as error:
        return f"this is no address ({error}); {_EXAMPLE}"
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or re.search(r"[\s#]", address):
        return f"this is no address of an endpoint; {_EXAMPLE}"
    return None


def secret(address: str) -> bool:
    """Whether an address contains a name, password or key."""
    parts = urlsplit(address)
    return "@" in address or any(_SECRET.search(name) for name, _ in parse_qsl(parts.query, keep_blank_values=True))


def key_of(variable: str, needed: bool) -> str:
    """The key in an environment variable; empty if there is none.

    Raises:
        EngineError: a key is needed but missing, or the value cannot be a key.
    """
    key = os.environ.get(variable, "").strip()
    if needed and not key:
        raise EngineError(
            f"The environment variable {variable} is not set; put your key there (it is never a setting), or set "
            "engine=openai_server and engine.base_url to use a server of your own."
        )
    if not key.isascii() or not key.isprintable():
        raise EngineError(
            f"The environment variable {variable} does not hold a key: it has unprintable or non-ASCII characters; "
            "copy the key again."
        )
    return key


def client_of(settings: "OpenaiSettings", key: str) -> Any:
    """A client for the endpoint that never retries on its own.

    Anything after `?` in the address is sent with every request. An `api-version` there means Azure, which expects the
    key in its own header. An address on this machine is reached directly, even if the environment names a proxy.

    Raises:
        EngineError: the environment names a proxy that cannot be used.
    """
    import openai

    parts = urlsplit(settings.base_url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    timeout = openai.Timeout(settings.timeout, connect=min(_CONNECT, settings.timeout))
    given: dict[str, Any] = {
        "api_key": key or "none",
        "base_url": urlunsplit(parts._replace(query="")),
        "max_retries": 0,
        "timeout": timeout,
    }
    if _local(parts.hostname or ""):
        given["http_client"] = openai.DefaultAsyncHttpxClient(trust_env=False)
    try:
        if "api-version" in query:
            return openai.AsyncAzureOpenAI(**given, api_version=query.pop("api-version"), default_query=query)
        return openai.AsyncOpenAI(**given, default_query=query)
    except (ImportError, ValueError, TypeError, LookupError) as error:
        raise _unusable(parts, error) from None
    except Exception as error:  # httpx's InvalidURL derives directly from Exception
        if type(error).__module__.startswith("httpx"):
            raise _unusable(parts, error) from None
        raise


def _local(host: str) -> bool:
    """Whether a host is this machine."""
    with suppress(ValueError):
        address = ipaddress.ip_address(host)
        return address.is_loopback or address.is_unspecified
    return host == "localhost" or host.endswith(".localhost")


def _proxies(parts: SplitResult) -> Iterator[tuple[str, str]]:
    """The environment variables that set the proxy for an address, with their values."""
    known = getproxies()
    for scheme in (parts.scheme, "all"):
        value = known.get(scheme)
        if value:
            name = f"{scheme}_proxy"
            yield name.upper() if name.upper() in os.environ else name, value


def way(address: str) -> str:
    """A sentence, to follow others, saying that an address is reached through a proxy; empty if it is not."""
    parts = urlsplit(address)
    host = parts.hostname or ""
    names = [name for name, _ in _proxies(parts)]
    if not names or _local(host) or proxy_bypass(host):
        return ""
    return f" Requests go through the proxy in {names[0]}; to reach {host} directly, add it to NO_PROXY."


def _unusable(parts: SplitResult, error: Exception) -> EngineError:
    """The error for a proxy that cannot be used; its value may contain a password and is not shown."""
    socks = [name for name in ("ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")
             if os.environ.get(name, "").startswith("socks")]  # fmt: skip
    if isinstance(error, ImportError) and socks:
        return EngineError(
            f"The environment variable {socks[0]} names a SOCKS proxy, which needs the package socksio; install it "
            f"(pip install socksio), name an HTTP proxy, or add {parts.hostname} to NO_PROXY and unset {socks[0]}."
        )
    names = [name for name in os.environ if name.lower() in ("http_proxy", "https_proxy", "all_proxy", "no_proxy")]
    return EngineError(
        f"engine.base_url={urlunsplit(parts)}: no client can be made for it ({type(error).__name__}). "
        + (
            f"The environment variables {', '.join(sorted(names))} name proxies, and one of them is no address; set "
            "it to one such as http://proxy.example:3128, or unset it."
            if names
            else "Check the address."
        )
    )
