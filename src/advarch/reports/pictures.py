"""Pictures inside the page: PNG bytes as HTML that fetches nothing."""

import base64
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class Picture:
    """A figure as PNG bytes, for a light and, where there is one, a dark page. `wide` takes the page's full width."""

    caption: str
    light: bytes
    dark: bytes | None = None
    wide: bool = False


def figure(picture: Picture) -> str:
    """A picture with its caption as HTML."""
    width, height = png_size(picture.light)
    dark = (
        f'<source media="(prefers-color-scheme: dark)" srcset="{_data(picture.dark)}">'
        if picture.dark
        else ""
    )
    image = f'<img src="{_data(picture.light)}" alt="{escape(picture.caption)}" width="{width}" height="{height}">'
    kind = "frame wide" if picture.wide else "frame"
    frame = f'<div class="{kind}" tabindex="0" role="region" aria-label="Figure"><picture>{dark}{image}</picture></div>'
    return f"<figure>{frame}<figcaption>{escape(picture.caption)}</figcaption></figure>"


def png_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels, from a PNG's header."""
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def _data(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
