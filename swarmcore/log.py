"""Logging: one line an event on stderr, constant message, facts as key=value (or JSON) fields."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

_RESERVED = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_LONGEST = 4096  # characters of a message or a fact; others write some of it
_LONGEST_TRACE = 16384


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return {k: v for k, v in record.__dict__.items() if k not in _RESERVED}


def _clip(text: str, most: int = _LONGEST) -> str:
    """The beginning and the end; an exception says at its end what it is."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}…({len(text) - 2 * half} characters)…{text[-half:]}"


def _clipped(value: object) -> object:
    """Numbers, and what is short, stay what they are in JSON."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return value if len(text) <= _LONGEST else _clip(text)


def _quote(value: object) -> str:
    text = _clip(str(value))
    return json.dumps(text) if not text or any(c in text for c in ' "=') or not text.isprintable() else text


class LineFormatter(logging.Formatter):
    """`2026-01-01T00:00:00.000Z INFO manager.raft.node: became leader term=3`."""

    def format(self, record: logging.LogRecord) -> str:
        stamp = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = (
            f"{stamp.removesuffix('+00:00')}Z {record.levelname} {record.name}: {_clip(record.getMessage())}"
        )
        for key, value in _fields(record).items():
            line += f" {key}={_quote(value)}"
        if record.exc_info:
            line += "\n" + _clip(self.formatException(record.exc_info), _LONGEST_TRACE)
        return line


class JsonFormatter(logging.Formatter):
    """One JSON object a line, for log collectors."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "message": _clip(record.getMessage()),
            **{key: _clipped(value) for key, value in _fields(record).items()},
        }
        if record.exc_info:
            entry["exception"] = _clip(self.formatException(record.exc_info), _LONGEST_TRACE)
        return json.dumps(entry, default=str)


def set_up(level: str = "INFO", *, as_json: bool = False) -> None:
    """Send all logs of this process to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if as_json else LineFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
