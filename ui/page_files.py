"""The page's own scripts, styles and icons: files of `assets/ui`, served under a versioned path.

The version is a hash of all of them, so browsers keep each file for ever and never mix two
releases. Scripts are ES modules. Gradio keeps the `js_on_load` of a component in the document, so
that is only an import of the module, which gets the component as `mount({element, ...})`.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Final

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from backends.paths import ASSETS

FOLDER: Final = ASSETS / "ui"
ICON: Final = FOLDER / "icon.svg"
TYPES: Final = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
"""The media type of each kind of file that is served; all others are the server's alone."""
STYLESHEETS: Final = (
    "base.css",
    "form.css",
    "options.css",
    "picker.css",
    "board.css",
    "closely.css",
    "models.css",
    "keys.css",
)
"""In the order in which they apply."""
MODULES: Final = (
    "picker.js",
    "settings.js",
    "visit.js",
    "board.js",
    "arrange.js",
    "table.js",
    "clipboard.js",
    "keys.js",
    "options.js",
    "closely.js",
    "menu.js",
    "from_picture.js",
    "memory.js",
)
"""What the first page runs, so that the browser fetches it beside Gradio's own scripts."""
TITLE: Final = "Lineup"
DESCRIPTION: Final = (
    "One prompt, every text-to-image model, side by side: the pictures, what each cost and how "
    "long it took."
)
PREVIEW: Final = "preview.png"
PREVIEW_ALT: Final = "Lineup: five pictures of one prompt side by side, with seconds and prices."
_IMMUTABLE = "public, max-age=31536000, immutable"
_EVENT = re.compile(r"\w+")


def script(module: str, *, events: tuple[str, ...] = ()) -> str:
    """Return the `js_on_load` that mounts `module` on its component.

    `events` are the names of the events that the module triggers: Gradio lets Python listen to
    those that it finds in this text, in quotes.
    """
    assert all(_EVENT.fullmatch(name) for name in events)
    names = ", ".join(f'"{name}"' for name in events)
    return (
        f'const events = [{names}]; import(new URL("{path(module)}", document.baseURI))'
        ".then((module) => module.mount({ element, props, trigger, watch, upload, events }))"
    )


def call(module: str, function: str, *arguments: object) -> str:
    """Return the `js` of an event that calls a function of `module`.

    The function gets `arguments` (anything that is JSON) and then the values of the event's inputs.
    """
    first = "".join(f"{json.dumps(each)}, " for each in arguments)
    return (
        f'async (...values) => (await import(new URL("{path(module)}", document.baseURI)))'
        f".{function}({first}...values)"
    )


def path(name: str) -> str:
    """Return the path of a file, relative to the page so that it works behind a proxy's prefix."""
    return f"lineup/page/{_version()}/{name}"


def head(root: str) -> str:
    """Return what the head of the document links to: scripts, icon and link preview.

    `root` is the page's own address: who shows a preview of a link reads no relative ones.
    """
    parts = [Markup('<link rel="icon" type="image/svg+xml" href="{}">').format(path(ICON.name))]
    parts += [_link("preload", each, ' as="style"') for each in STYLESHEETS]
    parts += [_link("modulepreload", each) for each in MODULES]
    preview = {
        "og:type": "website",
        "og:title": TITLE,
        "og:description": DESCRIPTION,
        "og:url": f"{root}/",
        "og:image": f"{root}/{path(PREVIEW)}",
        "og:image:alt": PREVIEW_ALT,
        "og:image:width": "1200",
        "og:image:height": "630",
    }
    meta = Markup('<meta property="{}" content="{}">')
    parts += [meta.format(name, content) for name, content in preview.items()]
    named = Markup('<meta name="{}" content="{}">')
    parts += [
        named.format("description", DESCRIPTION),
        named.format("twitter:card", "summary_large_image"),
    ]
    return "\n".join(parts)


def styles() -> str:
    """Return the links to the styles, for the end of the document.

    They stand after the styles that Gradio's scripts add to the head, and so win where a rule of
    both is as specific.
    """
    return "".join(_link("stylesheet", each) for each in STYLESHEETS)


def _link(kind: str, name: str, attributes: str = "") -> str:
    return Markup('<link rel="{}" href="{}"{}>').format(kind, path(name), Markup(attributes))


def route() -> Route:
    """Return the route of the files. A version that is not this one's is answered like it."""
    return Route("/lineup/page/{version}/{name}", _answer)


async def _answer(request: Request) -> Response:
    name = request.path_params["name"]
    data = _files().get(name)
    if data is None:
        return PlainTextResponse("There is no such file here.", status_code=404)
    current = request.path_params["version"] == _version()
    headers = {"Cache-Control": _IMMUTABLE if current else "no-store"}
    return Response(data, headers=headers, media_type=TYPES[FOLDER.joinpath(name).suffix])


@cache
def _files() -> Mapping[str, bytes]:
    """Return the bytes of each file by its name."""
    files = sorted(file for file in FOLDER.iterdir() if file.suffix in TYPES)
    return {file.name: file.read_bytes() for file in files}


@cache
def _version() -> str:
    digest = hashlib.sha256()
    for name, data in _files().items():
        digest.update(f"{name} {len(data)} ".encode() + data)
    return digest.hexdigest()[:16]
