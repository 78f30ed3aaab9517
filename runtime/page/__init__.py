"""The page: HTML, CSS and ES modules as they are read, with no build step and from no other host.

``index.html`` loads ``main.js``, which imports everything else. Where depth comes from is one
module beside it, ``source.js``, that whoever serves the page adds: ``info``, ``depthOf`` and
``openStream``, as in ``runtime/serve/source.js``.
"""

from __future__ import annotations

from importlib.resources import files

#: A file's kind by its ending.
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


def page_files() -> dict[str, bytes]:
    """{name: content} of all but ``source.js``."""
    found = (file for file in files(__package__).iterdir() if file.name.endswith(tuple(KINDS)))
    return {file.name: file.read_bytes() for file in found}
