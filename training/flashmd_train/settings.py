"""What all settings share: kinds of numbers, models that refuse unknown names, and what is wrong, in words."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Strict(BaseModel):
    """Settings that cannot be changed later and refuse names they do not know, which may be misspelt."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def problems(error: ValidationError) -> list[str]:
    """What is wrong with settings, a line for each."""
    return [f"{'.'.join(map(str, e['loc']))}: {e['msg']}, got {e['input']!r:.80}" for e in error.errors()]
