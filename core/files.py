"""Files that are whole or absent: every write goes to a temporary neighbour, is synced, then renamed."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, BinaryIO

from agentlora.core.errors import ConfigError

_HEADER_MAX_BYTES = 100_000_000  # what the safetensors format allows


def shipped_yaml(package: str, name: str) -> Any:
    """The value of the YAML file `name` that is part of `package`."""
    import yaml

    return yaml.load(files(package).joinpath(name).read_text(encoding="utf-8"), Loader=yaml_loader())


def yaml_loader() -> Any:
    """libyaml's safe one where PyYAML was built with it: ten times as fast, and the same result."""
    import yaml

    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def write_atomic(path: Path, data: bytes | str) -> None:
    """Replace `path` by `data`, or leave it as it was. Raises OSError (disk full, no permission)."""
    with file_atomic(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)


@contextmanager
def file_atomic(path: Path) -> Iterator[BinaryIO]:
    """Yield a file to write into that replaces `path` when the block ends well and vanishes when it does not.

    Raises:
        OSError: disk full, no permission.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """`write_atomic` for indented JSON with a final newline; NaN and infinity are refused (ValueError)."""
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_jsonl(path: Path, values: Iterable[Any]) -> None:
    """`write_atomic` for a JSON value a line. Half a character, which cannot be written, becomes ``?``."""
    text = "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)
    write_atomic(path, text.encode("utf-8", "replace").decode())


def read_json(path: Path, advice: str = "remove it or train again") -> dict[str, Any]:
    """The object in a JSON file; `advice` ends the message when there is none.

    Raises:
        ConfigError: the file cannot be read, is not JSON, or holds something else than an object.
    """
    try:
        value = json.loads(path.read_bytes())
    except OSError as exc:
        raise ConfigError(f"cannot read {str(path)!r}: {exc.strerror}. To go on: {advice}.") from exc
    except (ValueError, RecursionError) as exc:  # not JSON, not UTF-8, or nested without end
        raise ConfigError(f"{str(path)!r} is damaged ({exc}): {advice}.") from exc
    if not isinstance(value, dict):
        raise ConfigError(
            f"{str(path)!r} is damaged (it holds a {type(value).__name__}, not an object): {advice}."
        )
    return value


def loads_strict(text: str | bytes) -> Any:
    """A JSON text's value, as the standard has it.

    Raises:
        ValueError: no JSON, a number that is not finite (Python would read NaN, and 1e999 as infinity), half a
            character (a lone surrogate), or nested too deeply.
    """

    if not isinstance(text, str):
        text = text.decode(json.detect_encoding(text), "surrogatepass")
    try:
        value = _decoded(text)
        if "\\u" in text or text.count("[") + text.count("{") > _SHALLOW:
            json.dumps(value, ensure_ascii=False).encode()
        elif not text.isascii():
            text.encode()
    except RecursionError as exc:
        raise ValueError("nested too deeply") from exc
    except UnicodeEncodeError as exc:
        code = f"\\u{ord(exc.object[exc.start]):04x}"
        raise ValueError(f"holds half a character ({code}, a lone surrogate)") from exc
    return value


def _decoded(text: str) -> Any:
    """As `_DECODER.decode`, whose search for blanks takes as long as reading a tool call."""
    bare = text.strip(" \t\n\r")
    try:
        value, end = _DECODER.raw_decode(bare)
        if end == len(bare):
            return value
    except ValueError:
        pass
    return _DECODER.decode(text)  # it says what is wrong, and where


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _finite(digits: str) -> float:
    number = float(digits)
    return number if math.isfinite(number) else _refuse(digits)


# made once: making one takes as long as reading a tool call
_DECODER = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite)
_SHALLOW = 200  # brackets that cannot nest too deeply to be written again


@contextmanager
def directory_atomic(final: Path) -> Iterator[Path]:
    """Yield an empty directory that becomes `final` when the block ends well and vanishes when it does not.

    When another process made `final` meanwhile, theirs stays and ours is dropped.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=final.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        try:
            temporary.replace(final)
        except OSError:
            if not final.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def sha256_bytes(data: bytes) -> str:
    """The hex digest."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """The hex digest of a file's content, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """The hex digest of a value's canonical JSON."""
    return sha256_bytes(canonical_json(value))


def canonical_json(value: Any, of_other: Callable[[Any], Any] | None = None) -> bytes:
    """With sorted keys, without spaces, in UTF-8.

    Args:
        of_other: what JSON can say, of a value that it cannot.

    Raises:
        TypeError, ValueError: it cannot be said in JSON (NaN, half a character).
    """
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=of_other
    )
    return text.encode()


def safetensors_header(path: Path) -> tuple[dict[str, Any], int]:
    """A safetensors file's entries by tensor, and where in the file their bytes begin.

    Raises:
        OSError, ValueError: it cannot be read, or is not a whole safetensors file.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= _HEADER_MAX_BYTES:
            raise ValueError(f"its header claims {length} bytes")
        raw = file.read(length)
    try:
        tensors = {name: entry for name, entry in json.loads(raw).items() if name != "__metadata__"}
        end = max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
    except (KeyError, TypeError, AttributeError, IndexError) as exc:
        raise ValueError(f"its header is none: {exc}") from exc
    if path.stat().st_size != 8 + length + end:
        raise ValueError(f"it has {path.stat().st_size} bytes and its header says {8 + length + end}")
    return tensors, 8 + length
