"""One browser and one server for all tests of the page; a page with a storage of its own for each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browser.backend import Backend, backend
from tests.browser.chromium import Chromium, Page, chromium


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with chromium(tmp_path_factory.mktemp("chromium")) as made:
        yield made


@pytest.fixture(scope="session")
def shared_server() -> Iterator[Backend]:
    with backend() as made:
        yield made


@pytest.fixture
def server(shared_server: Backend) -> Backend:
    shared_server.reset()
    return shared_server


@pytest.fixture
def page(browser: Chromium, server: Backend) -> Iterator[Page]:
    """The page, ready; at the end it must have had no trouble but what the test took out of the list."""
    with browser.page() as made:
        made.goto(server.url)
        made.until("document.querySelector('#model').value === 'tiny'")
        yield made
        assert made.trouble == []
