"""Model cards: what a trained prior is, what it was trained on, how well it denoises, what it must not be used for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mrrecon.denoising.comparison import noise_levels
from mrrecon.pictures.tables import markdown_table
from mrrecon.priors.schedule import NoiseSchedule

__all__ = ["model_card"]

ROWS = 12  # of the validation table, at most

TEXT = """# {name}

A 2D diffusion model of complex MR slices: it says how a noisy slice would look without the noise. 3D reconstructions
from undersampled k-space use it as their prior, slice by slice along all three axes.

## How to load it

```python
from mrrecon import priors

prior = priors.load("{name}")  # if packaged with mrrecon; else the path of this folder
clean = prior.denoise(noisy, sigma=0.1)  # complex slices (B, H, W); bright tissue is about one
```

## Intended use and limits

- For research on MR image reconstruction. It is not a medical device and nothing here may guide a diagnosis.
- It was trained on voxels of {voxel_sizes}; at other voxel sizes it is out of its depth.
- It knows the anatomies, contrasts and pathologies of its training data (below), which are few. What it has not seen it
  may smooth away or replace by something likely: the more undersampled a scan, the more of the picture is the prior's.
- Most training images are magnitude images with a made-up smooth phase; strong phase of another kind is unknown to it.
- It sees one slice at a time and gives no measure of its own uncertainty.

## Data

{data}

## Network

{network}

Weights are stored in half precision (fp16, {megabytes:.1f} MiB) and computed with in single precision or bfloat16. What
is stored is the moving average of the weights.

## Training

{training}

## Validation

{validation}
"""


def model_card(config: Mapping[str, Any], parameters: int, entries: Iterable[Mapping[str, Any]] = ()) -> str:
    """Text of the model card, Markdown.

    Parameters
    ----------
    config
        Of the prior, as :meth:`mrrecon.priors.DiffusionPrior.config` returns it; its ``training`` says how it was made.
    parameters
        Number of weights.
    entries
        Of the training's log; those with ``validation`` make the table.
    """
    record = config.get("training", {})
    low, high = config.get("voxel_sizes") or (None, None)
    sizes = "any size" if low is None else f"{low:g} mm" if low == high else f"{low:g} to {high:g} mm"
    return TEXT.format(
        name=config["name"],
        voxel_sizes=sizes,
        data=_data(record.get("data", {})),
        network=_network(config, parameters),
        megabytes=2 * parameters / 2**20,
        training=_training(record),
        validation=_validation(config, [e for e in entries if e.get("validation")]),
    )


def _data(data: Mapping[str, Any]) -> str:
    parts = [str(data.get("sources") or "Sources and licences were not stated.").strip()]
    now, earlier, spoilt = (data.get(key, []) for key in ("training", "earlier", "validation_trained_on"))
    if now or earlier:
        listed = "; earlier ".join(", ".join(names) for names in (now, earlier) if names)
        parts.append(f"Trained on ({len(now) + len(earlier)}): {listed}.")
    parts += [f"On top of {what}, whose training data are not recorded." for what in data.get("unknown", [])]
    held_out = [name for name in data.get("validation", []) if name not in spoilt]
    if held_out:
        claim = "Not known to have been trained on" if data.get("unknown") else "Never trained on"
        parts.append(f"{claim}, used for the table below ({len(held_out)}): {', '.join(held_out)}.")
    if spoilt:
        parts.append(
            "Used for the table below although the same picture or subject was trained on earlier, so that the numbers "
            f"are too good ({len(spoilt)}): {', '.join(spoilt)}."
        )
    return "\n\n".join(parts)


def _network(config: Mapping[str, Any], parameters: int) -> str:
    rows = {"parameters": f"{parameters / 1e6:.2f} million", **config["network"], "predicts": config["target"]}
    rows["noise schedule"] = ", ".join(f"{k} {v}" for k, v in config["schedule"].items())
    rows["value of bright tissue in the network"] = f"{config['data_scale']:g}"
    return _settings("setting", "value", rows)


def _training(record: Mapping[str, Any]) -> str:
    if not record:
        return "Not recorded."
    settings = record.get("settings", {})
    shown = ("slices", "learning_rate", "warmup", "weight_decay", "clip", "ema", "low_noise", "precision", "seed")
    rows: dict[str, Any] = {
        "steps": f"{record['steps']} of {settings.get('steps', '?')}",
        "slices seen": record["slices"],
        "hours": f"{record['seconds'] / 3600:.2f}",
        "hardware": record["device"] + (f", {record['processes']} processes" if record["processes"] > 1 else ""),
        "versions": ", ".join(f"{k} {v}" for k, v in record.get("versions", {}).items()),
        "optimiser": "AdamW, linear warm-up, half-cosine decay",
    }
    rows.update({name: settings[name] for name in shown if name in settings})
    if settings.get("start_from"):
        rows["started from"] = settings["start_from"]
    return _settings("", "", rows)


def _validation(config: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> str:
    if not entries:
        return "None was measured during the training."
    names = list(dict.fromkeys(name for entry in entries for name in entry["validation"]))
    last = len(entries) - 1
    rows = min(ROWS, len(entries))
    chosen = sorted({round(i * last / max(1, rows - 1)) for i in range(rows)} | {last})
    found = ((entries[i]["step"], (entries[i]["validation"].get(name) for name in names)) for i in chosen)
    body = ([step, *("" if decibel is None else f"{decibel:.2f}" for decibel in row)] for step, row in found)
    table = markdown_table(["step", *names], body, texts=0)
    since = config.get("training", {}).get("data", {}).get("validation_since", 0)
    others = f" Rows up to step {since} are of other volumes." if since and entries[0]["step"] <= since else ""
    sigmas = noise_levels(NoiseSchedule(**config["schedule"]), config["data_scale"])
    levels = ", ".join(f"{sigma:.3f} at t = {t}" for t, sigma in sigmas.items())
    return (
        "Denoising of validation slices, complex PSNR in dB, one being the level of bright tissue. The noise has this "
        f"standard deviation per real component: {levels}.{others}\n\n{table}"
    )


def _settings(name: str, value: str, rows: Mapping[str, Any]) -> str:
    return markdown_table([name, value], [(key, _cell(one)) for key, one in rows.items()], texts=2)


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_cell(v)}" for k, v in value.items())
    return str(value)
