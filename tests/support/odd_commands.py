"""Strategies of whole commands over odd files and arguments, and what none of them may do."""

import shutil
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from hypothesis import strategies as st

from tests.support.in_process import run
from tests.support.odd_files import EVENTS, ITEMS, files, names

CODES = (0, 1, 2, 130)

_words = st.sampled_from(
    [
        *("", " ", "-5", "--", "-", "anna", "a b", "é", "漢字", "[red]", "[/]", "\x00", "x" * 300),
        *(
            "nan",
            "1e400",
            "-1",
            "0",
            "1",
            "10",
            "200",
            "201",
            "0.5",
            "1.1",
            "9" * 30,
            "0x10",
            "ten",
        ),
        *("\udcff", "%s", "{}", "~", "/", ".", "..", "/dev/null", "a=b", "=", "a=", "=b", "a,b"),
    ]
)
_settings = st.one_of(
    _words,
    st.builds(
        "{}={}".format,
        st.sampled_from(["epochs", "dropout", "width", "gate", "text_encoder", "max_tokens", "x"]),
        _words,
    ),
)
_expressions = st.one_of(
    _words, st.sampled_from(["price <", "price = 1e", "((((", "a AND", "1", "'"])
)
_times = st.one_of(
    _words, st.sampled_from(["1700000000", "1700000000000", "2023-11-27", "2023-13-01", "now"])
)


class Place(NamedTuple):
    """What commands of a test may name."""

    server: str
    """A server of every method, whose answers are empty."""
    prepared: Path
    """A prepared log."""


class Case(NamedTuple):
    """A command and the files that lie in its folder; `{0}` in an argument is the first one."""

    arguments: list[str]
    files: list[tuple[str, bytes]]
    broken: tuple[str, bytes]
    """Which file of the prepared log at `{folder}/broken` has become what."""


def _options(**values: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    """Up to two of the options, each with a value."""
    pairs = [st.tuples(st.just(_spelt(name)), value) for name, value in values.items()]
    chosen = st.lists(st.one_of(pairs), max_size=2)
    return chosen.map(lambda found: [part for pair in found for part in pair])


def _spelt(name: str) -> str:
    return f"--{name.replace('_', '-')}"


@st.composite
def commands(draw: st.DrawFn, place: Place) -> Case:
    """Any command of those that start no service and download nothing."""
    own = [(draw(names), draw(files(required))) for required in (EVENTS, ITEMS)]
    made = _arguments(place)
    name = draw(st.sampled_from([*made, "prepare", "items import", "events import"]))
    broken = st.sampled_from(["meta.json", "events.parquet", "items.parquet", "users.parquet"])
    return Case([*name.split(), *draw(made[name])], own, (draw(broken), draw(files(ITEMS))))


@cache
def _arguments(place: Place) -> dict[str, st.SearchStrategy[list[str]]]:
    """The arguments of each command."""
    log, items = (
        st.sampled_from([one] * 30 + ["{0}", "{1}", "{folder}", "{folder}/none", ""])
        for one in ("{0}", "{1}")
    )
    folder = st.sampled_from(["{folder}/new", "{folder}", "{0}", "{0}/x", str(place.prepared)])
    out = st.sampled_from(["{folder}/new"] * 12 + ["{folder}", "{0}", "{0}/x"])
    data = st.sampled_from([str(place.prepared)] * 4 + ["{folder}/broken"] * 4 + ["{folder}"])
    # A dead address takes its time: it is rare.
    address = st.sampled_from([place.server] * 12 + ["127.0.0.1:1", "", "[", "unix:/none", "a:b:c"])
    url = st.sampled_from(
        ["sqlite+aiosqlite:///{folder}/a.db", "sqlite+aiosqlite:///{0}", "mysql://x", "", "://"]
    )
    flags = st.lists(st.sampled_from(["--drop-duplicates", "--order-only", "--drop-bots"]))
    json = _options(json=folder)
    return {
        "prepare": st.builds(
            lambda events, items, out, more, flag: [
                *("--events", events, "--items", items, "--out", out, *more, *flag)
            ],
            *(log, items, out),
            _options(
                split=st.sampled_from(["none", "temporal", "next-session", "leave-one-out", "x"]),
                cold_items=_words,
                seed=_words,
                action_weight=_settings,
                session_gap_minutes=_words,
            ),
            flags,
        ),
        "items import": st.builds(
            lambda f, a, more: [f, "--profile", a, *more],
            *(items, address, st.sampled_from([[], ["--replace"]])),
        ),
        "items delete": st.builds(
            lambda ids, f, a: [*ids, *f, "--profile", a],
            *(st.lists(_words, max_size=3), _options(file=items), address),
        ),
        "events import": st.builds(
            lambda f, a, more: [f, "--profile", a, *more],
            *(log, address, _options(resume_file=folder, separator=_words)),
        ),
        "recommend": st.builds(
            lambda user, a, more: [user, "--ranker", a, *more],
            *(_words, address),
            _options(k=_words, alpha=_words, filter=_expressions, as_of=_times),
        ),
        "similar": st.builds(
            lambda item, a, more: [item, "--ranker", a, *more],
            *(_words, address, _options(k=_words)),
        ),
        "evaluate": st.builds(
            lambda bundle, data, more: ["--bundle", bundle, "--data", data, *more],
            *(folder, data, _options(part=_words, compare=_settings, json=folder, report=folder)),
        ),
        "grid": st.builds(
            lambda data, out, more: [
                # What is right trains for real, and stops at this.
                *("--data", data, "--out", out, "--set", "text_encoder=/nowhere", *more)
            ],
            *(data, out, _options(**{"try": _settings, "seeds": _words, "set": _settings})),
        ),
        "train": st.builds(
            lambda data, out, more: [
                *("--data", data, "--bundles", out, *more, "--set", "text_encoder=/nowhere")
            ],
            *(data, out, _options(set=_settings, seed=_words, device=_words, profile=folder)),
        ),
        "text-probe": st.builds(
            lambda items, more, j: ["--items", items, *more, *j, "--set", "text_encoder=/nowhere"],
            *(items, _options(set=_settings, splits=_words), json),
        ),
        "db restored": st.lists(st.one_of(_options(state=folder), _options(database_url=url))).map(
            lambda found: [part for one in found for part in one]
        ),
        "db rotate-secret": _options(state=folder, database_url=url),
        "up": st.builds(
            lambda bundles, state: ["--bundles", bundles, "--state", state],
            *(st.sampled_from(["{folder}", "{0}", "{folder}/none"]), folder),
        ),
        "": st.lists(_words, max_size=3),
    }


def check(case: Case, place: Place) -> None:
    """Run a case in a folder of its own: no traceback, and one of the four codes."""
    with TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name, _ in case.files]
        for path, (_, data) in zip(paths, case.files, strict=True):
            path.write_bytes(data)
        broken = shutil.copytree(place.prepared, Path(folder) / "broken")
        (broken / case.broken[0]).write_bytes(case.broken[1])
        arguments = [_filled(one, folder, paths) for one in case.arguments]
        ended = run(*arguments)
    assert ended.returncode in CODES, ended
    assert "Traceback" not in ended.stdout + ended.stderr, ended
    if ended.returncode == 1:
        told = [line for line in ended.stderr.splitlines() if line.startswith("groundswell: ")]
        assert len(told) == 1, ended


def _filled(argument: str, folder: str, paths: list[Path]) -> str:
    for mark, value in (("{0}", paths[0]), ("{1}", paths[1]), ("{folder}", folder)):
        argument = argument.replace(mark, str(value))
    return argument
