"""Finished pictures on disk, byte for byte, each under the SHA-256 of its bytes.

A picture goes two steps. First its bytes are written to `incoming/` under a name that says whose
they are, and made to reach the disk. Once the database knows of the picture, the file moves to
`pictures/ab/abcd....png`. So whenever Lineup is killed, a picture whose bytes are complete can be
given to its job at the next start: by the database, or by the name it has in `incoming/`.
"""

import hashlib
import mimetypes
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from backends.base import Picture
from compare.records import SavedPicture

_EXTENSIONS = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
    "image/gif": "gif",
    "image/avif": "avif",
    "image/svg+xml": "svg",
}
_PART = ".part"


@dataclass(frozen=True, slots=True)
class Incoming:
    """A complete picture that has not yet moved to its place."""

    job_id: str
    position: int
    file: Path
    picture: SavedPicture


class PictureFiles:
    """The folders `incoming`, `pictures` and `controls` in `home`. All methods block.

    `controls` holds what people gave: control pictures and pictures to start from.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self._incoming = home / "incoming"
        self._pictures = home / "pictures"
        self._controls = home / "controls"

    def prepare(self) -> None:
        """Make the folders."""
        for folder in (self._incoming, self._pictures, self._controls):
            folder.mkdir(parents=True, exist_ok=True)

    def receive(self, job_id: str, position: int, picture: Picture) -> Incoming:
        """Write a picture's bytes where a crash cannot lose them."""
        seed = "" if picture.seed is None else str(picture.seed)
        extension = _extension(picture.media_type)
        size = f"{picture.width}x{picture.height}"
        file = self._incoming / f"{job_id}.{position}.{size}.{seed}.{extension}"
        _write(file, picture.data)
        return Incoming(job_id, position, file, _saved(picture))

    def settle(self, incoming: Incoming) -> None:
        """Move a picture that the database knows to its place."""
        place = self.home / incoming.picture.path
        place.parent.mkdir(exist_ok=True)
        incoming.file.replace(place)

    def left_over(self, job_ids: frozenset[str]) -> Iterator[Incoming]:
        """Find the complete pictures of some jobs that were under way when a process ended.

        What was not complete is removed.
        """
        for file in sorted(self._incoming.iterdir()):
            job_id, _, rest = file.name.partition(".")
            if job_id not in job_ids:
                continue
            if file.suffix == _PART:
                file.unlink(missing_ok=True)
                continue
            position, size, seed, extension = rest.split(".")
            width, _, height = size.partition("x")
            picture = Picture(
                data=file.read_bytes(),
                width=int(width),
                height=int(height),
                media_type=_media_type(extension),
                seed=int(seed) if seed else None,
            )
            yield Incoming(job_id, int(position), file, _saved(picture))

    def path(self, sha256: str) -> Path | None:
        """Return the file of the picture with this SHA-256."""
        folder = self._pictures / sha256[:2]
        if not (len(sha256) == 64 and sha256.isalnum()):
            return None
        return next((file for file in folder.glob(f"{sha256}.*")), None)

    def drawn(self, sha256: str) -> bytes | None:
        """Return the bytes of a finished picture, None where it is gone."""
        file = self.path(sha256)
        return file.read_bytes() if file is not None else None

    def keep_given(self, image: bytes) -> str:
        """Keep the bytes of a picture that was given and return their SHA-256."""
        file = self.given_path(image)
        if not file.exists():
            _write(file, image)
        return file.name

    def given_path(self, image: bytes) -> Path:
        """Return the file of a picture that was given, kept or not: its name is its SHA-256."""
        return self._controls / hashlib.sha256(image).hexdigest()

    def given(self, sha256: str) -> bytes:
        """Return a picture that was given, empty where it is gone."""
        file = self._controls / sha256
        return file.read_bytes() if file.is_file() else b""


def rescue(picture: Picture) -> Path | None:
    """Write a picture to the system's temporary folder: the last resort when there is no room."""
    name = f"lineup-{hashlib.sha256(picture.data).hexdigest()[:16]}"
    file = Path(tempfile.gettempdir()) / f"{name}.{_extension(picture.media_type)}"
    try:
        _write(file, picture.data)
    except OSError:
        return None
    return file


def _write(file: Path, data: bytes) -> None:
    """Write a file so that its name only ever stands for the whole of it."""
    part = file.with_name(file.name + _PART)
    try:
        with part.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(file)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _saved(picture: Picture) -> SavedPicture:
    sha256 = hashlib.sha256(picture.data).hexdigest()
    return SavedPicture(
        path=f"pictures/{sha256[:2]}/{sha256}.{_extension(picture.media_type)}",
        sha256=sha256,
        width=picture.width,
        height=picture.height,
        media_type=picture.media_type,
        size=len(picture.data),
        seed=picture.seed,
    )


def _extension(media_type: str) -> str:
    if known := _EXTENSIONS.get(media_type):
        return known
    return (mimetypes.guess_extension(media_type) or ".bin").removeprefix(".")


def _media_type(extension: str) -> str:
    for media_type, known in _EXTENSIONS.items():
        if known == extension:
            return media_type
    return mimetypes.guess_type(f"picture.{extension}")[0] or "application/octet-stream"
