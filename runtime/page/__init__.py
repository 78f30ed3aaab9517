"""The page: HTML, CSS and ES modules as they are read, with no build step and from no other host.

``index.html`` loads ``main.js``, which imports everything else. Where depth comes from is one
module, ``source.js`` to the others, with the functions ``info``, ``depthOf`` and ``openStream``:
``sources/`` has one for each verb that shows the page, ``NAME.js``, and as ``NAME_*.js`` what that
one loads.
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


def page_files(source: str) -> dict[str, bytes]:
    """{name: content} of the page whose depth comes from ``sources/SOURCE.js``."""
    folder = files(__package__)
    found = [file for file in folder.iterdir() if file.name.endswith(tuple(KINDS))]
    sources = folder.joinpath("sources")
    found += [file for file in sources.iterdir() if file.name.startswith(f"{source}_")]
    by_name = {file.name: file.read_bytes() for file in found}
    return by_name | {"source.js": sources.joinpath(f"{source}.js").read_bytes()}
