"""What a user asks of ``fit``, checked before anything is run."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError

from flashmd_train.settings import NotNegative, Positive, Strict, problems

Kind = Literal["auto", "direct", "splitting", "hybrid", "driven"]


def _several(value: Any) -> Any:
    return (value,) if isinstance(value, int | float) else value


class FitOptions(Strict):
    """What a model is for, and what it may cost."""

    temperature_K: Annotated[tuple[Positive, ...], BeforeValidator(_several)] = Field(
        min_length=1, description="temperature the model is for, K; several are the ends and the middle of a range"
    )
    hours: Positive = Field(1.0, description="wall time that everything together may take, h")
    kind: Kind = Field(
        "auto",
        description="direct, splitting (symplectic), hybrid (a splitting that knows bonds), driven (bonds under slow "
        "forces), or auto: hybrid of molecules, else splitting where it is faster than its reference",
    )
    stride_fs: Positive | None = Field(None, description="stride, fs; null: by the fastest vibration")
    cutoff_A: Positive | None = Field(None, description="cutoff, Å; null: by the error of pair forces")
    angular: Literal[1, 2] | None = Field(
        None,
        description="degree of the moments: 1, vectors, or 2, also quadrupoles; null: by the reference's cost",
    )
    timestep_fs: Positive | None = Field(None, description="time step of the reference, fs; null: by the lightest mass")
    equilibration_ps: Positive = Field(5.0, description="time in the bath before the first segment of a chain, ps")
    anneal_K: NotNegative = Field(0.0, description="the first third of that is at least this hot, K")
    evaluation_ps: Positive | None = Field(
        None, description="length of the run that is evaluated, ps; null: by the time left"
    )
    seed: int = Field(1, ge=0, description="seed of every random number")

    @classmethod
    def checked(cls, **given: object) -> FitOptions:
        """The options; those that are None take their defaults.

        Raises:
            ValueError: no temperature, or something else that is wrong.
        """
        if not given.get("temperature_K"):
            raise ValueError("got no temperature, wanted that of the runs that the model is for, K")
        try:
            return cls.model_validate({name: value for name, value in given.items() if value is not None})
        except ValidationError as error:
            raise ValueError("; ".join(problems(error))) from None
