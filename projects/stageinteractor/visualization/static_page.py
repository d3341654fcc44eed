"""Static HTML pages: images are embedded, nothing is loaded from elsewhere."""

from __future__ import annotations

import base64
import html
import io

from PIL import Image


def static_page(title: str, style: str, body: str) -> str:
    """Return a page with a heading.

    Args:
        title: plain text.
        style: CSS rules.
        body: HTML after the heading.
    """
    title = html.escape(title)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{style}</style></head><body><h1>{title}</h1>{body}</body></html>\n"
    )


def jpeg_url(image: Image.Image, quality: int = 85) -> str:
    """Return an image as a ``data:`` URL of a JPEG file."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
