"""How the page carries what its scripts unpack: `unpacked` of templates/page.js is the other side."""

import base64
import gzip


def compressed(content: bytes) -> str:
    """Compressed, in base 64: the same text for the same bytes."""
    return base64.b64encode(gzip.compress(content, mtime=0)).decode()
