"""Lets only those calls in whose caller has a role of the method; by default nobody."""

from collections.abc import Awaitable, Callable
from contextvars import ContextVar

from google.protobuf import descriptor_pool

from groundswell.common.v1 import access_pb2
from groundswell.serving.around import Behaviour, Context
from groundswell.serving.errors import PermissionDenied, ServiceError
from groundswell.serving.tokens import Caller, TokenReader

OPERATOR, MONITOR = "operator", "monitor"

_OPEN_TO_ALL = "/grpc.health."
_FOR_OPERATORS = "/grpc.reflection."
_PREFIX = "ROLE_"

caller_now: ContextVar[Caller | None] = ContextVar("caller_now", default=None)
"""The caller of the call that runs now; None where tokens are not checked."""


def access_of(method: str) -> access_pb2.Access:
    """What a contract says of a method, such as "/package.Service/Method"; empty: nothing."""
    service, _, name = method[1:].partition("/")
    try:
        found = descriptor_pool.Default().FindServiceByName(service).methods_by_name.get(name)
    except KeyError:
        found = None
    if found is None:
        return access_pb2.Access()
    access: access_pb2.Access = found.GetOptions().Extensions[access_pb2.access]
    return access


def roles_of(method: str) -> frozenset[str]:
    """The roles that may call a method, as tokens name them."""
    if method.startswith(_FOR_OPERATORS):
        return frozenset({OPERATOR})
    roles = (access_pb2.Role.Name(role) for role in access_of(method).roles)
    return frozenset(role.removeprefix(_PREFIX).lower() for role in roles) - {"unspecified"}


def check_role(caller: Caller, roles: frozenset[str]) -> None:
    """Raise PermissionDenied (ROLE_MISSING) for a caller who has none of the roles."""
    if caller.roles.isdisjoint(roles):
        needed = " or ".join(sorted(roles)) or "which no token has, since its contract names none"
        raise PermissionDenied("ROLE_MISSING", f"the token lacks the role of the method: {needed}")


class Door:
    """Refuses calls before anything is spent on them. Health is open to everyone."""

    def __init__(self, tokens: TokenReader) -> None:
        self._tokens = tokens

    def before(
        self,
        method: str,
        behaviour: Behaviour,
        refuse: Callable[[ServiceError, Context], Awaitable[object]],
    ) -> Behaviour:
        """Return what answers a call of a method only when its caller may call it.

        `refuse` ends the others.
        """
        if method.startswith(_OPEN_TO_ALL):
            return behaviour
        roles = roles_of(method)

        async def answer(request: object, context: Context) -> object:
            try:
                caller = self._tokens.caller(context.invocation_metadata() or ())
                check_role(caller, roles)
            except ServiceError as error:
                return await refuse(error, context)
            caller_now.set(caller)
            return await behaviour(request, context)

        return answer

    def check_known(self, context: Context) -> None:
        """Raise Unauthenticated for a call of an unknown method without a right token."""
        self._tokens.caller(context.invocation_metadata() or ())
