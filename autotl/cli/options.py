"""The options that commands share: one place for each one's name and help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_OUTPUT = Path("autotl-runs")

Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="A folder with a sub-folder per class, or a .csv, .tsv or .parquet file with a "
        "column of image paths and one of labels; or the URL of one, such as s3://bucket/folder.",
        show_default=False,
    ),
]
Image = Annotated[
    str | None,
    typer.Option("--image", metavar="COL", help="Column of image paths; found if not given."),
]
Label = Annotated[
    str | None,
    typer.Option("--label", metavar="COL", help="Column of labels; found if not given."),
]
Group = Annotated[
    str | None,
    typer.Option(
        "--group",
        metavar="COL",
        help="Column whose equal values stay on one side of every split; 'parent' for folders.",
    ),
]
Budget = Annotated[
    float | None,
    typer.Option(
        "--budget", metavar="SECONDS", help="Time for everything, the report included. 600 s."
    ),
]
Trials = Annotated[
    int | None,
    typer.Option(
        "--trials", metavar="N", help="At most so many trials in the study; else what time allows."
    ),
]
Strategies = Annotated[
    str | None,
    typer.Option(
        "--strategies",
        metavar="A,B",
        help="Of bottleneck, finetune and scratch, those to try; all if not given.",
    ),
]
Backbones = Annotated[
    str | None,
    typer.Option(
        "--backbones",
        metavar="X,Y@FILE",
        help="'embedded', timm names, or name@weights-file, each maybe with a size of the "
        "pictures behind it (embedded@96px); if not given, the embedded one and the hub's where "
        "it can be reached.",
    ),
]
MetricName = Annotated[
    str | None,
    typer.Option(
        "--metric",
        metavar="M",
        help="accuracy, balanced_accuracy, macro_f1, log_loss or auroc; chosen by the classes' "
        "balance if not given.",
    ),
]
Prefer = Annotated[
    str | None,
    typer.Option(
        "--prefer",
        metavar="P",
        help="accuracy, balanced or cheap: which to take of those within the noise. balanced.",
    ),
]
Seed = Annotated[int | None, typer.Option("--seed", metavar="N", help="Of everything random. 0.")]
Device = Annotated[
    str | None,
    typer.Option("--device", metavar="D", help="cpu, cuda or cuda:1; the first GPU if any."),
]
Workers = Annotated[
    int | None, typer.Option("--workers", metavar="N", help="Processes that run trials. 1.")
]
Storage = Annotated[
    str | None,
    typer.Option(
        "--storage",
        metavar="URL",
        help="Optuna's storage, such as postgresql://user:password@host/database, so that `autotl "
        "worker` on other machines can join; else a file in the output folder.",
        show_default=False,
    ),
]
Executor = Annotated[
    str | None,
    typer.Option("--executor", metavar="E", help="Where the workers run: local, or ray. local."),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        "--ray-address",
        metavar="A",
        help="The Ray cluster: auto for this machine's, or local for a new one. auto.",
    ),
]
WorkerCpus = Annotated[
    float | None, typer.Option("--worker-cpus", metavar="N", help="Of each worker on Ray. 1.")
]
WorkerGpus = Annotated[
    float | None,
    typer.Option("--worker-gpus", metavar="N", help="Likewise; 0.5: two share a GPU. 0."),
]
Output = Annotated[
    Path | None,
    typer.Option("--output", metavar="DIR", help="Where everything is written. autotl-runs."),
]
DiskQuota = Annotated[
    float | None,
    typer.Option(
        "--disk-quota",
        metavar="GB",
        help="For everything in the output folder: trials' models of earlier fits and the cache "
        "make room. No limit but the cache's.",
    ),
]
DiskCache = Annotated[
    float | None,
    typer.Option(
        "--disk-cache",
        metavar="GB",
        help="For what later fits can use again; 0 for none. A tenth of the free disk, at most 20.",
    ),
]
MemoryCache = Annotated[
    float | None,
    typer.Option(
        "--memory-cache",
        metavar="GB",
        help="Memory for activations; 0 for none. A quarter of what is available.",
    ),
]
TrackingUri = Annotated[
    str | None,
    typer.Option(
        "--tracking-uri",
        metavar="URI",
        help="An MLflow server; else MLFLOW_TRACKING_URI, or a store in the output folder.",
    ),
]
SyncUri = Annotated[
    str | None,
    typer.Option(
        "--tracking-uri",
        metavar="URI",
        help="The MLflow server's, with the password that the records don't hold; if not given, "
        "MLFLOW_TRACKING_URI or the one that the fit noted.",
        show_default=False,
    ),
]
StudyName = Annotated[
    str | None,
    typer.Option(
        "--study-name",
        metavar="NAME",
        help="Of this fit; made from the time. A study of that name goes on, for --budget more.",
    ),
]
Register = Annotated[
    str | None,
    typer.Option(
        "--register",
        metavar="NAME",
        help="In MLflow's model registry, the model of which this one becomes a new version.",
        show_default=False,
    ),
]
WarmStart = Annotated[
    bool | None,
    typer.Option(
        "--warm-start/--no-warm-start",
        help="Whether to try early what did best in earlier fits in --output on similar data. "
        "It is tried.",
        show_default=False,
    ),
]
TrustPaths = Annotated[
    bool,
    typer.Option(
        "--trust-paths",
        help="Let paths in a table, and links, lead out of the data set's folder.",
    ),
]
MaxUnreadable = Annotated[
    float | None,
    typer.Option(
        "--max-unreadable",
        metavar="SHARE",
        help="Of the images, how many may be missing or unreadable; they are left out. 0.1.",
    ),
]
Html = Annotated[
    Path | None,
    typer.Option(
        "--html",
        metavar="FILE",
        help="Also write the analysis as one HTML page, with pictures and charts.",
        show_default=False,
    ),
]
AsJson = Annotated[
    bool,
    typer.Option("--json", help="End the output with one line holding one JSON object."),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Plain lines instead of a live display.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show a traceback when something fails.")]
