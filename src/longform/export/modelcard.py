"""The model card that travels in a bundle as README.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from longform.bundle import BundleDescription

_LABELS_SHOWN = 50


def model_card(
    name: str, description: BundleDescription, verdicts: Mapping[str, Mapping[str, Any]]
) -> str:
    """Write the card in Markdown, with the header that Hugging Face reads.

    Args:
        name: Of the bundle.
        description: What the bundle is.
        verdicts: How its exports compare with the trained model, as `parity.json` has it.
    """
    labels = description.labels
    shown = ", ".join(f"`{label}`" for label in labels[:_LABELS_SHOWN])
    more = f" and {len(labels) - _LABELS_SHOWN} more" if len(labels) > _LABELS_SHOWN else ""
    settings = description.knobs.segments.model_dump() | description.knobs.model
    return "\n".join(
        [
            "---",
            "library_name: longform",
            "pipeline_tag: text-classification",
            "---",
            "",
            f"# {name}",
            "",
            f"A classifier of long documents with {len(labels)} classes, trained by longform "
            f"{description.longform_version} on {description.created}.",
            "",
            f"Classes: {shown}{more}",
            "",
            *_quality(description),
            "## Exports",
            "",
            "| target | largest logit difference | same label | documents | passed |",
            "| --- | ---: | ---: | ---: | --- |",
            *(
                f"| {target} | {verdict['largest_logit_difference']:.2g} | "
                f"{100 * verdict['label_agreement']:.2f} % | {verdict['documents']} | "
                f"{'yes' if verdict['passed'] else 'no, left out'} |"
                for target, verdict in verdicts.items()
            ),
            "",
            "## Use",
            "",
            "```python",
            "import longform",
            "",
            f'print(longform.load("{name}").predict(["..."])[0])',
            "```",
            "",
            "Every answer carries `coverage`: how many of the document's tokens it rests on.",
            "",
            "## Settings",
            "",
            "| key | value |",
            "| --- | --- |",
            *(f"| `{key}` | `{value}` |" for key, value in settings.items()),
            "",
        ]
    )


def _quality(description: BundleDescription) -> list[str]:
    training, metrics = description.training, description.metrics
    coverage = training["coverage"]
    return [
        "## How good it is",
        "",
        f"On {training['validation_documents']:,} validation documents, which also chose the best "
        f"epoch: accuracy {100 * metrics['accuracy']:.2f} %, "
        f"macro-F1 {100 * metrics['macro_f1']:.2f} %.",
        "",
        f"Trained on {training['documents']:,} documents in {training['seconds']:,.0f} s "
        f"({training['epochs']:g} epochs, {training['kind']}). "
        f"{100 * coverage['share']:.2f} % of their tokens were read; "
        f"{coverage['truncated_documents']:,} documents were not read whole.",
        "",
    ]
