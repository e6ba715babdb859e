"""Ways to use a volume up, to the last byte or to the last inode, and to give it back."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def no_bytes(volume: Path) -> Iterator[None]:
    """Fill the volume to its last byte."""
    ballast = volume / "ballast"
    with ballast.open("wb", buffering=0) as file:
        while (free := os.statvfs(volume)).f_bavail:
            with suppress(OSError):  # whoever else writes here was faster
                os.posix_fallocate(
                    file.fileno(), os.fstat(file.fileno()).st_size, free.f_bavail * free.f_frsize
                )
        yield
    ballast.unlink()


@contextmanager
def no_inodes(volume: Path) -> Iterator[None]:
    """Use up the inodes of the volume."""
    folder = volume / "ballast"
    folder.mkdir()
    made = [folder / str(number) for number in range(os.statvfs(volume).f_favail)]
    for path in made:
        path.touch()
    yield
    for path in made:
        path.unlink()
    folder.rmdir()
