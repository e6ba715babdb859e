"""A file's frame as the archive knows it, and as another program shows it."""

import os
import subprocess
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread

from catalog.image_index import IndexedInstance
from dicom_node.dataset import open_window
from dicom_node.metadata import read_metadata
from exchange.darkroom import Negative
from exchange.picture_facts import facts_of
from exchange.pictures import PNG, View, picture
from tests.needs import find_tool

Seen = NDArray[np.int64]


def indexed(path: Path, TransferSyntaxUID: str) -> IndexedInstance:
    """Read a file as shipping does; its positions are those of the file."""
    content = path.read_bytes()
    start = 144 + int.from_bytes(content[140:144], "little")
    fd = os.open(path, os.O_RDONLY)
    try:
        read = read_metadata(
            open_window(fd, start, len(content) - start, TransferSyntaxUID), TransferSyntaxUID
        )
    finally:
        os.close(fd)
    frames = read.pixel_data.frames if read.pixel_data else ()
    return IndexedInstance(
        SOPInstanceUID="1",
        SeriesInstanceUID="1",
        TransferSyntaxUID=TransferSyntaxUID,
        key="k",
        offset=0,
        size_bytes=len(content),
        frames=tuple(tuple(n + start * (i % 2 == 0) for i, n in enumerate(frame)) for frame in frames),
        bulk={name.replace("/", "."): (at + start, size) for name, (at, size) in read.bulk.items()},
        described=read.json,
    )


def negative(path: Path, TransferSyntaxUID: str, number: int = 1) -> Negative:
    """Return what a picture of a frame is made of."""
    content, instance = path.read_bytes(), indexed(path, TransferSyntaxUID)
    facts, flat = facts_of(instance, number), instance.frames[number - 1]
    frame = b"".join(content[at : at + size] for at, size in zip(flat[::2], flat[1::2], strict=True))
    missing = {name: content[at : at + size] for name, (_, at, size) in facts.missing.items()}
    return Negative(frame, facts.stored, facts.shades, {**facts.tables, **missing})


def shown(of: Negative, view: View | None = None) -> Seen:
    """Return a picture made in this process, as red, green and blue."""
    shades = of.shades
    for name in ("modality", "interest"):
        if name in of.tables:
            table = replace(getattr(shades, name), values=of.tables[name])
            shades = replace(shades, **{name: table})
    if shades.palette:
        whole = [
            replace(t, values=of.tables.get(f"palette.{n}", t.values)) for n, t in enumerate(shades.palette)
        ]
        shades = replace(shades, palette=(whole[0], whole[1], whole[2]))
    return seen(picture(of.frame, of.stored, shades, view or View(media_type=PNG)))


def seen(content: bytes) -> Seen:
    """Return the pixels of a PNG or JPEG."""
    return np.asarray(Image.open(BytesIO(content)).convert("RGB"), np.int64)


def by_dcmtk(path: Path, folder: Path, *, has_window: bool, number: int = 1) -> Seen:
    """Return the picture that dcmtk makes: by the image's own window, else by its least and greatest value."""
    out = folder / "dcmtk.png"
    window = ["+Wi", "1"] if has_window else ["+Wm"]
    is_jpeg_ls = ".4.8" in str(dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID)
    command = [
        find_tool("dcml2pnm" if is_jpeg_ls else "dcmj2pnm"),
        "+on",
        "+F",
        str(number),
        *window,
        str(path),
        str(out),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return seen(out.read_bytes())
