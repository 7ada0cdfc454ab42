"""Picture files: finished pictures and input pictures, unchanged, named by their SHA-256.

A finished picture is stored in two steps. First its bytes are written to `incoming/` and synced
to the disk, under a name that holds its job, position, size and seed. Once the database has its
row, the file moves to `pictures/ab/abcd....png`. So a picture whose bytes are complete is never
lost, whenever Lineup is killed: at the next start either the database or the file's name in
`incoming/` tells which job it belongs to.
"""

import hashlib
import mimetypes
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from backends.base import Picture
from backends.files import PART, move, remove_abandoned, write_atomically
from compare.records import SavedPicture

_EXTENSIONS = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
    "image/gif": "gif",
    "image/avif": "avif",
    "image/svg+xml": "svg",
}


@dataclass(frozen=True, slots=True)
class Incoming:
    """A complete picture in `incoming/`, which has not moved to `pictures/` yet."""

    job_id: str
    position: int
    file: Path
    picture: SavedPicture


class PictureFiles:
    """The folders `incoming`, `pictures` and `controls` in `home`. All methods block.

    `controls` holds the input pictures of runs: control pictures and start pictures.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self._incoming = home / "incoming"
        self._pictures = home / "pictures"
        self._inputs = home / "controls"

    def prepare(self) -> None:
        """Create the folders."""
        for folder in (self._incoming, self._pictures, self._inputs):
            folder.mkdir(parents=True, exist_ok=True)
        remove_abandoned(self._inputs)

    def receive(self, job_id: str, position: int, picture: Picture) -> Incoming:
        """Write a finished picture to `incoming/`, synced to the disk."""
        seed = "" if picture.seed is None else str(picture.seed)
        extension = _extension(picture.media_type)
        size = f"{picture.width}x{picture.height}"
        file = self._incoming / f"{job_id}.{position}.{size}.{seed}.{extension}"
        write_atomically(file, picture.data)
        return Incoming(job_id, position, file, _saved(picture))

    def accept(self, incoming: Incoming) -> None:
        """Move a picture whose row is in the database from `incoming/` to `pictures/`."""
        move(incoming.file, self.home / incoming.picture.path)

    def copy(self, incoming: Incoming) -> None:
        """Write a picture to `pictures/`, and leave it in `incoming/` until it is accepted."""
        write_atomically(self.home / incoming.picture.path, incoming.file.read_bytes())

    def left_behind(self, job_ids: frozenset[str]) -> Iterator[Incoming]:
        """Yield the complete pictures in `incoming/` of jobs whose process ended.

        Incomplete files of these jobs are removed.
        """
        for file in sorted(self._incoming.glob("*")):  # nothing, if the folder was deleted
            job_id, _, rest = file.name.partition(".")
            if job_id not in job_ids:
                continue
            if file.suffix == PART:
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
        """Return the file of the finished picture with this SHA-256, None if there is none."""
        folder = self._pictures / sha256[:2]
        if not (len(sha256) == 64 and sha256.isalnum()):
            return None
        return next((file for file in folder.glob(f"{sha256}.*")), None)

    def read(self, sha256: str) -> bytes | None:
        """Return the bytes of a finished picture, None if its file is missing."""
        file = self.path(sha256)
        return file.read_bytes() if file is not None else None

    def save_input(self, image: bytes) -> str:
        """Store an input picture and return its SHA-256."""
        file = self.input_path(image)
        if not file.exists():
            write_atomically(file, image)
        return file.name

    def input_path(self, image: bytes) -> Path:
        """Return the file of an input picture, whether stored or not; its name is its SHA-256."""
        return self._inputs / hashlib.sha256(image).hexdigest()

    def read_input(self, sha256: str) -> bytes:
        """Return the bytes of an input picture, empty if its file is missing."""
        file = self._inputs / sha256
        return file.read_bytes() if file.is_file() else b""


def save_to_temp(picture: Picture) -> Path | None:
    """Write a picture to the system's temporary folder, None if that fails as well.

    This is the last resort when the data folder has no room.
    """
    name = f"lineup-{hashlib.sha256(picture.data).hexdigest()[:16]}"
    file = Path(tempfile.gettempdir()) / f"{name}.{_extension(picture.media_type)}"
    try:
        write_atomically(file, picture.data)
    except OSError:
        return None
    return file


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
