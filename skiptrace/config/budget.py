"""`budget`: how long the studies of one model may take."""

from typing import Annotated

from pydantic import Field

from skiptrace.config.base import Params


class BudgetParams(Params):
    """The time that the studies of one model may take; what would not fit is left out, and said so."""

    minutes: Annotated[float, Field(gt=0)] = Field(
        25.0,
        description="of the studies of one model on two cores, by estimate: operations at a stated rate, so that the "
        "same is left out on every machine; each study has a least, and says where that is beyond its share",
    )
