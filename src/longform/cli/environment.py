"""`longform env`: what this machine can do."""

from __future__ import annotations

import typer

from longform.cli.arguments import AsJson, print_json

_LIBRARIES = (
    "numpy",
    "tokenizers",
    "onnxruntime",
    "openvino",
    "nncf",
    "torch",
    "transformers",
    "accelerate",
    "peft",
    "optuna",
    "tensorboard",
    "torch_npu",
    "onnx",
    "fastapi",
    "pyarrow",
)


def environment(as_json: AsJson = False) -> None:
    """Show versions, devices, threads and backends: what to send along with a bug report."""
    import platform
    from importlib import metadata

    from longform import __version__
    from longform.backends.choice import machine_name
    from longform.extras import is_available

    libraries: dict[str, str | None] = {
        name: metadata.version(name) if is_available(name) else None for name in _LIBRARIES
    }
    backends = {
        "onnx": True,
        "openvino": is_available("openvino"),
        "torch": is_available("torch") and is_available("transformers"),
    }
    gpus: list[str] = []
    if is_available("torch"):
        import importlib

        torch = importlib.import_module("torch")
        gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    trains_on = _training_device() if backends["torch"] else None
    content = {
        "longform": __version__,
        "python": platform.python_version(),
        "machine": machine_name(),
        "gpus": gpus,
        "trains_on": trains_on,
        "backends": backends,
        "libraries": libraries,
    }
    if as_json:
        print_json(content)
        return
    typer.echo(f"longform {__version__}, Python {platform.python_version()}")
    typer.echo(f"machine   {content['machine']}")
    typer.echo(f"GPUs      {', '.join(gpus) or 'none'}")
    typer.echo(f"trains on {trains_on or 'nothing: torch and transformers are not installed'}")
    typer.echo(f"backends  {', '.join(name for name, present in backends.items() if present)}")
    for name, version in libraries.items():
        typer.echo(f"  {name:<14} {version or 'not installed'}")


def _training_device() -> str:
    """Say where a run would train by default, and why there."""
    from longform.reporting import Reporter
    from longform.training.devices import pick_device

    device = pick_device(Reporter())
    return f"{device.name} ({device.reason})"
