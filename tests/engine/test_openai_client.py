"""Which address, key and proxy a client gets."""

import os

import pytest
from clients import KEY, ask, build, of
from endpoint import Endpoint, free_port

from hustings.engine.openai_client import client_of, key_of, way
from hustings.errors import EngineError, SettingsError

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower() in PROXIES:
            monkeypatch.delenv(name)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks5://127.0.0.1:9", "http://[::1"])
def test_a_server_on_this_machine_is_reached_directly(name: str, proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, proxy)
    with Endpoint() as endpoint:
        for host in ("127.0.0.1", "localhost"):
            with build(f"http://{host}:{endpoint.port}/v1") as engine:
                assert len(engine.complete([ask(1)])) == 1


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_a_socks_proxy_says_what_to_install(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", f"{scheme}://me:hunter2@127.0.0.1:9")
    with pytest.raises(EngineError, match=r"ALL_PROXY names a SOCKS proxy.*pip install socksio") as caught:
        build("https://api.example.com/v1")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "value", ["foo://x:1", "http://[::1", ":::", "http://proxy:abc", "http://me:hunter2@proxy:port"]
)
@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_a_proxy_that_is_no_address_is_named(value: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(EngineError, match=rf"{name} name proxies, and one of them is no address") as caught:
        build("https://api.example.com/v1")
    assert "hunter2" not in str(caught.value)


def test_what_fails_behind_a_proxy_names_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    with (
        build("http://192.0.2.1/v1", "engine.attempts=1") as engine,
        pytest.raises(EngineError, match=r"through the proxy in HTTP_PROXY; .* add it to NO_PROXY"),
    ):
        engine.complete([ask(1)])
    monkeypatch.setenv("NO_PROXY", "192.0.2.1")
    assert way("http://192.0.2.1/v1") == ""
    assert way("http://localhost:8000/v1") == ""


@pytest.mark.parametrize(
    "address",
    ["", "api.example.com/v1", "ftp://x/v1", "http://", "http://x:99999/v1", "http://x:port/v1", "http://[::1/v1",
     "http://x y/v1", "http://x/v1#part", "file:///v1", "http://:80/v1"],
)  # fmt: skip
def test_what_is_no_address_is_refused_and_one_is_shown(address: str) -> None:
    with pytest.raises(SettingsError, match=r"engine\.base_url=.*http://127\.0\.0\.1:8000/v1"):
        of(address)


@pytest.mark.parametrize(
    "address",
    [
        "http://me:secret@host/v1",
        "http://host/v1?key=secret",
        "http://host/v1?api_key=secret",
        "http://host/v1?sig=secret",
    ],
)
def test_an_address_with_a_secret_is_refused(address: str) -> None:
    with pytest.raises(SettingsError, match="must not hold a name or key") as caught:
        of(address)
    assert "secret" not in str(caught.value)


def test_what_follows_the_question_mark_goes_with_every_request() -> None:
    with Endpoint() as endpoint, build(f"{endpoint.url}?tenant=a%20b&x=") as engine:
        engine.complete([ask(1)])
    path, headers = endpoint.requests[0]
    assert path == "/v1/chat/completions?tenant=a+b&x=" or path == "/v1/chat/completions?tenant=a%20b&x="
    assert headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("base", ["openai/deployments/some-model", "openai"])
def test_azure_gets_its_version_its_deployment_and_the_key_in_its_header(base: str) -> None:
    with Endpoint() as endpoint:
        url = f"http://127.0.0.1:{endpoint.port}/{base}?api-version=2024-10-21"
        with build(url, "engine.timeout=5", "engine.attempts=1") as engine:
            engine.complete([ask(1)])
    path, headers = endpoint.requests[0]
    assert path == "/openai/deployments/some-model/chat/completions?api-version=2024-10-21"
    assert headers["api-key"] == KEY


def test_a_key_that_cannot_be_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-\u2026\n1")
    with pytest.raises(EngineError, match="OPENAI_API_KEY does not hold a key"):
        key_of("OPENAI_API_KEY", needed=True)
    assert client_of is not None
