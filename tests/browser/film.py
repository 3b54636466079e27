"""A page's surface, filmed over the training: film.py PAGE.html OUT.gif."""

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from conftest import FLAGS

SIZE, FRAMES_A_STAGE, COLOURS = (760, 440), 4, 128


def shoot(page: Page) -> list[Image.Image]:
    """One picture for each moment, the last held."""
    last = float(page.locator("#when").get_attribute("max") or 1)
    pictures = []
    for number in range(int(last) * FRAMES_A_STAGE + 1):
        page.locator("#when").fill(str(number / FRAMES_A_STAGE))
        page.evaluate("() => new Promise(r => requestAnimationFrame(() => setTimeout(r, 20)))")
        raw = page.locator("#stage").screenshot()
        pictures.append(Image.open(io.BytesIO(raw)).convert("RGB"))
    return pictures


def main(source: Path, out: Path) -> None:
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_page(viewport={"width": 1120, "height": 900}, color_scheme="light")
        page.goto(source.resolve().as_uri())
        page.wait_for_selector("html[data-ready]", state="attached")
        flat = "background: #f2f8fa !important; border: 0 !important; flex: none !important"
        page.add_style_tag(content=f".stage {{ {flat}; height: {SIZE[1]}px }}")
        page.add_style_tag(content=".sea { border: 0; border-radius: 0 }")
        frames = shoot(page)
        browser.close()
    palette = _palette(frames[-1])
    shown = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    times = [110] * (len(shown) - 1) + [2600]
    shown[0].save(out, save_all=True, append_images=shown[1:], duration=times, loop=0)


def _palette(frame: Image.Image) -> Image.Image:
    """The sea's colours, and those of the few pixels that ride on it."""
    wide, high = frame.size
    swatches = Image.new("RGB", (wide, high + 60), "#8a3ffc")
    swatches.paste(frame, (0, 0))
    swatches.paste("#d1570a", (0, high + 30, wide, high + 60))
    return swatches.quantize(COLOURS)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
