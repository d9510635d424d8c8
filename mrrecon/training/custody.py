"""What weights were ever trained on: in all runs of a training, and in the prior that it started from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mrrecon.priors.saving import CONFIG
from mrrecon.priors.storage import read_config

__all__ = ["Custody", "Seen"]


@dataclass(frozen=True)
class Seen:
    """A volume, as far as it can be recognised again.

    Parameters
    ----------
    name
        What it is called.
    subject
        Who was scanned, where known.
    picture
        Digest of its voxels, where known.
    """

    name: str
    subject: str = ""
    picture: str = ""

    @classmethod
    def of(cls, given: Any) -> Seen:
        """A volume, or one of which only the name is known."""
        return given if isinstance(given, Seen) else cls(str(given))

    def is_same(self, other: Seen) -> bool:
        """Whether it is the same picture; by the name, where one of them is not known."""
        if self.picture and other.picture:
            return self.picture == other.picture
        return self.name == other.name

    def may_show(self, other: Seen) -> bool:
        """Whether who knows the other volume may know this one: the same picture, subject or name."""
        return self.is_same(other) or self.name == other.name or bool(self.subject and self.subject == other.subject)


@dataclass(frozen=True)
class Custody:
    """The data of some weights.

    Parameters
    ----------
    training
        What the last run trained on.
    earlier
        What was trained on before and no longer is.
    validation
        What the last run was watched with.
    since
        Step from which on it was.
    sources
        Where the data come from, and their licences.
    unknown
        What else the weights come from whose data are not recorded, in words.
    """

    training: tuple[Seen, ...] = ()
    earlier: tuple[Seen, ...] = ()
    validation: tuple[Seen, ...] = ()
    since: int = 0
    sources: str = ""
    unknown: tuple[str, ...] = ()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Custody:
        """Read what :meth:`to_dict` wrote, this version or those that knew the names of the last run only."""
        names = [*data.get("training", []), *data.get("earlier", [])]
        more = (data.get(key) or [""] * len(names) for key in ("subjects", "pictures"))
        volumes = [Seen(*one) for one in zip(names, *more, strict=True)]
        number = len(data.get("training", []))
        return cls(
            tuple(volumes[:number]),
            tuple(volumes[number:]),
            tuple(map(Seen, data.get("validation", []))),
            data.get("validation_since", 0),
            data.get("sources", ""),
            tuple(data.get("unknown", [])),
        )

    @classmethod
    def of_prior(cls, name: str, training: Mapping[str, Any]) -> Custody:
        """What a training that starts from a prior takes over; `training` is the prior's record."""
        data = training.get("data", {})
        found = cls.from_dict(data)
        unknown = list(found.unknown)
        if not data.get("training"):
            unknown.append(f"the prior {name}")
        elif "pictures" not in data and training.get("settings", {}).get("start_from"):
            unknown.append(f"the prior that {name} started from")
        return cls(earlier=(*found.training, *found.earlier), sources=found.sources, unknown=tuple(unknown))

    def resumed(self, data: Mapping[str, Any] | None, prior: Path) -> Custody:
        """Of a training that is gone on with, this being the custody of what it once started from.

        What its checkpoint says (None of those that do not; the folder of the `prior` beside may say it then).
        """
        if data is None and (prior / CONFIG).exists():
            data = read_config(prior).get("training", {}).get("data")
        if not data:
            return replace(self, unknown=(*self.unknown, "the steps before this training was gone on with"))
        found = Custody.from_dict(data)
        if "pictures" in data:
            return found
        return replace(found, earlier=self.earlier, unknown=self.unknown)  # it knows its last run only

    def run(self, data: Mapping[str, Any], step: int) -> Custody:
        """The same after a run on these data, which begins at a step."""
        training = tuple(map(Seen.of, data.get("training", [])))
        validation = tuple(map(Seen.of, data.get("validation", [])))
        before = (*self.training, *self.earlier)
        earlier = [one for one in before if not any(one.is_same(other) for other in training)]
        own = str(data.get("sources", "")).strip()
        sources = self.sources if not own or own in self.sources else f"{self.sources}\n\n{own}".strip()
        since = self.since if _names(validation) == _names(self.validation) else step
        return replace(
            self,
            training=training,
            earlier=tuple(dict.fromkeys(earlier)),
            validation=validation,
            since=since,
            sources=sources,
        )

    @property
    def not_held_out(self) -> list[str]:
        """Names of the validation volumes that were trained on, or whose subjects were."""
        known = (*self.training, *self.earlier)
        return [one.name for one in self.validation if any(one.may_show(other) for other in known)]

    def changes(self, before: Custody) -> list[str]:
        """Sentences on what a run does otherwise than the one before it."""
        said = []
        known = (*before.training, *before.earlier)
        new = [one for one in self.training if not any(one.is_same(other) for other in known)]
        gone = [one for one in before.training if not any(one.is_same(other) for other in self.training)]
        if before.training and (new or gone):
            parts = [
                f"{words} {', '.join(_names(found))}" for words, found in (("with", new), ("without", gone)) if found
            ]
            said.append(f"The training goes on with other data, {' and '.join(parts)}; its card names all of them.")
        if before.training and _names(self.validation) != _names(before.validation):
            now, then = (", ".join(_names(one.validation)) or "nothing" for one in (self, before))
            said.append(f"The training is validated with {now} from here on, and was with {then}; compare within each.")
        if self.not_held_out:
            said.append(
                f"Of the validation data, {', '.join(self.not_held_out)} (or the same subject) was trained on earlier: "
                "its numbers are too good, and the card says so; validate with others."
            )
        return said

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; `subjects` and `pictures` are those of `training` and then `earlier`."""
        volumes = (*self.training, *self.earlier)
        return {
            "training": _names(self.training),
            "earlier": _names(self.earlier),
            "subjects": [one.subject for one in volumes],
            "pictures": [one.picture for one in volumes],
            "validation": _names(self.validation),
            "validation_trained_on": self.not_held_out,
            "validation_since": self.since,
            "unknown": list(self.unknown),
            "sources": self.sources,
        }


def _names(volumes: Iterable[Seen] | Sequence[Seen]) -> list[str]:
    return [one.name for one in volumes]
