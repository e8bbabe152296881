"""Health answers for a process, its services, and a part that fails."""

from typing import Any

from grpc_health.v1 import health_pb2

from groundswell.serving.health import OVERALL, Health

NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVING = health_pb2.HealthCheckResponse.SERVING


async def answer(health: Health, name: str) -> int:
    # The servicer uses its context for a name that it does not know alone.
    context: Any = None
    checked = await health.servicer.Check(health_pb2.HealthCheckRequest(service=name), context)
    status: int = checked.status
    return status


async def test_a_part_that_fails_leaves_the_other_names_serving() -> None:
    health = Health()
    await health.add(["part"])
    await health.add(["service"])
    assert {await answer(health, n) for n in (OVERALL, "service", "part")} == {NOT_SERVING}
    await health.ready()
    assert {await answer(health, n) for n in (OVERALL, "service", "part")} == {SERVING}
    await health.report(["part"], failing=True)
    assert [await answer(health, n) for n in (OVERALL, "service")] == [SERVING, SERVING]
    assert await answer(health, "part") == NOT_SERVING
    await health.report(["part"], failing=False)
    assert await answer(health, "part") == SERVING


async def test_a_part_that_fails_before_the_process_is_ready_is_not_serving_after() -> None:
    health = Health()
    await health.report([OVERALL, "part"], failing=True)
    await health.ready()
    assert [await answer(health, n) for n in (OVERALL, "part")] == [NOT_SERVING, NOT_SERVING]


async def test_nothing_serves_while_the_process_goes_down() -> None:
    health = Health()
    await health.ready()
    await health.shut_down()
    await health.report(["part"], failing=False)
    assert await answer(health, OVERALL) == NOT_SERVING
