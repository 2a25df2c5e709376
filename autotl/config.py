"""The settings of a fit, frozen and strict; and the names that they may take."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from autotl.errors import InputError, unknown
from autotl.metrics import METRICS

STRATEGY_NAMES = ("bottleneck", "finetune", "scratch")
DEFAULT_BUDGET_S = 600.0
DEFAULT_OUTPUT = Path("autotl-runs")
MAX_UNREADABLE = 0.1
"""Share of the pictures that may be left out by default; above it, it is an error."""


class Settings(BaseModel):
    """Base of what users write down: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Range(Settings):
    """Part of a parameter's range.

    Attributes:
        low: smallest value.
        high: greatest value.
    """

    low: FiniteFloat
    high: FiniteFloat

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if self.low > self.high:
            raise ValueError(f"low must not exceed high, but got {self.low:g} and {self.high:g}")
        return self


Values = tuple[bool | int | FiniteFloat | str, ...]
"""Some of a parameter's values."""
_VALUES: TypeAdapter[Values] = TypeAdapter(Values)
Override = Range | Values
"""What a parameter may be instead of all that its strategy allows."""


class FitConfig(Settings):
    """Every setting of :func:`autotl.fit` but the data set itself.

    Attributes:
        image: column of image paths, for tables.
        label: column of labels, for tables.
        group: column of groups, for tables.
        time_budget_s: seconds for everything, from reading to the report.
        n_trials: at most so many trials in the study, those of earlier parts included; None: as
            many as the time allows.
        strategies: names, or ``auto`` for all.
        backbones: names, or ``auto`` for the embedded one and the hub's where reachable.
        metric: name, or ``auto``.
        prefer: what to prefer among strategies within the noise of the best.
        seed: of everything random.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``.
        workers: processes that run trials.
        storage: URL of Optuna's storage, so that ``autotl worker`` on other machines can join;
            None: a SQLite file under ``output_dir``.
        executor: where the workers run: ``local``, or ``ray`` for a Ray cluster.
        ray_address: of the cluster; ``auto``: the one that this machine belongs to; ``local``: a
            new one on this machine.
        worker_cpus: that a worker on Ray asks for.
        worker_gpus: that a worker on Ray asks for; 0.5: two share one.
        output_dir: where everything is written.
        disk_quota_gb: GB for everything below ``output_dir``; None: no limit but the cache's.
        disk_cache_gb: GB for what later fits can use again, decoded pictures above all; None: a
            tenth of the free disk, at most 20; 0: nothing is kept on disk.
        memory_cache_gb: GB of memory for activations; None: a quarter of what is available; 0:
            none.
        tracking_uri: MLflow's; None: a store under ``output_dir``, or MLFLOW_TRACKING_URI.
        study_name: of the Optuna study and the MLflow run; one that exists goes on; None: made
            from the time.
        register_as: a name in MLflow's model registry, under which the recommended model gets a new
            version; None: it isn't registered.
        warm_start: whether what did best in earlier fits on similar data is tried early.
        trust_paths: whether paths in a table file, and links, may lead out of the data set's
            folder.
        max_unreadable: share of the pictures that may be missing or unreadable.
        space: what the search may choose, by parameter, e.g. ``finetune.freeze_depth``: values or a
            range (``low`` and ``high``); of other parameters all that the strategies allow.
    """

    image: str | None = None
    label: str | None = None
    group: str | None = None
    time_budget_s: float | None = Field(default=DEFAULT_BUDGET_S, gt=0, allow_inf_nan=False)
    n_trials: int | None = Field(default=None, ge=1)
    strategies: tuple[str, ...] | Literal["auto"] = "auto"
    backbones: tuple[str, ...] | Literal["auto"] = "auto"
    metric: str = "auto"
    prefer: Literal["accuracy", "balanced", "cheap"] = "balanced"
    seed: int = Field(default=0, ge=0, lt=2**31)
    device: str = "auto"
    workers: int = Field(default=1, ge=1, le=256)
    storage: str | None = None
    executor: Literal["local", "ray"] = "local"
    ray_address: str = "auto"
    worker_cpus: float = Field(default=1.0, ge=0, le=1024, allow_inf_nan=False)
    worker_gpus: float = Field(default=0.0, ge=0, le=64, allow_inf_nan=False)
    output_dir: Path = DEFAULT_OUTPUT
    disk_quota_gb: float | None = Field(default=None, gt=0, le=1e9, allow_inf_nan=False)
    disk_cache_gb: float | None = Field(default=None, ge=0, le=1e9, allow_inf_nan=False)
    memory_cache_gb: float | None = Field(default=None, ge=0, le=1e9, allow_inf_nan=False)
    tracking_uri: str | None = None
    study_name: str | None = None
    register_as: str | None = Field(default=None, max_length=250)
    warm_start: bool = True
    trust_paths: bool = False
    max_unreadable: float = Field(default=MAX_UNREADABLE, ge=0, le=1, allow_inf_nan=False)
    space: dict[str, Override] = Field(default_factory=dict)

    @field_validator("strategies", "backbones", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        """``"a,b"`` and a list mean the same; ``auto`` stays."""
        if isinstance(value, str) and value != "auto":
            value = [part.strip() for part in value.split(",") if part.strip()]
        if isinstance(value, list | tuple):
            if not value:
                raise ValueError("must name at least one, or be 'auto'")
            return tuple(dict.fromkeys(value))
        return value

    @field_validator("strategies")
    @classmethod
    def _known_strategies(cls, value: tuple[str, ...] | str) -> tuple[str, ...] | str:
        for name in () if isinstance(value, str) else value:
            if name not in STRATEGY_NAMES:
                raise unknown("strategy", name, STRATEGY_NAMES)
        return value

    @field_validator("metric")
    @classmethod
    def _known_metric(cls, value: str) -> str:
        if value not in {*METRICS, "auto"}:
            raise unknown("metric", value, [*METRICS, "auto"])
        return value

    @field_validator("register_as")
    @classmethod
    def _registrable(cls, value: str | None) -> str | None:
        if value is not None and (not value or set(value) & set("/:")):
            raise ValueError("must be a name without '/' and ':'")
        return value

    @field_validator("space", mode="before")
    @classmethod
    def _overrides(cls, value: object) -> object:
        """One value and a list of it mean the same; ``1e-3``, to YAML a text, is a number."""
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise ValueError("must give values or a range by parameter")
        return {name: _override(str(name), own) for name, own in value.items()}

    @property
    def plain_space(self) -> dict[str, Any]:
        """The space as JSON has it."""
        plain: dict[str, Any] = self.model_dump(mode="json", include={"space"})["space"]
        return plain

    @property
    def strategy_names(self) -> tuple[str, ...]:
        """The strategies to try."""
        return STRATEGY_NAMES if isinstance(self.strategies, str) else self.strategies


class StudyFile(FitConfig):
    """A study for ``autotl study run``: a whole fit described in a file.

    Attributes:
        data: a folder or table, relative to the file, or the URL of one; or ``digits`` or
            ``wallpaper_groups``.
        test: a second one, for the locked test set.
        description: for people.
    """

    data: str
    test: str | None = None
    description: str = ""


def _override(name: str, value: object) -> Override:
    given = value if isinstance(value, list | tuple) else [value]
    try:
        if isinstance(value, Range | Mapping):
            return Range.model_validate(value)
        found = _VALUES.validate_python(tuple(_number(own) for own in given))
    except ValidationError as error:
        raise ValueError(
            f"{name} must be values (texts, numbers, true or false) or a range (low and high)"
        ) from error
    if not found:
        raise ValueError(f"{name} must have at least one value")
    return tuple(dict.fromkeys(found))


def _number(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return value


def make_config(values: Mapping[str, Any], kind: type[FitConfig] = FitConfig) -> Any:
    """A validated config from plain values.

    Raises:
        InputError: naming every wrong value; for an unknown key, the nearest known one.
    """
    problems = [
        str(unknown("setting", key, kind.model_fields))
        for key in values
        if key not in kind.model_fields
    ]
    try:
        config = kind.model_validate({k: v for k, v in values.items() if k in kind.model_fields})
    except ValidationError as error:
        for detail in error.errors():
            place = ".".join(str(part) for part in detail["loc"][:1])
            problems.append(f"{place}: {_message(detail)}, but got {values.get(place)!r}")
    if problems:
        raise InputError.of(problems)
    return config


def _message(detail: Mapping[str, Any]) -> str:
    return str(detail["msg"]).removeprefix("Value error, ")
