"""``autotl fit``, and what every command that runs a fit does: watch it, then tell the result."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autotl.cli import options
from autotl.cli.display import watching
from autotl.cli.terminal import errors_to_exits, own_warnings, result_console, show, write_json
from autotl.errors import InputError
from autotl.naming import is_url

if TYPE_CHECKING:
    from autotl.config import FitConfig

Test = Annotated[
    str | None,
    typer.Option("--test", metavar="DATA", help="The locked test set; held out if not given."),
]


@errors_to_exits
def fit(
    data: options.Data,
    test: Test = None,
    image: options.Image = None,
    label: options.Label = None,
    group: options.Group = None,
    budget: options.Budget = None,
    trials: options.Trials = None,
    strategies: options.Strategies = None,
    backbones: options.Backbones = None,
    metric: options.MetricName = None,
    prefer: options.Prefer = None,
    seed: options.Seed = None,
    device: options.Device = None,
    workers: options.Workers = None,
    storage: options.Storage = None,
    executor: options.Executor = None,
    ray_address: options.RayAddress = None,
    worker_cpus: options.WorkerCpus = None,
    worker_gpus: options.WorkerGpus = None,
    output: options.Output = None,
    disk_quota: options.DiskQuota = None,
    disk_cache: options.DiskCache = None,
    memory_cache: options.MemoryCache = None,
    tracking_uri: options.TrackingUri = None,
    study_name: options.StudyName = None,
    register: options.Register = None,
    warm_start: options.WarmStart = None,
    trust_paths: options.TrustPaths = False,
    max_unreadable: options.MaxUnreadable = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Find out how to use a pretrained network on labelled images, and train the model."""
    from autotl.cli.settings import from_options

    config = from_options(
        {
            "image": image,
            "label": label,
            "group": group,
            "time_budget_s": budget,
            "n_trials": trials,
            "strategies": strategies,
            "backbones": backbones,
            "metric": metric,
            "prefer": prefer,
            "seed": seed,
            "device": device,
            "workers": workers,
            "storage": storage,
            "executor": executor,
            "ray_address": ray_address,
            "worker_cpus": worker_cpus,
            "worker_gpus": worker_gpus,
            "output_dir": output,
            "disk_quota_gb": disk_quota,
            "disk_cache_gb": disk_cache,
            "memory_cache_gb": memory_cache,
            "tracking_uri": tracking_uri,
            "study_name": study_name,
            "register_as": register,
            "warm_start": warm_start,
            "trust_paths": trust_paths,
            "max_unreadable": max_unreadable,
        }
    )
    require(data)
    if test is not None:
        require(test)
    run_fit(data, config, test=test, as_json=as_json, quiet=quiet, debug=debug)


def require(path: str) -> None:
    """See that there is such a file or folder, before anything heavy is loaded; URLs are trusted.

    Raises:
        InputError: if there is none.
    """
    place = Path(path).expanduser()
    if not is_url(path) and not place.exists():
        raise InputError(
            f"no such file or folder: {path} (looked for {place.absolute()}); give a folder with "
            "a sub-folder per class, or a .csv, .tsv or .parquet file"
        )


def run_fit(
    dataset: Any,
    config: FitConfig,
    *,
    test: str | None,
    as_json: bool,
    quiet: bool,
    debug: bool,
) -> None:
    """Run a fit under the eyes of the user and tell what came out.

    Args:
        dataset: anything that :func:`autotl.fit` takes.
        config: its settings.
        test: a test set, or None.
        as_json: whether to end with a line of JSON.
        quiet: whether to write plain lines instead of a live display.
        debug: whether to show the warnings of libraries.
    """
    from autotl.config import FitConfig

    settings = {name: getattr(config, name) for name in FitConfig.model_fields}
    settings["register"] = settings.pop("register_as")
    with (
        watching(quiet, smaller_is_better=config.metric == "log_loss") as progress,
        own_warnings(progress.note, debug),
    ):
        progress.phase("start")
        import autotl

        recommendation = autotl.fit(dataset, test=test, progress=progress, **settings)
    tell(recommendation, config, as_json=as_json)


def tell(recommendation: Any, config: FitConfig, *, as_json: bool) -> None:
    """Print the recommendation, where its files lie and how to go on.

    Args:
        recommendation: of :func:`autotl.fit`.
        config: its settings.
        as_json: whether to end with a line of JSON.
    """
    console = result_console(as_json)
    console.print()
    show(console, recommendation.explain().rstrip())
    console.print()
    for name, value in (
        ("report", recommendation.report_path),
        ("model", recommendation.model_path),
        ("predict", f"autotl predict {_quoted(recommendation.model_path)} IMAGES..."),
        ("MLflow", _mlflow(recommendation.tracking_uri, config)),
    ):
        console.print(f"{name:<8} {value}", soft_wrap=True, markup=False)
    if as_json:
        write_json(recommendation.summary())


def _mlflow(tracking_uri: str, config: FitConfig) -> str:
    """How to look at the trials: the UI on the store of the output folder, or another server."""
    if config.tracking_uri is None and tracking_uri.startswith("sqlite:"):
        return f"autotl ui --output {_quoted(config.output_dir)}"
    return tracking_uri


def _quoted(path: Path | str) -> str:
    return shlex.quote(str(path))
