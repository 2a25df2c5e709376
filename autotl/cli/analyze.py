"""``autotl analyze``: what the data set looks like and what is the best bet for it."""

from __future__ import annotations

from autotl.cli import options
from autotl.cli.display import watching
from autotl.cli.terminal import errors_to_exits, own_warnings, result_console, show, write_json


@errors_to_exits
def analyze(
    data: options.Data,
    image: options.Image = None,
    label: options.Label = None,
    group: options.Group = None,
    backbones: options.Backbones = None,
    device: options.Device = None,
    html: options.Html = None,
    trust_paths: options.TrustPaths = False,
    max_unreadable: options.MaxUnreadable = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Measure a data set and say what is the best bet, without training."""
    from autotl.cli.fit import require
    from autotl.cli.settings import from_options
    from autotl.recommend.page import page_place

    config = from_options(
        {"backbones": backbones, "device": device, "max_unreadable": max_unreadable}
    )
    require(data)
    page = None if html is None else page_place(html)
    with watching(quiet) as progress, own_warnings(progress.note, debug):
        progress.phase("start")
        import autotl

        analysis = autotl.analyze(
            data,
            image=image,
            label=label,
            group=group,
            backbones=config.backbones,
            device=config.device,
            html=page,
            trust_paths=trust_paths,
            max_unreadable=config.max_unreadable,
            progress=progress,
        )
    console = result_console(as_json)
    show(console, str(analysis).rstrip())
    if page is not None:
        console.print(f"page written to {page}", soft_wrap=True, markup=False)
    if as_json:
        write_json(analysis.as_json())
