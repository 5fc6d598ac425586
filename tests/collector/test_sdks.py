"""Segment's SDKs for Node and for browsers, as npm has them, against a real collector: `make test-sdks`.

They need node, npm and Chromium; npm fetches the SDKs once, into .cache.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any
from urllib.parse import urlencode

import pytest
from servers import CHROMIUM

from tests.collector.conftest import Collecting, collecting, wait_for

pytestmark = [pytest.mark.sdks, pytest.mark.timeout(180)]

HERE = Path(__file__).with_name("sdks")
TYPES = {"track", "identify", "page", "screen", "group", "alias"}


def program(*names: str) -> str:
    found = [path for name in names if (path := shutil.which(name))]
    assert found, f"{names[0]} is missing: these tests need it on the path"
    return found[0]


@pytest.fixture(scope="module")
def packages() -> Path:
    """The folder with the SDKs. npm fetches them where they are not there yet."""
    folder = HERE.parents[2] / ".cache" / "sdks"
    wanted = (HERE / "package-lock.json").read_bytes()
    if not (folder / "node_modules").is_dir() or (folder / "package-lock.json").read_bytes() != wanted:
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, folder)
        command = [program("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return folder


class Site:
    """A web site with one page. done: what its pages told it, in order."""

    def __init__(self, packages: Path) -> None:
        script = packages / "node_modules/@segment/analytics-next/dist/umd/index.js"
        files = {"/": HERE / "page.html", "/analytics.js": script}
        done: Queue[dict[str, Any]] = Queue()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                file = files.get(self.path.partition("?")[0])
                self.send_response(200 if file else 404)
                self.send_header("Content-Type", "text/html" if file and file.suffix == ".html" else "text/javascript")
                self.end_headers()
                self.wfile.write(file.read_bytes() if file else b"")

            def do_POST(self) -> None:
                done.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        self.done = done
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.origin = f"http://127.0.0.1:{self.server.server_port}"
        Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture(scope="module")
def site(packages: Path) -> Iterator[Site]:
    site = Site(packages)
    yield site
    site.server.shutdown()
    site.server.server_close()


@pytest.fixture(scope="module")
def open_to_site(
    kafka: str, new_topic: Callable[[str], str], site: Site, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Collecting]:
    """A collector that lets the site's pages send."""
    settings = {"collector_origins": site.origin}
    with collecting(kafka, new_topic("events"), new_topic("dlq"), tmp_path_factory.mktemp("c"), settings) as running:
        yield running


@contextmanager
def browsing(url: str, folder: Path) -> Iterator[None]:
    """Chromium, without a window, on this page."""
    options = ["--headless=new", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage", f"--user-data-dir={folder}"]
    if os.geteuid() == 0:
        options.append("--no-sandbox")  # Chromium refuses to have one as root
    with (folder / "browser.log").open("wb") as log:
        browser = subprocess.Popen([program(*CHROMIUM), *options, url], stdout=log, stderr=log, start_new_session=True)
    try:
        yield
    finally:
        os.killpg(browser.pid, 9)
        browser.wait()


@contextmanager
def visiting(site: Site, collector: Collecting, user: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Open the page; what it tells at its end. It stays open until this context is left."""
    query = urlencode({"collector": collector.url, "key": collector.key, "user": user})
    with browsing(f"{site.origin}/?{query}", folder):
        yield site.done.get(timeout=60)


def sent_by(collector: Collecting, user: str) -> list[dict[str, Any]]:
    return [event for event in collector.events() if event.get("userId") == user]


def test_node_sends_every_call(open_to_site: Collecting, packages: Path) -> None:
    user = uuid.uuid4().hex
    command = [program("node"), str(HERE / "node.mjs"), str(packages), open_to_site.url, open_to_site.key, user]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
    found = sent_by(open_to_site, user)
    assert {event["type"] for event in found} == TYPES
    assert {event["properties"]["number"] for event in found if event.get("event") == "Counted"} == set(range(20))
    assert {event["context"]["library"]["name"] for event in found} == {"@segment/analytics-node"}
    assert all(event["messageId"] and event["receivedAt"] and event["sentAt"] and "writeKey" not in event for event in found)


def test_node_is_told_of_a_wrong_key(open_to_site: Collecting, packages: Path) -> None:
    user = uuid.uuid4().hex
    command = [program("node"), str(HERE / "node.mjs"), str(packages), open_to_site.url, "wrong-wrong-wrong-wrong", user]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert json.loads(done.stdout), done.stderr
    assert not sent_by(open_to_site, user)


def test_a_browser_sends_every_call_singly_in_batches_and_as_a_beacon(
    open_to_site: Collecting, site: Site, tmp_path: Path
) -> None:
    user = uuid.uuid4().hex
    with visiting(site, open_to_site, user, tmp_path) as told:
        assert told == {"beacon": True, "failed": []}
        for who in (user, f"{user}-batched"):  # a page call comes before the page knows who its visitor is
            wait_for(lambda who=who: {event["type"] for event in sent_by(open_to_site, who)} >= TYPES - {"page"}, 20, who)
        wait_for(lambda: any(event["messageId"] == f"{user}-beacon" for event in sent_by(open_to_site, user)), 20, "the beacon")
    calls = open_to_site.metrics()
    for call in ("t", "i", "p", "g", "a", "b", "settings"):
        assert f'rtcdp_collector_requests_total{{call="{call}",status="200"}}' in calls
    assert 'rtcdp_collector_requests_total{call="t",status="204"}' in calls  # it asked first
    (order,) = [event for event in sent_by(open_to_site, user) if event.get("event") == "Order Completed"]
    assert order["properties"]["text"] == "🛒"
    assert order["context"]["library"]["name"] == "analytics.js"
    assert "Chrome" in order["context"]["userAgent"]
    assert order["context"]["ip"] == "127.0.0.1"
    assert order["anonymousId"]


def test_a_page_that_is_not_on_the_list_gets_nothing_through(
    kafka: str, new_topic: Callable[[str], str], site: Site, tmp_path: Path
) -> None:
    settings = {"collector_origins": "https://another.example"}
    folder = tmp_path / "browser"
    folder.mkdir()
    with collecting(kafka, new_topic("events"), new_topic("dlq"), tmp_path, settings) as closed:
        with visiting(site, closed, uuid.uuid4().hex, folder) as told:
            assert told.get("error"), told  # it is not even told where to send
        assert closed.events() == []
        assert 'rtcdp_collector_refused_total{code="origin_not_allowed"}' in closed.metrics()
