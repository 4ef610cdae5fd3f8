"""`longform env`: what this machine can do."""

from __future__ import annotations

from typing import Any

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
        "ascend": is_available("acl"),
    }
    gpus: list[str] = []
    if is_available("torch"):
        import importlib

        torch = importlib.import_module("torch")
        gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    ascend = _ascend()
    trains_on = _training_device() if backends["torch"] else None
    content = {
        "longform": __version__,
        "python": platform.python_version(),
        "machine": machine_name(),
        "gpus": gpus,
        "ascend": ascend,
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
    typer.echo(f"NPUs      {', '.join(ascend['cards']) or ascend['unknown'] or 'none'}")
    if ascend["cards"] or ascend["torch_npu"] or ascend["cann"]:
        typer.echo(f"  CANN {ascend['cann'] or 'is not found'}: {ascend['verdict']}")
    typer.echo(f"trains on {trains_on or 'nothing: torch and transformers are not installed'}")
    typer.echo(f"backends  {', '.join(name for name, present in backends.items() if present)}")
    for name, version in libraries.items():
        typer.echo(f"  {name:<14} {version or 'not installed'}")


def _ascend() -> dict[str, Any]:
    """Describe the cards, and whether torch, torch_npu and CANN belong together."""
    from dataclasses import asdict

    from longform.backends.ascend.npu_smi import UnknownLayoutError, read_npus
    from longform.backends.ascend.versions import installed_stack

    stack, unknown = installed_stack(), None
    try:
        cards = [f"{npu.name} ({npu.health})" for npu in read_npus()]
    except UnknownLayoutError as error:
        cards, unknown = [], str(error)
    return {"cards": cards, "unknown": unknown, **asdict(stack), "verdict": stack.judge()}


def _training_device() -> str:
    """Say where a run would train by default, and why there."""
    from longform.reporting import Reporter
    from longform.training.devices import pick_device

    device = pick_device(Reporter())
    return f"{device.name} ({device.reason})"
