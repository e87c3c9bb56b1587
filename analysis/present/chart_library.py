"""The JavaScript that draws the figures: plotly.js, vendored as published, in its bundle of scatter, bar and pie.

The whole library is 4.8 MB, this bundle 1.2 MB. A page carries it uncompressed: a browser inflates only
asynchronously, and a page that is printed as soon as it is loaded would be without its charts.
"""

import shutil
from pathlib import Path
from typing import Final

from markupsafe import Markup

VERSION: Final = "4.1.1"
VENDOR: Final = Path(__file__).parent / "vendor"
BUNDLE: Final = VENDOR / f"plotly-basic-{VERSION}.min.js"
LICENSE: Final = VENDOR / f"plotly-basic-{VERSION}.LICENSE"


def script(href: str | None = None) -> Markup:
    """The element that loads the library: from `href`, relative to the page, or without it from the page itself."""
    if href is not None:
        return Markup('<script src="{}"></script>').format(href)
    return Markup(f"<script>{BUNDLE.read_text(encoding='utf-8')}</script>")


def copy_to(folder: Path) -> Path:
    """Lay the library and its licence into a folder whose pages share it, and return where the library lies."""
    shutil.copyfile(LICENSE, folder / LICENSE.name)
    return Path(shutil.copyfile(BUNDLE, folder / BUNDLE.name))
