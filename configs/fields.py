"""What config fields are made of: names, bounded numbers, and the model that refuses everything else."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from base import NAME

Name = Annotated[str, Field(pattern=f"^{NAME}$")]
Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, le=1e9)]
Magnitude = Annotated[float, Field(ge=0, le=1e9)]  # bounds that float32 can count with
Shift = Annotated[float, Field(ge=-1e9, le=1e9)]


class Strict(BaseModel):
    """Frozen; wrong types, unknown keys, infinities and NaN are refused."""

    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )
