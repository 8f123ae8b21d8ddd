"""Mutations: of the bytes of a file, and of what its format says (values, rows, arrays, tensors, cells of a database).

Each takes the bytes of a real file and a random source and returns other bytes; the same source gives the same bytes.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import sqlite3
import tempfile
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

Mutation = Callable[[bytes, Random], bytes]

DEEP = 5000
ODD: tuple[str, ...] = (
    *("NaN", "Infinity", "-Infinity", "1e999", "-1e308", "1" + "0" * 400, "-1", "0", "-0.0", "2.5", "1e-320"),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775809", "4294967296", "1000000", "100"),
    *('""', '" "', '"\\ud83d"', '"\\u0000"', '"\\u001b[2J"', '"../../x"', '"/etc/x"', '"=1+1"', '"{{ 1 }}"', '"none"'),
    *('"[red]x[/]"', '"' + "x" * 100_000 + '"', '"\\u202e\\ufeff"', '"1"', '"NaN"', '"a\\nb"', '"%s %d {0}"', '"nan"'),
    *("null", "true", "false", "[]", "{}", "[null]", '[""]', "[[]]", "[1, 2]", '{"a": 1}', '{"": {}}', "[NaN, 1]"),
    *("[" * DEEP + "]" * DEEP, '{"a":' * DEEP + "1" + "}" * DEEP, "[" * 90 + "]" * 90),
)
"""JSON texts that are seldom where a value is expected."""
MARK = "\x00mark\x00"


# --- bytes ---------------------------------------------------------------------------------------------------------


def flip(data: bytes, rng: Random) -> bytes:
    """Flip one to eight bits."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 8) if changed else 0):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(data: bytes, rng: Random) -> bytes:
    """Cut the file short, as a kill in the middle of a copy does."""
    return data[: rng.randrange(len(data) + 1)]


def drop(data: bytes, rng: Random) -> bytes:
    """Leave out a piece."""
    start = rng.randrange(len(data) + 1)
    return data[:start] + data[start + rng.randint(1, 64) :]


def insert(data: bytes, rng: Random) -> bytes:
    """Put odd bytes somewhere."""
    pieces = (b"\x00", b"\xff\xfe", b"\xed\xa0\xbd", b"\n", b"\r\n", b"\xef\xbb\xbf", b'"', b"{", b"]", b"\x1f\x8b\x08")
    piece = rng.choice((*pieces, rng.randbytes(16)))
    start = rng.randrange(len(data) + 1)
    return data[:start] + piece * rng.choice((1, 1, 40)) + data[start:]


def splice(data: bytes, rng: Random) -> bytes:
    """Copy a piece of the file over another place of it."""
    length = rng.randint(1, max(1, min(200, len(data))))
    source, target = rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)
    return data[:target] + data[source : source + length] + data[target + rng.choice((0, length)) :]


def whole(data: bytes, rng: Random) -> bytes:
    """Replace the file: empty, blank, zeros, another encoding, twice."""
    kinds = (b"", b"\n", b" \n\n", b"\0" * 4096, b"null", b"[]", b"{}", b"0", b'""', data + data, b"\xff\xfe" + data)
    return rng.choice((*kinds, b"[" * 100_000, data.replace(b"\n", b"\r\n"), data[::-1], rng.randbytes(300)))


BYTES: tuple[Mutation, ...] = (flip, cut, drop, insert, splice, whole)


# --- JSON ----------------------------------------------------------------------------------------------------------


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) of a document, once, even where an earlier mutation has put it into itself."""
    found: list[tuple[Any, Any]] = []
    stack, seen = [value], set[int]()
    while stack:
        inner = stack.pop()
        if id(inner) in seen:
            continue
        seen.add(id(inner))
        keys = list(inner) if isinstance(inner, dict) else range(len(inner)) if isinstance(inner, list) else ()
        found += [(inner, key) for key in keys]
        stack += [inner[key] for key in keys]
    return found


def _picked(document: Any, rng: Random) -> tuple[Any, Any]:
    """A place; first the field's name is drawn, so that long lists do not hide what is there once."""
    places = _places(document)
    names = sorted({str(key) for inner, key in places if isinstance(inner, dict)})
    if names and rng.random() < 0.8:
        name = rng.choice(names)
        places = [(inner, key) for inner, key in places if isinstance(inner, dict) and str(key) == name]
    return rng.choice(places)


def _dumped(document: Any, raw: str, like: bytes) -> bytes:
    text = json.dumps(document, ensure_ascii=False, indent=1 if b"\n" in like.strip() else None)
    return text.replace(json.dumps(MARK), raw, 1).encode("utf-8", "surrogatepass")


def _mutated_value(document: Any, rng: Random) -> tuple[Any, str]:
    """The document with one place changed; raw JSON text stands for the mark in it."""
    holder = [document]
    inner, key = _picked(document, rng) if _places(document) and rng.random() < 0.97 else (holder, 0)
    old, raw = inner[key], ""
    kind = rng.randrange(10)
    if kind < 5:
        raw, inner[key] = rng.choice(ODD), MARK
    elif kind == 5:
        del inner[key]
    elif kind == 6:
        others = [there[name] for there, name in _places(document)]
        inner[key] = deepcopy(rng.choice(others)) if others else None
    elif kind == 7:
        swapped = str(old) if not isinstance(old, str) else rng.choice([len(old), [old], {"a": old}, float(len(old))])
        inner[key] = rng.choice([swapped, [old], {"value": old}, [old, old], old])
    elif kind == 8 and isinstance(inner, dict):
        inner[rng.choice([*(str(name) for name in inner), "", "x", f"{key} "])] = inner.pop(key)
    elif isinstance(old, (int, float)) and not isinstance(old, bool):
        inner[key] = rng.choice([-old, old + 1, old * 10, old / 3, old - 0.5, 1 - old])
    elif isinstance(old, list) and old:
        inner[key] = rng.choice([old + old, old[:1], old[:-1], [*reversed(old)], [*old, None], [*old, rng.choice(old)]])
    elif isinstance(old, str):
        inner[key] = rng.choice([old + old, old[: len(old) // 2], old.upper(), old + "\n", "\ud83d" + old, old * 50])
    elif isinstance(inner, dict):
        raw, inner[key] = f"{json.dumps(old)}, {json.dumps(str(key))}: {rng.choice(ODD[:40])}", MARK
    else:
        inner[key] = None
    return (holder[0] if holder else None), raw


def json_value(data: bytes, rng: Random) -> bytes:
    """Change a value, a key or a type in a JSON document."""
    return _dumped(*_mutated_value(json.loads(data), rng), data)


def json_rows(data: bytes, rng: Random) -> bytes:
    """Change a row of JSON Lines, or which rows there are."""
    lines = data.splitlines()
    number = rng.randrange(len(lines))
    kind = rng.randrange(12)
    if kind < 7:
        lines[number] = _dumped(*_mutated_value(json.loads(lines[number]), rng), b"")
    elif kind == 7:
        lines.insert(rng.randrange(len(lines) + 1), lines[number])
    elif kind == 8:
        lines[number] = rng.choice(ODD).encode("utf-8", "surrogatepass")
    elif kind == 9:
        del lines[number]
    elif kind == 10:
        rng.shuffle(lines)
    else:
        name = rng.choice(sorted(row) if isinstance(row := json.loads(lines[number]), dict) else [""])
        raw = rng.choice(ODD)
        lines = [
            _dumped({**json.loads(line), name: MARK}, raw, b"") if line.startswith(b"{") else line for line in lines
        ]
    return b"\n".join(lines) + rng.choice((b"\n", b"\n", b""))


# --- text: TOML, templates, tables ---------------------------------------------------------------------------------

TOML_ODD = (
    *("nan", "inf", "-inf", "1e400", "1" + "0" * 400, "-1", "0", "2.5", "9223372036854775807", "9223372036854775808"),
    *('""', '" "', '"none"', '"x"', '"../../x"', '"/etc/x"', '"{a}"', '"{"', '"{here}/{x.y}"', "true", "[]", "{}"),
    *('["a", 1]', "[[1]]", "{ a = 1 }", "1979-05-27", "[" * 500 + "]" * 500, '"' + "x" * 50_000 + '"', '"\\u0000"'),
    *("1e-320", "-0.0", "100", "64", '["a", "a"]', '"a\\nb"', "0x10", '"gpt2"', '"auto"', '"cuda"', "[nan]", "1e-9"),
)


def toml_value(data: bytes, rng: Random) -> bytes:
    """Change a value, a key, a section or the order of a TOML file's lines."""
    lines = data.decode().split("\n")
    spots = [number for number, line in enumerate(lines) if "=" in line and not line.startswith("#")]
    number = rng.choice(spots)
    kind = rng.randrange(8)
    if kind < 5:
        key = lines[number].partition("=")[0]
        lines[number] = f"{key}= {rng.choice(TOML_ODD)}"
    elif kind == 5:
        del lines[number]
    elif kind == 6:
        lines.insert(
            number, rng.choice(("[a.b]", "[train]", "[[cell]]", "x = 1", lines[rng.choice(spots)], "a.b.c = 1"))
        )
    else:
        lines[number] = lines[rng.choice(spots)]
    return "\n".join(lines).encode()


SNIPPETS = (
    *("{{ x.y.z }}", "{% for a in range(10**9) %}x{% endfor %}", "{{ 'x' * 10**10 }}", "{{ 1 / 0 }}", "{% if %}", "{{"),
    *("{% include 'x' %}", "{% extends 'x' %}", "{{ self }}", "{{ ''.__class__.__mro__ }}", "{% raw %}", "{{ loop }}"),
    *("{% set x = [] %}{% for i in range(9) %}{% do x.append(x) %}{% endfor %}{{ x }}", "{{ range(10**12) | list }}"),
    *("{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}", "{{ instruction | tojson }}", "{{ turns[99].response }}"),
    *("{% generation %}", "{% endgeneration %}", "{{ [1] | sum(start='a') }}", "{{ 'a' | int | round(10**9) }}"),
    *("{{ '%s' | format }}", "{{ 3 ** 3 ** 3 ** 3 }}", "{% block system %}{% endblock %}", "\x00", "\x1b[2J", "---\n"),
    *(
        "scale: {min: 0, max: .inf}\n",
        "scale: {min: 0, max: 1.0e+30, step: 1.0e-30}\n",
        "a: &a [*a]\n",
        "x: !!python/x 1\n",
    ),
    *("name: [1]\n", "criteria: []\n", "version: .nan\n", "{{ 'x' | center(10**9) }}", "{{ dict(a=1).pop('b') }}"),
)


def text_lines(data: bytes, rng: Random) -> bytes:
    """Put a snippet of a template or of YAML somewhere, change a word, move lines."""
    text = data.decode()
    kind = rng.randrange(6)
    if kind < 3:
        spot = rng.choice([m.start() for m in re.finditer(r"(?m)^|(?<=\s)", text)])
        return (text[:spot] + rng.choice(SNIPPETS) + text[spot:]).encode("utf-8", "surrogatepass")
    lines = text.split("\n")
    number = rng.randrange(len(lines))
    if kind == 3:
        del lines[number]
    elif kind == 4:
        lines.insert(rng.randrange(len(lines) + 1), lines[number])
    else:
        words = lines[number].split(" ")
        words[rng.randrange(len(words))] = rng.choice(
            ("", "null", "1e999", "[]", "{a: b}", "-1", "x" * 5000, "{{ y }}")
        )
        lines[number] = " ".join(words)
    return "\n".join(lines).encode()


def csv_cell(data: bytes, rng: Random) -> bytes:
    """Change a cell, a heading, the number of cells in a row."""
    rows = list(csv.reader(io.StringIO(data.decode(), newline="")))
    row = rows[rng.randrange(len(rows)) if rng.random() < 0.8 else 0]
    kind = rng.randrange(6)
    if kind < 4:
        odd = (
            "",
            "nan",
            "inf",
            "-1",
            "1e400",
            "x",
            "\x00",
            '"',
            "a,b",
            "1" * 400,
            "=1+1",
            " ",
            "None",
            "12;5",
            "é" * 9,
        )
        row[rng.randrange(len(row))] = rng.choice((*odd, rng.choice(rng.choice(rows))))
    elif kind == 4:
        row.append("1")
    else:
        row.pop(rng.randrange(len(row)))
    rng.choice((lambda: None, lambda: rows.append(rng.choice(rows)), lambda: rng.shuffle(rows)))()
    out = io.StringIO(newline="")
    csv.writer(out).writerows(rows)
    return out.getvalue().encode()


# --- arrays and tensors --------------------------------------------------------------------------------------------


def _array(array: Any, rng: Random) -> Any:
    """An array of another type, shape or content."""
    import numpy as np

    kind = rng.randrange(12)
    flat = array.reshape(-1)
    if kind == 0:
        return array.astype(
            rng.choice(("float16", "float64", "int8", "uint8", "int64", "bool", "complex64", "U8", "S3"))
        )
    if kind == 1:
        return flat[: rng.randrange(len(flat) + 1)]
    if kind == 2:
        return np.concatenate([flat, flat])
    if kind == 3:
        return flat[:0]
    if kind == 4:
        return array[None]
    if kind == 5:
        return np.array(0, array.dtype)
    if kind == 6:
        return flat[::-1]
    changed = array.copy()
    spot = rng.randrange(changed.size) if changed.size else None
    odd: tuple[Any, ...] = (0, 1, -1, 65535, 2**31 - 1, 2**40, -(2**63), 3.5, float("nan"), float("inf"), 1e300)
    with np.errstate(all="ignore"):
        values = np.array(rng.choice(odd)).astype(changed.dtype)
    if spot is not None and rng.random() < 0.8:
        changed.flat[spot] = values
    else:
        changed[...] = values
    return changed


def npz_array(data: bytes, rng: Random) -> bytes:
    """Change an array of an npz file, or leave one out."""
    import numpy as np

    arrays = dict(np.load(io.BytesIO(data)))
    name = rng.choice(sorted(arrays))
    if rng.random() < 0.1:
        del arrays[name]
    elif rng.random() < 0.05:
        arrays[name] = np.array([None, {}], dtype=object)
    else:
        arrays[name] = _array(arrays[name], rng)
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def raw_tokens(data: bytes, rng: Random) -> bytes:
    """Change ids of a shard, or its length by an odd number of bytes."""
    import numpy as np

    ids = np.frombuffer(data, np.uint16).copy()
    if rng.random() < 0.3:
        return data[: rng.randrange(len(data))] + b"\0" * rng.choice((0, 0, 1, 4096))
    start = rng.randrange(len(ids))
    ids[start : rng.randrange(start + 1, len(ids) + 1)] = rng.choice((0, 65535, 279, 280, 281))
    return ids.tobytes()


def _tensor(tensor: Any, rng: Random) -> Any:
    import torch

    kind = rng.randrange(14)
    if kind == 0:
        names = ("float16", "float64", "bfloat16", "int64", "uint8", "bool", "complex64", "float8_e4m3fn", "int8")
        return tensor.to(getattr(torch, rng.choice(names)))
    if kind == 1:
        return tensor.reshape(-1)[: rng.randrange(tensor.numel() + 1)]
    if kind == 2:
        return tensor[None] if rng.random() < 0.5 else torch.cat([tensor.reshape(-1)] * 2)
    if kind == 3:
        return tensor.to("meta")
    if kind == 4:
        return tensor.to_sparse() if tensor.dim() else tensor
    if kind == 5:
        return tensor.t() if tensor.dim() == 2 else torch.zeros(0)
    if kind == 6:
        return torch.tensor(1.0)
    if kind == 7 and tensor.numel() and tensor.dim():
        return torch.as_strided(tensor.contiguous(), (2**10,) * min(2, tensor.dim()), (0,) * min(2, tensor.dim()))
    if kind == 8:
        return torch.nn.Parameter(tensor.clone().float())
    changed = tensor.clone()
    odd = float(rng.choice((0, 1, -1, 1e30, float("nan"), float("inf"), -float("inf"), 255)))
    if (not changed.is_floating_point() and abs(odd) > 255) or (odd != odd and not changed.is_floating_point()):
        odd = 7.0
    if changed.numel() and rng.random() < 0.5:
        changed.reshape(-1)[rng.randrange(changed.numel())] = odd
    else:
        changed.fill_(odd)
    return changed


def torch_value(data: bytes, rng: Random) -> bytes:
    """Change a tensor or a plain value of a torch file."""
    import torch

    document = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    places = _places(document)
    tensors = [(inner, key) for inner, key in places if isinstance(inner[key], torch.Tensor)]
    if tensors and rng.random() < 0.5:
        inner, key = rng.choice(tensors)
        kind = rng.random()
        if kind < 0.1:
            del inner[key]
        elif kind < 0.2:
            inner[key] = rng.choice([None, 1.0, "x", [1.0], {}, inner[key].tolist()])
        elif kind < 0.25 and isinstance(inner, dict):
            inner[f"{key}.x"] = inner.pop(key)
        else:
            inner[key] = _tensor(inner[key], rng)
    else:
        inner, key = _picked_plain(document, places, rng)
        old = inner[key]
        kind = rng.random()
        if kind < 0.15:
            del inner[key]
        elif kind < 0.25 and isinstance(inner, dict):
            inner[rng.choice(["x", 3, None, f"{key} "])] = inner.pop(key)
        elif kind < 0.4:
            there, name = rng.choice(places)
            inner[key] = there[name]
        else:
            odd: list[Any] = [
                None,
                True,
                0,
                -1,
                2**62,
                2**70,
                1e308,
                float("nan"),
                float("inf"),
                "",
                "x" * 5000,
                "\ud83d",
            ]
            odd += [[], {}, [None], {"a": 1}, b"x", (1, 2), torch.zeros(2), str(old)[:50], [old], 1j, {1}, "../../x"]
            inner[key] = rng.choice(odd)
    out = io.BytesIO()
    torch.save(document, out)
    return out.getvalue()


def _picked_plain(document: Any, places: list[tuple[Any, Any]], rng: Random) -> tuple[Any, Any]:
    import torch

    plain = [(inner, key) for inner, key in places if not isinstance(inner[key], torch.Tensor)]
    names = sorted({str(key) for _, key in plain})
    name = rng.choice(names)
    return rng.choice([(inner, key) for inner, key in plain if str(key) == name])


def safetensors_value(data: bytes, rng: Random) -> bytes:
    """Change a tensor of a safetensors file, or its header."""
    from safetensors.torch import load, save

    length = int.from_bytes(data[:8], "little")
    if rng.random() < 0.4:
        header = json_value(data[8 : 8 + length], rng)
        shown = len(header) if rng.random() < 0.8 else rng.choice((0, 2**63, 2**40, len(data), length))
        return shown.to_bytes(8, "little") + header + data[8 + length :]
    tensors = load(data)
    name = rng.choice(sorted(tensors))
    if rng.random() < 0.15:
        del tensors[name]
    elif rng.random() < 0.1:
        tensors[f"{name}.x"] = tensors.pop(name)
    else:
        changed = _tensor(tensors[name], rng)
        if not changed.is_sparse and changed.device.type == "cpu":
            tensors[name] = changed.contiguous()
    try:
        return save({key: tensor.detach().clone() for key, tensor in tensors.items()}, {"format": "pt"})
    except (ValueError, KeyError, RuntimeError):
        return flip(data, rng)


# --- databases and tables ------------------------------------------------------------------------------------------


def sqlite_cell(data: bytes, rng: Random) -> bytes:
    """Change a cell of a database, drop a column or a table."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.sqlite"
        path.write_bytes(data)
        db = sqlite3.connect(path, isolation_level=None)
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        tables = [name for name in tables if db.execute(f"SELECT COUNT(*) FROM {name}").fetchone()[0]] or tables
        table = rng.choice(tables)
        columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
        column = rng.choice(columns)
        kind = rng.randrange(10)
        try:
            if kind == 0:
                db.execute(f"DROP TABLE {table}")
            elif kind == 1:
                db.execute(f"ALTER TABLE {table} RENAME COLUMN {column} TO x")
            else:
                odd: list[Any] = [
                    None,
                    "",
                    "x",
                    -1,
                    2**62,
                    1e308,
                    float("inf"),
                    b"\xff\xfe",
                    "[" * DEEP,
                    "{}",
                    "[]",
                    "3",
                ]
                odd += [
                    '{"a": 1}',
                    "\x00",
                    "NaN",
                    '{"A": {"values": {}}}',
                    "null",
                    "x" * 100_000,
                    0,
                    True,
                    '"x"',
                    "[null]",
                ]
                row = db.execute(f"SELECT {column} FROM {table} LIMIT 1").fetchone()
                if row and isinstance(row[0], str) and row[0].startswith(("{", "[")) and rng.random() < 0.6:
                    value: Any = json_value(row[0].encode(), rng).decode("utf-8", "replace")
                else:
                    value = rng.choice(odd)
                where = "" if rng.random() < 0.5 else f" WHERE rowid = (SELECT MIN(rowid) FROM {table})"
                db.execute(f"UPDATE OR IGNORE {table} SET {column} = ?{where}", (value,))
        except sqlite3.Error:
            db.execute("PRAGMA user_version = 99")
        db.close()
        return path.read_bytes()


def parquet_column(data: bytes, rng: Random) -> bytes:
    """Change a column of a Parquet file: its type, its values, its name."""
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(io.BytesIO(data))
    number = rng.randrange(table.num_columns)
    name, n = table.column_names[number], table.num_rows
    odd: list[Any] = [None, 1, -1, 0.5, float("nan"), float("inf"), "", "x", True, b"\xff", [1], ["a"], {"a": 1}, []]
    odd += [2**62, "\x00", {"role": "user"}, [{"role": "user", "content": None}], [[]]]
    kind = rng.randrange(8)
    if kind == 0:
        table = table.remove_column(number)
    elif kind == 1:
        names = [*table.column_names]
        names[number] = rng.choice(["x", "", *names])
        table = table.rename_columns(names)
    elif kind == 2:
        table = table.slice(0, rng.choice((0, 1, n)))
    elif kind == 3:
        values = table.column(number).to_pylist()
        values[rng.randrange(n)] = None
        table = table.set_column(number, name, pyarrow.array(values))
    else:
        table = table.set_column(number, name, pyarrow.array([rng.choice(odd)] * n))
    out = io.BytesIO()
    pyarrow.parquet.write_table(table, out)
    return out.getvalue()


def packed(inner: Mutation, codec: str) -> Mutation:
    """A mutation of what a packed file holds."""

    def mutate(data: bytes, rng: Random) -> bytes:
        import pyarrow

        if codec == "gzip":
            return gzip.compress(inner(gzip.decompress(data), rng), mtime=0)
        with pyarrow.CompressedInputStream(io.BytesIO(data), codec) as f:
            text = f.read()
        return pyarrow.compress(inner(text, rng), codec=codec, asbytes=True)

    return mutate


STRUCTURED: dict[str, Mutation] = {
    "json": json_value,
    "jsonl": json_rows,
    "toml": toml_value,
    "text": text_lines,
    "csv": csv_cell,
    "npz": npz_array,
    "bin": raw_tokens,
    "pt": torch_value,
    "safetensors": safetensors_value,
    "sqlite": sqlite_cell,
    "parquet": parquet_column,
    "gz": packed(json_rows, "gzip"),
    "zst": packed(json_rows, "zstd"),
}


def mutate(data: bytes, form: str, rng: Random) -> tuple[bytes, str]:
    """A file's bytes after one to three mutations, and their names."""
    names: list[str] = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        is_structured = rng.random() < 0.75 and form in STRUCTURED
        mutation = STRUCTURED[form] if is_structured else rng.choice(BYTES)
        try:
            changed = mutation(data, rng)
        except Exception:  # an earlier mutation has left nothing that the format's own could take
            mutation = rng.choice(BYTES)
            changed = mutation(data, rng)
        data = changed
        names.append(mutation.__name__)
    return data, "+".join(names)
