"""profile.first: GetProfile of users who are not held, over a PostgreSQL full of profiles.

GROUNDSWELL_BENCH_PROFILES is how many profiles there are, 20,000 by default.
"""

import asyncio
import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from sqlalchemy import make_url

from groundswell.client import Deadlines, item
from groundswell.profile.v1.profile_service_pb2 import GetProfileRequest
from groundswell.profile.v1.profile_service_pb2_grpc import ProfileServiceStub
from groundswell.serving.channels import open_channel
from groundswell.serving.pseudonym import Pseudonymizer
from tests.bench.deployment import canned
from tests.bench.harness import OURS, THEIRS, Line, Side, compare, compare_throughput
from tests.bench.world import NUM_USERS, world
from tests.support.postgres import postgres
from tests.support.processes import SECRET
from tests.support.suite import Suite

_CALLS = 2_000
_METHOD = "/groundswell.profile.v1.ProfileService/GetProfile"
_NUM_PROFILES = int(os.environ.get("GROUNDSWELL_BENCH_PROFILES", "20000"))
_MAX_ITEMS = 1_000
_NEWEST = 8
"""Events of each copied user: a read takes the newest ones from the user's row."""
_COPIED = {
    "events": "(SELECT events.* FROM events JOIN users USING (user_no) "
    f"WHERE sequence > last_sequence - {_NEWEST}) AS newest",
    "profiles": "profiles",
    "profile_chunks": "profile_chunks",
}


def measure(folder: Path) -> list[Line]:
    """Measure one call for each of many users."""
    folder.chmod(0o755)
    with postgres(folder) as server, _filled(folder, server.new_database()) as suite:
        return asyncio.run(_measure(suite.targets.profile, folder))


async def _measure(profile: str, folder: Path) -> list[Line]:
    async with open_channel(profile) as channel:
        ours = ProfileServiceStub(channel)
        answer = await ours.GetProfile(_request(0))
        if answer.profile.stale or not answer.profile.vector.values:
            raise RuntimeError("the users of the bench have no profiles")
        users = itertools.count(1)
        with canned(folder, {_METHOD: answer}) as echo:
            async with open_channel(echo) as echo_channel:
                theirs = ProfileServiceStub(echo_channel)

                sides = {
                    OURS: Side(lambda: ours.GetProfile(_request(next(users)))),
                    THEIRS: Side(lambda: theirs.GetProfile(_request(0))),
                }
                p50, *lines = await compare("profile.first", "echo", sides, _CALLS)
                throughput = await compare_throughput("profile.first", "echo", sides)
                size = Line("profile.first.profiles", _NUM_PROFILES, "profiles in PostgreSQL")
                return [p50.at_most(4.0), *lines, throughput, size]


def _request(number: int) -> GetProfileRequest:
    return GetProfileRequest(user_id=_user(number))


def _user(number: int) -> str:
    return f"copy-{number % _NUM_PROFILES}"


@contextmanager
def _filled(folder: Path, url: str) -> Iterator[Suite]:
    """Start a profile service over the users of the world and many copies of them."""
    with Suite(
        folder, world().bundles, ("profile",), database_url=url, deadlines=Deadlines()
    ) as suite:
        items = [item(i, title, categories=names) for i, title, names in world().items]
        for start in range(0, len(items), _MAX_ITEMS):
            suite.client.upsert_items(items[start : start + _MAX_ITEMS])
        for _ in suite.client.import_events(world().events()):
            pass
        suite.refresh()
        driver = make_url(url).set(drivername="postgresql")
        with psycopg.connect(driver.render_as_string(hide_password=False)) as connection:
            _copy_users(connection)
        yield suite


def _copy_users(connection: psycopg.Connection) -> None:
    """Copy what is stored of the users of the world to as many others as are wanted."""
    # Neither foreign keys nor the triggers that tell of changes: nobody has read these users.
    connection.execute("SET session_replication_role = replica")
    known = connection.execute(
        "SELECT user_no, last_sequence FROM users ORDER BY user_no"
    ).fetchall()
    if len(known) != NUM_USERS:
        raise RuntimeError("the users of the world are not stored")
    last = known[-1][0]
    pseudonyms = Pseudonymizer(SECRET)
    columns = "user_no, user_key, last_sequence, key_version"
    with connection.cursor().copy(f"COPY users ({columns}) FROM STDIN") as rows:
        for number in range(_NUM_PROFILES):
            _, sequence = known[number % NUM_USERS]
            key = pseudonyms.user_key(_user(number))
            rows.write_row((last + 1 + number, key, sequence, 1))
    places = (
        "SELECT user_no AS old, row_number() OVER (ORDER BY user_no) - 1 AS place FROM users "
        f"WHERE user_no <= {last}"
    )
    pairs = (
        f"(SELECT old, {last + 1} + place + {NUM_USERS} * round AS new FROM ({places}) AS places, "
        f"generate_series(0, {_NUM_PROFILES // NUM_USERS}) AS round) AS pairs"
    )
    for table, rows_of_known in _COPIED.items():
        names = connection.execute(
            "SELECT string_agg(quote_ident(column_name), ', ') FROM information_schema.columns "
            "WHERE table_schema = current_schema() AND table_name = %s "
            "AND column_name <> 'user_no'",
            (table,),
        ).fetchone()
        values = names[0] if names else ""
        connection.execute(
            f"INSERT INTO {table} (user_no, {values}) SELECT new, {values} FROM {rows_of_known} "
            f"JOIN {pairs} ON old = user_no WHERE new <= {last + _NUM_PROFILES}"
        )
    connection.commit()
    connection.autocommit = True
    connection.execute("VACUUM ANALYZE")
