"""What callers may send to ask what policies would decide."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from ..pools.wishes import MOST_RESOURCES
from .models import MAX_REASON, Body, Labels, Params, Plain, PoolName, Positive, whole


class DecisionBody(Body):
    """The body of `POST /v1/explain/decisions`."""

    pool: PoolName
    params: Annotated[Params | None, Field(description="Parameters of the pool's blueprint.")] = (
        None
    )
    ttl: Annotated[Positive | None, Field(description="How long the claim would last.")] = None
    count: Annotated[
        int,
        Field(ge=1, le=MOST_RESOURCES),
        BeforeValidator(whole),
        Field(description="How many resources."),
    ] = 1
    reason: Annotated[Plain, Field(max_length=MAX_REASON, description="The claim's reason.")] = ""
    labels: Annotated[Labels | None, Field(description="Labels of the claim.")] = None
