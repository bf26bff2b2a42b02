"""Rotary positions of a config.json: `rope_parameters`, or `rope_theta` and `rope_scaling` of earlier versions."""

from collections.abc import Mapping
from typing import Any

from transformer.errors import problem, shorten
from transformer.interop.entries import Config, Joint, Settings, refused

NAMES = ("rope_theta", "rope_scaling", "rope_parameters")

SCALINGS: dict[str, tuple[str, dict[str, str]]] = {
    "default": ("rotary", {}),
    "linear": ("rotary_linear", {"factor": "factor"}),
    "llama3": (
        "rotary_llama3",
        {
            "factor": "factor",
            "low_freq_factor": "low_frequency_factor",
            "high_freq_factor": "high_frequency_factor",
            "original_max_position_embeddings": "original_length",
        },
    ),
    "yarn": (
        "rotary_yarn",
        {
            "factor": "factor",
            "original_max_position_embeddings": "original_length",
            "beta_fast": "beta_fast",
            "beta_slow": "beta_slow",
            "attention_factor": "attention_factor",
            "truncate": "truncate",
        },
    ),
}
"""rope_type -> the row of positions, and its settings by their entries."""


def scaling(parameters: Mapping[str, Any], config: Config) -> Settings:
    """Return the settings of one description of rotary positions, without their base.

    >>> scaling({"rope_type": "linear", "factor": 2.0}, {})
    {'position': 'rotary_linear', 'position_settings.factor': 2.0}
    """
    kind = parameters.get("rope_type", parameters.get("type", "default"))
    if kind not in SCALINGS:
        raise refused("rope_type", kind, ", ".join(SCALINGS))
    row, names = SCALINGS[kind]
    given = {
        name: x for name, x in parameters.items() if x is not None and name not in ("rope_type", "type", "rope_theta")
    }
    if kind in ("llama3", "yarn"):
        given.setdefault("original_max_position_embeddings", config.get("max_position_embeddings"))
    strange = [name for name in given if name not in names and given[name] not in (1.0, False)]
    if strange:
        raise refused(f"{strange[0]} of rope_type {kind}", given[strange[0]], "none")
    own = {names[name]: x for name, x in given.items() if name in names}
    return {"position": row, **{f"position_settings.{name}": _number(name, x) for name, x in own.items()}}


def _number(name: str, value: Any) -> Any:
    """Return a number as its setting takes it."""
    if not isinstance(value, int | float):
        raise problem(f"config.json: {name} of rotary positions is no number", got=shorten(repr(value)))
    return value if isinstance(value, bool) or name == "original_length" else float(value)


def base_of(
    parameters: Mapping[str, Any], config: Config, name: str = "rope_theta", default: float = 10_000.0
) -> float:
    """Return the base of rotary positions.

    >>> base_of({}, {"rope_theta": 500_000})
    500000.0
    """
    value = parameters.get("rope_theta") or config.get(name) or default
    if not isinstance(value, int | float):
        raise problem("config.json: rope_theta is no number", got=shorten(repr(value)))
    return float(value)


def parameters_of(config: Config) -> Mapping[str, Any]:
    """Return the description of rotary positions; {} where there is none.

    >>> parameters_of({"rope_scaling": {"type": "linear", "factor": 2.0}})["factor"]
    2.0
    """
    found = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(found, Mapping):
        raise problem(
            "config.json: rope_parameters is no object", got=shorten(repr(found)), expected='{"rope_type": ...}'
        )
    return found


def _read(config: Config) -> Settings:
    found = parameters_of(config)
    return {"rotary_base": base_of(found, config), **scaling(found, config)}


def described(settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return `rope_scaling` of a model's settings; None where its positions are not scaled, or no row has them.

    >>> described({"position": "rotary_linear", "position_settings.factor": 2.0})
    {'rope_type': 'linear', 'factor': 2.0}
    """
    for kind, (row, names) in SCALINGS.items():
        if settings["position"] == row and names:
            own = {theirs: settings.get(f"position_settings.{ours}") for theirs, ours in names.items()}
            return {"rope_type": kind, **{name: value for name, value in own.items() if value is not None}}
    return None


def _write(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {"rope_theta": settings["rotary_base"], "rope_scaling": described(settings)}


ROPE = Joint(NAMES, _read, _write)
"""The row of a family whose layers all have the same rotary positions."""
