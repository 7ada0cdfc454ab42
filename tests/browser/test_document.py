"""What the first page loads: only from here, compressed, and kept by the browser."""

import re

from playwright.sync_api import Response

from tests.browser.conftest import Visit


def test_all_that_the_page_loads_is_its_own_and_there(visit: Visit, address: str) -> None:
    page = visit(address)
    answers: list[Response] = []
    page.on("response", lambda answer: answers.append(answer))
    page.reload()
    page.wait_for_selector(".lu-sum b")
    assert all(answer.url.startswith((address, "data:", "blob:")) for answer in answers)
    assert [answer.url for answer in answers if answer.status >= 400] == []
    document = next(answer for answer in answers if answer.url.partition("?")[0] == f"{address}/")
    assert document.all_headers()["content-encoding"] == "gzip"
    own = [answer for answer in answers if "/lineup/page/" in answer.url]
    assert own
    assert all("immutable" in answer.all_headers()["cache-control"] for answer in own)
    preview = re.search(r'"og:image" content="([^"]+)"', document.text())
    assert preview
    assert page.request.get(preview[1]).headers["content-type"] == "image/png"
    assert "svg" in page.request.get(f"{address}/favicon.ico").headers["content-type"]
