"""The process that makes pictures: started by `darkroom.py`, limited, without files to write or secrets to lose.

In: a line of JSON, then the frame, as long as it says. Out: a line of JSON, then the picture, as long as it says.
A decoder that a hostile frame breaks, or that takes too much, takes this process with it and nothing else.
"""

import resource
import sys
from typing import Any, Final

import orjson

from exchange.pictures import Shades, Table, View, picture
from exchange.pixels import Stored, Undecodable

MEMORY_LIMIT_BYTES: Final = 1 << 30
CPU_SECONDS: Final = 10
_OPEN_FILES: Final = 16


def main() -> None:
    """Answer requests until the standard input ends."""
    _limit_process()
    asked, answers = sys.stdin.buffer, sys.stdout.buffer
    answers.write(b"ready\n")
    answers.flush()
    for line in asked:
        request = orjson.loads(line)
        frame = asked.read(request["size_bytes"])
        head, content = _answer(request, frame)
        answers.write(orjson.dumps({**head, "size_bytes": len(content)}) + b"\n" + content)
        answers.flush()


def _limit_process() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, _OPEN_FILES))


def _answer(request: dict[str, Any], frame: bytes) -> tuple[dict[str, Any], bytes]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime) + CPU_SECONDS + 1
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.RLIM_INFINITY))
    try:
        stored, view = Stored(**request["stored"]), _view(request["view"])
        tables, frame = _split(request["tables"], frame)
        return {}, picture(frame, stored, _shades(request["shades"], tables), view)
    except Undecodable:
        return {"fault": "undecodable"}, b""
    except MemoryError:
        return {"fault": "memory"}, b""
    except Exception:  # whatever a hostile image breaks, it is this picture alone
        return {"fault": "failed"}, b""


def _split(tables: list[list[Any]], content: bytes) -> tuple[dict[str, bytes], bytes]:
    """Return the tables that came before the frame, by name, and the frame."""
    found, at = {}, 0
    for name, size in tables:
        found[name] = content[at : at + size]
        at += size
    return found, content[at:]


def _shades(told: dict[str, Any], content: dict[str, bytes]) -> Shades:
    palette = told["palette"]
    tables = [_table(each, content.get(f"palette.{number}")) for number, each in enumerate(palette or ())]
    return Shades(
        **{
            **told,
            "modality": _table(told["modality"], content.get("modality")),
            "interest": _table(told["interest"], content.get("interest")),
            "palette": tuple(tables) if palette else None,
        }
    )


def _table(told: dict[str, Any] | None, content: bytes | None) -> Table | None:
    if told is None:
        return None
    return Table(**{**told, "values": content if content is not None else tuple(told["values"])})


def _view(told: dict[str, Any]) -> View:
    return View(**told)


if __name__ == "__main__":
    main()
