#!/usr/bin/env python3
"""Pictures of a report page in headless Chromium: wide, narrow, dark, on paper, and its map of frames."""

from __future__ import annotations

import argparse
import shutil
import subprocess
from pathlib import Path

COMMON = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage"]
SOFTWARE_GL = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


def picture(page: Path, out: Path, width: int, height: int, *more: str) -> Path:
    """Write a picture of `page`, `width` × `height` CSS pixels, to `out`."""
    words = [*COMMON, f"--window-size={width},{height}", f"--screenshot={out}", *more, page.resolve().as_uri()]
    subprocess.run([chromium(), *words], check=True, capture_output=True, timeout=180)
    return out


def paper(page: Path, out: Path) -> Path:
    """Print `page` to the PDF `out`."""
    words = [*COMMON, "--no-pdf-header-footer", f"--print-to-pdf={out}", page.resolve().as_uri()]
    subprocess.run([chromium(), *words], check=True, capture_output=True, timeout=180)
    return out


def chromium() -> str:
    """The program. Raises SystemExit where there is none."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        raise SystemExit("no Chromium here: apt-get install chromium")
    return found


def pictures(page: Path, out: Path, height: int = 6000) -> list[Path]:
    """All pictures of a report's page, and of its map where there is one, into the folder `out`."""
    out.mkdir(parents=True, exist_ok=True)
    made = [
        picture(page, out / "wide.png", 1280, height),
        picture(page, out / "narrow.png", 400, 2 * height),
        picture(page, out / "dark.png", 1280, height, "--blink-settings=preferredColorScheme=0"),
        paper(page, out / "paper.pdf"),
    ]
    there = page.with_name("map.html")
    if there.is_file():
        time = "--virtual-time-budget=15000"
        made.append(picture(there, out / "map.png", 1280, 760, time, *SOFTWARE_GL))
        made.append(picture(there, out / "map-narrow.png", 400, 1000, time, *SOFTWARE_GL))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path, help="index.html of a report")
    parser.add_argument("out", type=Path, help="folder for the pictures")
    parser.add_argument("--height", type=int, default=6000)
    given = parser.parse_args()
    for path in pictures(given.page, given.out, given.height):
        print(path)


if __name__ == "__main__":
    main()
