"""Look through a report as a person does, in a browser; needs Playwright and Chromium, no lspipe.

    python browsing.py CHROMIUM REPORT.html DECISIONS.geojson

prints JSON: what was seen at each step, every message of the console, every request, and every
dialog; the decisions that were downloaded go into the file.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

VIEW = {"width": 1400, "height": 900}

CHIPS = "#detail .chip img"
ROWS = "#list tbody tr"


def look_through(chromium: str, report: str, decisions: str) -> dict[str, object]:
    """Open a report, sort, filter, choose, decide, open it again, and download the decisions."""
    seen: dict[str, object] = {"console": [], "requests": [], "dialogs": [], "errors": []}
    with sync_playwright() as playwright:
        # Without a GPU, WebGL is computed by the processor.
        words = ["--enable-unsafe-swiftshader"]
        if os.geteuid() == 0:  # Chromium has no sandbox for root
            words.append("--no-sandbox")
        browser = playwright.chromium.launch(executable_path=chromium, args=words)
        context = browser.new_context(
            viewport=VIEW, offline=True, accept_downloads=True, reduced_motion="reduce"
        )
        page = context.new_page()
        page.on("console", lambda message: _note(seen["console"], message.text))
        page.on("pageerror", lambda error: seen["errors"].append(str(error)))
        page.on("request", lambda request: seen["requests"].append(request.url))
        page.on("dialog", lambda dialog: (seen["dialogs"].append(dialog.message), dialog.dismiss()))
        address = Path(report).resolve().as_uri()
        page.goto(address)
        seen["at_first"] = _decided(page)
        sampled = page.locator("#sampled")
        seen["sampled"] = sampled.text_content() if sampled.count() else None
        _sort_and_filter(page, seen)
        _choose(page, seen)
        _move_the_map(page, seen)
        _decide(page, seen)
        page.goto(address)
        seen["after_reload"] = _decided(page)
        with page.expect_download() as waiting:
            page.click("#download")
        seen["download"] = waiting.value.suggested_filename
        waiting.value.save_as(decisions)
        browser.close()
    return seen


def _note(messages, text):
    """Keep a message; not the one about pictures that are taken of a map drawn by the processor."""
    if "GPU stall due to ReadPixels" not in text:
        messages.append(text)


def _sort_and_filter(page, seen):
    seen["ids"] = _ids(page)
    for name in ("ascending", "descending"):
        for _ in range(2):
            if page.get_attribute("th[data-column=area_m2]", "aria-sort") != name:
                page.click("th[data-column=area_m2] button")
        at = page.eval_on_selector("th[data-column=area_m2]", "head => head.cellIndex")
        cells = page.locator(f"{ROWS} td:nth-child({at + 1})").all_text_contents()
        seen[f"areas_{name}"] = [float(text) for text in cells]
    page.fill("#least", "0.5")
    seen["from_half_a_hectare"] = _ids(page)
    page.fill("#least", "")
    page.fill("#words", "persistent")
    seen["persistent_by_text"] = _ids(page)
    page.fill("#words", "")
    page.uncheck("[name=status][value=persistent]")
    seen["without_persistent"] = _ids(page)
    page.check("[name=status][value=persistent]")
    seen["count"] = page.text_content("#count")


def _choose(page, seen):
    seen["view_at_first"] = page.get_attribute("#map", "data-view")
    page.click(f"{ROWS}:nth-child(2)")
    page.wait_for_function(f"document.querySelectorAll('{CHIPS}').length === 2")
    seen["view_of_second"] = page.get_attribute("#map", "data-view")
    seen["chosen"] = page.get_attribute(f"{ROWS}[aria-current=true]", "data-landslide-id")
    seen["second"] = page.get_attribute(f"{ROWS}:nth-child(2)", "data-landslide-id")
    page.wait_for_function(f"[...document.querySelectorAll('{CHIPS}')].every(i => i.complete)")
    seen["chip_widths"] = page.eval_on_selector_all(CHIPS, "all => all.map(i => i.naturalWidth)")
    seen["outlines"] = page.locator("#detail .chip svg path.over").count()
    seen["heading"] = page.text_content("#which")


def _move_the_map(page, seen):
    page.focus("#map .side.after canvas")
    before = page.get_attribute("#map", "data-view")
    page.keyboard.press("ArrowLeft")
    _moved(page, before)
    before = page.get_attribute("#map", "data-view")
    page.keyboard.press("+")
    _moved(page, before)
    seen["keys_move_the_map"] = True
    # The first new one: the map goes there.
    new = page.locator(ROWS).filter(has=page.locator(".status-new")).first
    new.click()
    seen["new"] = new.get_attribute("data-landslide-id")
    page.evaluate("document.querySelector('#which').textContent = ''")
    seen["pixels"] = {share: _picture(page, share) for share in ("0", "100")}
    box = page.locator("#map").bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.click(*middle)
    page.wait_for_selector("#which:not(:empty)")
    seen["clicked"] = page.text_content("#which")
    before = page.get_attribute("#map", "data-view")
    page.mouse.wheel(0, 300)
    _moved(page, before)
    line = page.locator("#map .cut")
    page.fill("#swipe", "50")
    at = line.bounding_box()
    page.mouse.move(at["x"] + at["width"] / 2, at["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, at["y"] + 30)
    page.mouse.up()
    seen["swipe_after_drag"] = page.input_value("#swipe")
    page.click("#zoom-all")
    seen["view_at_last"] = page.get_attribute("#map", "data-view")


def _moved(page, before):
    # By selectors: the page's policy forbids to evaluate a text until it is true.
    page.wait_for_selector(f'#map:not([data-view="{before}"])')


def _picture(page, share):
    """The map once both dates are drawn, with the line between them at a share of its width."""
    page.fill("#swipe", share)
    page.wait_for_selector("#map[data-drawn=true]")
    return base64.b64encode(page.locator("#map").screenshot()).decode()


def _decide(page, seen):
    page.reload()
    page.keyboard.press("n")
    for answer in "tfu":
        page.keyboard.press(answer)
        page.keyboard.press("n")
    page.keyboard.press("p")
    # Letters that are typed into a field decide nothing.
    page.fill("#words", "")
    page.focus("#words")
    page.keyboard.press("f")
    page.fill("#words", "")
    seen["decided"] = _decided(page)


def _decided(page):
    at = page.eval_on_selector("th[data-column=reviewed]", "head => head.cellIndex")
    cells = page.locator(f"{ROWS} td:nth-child({at + 1})").all_text_contents()
    return dict(zip(_ids(page), cells, strict=True))


def _ids(page):
    return page.eval_on_selector_all(ROWS, "rows => rows.map(row => row.dataset.landslideId)")


if __name__ == "__main__":
    print(json.dumps(look_through(*sys.argv[1:])))  # noqa: T201
